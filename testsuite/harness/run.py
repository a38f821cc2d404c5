"""Running programs and the fastprelink command, and what came of it."""

import os
import re
import subprocess
from dataclasses import dataclass, field

from harness import build

# Where the tests place libraries unless they say so themselves: aslr, fixed, or default.
PLACEMENT = os.environ.get("FASTPRELINK_PLACEMENT", "aslr")
# How often what is prelinked and undone is prelinked and undone: each time to the same bytes.
CYCLES = int(os.environ.get("FASTPRELINK_CYCLES", "1"))
# Whether the system around the tests is prelinked itself: `make check-harder`.
HARDER = os.environ.get("FASTPRELINK_HARDER") == "1"
PLACING = {"--aslr", "--fixed", "--default"}

REQUIRE = {"FASTPRELINK": "require", "FASTPRELINK_DEBUG": "1"}
DEBUG = {"FASTPRELINK_DEBUG": "1"}
FIXED = re.compile(r"^(/.*): fixed at (0x[0-9a-f]+)", re.MULTILINE)
NOTE = re.compile(r"^fastprelink: (?:accelerated|declined).*\n?", re.MULTILINE)


@dataclass
class Result:
    """Output and exit status; NOTES are the runtime's own lines, which take no part in comparisons."""

    status: int
    stdout: str
    stderr: str
    notes: list = field(default_factory=list, compare=False)

    @property
    def accelerated(self):
        return bool(self.notes) and "accelerated" in self.notes[0]

    @property
    def declined(self):
        """The number of the reason why the runtime did nothing, or None."""
        found = re.match(r"fastprelink: declined \((\d+)\): \S", self.notes[0]) if self.notes else None
        return int(found.group(1)) if found else None


def run(command, env=None, timeout=120, **options):
    """Runs COMMAND with exactly ENV (and a PATH).  Names of this machine in options go to subprocess.run."""
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **(env or {})}
    options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run([str(word) for word in command], env=env, capture_output=True,
                          timeout=timeout, **options)
    stderr = done.stderr.decode(errors="replace")
    notes = [note.strip() for note in NOTE.findall(stderr)]
    return Result(done.returncode, done.stdout.decode(errors="replace"), NOTE.sub("", stderr), notes)


def fastprelink(*arguments, status=0, env=None, timeout=300, **options):
    """Runs the command; STATUS is the exit status it must have (None: any but a crash)."""
    words = {str(word).split("=")[0] for word in arguments}
    # A run over a system is one over a root, and keeps what it finds out to itself.
    assert "-a" not in words or words & {"-u", "-y", "-n"} or {"--root", "-C"} <= words or status == 2, arguments
    env = {"FASTPRELINK_RUNTIME_SOURCE": str(build.RUNTIME), **(env or {})}
    done = run([build.TOOL, *arguments], env=env, timeout=timeout, **options)
    assert done.status in ((0, 1, 2) if status is None else (status,)), done
    return done


def placed(options):
    """OPTIONS of a run that prelinks, with the placement that this run of the suite is about."""
    if not PLACING.intersection(options):
        options = [*options, f"--{PLACEMENT}"]
    return [option for option in options if option != "--default"]


def fixed_libraries(done):
    """{path without symbolic links: address} of the libraries that a run with -v said are fixed."""
    return {os.path.realpath(path): int(base, 16) for path, base in FIXED.findall(done.stdout)}


def one_line(done, *words):
    """Asserts that standard error is one line `fastprelink: ...` with all WORDS in it."""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("fastprelink: "), done.stderr
    for word in words:
        assert str(word) in done.stderr, done.stderr
