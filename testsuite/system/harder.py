"""`make check-harder`: runs a command in a system that is prelinked as a whole.

    python3 -m system.harder --work=DIR [--programs=PATTERN] COMMAND...

/usr is covered by an overlay that only this process and its children see; what fastprelink writes goes to DIR, and the
system's own files stay as they are.  Then COMMAND runs there: compilers, interpreters, debuggers and shells are prelinked, and
so is every library that they and the tests load."""

import argparse
import ctypes
import fnmatch
import os
import shutil
import subprocess
import sys
from pathlib import Path

from harness import need
from harness.private import system_libc
from harness.run import fastprelink
from system import installed

SECONDS = 7200


def cover(work):
    """Mounts the overlay; its files are in WORK."""
    for name in ("upper", "work"):
        (work / name).mkdir(parents=True)
    options = f"lowerdir=/usr,upperdir={work}/upper,workdir={work}/work"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"overlay", b"/usr", b"overlay", 0, options.encode()):
        sys.exit(f"check-harder: cannot mount an overlay: {os.strerror(ctypes.get_errno())}")


def alone(path):
    """Gives PATH an inode of its own: other names it may have lie below the overlay."""
    copy = path.with_name(path.name + ".copy")
    shutil.copy2(path, copy)
    copy.rename(path)


def main():
    parser = argparse.ArgumentParser(prog="check-harder")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--programs", default="/usr/*", help="a shell pattern")
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args()
    if not need.private_mounts():
        sys.exit("check-harder: needs root")
    programs = fnmatch.filter(installed.look("/").programs, chosen.programs)
    shutil.rmtree(chosen.work, ignore_errors=True)
    try:
        cover(chosen.work)
        alone(system_libc())
        print("check-harder:", fastprelink("--fixed", "-f", *programs, status=None, timeout=SECONDS).stdout.strip(), flush=True)
        return subprocess.run(chosen.command).returncode
    finally:
        shutil.rmtree(chosen.work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
