"""`make check-system`: see testsuite/README.md."""

import argparse
import fnmatch
import os
import shutil
import sys
import time
from pathlib import Path

from harness import build, need
from harness.root import Root
from system import installed, table
from system.sweep import PLACEMENTS, Sweep


def say(line):
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(prog="check-system")
    parser.add_argument("--system", type=Path, default=Path("/"), help="root of the system that is copied")
    parser.add_argument("--placements", default=" ".join(PLACEMENTS), help="some of: %(default)s")
    parser.add_argument("--programs", default="", help="only programs whose paths match this shell pattern")
    parser.add_argument("--jobs", type=int, default=0, help="how many programs are compared at a time")
    parser.add_argument("--work", type=Path, default=build.BUILD / "check-system", help="where the copy is made")
    parser.add_argument("--force", action="store_true", help="prelink also what has too little to gain")
    chosen = parser.parse_args()
    chosen.placements = chosen.placements.split()
    for name in set(chosen.placements) - set(PLACEMENTS):
        parser.error(f"no placement {name}")
    return chosen


def fill(root, pattern):
    """Copies the system into ROOT; returns the programs that are compared.  With a PATTERN, only these and what they load."""
    found = installed.look(root.system)
    if not pattern:
        installed.copy(root, found)
        return found.programs
    programs = fnmatch.filter(found.programs, pattern)
    root.add(*programs)
    return programs


def run(chosen):
    with Root(chosen.work / "root", chosen.system) as root:
        say(f"copying {chosen.system}")
        programs = fill(root, chosen.programs)
        if not programs:
            say("no such program")
            return 2
        say(f"{len(programs)} programs")
        sweep = Sweep(root, programs, chosen.jobs or os.cpu_count(), chosen.force, say)
        outcomes = []
        for placement in chosen.placements:
            outcomes.append(sweep.place(placement))
            say(", ".join(f"{name} {cell}" for name, cell in zip(table.HEAD, table.row(outcomes[-1]))))
    print(table.text(sweep.plain, outcomes))
    return report(chosen, sweep.plain, outcomes)


def report(chosen, plain, outcomes):
    """Says what failed and how to repeat it; returns the exit status."""
    for outcome in [plain, *outcomes]:
        for problem in outcome.problems:
            print(f"{outcome.placement}: {problem}")
        for result in outcome.different:
            print(f"{outcome.placement}: {result.program}: {len(result.lines)} differences", *result.lines[:10], sep="\n    ")
            print(f"to repeat it: make check-system SYSTEM={chosen.system} PLACEMENTS={'' if outcome is plain else outcome.placement} "
                  f"ONLY={result.program}" + (" SYSTEM_FLAGS=--force" if chosen.force else ""))
    short = [] if chosen.programs or chosen.force else table.short_of(outcomes)
    print(*short, sep="\n", end="\n" if short else "")
    failed = short or any(outcome.failed for outcome in [plain, *outcomes])
    print("check-system:", "FAILED" if failed else "passed")
    return 1 if failed else 0


def main():
    chosen = arguments()
    if not need.private_mounts():
        sys.exit("check-system: needs root")
    shutil.rmtree(chosen.work, ignore_errors=True)
    build.cache = chosen.work / "compiled"
    build.cache.mkdir(parents=True)
    try:
        return run(chosen)
    finally:
        shutil.rmtree(chosen.work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
