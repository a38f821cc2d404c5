"""measure.py - compares the start of a program on two or more sides, plain and prelinked.

A side says where a program is found: in a root (chroot), in a private directory (DIR/bin, DIR/lib), or on the
system; and what its environment has.  `compare_all` does everything that a fair comparison needs: the outputs must be
equal, the page cache must hold all sides in the same way, and runs are taken in turn.  The measuring itself is
done by the helper program bench/launch.
"""

import dataclasses
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ACCELERATED = re.compile(r"fastprelink: accelerated: (\d+) objects, (\d+) words, (\d+) us")
DECLINED = re.compile(r"fastprelink: declined .*")


class MeasureError(Exception):
    """A comparison that cannot be made; the text says why."""


@dataclasses.dataclass
class Side:
    """Where one of the two sides is found."""

    root: str | None = None  # chroot into it
    directory: str | None = None  # DIR/bin/PROGRAM with LD_LIBRARY_PATH=DIR/lib
    environment: dict = dataclasses.field(default_factory=dict)

    def variables(self):
        variables = dict(self.environment)
        if self.directory:
            variables.setdefault("LD_LIBRARY_PATH", os.path.join(self.directory, "lib"))
        return variables

    def locate(self, program):
        """The path of the program as the side's own processes name it."""
        if self.directory:
            return os.path.join(self.directory, "bin", os.path.basename(program))
        if "/" in program:
            return program
        for folder in os.environ.get("PATH", DEFAULT_PATH).split(":") + DEFAULT_PATH.split(":"):
            if os.path.lexists((self.root or "") + os.path.join(folder, program)):
                return os.path.join(folder, program)
        raise MeasureError(f"{program}: not found" + (f" in {self.root}" if self.root else ""))

    def command(self, words):
        return [self.locate(words[0]), *words[1:]]

    def launch_words(self, words):
        """The side as bench/launch takes it."""
        result = ["--root", self.root] if self.root else []
        for name, value in self.variables().items():
            result += ["--env", f"{name}={value}"]
        command = self.command(words)
        return [*result, "--argc", str(len(command)), *command]

    def run(self, words, **more_variables):
        """Runs the command once for its output: status, stdout, stderr."""

        def enter_root():
            os.chroot(self.root)
            os.chdir("/")

        try:
            done = subprocess.run(
                self.command(words),
                env={**os.environ, **self.variables(), **more_variables},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                preexec_fn=enter_root if self.root else None,
                timeout=120,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise MeasureError(f"{shlex.join(words)}: {error}") from error
        return done.returncode, done.stdout, done.stderr

    def neutral(self, output):
        """An output without the name of the private directory, which some programs print."""
        return output.replace(self.directory.encode(), b"DIR") if self.directory else output


def find_launch():
    """The path of bench/launch: from the build, or compiled now into a file that is kept beside the others
    of this process."""
    candidates = [HERE.parent / "build", HERE.parent]
    if os.environ.get("FASTPRELINK_BUILD"):
        candidates.insert(0, pathlib.Path(os.environ["FASTPRELINK_BUILD"]))
    for build in candidates:
        if os.access(build / "bench/launch", os.X_OK):
            return str(build / "bench/launch")
    find_launch.folder = tempfile.TemporaryDirectory(prefix="fastprelink-bench.")
    program = os.path.join(find_launch.folder.name, "launch")
    compiler = os.environ.get("CC", "cc")
    subprocess.run(
        [*shlex.split(compiler), "-D_GNU_SOURCE", "-O2", "-o", program, str(HERE / "launch.c")], check=True
    )
    return program


def launch(arguments):
    """Runs bench/launch; gives its result lines, split: the first two words, then the rest."""
    done = subprocess.run(
        [find_launch(), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise MeasureError(done.stderr.strip() or f"launch: status {done.returncode}")
    return [line.split(" ", 2) for line in done.stdout.splitlines()]


def drop_from_cache(paths):
    """Writes the files back and drops their pages: freshly written files sit in large folios, which fault up to
    two times less than what is read again later."""
    for path in sorted(paths):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError:
            continue
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError:
            pass
        finally:
            os.close(descriptor)


def look_at_entry(sides, words):
    """For each side: what /proc tells when the program's first instruction is reached (kB, and faults), and
    the files that are mapped then."""
    entries = [{} for _ in sides]
    files = [set() for _ in sides]
    lines = launch(["--at-entry", *(word for side in sides for word in side.launch_words(words))])
    for kind, which, rest in lines:
        if kind == "entry":
            key, value = rest.split()
            entries[int(which)][key] = int(value)
        elif kind == "mapped":
            files[int(which)].add(rest)
    return entries, files


def check_outputs(sides, words):
    """Raises MeasureError unless all sides end with the same status and output; the first is the plain one."""
    outcomes = []
    for side in sides:
        status, out, err = side.run(words)
        outcomes.append((status, side.neutral(out), side.neutral(err)))
    for other in outcomes[1:]:
        for what, plain, fast in zip(("exit status", "output", "error output"), outcomes[0], other):
            if plain != fast:
                raise MeasureError(
                    f"{shlex.join(words)}: {what} differs: plain {plain!r:.200}, prelinked {fast!r:.200}"
                )
    return outcomes[0][0]


def acceleration(side, words):
    """What the runtime says about one start: a dictionary, with `declined` when it declined."""
    _, _, err = side.run(words, FASTPRELINK_DEBUG="1")
    text = err.decode(errors="replace")
    if match := ACCELERATED.search(text):
        return dict(zip(("objects", "words", "microseconds"), map(int, match.groups())))
    match = DECLINED.search(text)
    return {"declined": match.group() if match else "not prelinked, or no carrier or runtime"}


def summary(samples):
    """Numbers about the timed runs of one side; times in milliseconds."""
    wall = [sample["wall_ns"] / 1e6 for sample in samples]
    return {
        "min_ms": min(wall),
        "median_ms": statistics.median(wall),
        "user_ms": statistics.median(sample["user_us"] / 1e3 for sample in samples),
        "system_ms": statistics.median(sample["system_us"] / 1e3 for sample in samples),
        "minor_faults": statistics.median(sample["minor_faults"] for sample in samples),
        "major_faults": statistics.median(sample["major_faults"] for sample in samples),
        "wall_ns": [sample["wall_ns"] for sample in samples],
    }


def time_sides(sides, words, runs, warmup):
    names = ("wall_ns", "user_us", "system_us", "minor_faults", "major_faults", "wait_status")
    samples = [[] for _ in sides]
    arguments = ["--runs", str(runs), "--warmup", str(warmup)]
    for side in sides:
        arguments += side.launch_words(words)
    for _, which, rest in launch(arguments):
        samples[int(which)].append(dict(zip(names, map(int, rest.split()))))
    statuses = {sample["wait_status"] for side in samples for sample in side}
    if len(statuses) != 1:
        raise MeasureError(f"{shlex.join(words)}: the runs ended with different statuses {sorted(statuses)}")
    return [summary(side) for side in samples]


def compare_all(sides, words, runs=30, warmup=3):
    """Times the start of one command on all sides, the plain one first; gives its exit status, and the numbers of each
    side: a dictionary that JSON can hold."""
    status = check_outputs(sides, words)
    _, files = look_at_entry(sides, words)
    drop_from_cache(set().union(*files))
    timed = time_sides(sides, words, runs, warmup)
    entries, _ = look_at_entry(sides, words)
    for numbers, entry in zip(timed, entries):
        numbers["private_dirty_kb"] = entry["Private_Dirty"]
        numbers["faults_at_entry"] = entry["MinorFaults"]
        numbers["entry"] = entry
    return status, timed


def ratios(plain, fast):
    """How many times faster FAST is than PLAIN, by the minimum and by the median."""
    return plain["min_ms"] / fast["min_ms"], plain["median_ms"] / fast["median_ms"]


def compare(plain, fast, words, runs=30, warmup=3):
    """Compares the start of one command on two sides; gives a dictionary that JSON can hold."""
    status, timed = compare_all([plain, fast], words, runs, warmup)
    ratio_min, ratio_median = ratios(*timed)
    return {
        "command": shlex.join(words),
        "runs": runs,
        "status": status,
        "plain": timed[0],
        "fast": timed[1],
        "ratio_min": ratio_min,
        "ratio_median": ratio_median,
        "runtime": acceleration(fast, words),
    }


def table(rows):
    """Rows of text cells as lines of aligned columns: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
