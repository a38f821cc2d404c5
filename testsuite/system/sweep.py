"""Prelinks the programs of a sandbox root in one placement after the other, and compares each with what it was plain."""

import json
import multiprocessing
import os
import subprocess
import time
from contextlib import nullcontext
from dataclasses import dataclass, field

from harness import build, files, need
from harness.run import CYCLES
from oracle import bindings
from system import installed

PLACEMENTS = ("default", "aslr", "fixed", "mixed")
CONFIGURATION = "fastprelink.conf.d/50-exposed.conf"
# In the mixed placement the libraries of about this many programs float; which, depends only on their order.
FLOATING_PROGRAMS = 12
# Look-ups do not depend on the placement.  They are compared when all is plain, and again when most files are rewritten.
REBOUND = "fixed"
# Reasons of fastprelink that are not about the file but about this run: a sweep must not meet them.
FAILURES = {"system", "changed", "no-memory", "bad-configuration", "modified", "newer-format", "carrier-failed", "no-runtime"}
# A library of these kinds is not to be placed at all: see "Libraries that float" in doc/limits.md.
NEVER = ("it is the carrier", "libc", "ld.so")
COMMAND_SECONDS = 7200
PACKED = ".zst"
STEPS = 10  # lines of progress for each pass over all programs


@dataclass
class Result:
    """What became of one program in one placement."""

    program: str
    accelerated: bool = False
    words: int = 0
    lookups: int = 0
    skipped: str = ""  # the reason why nothing was compared
    lines: list = field(default_factory=list)  # differences
    passing: list = field(default_factory=list)  # those that another start had not


@dataclass
class Outcome:
    """One line of the table."""

    placement: str
    results: list
    reasons: dict = field(default_factory=dict)  # {program: why it was left alone}
    libraries: dict = field(default_factory=dict)  # {library: why it floats, or ""}
    problems: list = field(default_factory=list)  # whatever is wrong and about no single program
    privileged_below: int = 0  # programs with raised privileges that have little to gain besides
    seconds: float = 0

    @property
    def started(self):
        return [result for result in self.results if not result.skipped]

    @property
    def above(self):
        """How many programs that start are above the gain threshold."""
        below = sum(self.reasons.get(result.program, "").startswith("little-gain") for result in self.started)
        return len(self.started) - below - self.privileged_below

    @property
    def accelerated(self):
        return sum(result.accelerated for result in self.results)

    @property
    def missed(self):
        """{program: why} of those above the threshold that are not accelerated and could be."""
        missed = {result.program: self.reasons.get(result.program, "") for result in self.started if not result.accelerated}
        return {program: why for program, why in missed.items() if not why.startswith(("little-gain", "setuid"))}

    @property
    def different(self):
        return [result for result in self.results if result.lines]

    @property
    def libraries_above(self):
        return sum(not why.startswith("little-gain") for why in self.libraries.values())

    @property
    def rewritten(self):
        return sum(not why for why in self.libraries.values())

    @property
    def failed(self):
        return bool(self.different or self.problems)


sweep = None  # the one whose programs are gone through: worker processes inherit it


