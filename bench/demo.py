"""demo.py - prelinks heavy programs in private copies and measures their starts; ./demo runs it after the build.

Each program is copied three times, with all the libraries it loads (libc too), into private directories.  One copy stays
as it is, one is prelinked with floating libraries (--aslr), one with fixed ones (--fixed).  Nothing outside of the private
directories is written.
"""

import argparse
import dataclasses
import filecmp
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import measure

HEAVY_PROGRAMS = (
    "inkscape --version",
    "ffmpeg -version",
    "clang-14 --version",
    "clang-19 --version",
    "clang --version",
    "gdb --version",
    "gimp-2.10 --version",
    "gimp-3.0 --version",
    "kate --version",
    "krita --version",
    "blender --version",
    "mpv --version",
    "qemu-system-x86_64 --version",
    "/usr/lib/libreoffice/program/soffice.bin --version",
)
ARGUMENTS = dict(shlex.split(command) for command in HEAVY_PROGRAMS)
MOST_PROGRAMS = 4  # of those that are not named
NOTHING_TO_SHOW = 3  # exit status: ./demo installs a heavy program then
LDD_LINE = re.compile(r"^\s*(?P<name>\S+) => (?P<path>/.*) \(0x[0-9a-f]+\)$")
PLACEMENTS = ("floating", "fixed")  # the prelinked copies
OPTIONS = {"floating": "--aslr", "fixed": "--fixed"}
HEAD = ("program", "copy", "libraries", "relocations", "min, median ms", "ratio", "dirty kB")


class Skip(Exception):
    """A program that the demo cannot show; the text says why."""


@dataclasses.dataclass
class Copy:
    """One private copy of a program and what was measured of it."""

    name: str
    folder: pathlib.Path
    program: dict = dataclasses.field(default_factory=dict)  # fastprelink's record about the program
    summary: dict = dataclasses.field(default_factory=dict)
    written: list = dataclasses.field(default_factory=list)  # files that were prelinked, below the folder
    numbers: dict = dataclasses.field(default_factory=dict)  # of its starts


def note(text):
    print(f"demo: {text}", file=sys.stderr, flush=True)


def find_program(name):
    """The path of a dynamic ELF program, or None when it is not there or something else."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":" + measure.DEFAULT_PATH)
    if not path:
        return None
    with open(path, "rb") as file:
        return path if file.read(4) == b"\x7fELF" else None


def heavy_programs():
    """Commands for the heavy programs of this machine, each program file once."""
    found = {}
    for command in HEAVY_PROGRAMS:
        path = find_program(shlex.split(command)[0])
        if path:
            found.setdefault(os.path.realpath(path), [path, ARGUMENTS[shlex.split(command)[0]]])
    return list(found.values())[:MOST_PROGRAMS]


def named_program(command):
    name, *arguments = shlex.split(command)
    path = find_program(name)
    if not path:
        raise Skip("no such ELF program")
    known = ARGUMENTS.get(name, ARGUMENTS.get(os.path.basename(name), "--version"))
    return [path, *(arguments or [known])]


def libraries(program):
    """What the program loads: soname to path, without ld.so."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skip(done.stderr.strip() or "ldd failed")
    if "not found" in done.stdout:
        raise Skip("a library is missing")
    matches = map(LDD_LINE.match, done.stdout.splitlines())
    return {os.path.basename(match["name"]): match["path"] for match in matches if match}


def copy_closure(program, closure, folder):
    """Copies the program to FOLDER/bin and its libraries to FOLDER/lib."""
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    shutil.copy2(program, folder / "bin" / os.path.basename(program))
    for soname, path in closure.items():
        shutil.copy2(path, folder / "lib" / soname)
    inside = libraries_inside(folder, os.path.basename(program))
    outside = [path for path in inside.values() if not path.startswith(f"{folder}/")]
    if outside:
        raise Skip(f"is bound to the place of its libraries: {outside[0]}")


def libraries_inside(folder, name):
    saved = os.environ.get("LD_LIBRARY_PATH")
    os.environ["LD_LIBRARY_PATH"] = str(folder / "lib")
    try:
        return libraries(str(folder / "bin" / name))
    finally:
        if saved is None:
            del os.environ["LD_LIBRARY_PATH"]
        else:
            os.environ["LD_LIBRARY_PATH"] = saved