class Sweep:
    """PROGRAMS of ROOT, as they are called in it.  FORCE: also those with too little to gain."""

    def __init__(self, root, programs, jobs, force=False, say=lambda line: None):
        self.root, self.programs, self.jobs, self.say = root, programs, jobs, say
        self.force = ["-f"] if force else []
        vendor = root.host("/usr/lib") / CONFIGURATION
        vendor.parent.mkdir(parents=True, exist_ok=True)
        files.copy(build.TESTSUITE.parent / "contrib" / CONFIGURATION, vendor)
        root.host("/etc/fastprelink.conf.d").mkdir(exist_ok=True)
        self.privileged_below = self._privileged_below()
        self.original = self._state()
        self.plain = Outcome("plain", self._each(plain, "plain"))
        self.dead = {result.program: result.skipped for result in self.plain.results if result.skipped}

    def _privileged_below(self):
        """How many of the programs with raised privileges would be below the threshold without them."""
        hosts = {program: self.root.host(program) for program in self.programs}
        privileged = [program for program, path in hosts.items() if bindings.secure(path)]
        if not privileged or self.force:
            return 0
        restore = [installed.unprivileged(hosts[program]) for program in privileged]
        try:
            rows, _ = self._command(privileged, ["--aslr", "-n"])
        finally:
            for function in restore:
                function()
        return sum(row.get("reason") == "little-gain" for row in rows if self._inside(row.get("file")) in privileged)

    def _inside(self, path):
        """PATH as the root calls it."""
        return files.resolved(self.root.path, str(path).removeprefix(str(self.root.path)))

    def _command(self, programs, options):
        done = self.root.prelink(*programs, options=["--json", *options], status=None, timeout=COMMAND_SECONDS)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        return [row for row in rows if "file" in row], next(row for row in rows if "summary" in row)

    def _state(self):
        """{file: its bytes' digest and attributes}"""
        digests = self.root.digests()
        return {path: (digest, None if os.path.islink(path) else files.attributes(path)) for path, digest in digests.items()}

    def _stamps(self):
        """{file: what changes whenever it is written or replaced}"""
        found = {}
        for path in self.original:
            if not os.path.islink(path):
                status = os.stat(path)
                found[path] = status.st_ino, status.st_size, status.st_ctime_ns
        return found

    def _each(self, function, what):
        """FUNCTION(index) of every program, on JOBS processors."""
        global sweep
        sweep, results, start, step = self, [], time.monotonic(), 0
        with multiprocessing.get_context("fork").Pool(self.jobs) if self.jobs > 1 else nullcontext() as pool:
            indexes = range(len(self.programs))
            for result in pool.imap_unordered(function, indexes) if pool else map(function, indexes):
                results.append(result)
                for line in result.lines:
                    self.say(f"{what}: {result.program}: {line}")
                for line in result.passing:
                    self.say(f"{what}: {result.program}: not in another start: {line}")
                if len(results) * STEPS // len(self.programs) > step:
                    step = len(results) * STEPS // len(self.programs)
                    self.say(f"{what}: {len(results)} of {len(self.programs)} programs, "
                             f"{sum(bool(r.lines) for r in results)} differ, {time.monotonic() - start:.0f} s")
        return sorted(results, key=lambda result: result.program)

    def oracle(self, index):
        return self.root.oracle(f"oracle-{index}", self.programs[index])

    def place(self, placement):
        """Prelinks everything, compares everything, undoes everything."""
        start, problems = time.monotonic(), []
        local = self.root.host("/etc") / CONFIGURATION
        if placement == "mixed":
            chosen = self.programs[::max(1, len(self.programs) // FLOATING_PROGRAMS)]
            local.write_text("".join(f"float-for {program}\n" for program in chosen))
        before = self._stamps()
        self.say(f"{placement}: prelinking {len(self.programs)} programs")
        options = [*self.force, f"--{'default' if placement == 'mixed' else placement}"]
        rows, summary = self._command(self.programs, options)
        self.say(f"{placement}: {summary['done']} prelinked, {summary['skipped']} left alone, {summary['fixed']} libraries "
                 f"fixed, {summary['floating']} float, {time.monotonic() - start:.0f} s")
        reasons, libraries = {}, {}
        for row in rows:
            name, why = self._inside(row["file"]), f"{row['reason']}: {row['text']}" if row.get("reason") else ""
            if row.get("reason") in FAILURES or row["outcome"] == "failed":
                problems.append(f"{name}: {row.get('text')}")
            if "placement" not in row:
                reasons[name] = why
            elif not row.get("text", "").endswith(NEVER):
                libraries[name] = "" if row["placement"] == "fixed" else why
        problems += self._unexpected(before, rows, summary)
        self.reasons, self.placement = reasons, placement
        outcome = Outcome(placement, self._each(compare, placement), reasons, libraries, problems, self.privileged_below)
        prelinked = self.root.digests() if CYCLES > 1 else None
        for cycle in range(CYCLES):
            if cycle:
                self._command(self.programs, options)
                changed = files.changed(prelinked, self.root.digests())
                problems += [f"{path}: other bytes in cycle {cycle}" for path in sorted(changed)]
            self.say(f"{placement}: undoing")
            undone = self.root.undo(status=None, timeout=COMMAND_SECONDS)
            if undone.status:
                problems.append(f"undo: {undone.stderr}")
            restored = {path: state for path, state in self._state().items() if path != str(local)}
            problems += [f"{path}: not restored" for path in sorted(files.changed(self.original, restored))]
        local.unlink(missing_ok=True)
        for problem in problems:
            self.say(f"{placement}: {problem}")
        outcome.seconds = time.monotonic() - start
        return outcome

    def _unexpected(self, before, rows, summary):
        """Files that changed although the command did not say so."""
        told = {self._inside(row["file"]) for row in rows if row["outcome"] in ("prelinked", "placed")}
        told.add(self._inside((summary["carrier"] or {}).get("file")))
        after = self._stamps()
        changed = self.root.inside(path for path in before if before[path] != after[path])
        return [f"{path}: changed without a word" for path in sorted(changed - told)]


def plain(index):
    """What the program holds when nothing is prelinked."""
    result = Result(sweep.programs[index])
    try:
        pack(sweep.oracle(index).before().directory)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        result.skipped = "does not start plain: " + last_words(error)
        return result
    bound(result)
    return result


def compare(index):
    """The same when everything is."""
    result = Result(sweep.programs[index])
    if result.program in sweep.dead:
        result.skipped = sweep.dead[result.program]
        return result
    oracle, prelinked = sweep.oracle(index), not sweep.reasons.get(result.program)
    try:
        unpack(oracle.directory)
        if prelinked:
            oracle.after()
            result.accelerated = True
        else:
            oracle.repeat("")
    except (AssertionError, subprocess.TimeoutExpired) as error:
        result.lines += str(error).splitlines()
    result.words, result.passing = oracle.words, oracle.passing
    for path in oracle.directory.iterdir():
        if path.suffix != PACKED:
            path.unlink()
    if sweep.placement == REBOUND:
        bound(result)
    return result


def pack(directory):
    """Snapshots of a desktop's programs take tens of gigabytes; packed, a seventh."""
    subprocess.run([need.tool("zstd"), "-q", "-1", "--rm", *directory.iterdir()], check=True)


def unpack(directory):
    subprocess.run([need.tool("zstd"), "-q", "-d", *directory.glob("*" + PACKED)], check=True)


def bound(result):
    """Adds to RESULT what there is to say about what the program's symbols bind to."""
    try:
        lines, result.lookups, _ = bindings.check(result.program, root=str(sweep.root.path))
        result.lines += [f"bindings: {line}" for line in lines]
    except bindings.Skipped as why:
        result.lines.append(f"bindings: {why}")
    except (AssertionError, subprocess.SubprocessError) as error:
        result.lines.append(f"bindings: {error}")


def last_words(error):
    """The end of what entry.c says, without the names of files."""
    return str(error).strip().splitlines()[-1].split(": ", 1)[-1]