def fastprelink(build, *arguments):
    """Runs the built fastprelink; gives its stdout."""
    done = subprocess.run([build / "src/fastprelink", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skip(done.stderr.strip().removeprefix("fastprelink: ") or f"fastprelink: status {done.returncode}")
    return done.stdout


def prelink(build, copy, name):
    """Prelinks the copy of the program NAME with its private libraries."""
    output = fastprelink(
        build,
        "--json",
        OPTIONS[copy.name],
        f"--ld-library-path={copy.folder / 'lib'}",
        f"--runtime={copy.folder / 'rt'}",
        f"--runtime-source={build / 'runtime/rt'}",
        copy.folder / "bin" / name,
    )
    records = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    copy.program = next((record for record in records if "relocations" in record), {})
    copy.summary = next((record for record in records if "summary" in record), {})
    placed = [record["file"] for record in records if record.get("outcome") == "placed"]
    copy.written = [f"bin/{name}", "lib/libc.so.6"] + [os.path.relpath(file, copy.folder) for file in placed]


def undo_restores(build, plain, copy):
    """Whether undo gives the bytes of the untouched copy back, for every file that was prelinked and no other differs; the
    prelinked files stay."""
    output = copy.folder / "original"
    for file in copy.written:
        fastprelink(build, "-u", "-o", output, copy.folder / file)
        if not filecmp.cmp(plain.folder / file, output, shallow=False):
            return False
        output.unlink()
    others = {f"lib/{file.name}" for file in (plain.folder / "lib").iterdir()} - set(copy.written)
    return all(filecmp.cmp(plain.folder / file, copy.folder / file, shallow=False) for file in others)


def show(build, work, command, runs):
    """Copies, prelinks and measures one program, and checks its undo; gives the copies, the plain one first, and whether all
    prelinked ones were accelerated."""
    path, *arguments = command
    name = os.path.basename(path)
    folder = work / name
    closure = libraries(path)
    size = sum(os.path.getsize(file) for file in [path, *closure.values()])
    note(f"{path}: copying it and {len(closure)} libraries three times ({3 * size / 1e6:.0f} MB)")
    plain, *prelinked = copies = [Copy(kind, folder / kind) for kind in ("plain", *PLACEMENTS)]
    for copy in copies:
        copy_closure(path, closure, copy.folder)
    plain.summary = {"floating": len(closure)}
    note(f"{path}: prelinking two of them, with floating and with fixed libraries")
    for copy in prelinked:
        prelink(build, copy, name)
    note(f"{path}: starting each {runs} times in turn")
    variables = {"HOME": str(work / "home")}
    sides = [measure.Side(directory=str(copy.folder), environment=variables) for copy in copies]
    words = [name, *arguments]
    if sides[0].run(words)[0] != subprocess.run([path, *arguments], capture_output=True, check=False).returncode:
        raise Skip("does not run outside of its own folder")
    _, timed = measure.compare_all(sides, words, runs)
    accelerated = True
    for copy, side, numbers in zip(copies, sides, timed):
        copy.numbers = numbers
        runtime = {} if copy is plain else measure.acceleration(side, words)
        if "declined" in runtime:
            note(f"{path}: {copy.name}: NOT ACCELERATED: {runtime['declined']}")
            accelerated = False
    for copy in prelinked:
        if not undo_restores(build, plain, copy):
            raise SystemExit(f"demo: {path}: {copy.name}: undo did not restore the original")
    return copies, accelerated


def rows(command, copies):
    """A line of the table for each copy."""
    plain = copies[0]
    for copy in copies:
        numbers = copy.numbers
        relocations = f"{copies[1].program.get('relocations', 0):,}"
        libraries_text = str(plain.summary["floating"])
        if copy is not plain:
            relocations = f"{copy.program.get('resolved', 0):,} offline"
            libraries_text = f"{copy.summary.get('fixed', 0)} fixed"
        yield (
            command if copy is plain else "",
            copy.name,
            libraries_text,
            relocations,
            f"{numbers['min_ms']:.1f}, {numbers['median_ms']:.1f}",
            "" if copy is plain else "{:.2f}, {:.2f}".format(*measure.ratios(plain.numbers, numbers)),
            f"{numbers['private_dirty_kb']}",
        )


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="demo",
        description="Prelinks private copies of heavy programs and compares their starts.",
        epilog="Without PROGRAM: those of the machine's heavy programs that the demo knows.",
    )
    parser.add_argument("--build", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help="print the commands that would be shown, and end")
    parser.add_argument("--keep", action="store_true", help="leave the private copies in build/demo")
    parser.add_argument("--runs", type=int, default=30, help="starts of each copy (default %(default)s)")
    parser.add_argument("program", nargs="*", metavar="PROGRAM", help="a name or a quoted command: 'ffmpeg -version'")
    return parser.parse_args()


def main():
    options = parse_arguments()
    work = options.build.resolve() / "demo"
    commands, lines, failed = [], [], False
    for command in options.program or map(shlex.join, heavy_programs()):
        try:
            commands.append(named_program(command))
        except Skip as problem:
            note(f"{command}: {problem}")
            failed = True
    if not commands and not options.program:
        note("none of the heavy programs that the demo knows is on this machine")
        return NOTHING_TO_SHOW
    if options.list:
        print("".join(shlex.join(command) + "\n" for command in commands), end="")
        return 0
    shutil.rmtree(work, ignore_errors=True)
    (work / "home").mkdir(parents=True)
    for command in commands:
        try:
            copies, accelerated = show(options.build.resolve(), work, command, options.runs)
            lines += rows(shlex.join([os.path.basename(command[0]), *command[1:]]), copies)
            failed |= not accelerated
        except (Skip, measure.MeasureError) as problem:
            note(f"{command[0]}: {problem}")
            failed = True
        if not options.keep:
            shutil.rmtree(work / os.path.basename(command[0]), ignore_errors=True)
    if not options.keep:
        shutil.rmtree(work, ignore_errors=True)
    if lines:
        print(measure.table([HEAD, *lines]))
        note("all copies gave the same output, and undo gives the exact original bytes of every file")
    return 1 if failed or not lines else 0


if __name__ == "__main__":
    sys.exit(main())
