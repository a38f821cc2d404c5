"""demo.py - prelinks heavy programs in private copies and measures their starts; ./demo runs it after the build.

Each program is copied twice, with all the libraries it loads (libc too), into private directories.  In one of
them it is prelinked; the other stays as it is.  Nothing outside of the private directories is written.
"""

import argparse
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
HEAD = (
    *("program", "libraries", "relocations", "done offline"),
    *("plain min, median ms", "prelinked min, median ms", "ratio", "dirty kB plain", "prelinked"),
)


class Skip(Exception):
    """A program that the demo cannot show; the text says why."""


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


def prelink(build, folder, name):
    """Prelinks FOLDER/bin/NAME with its private libraries; gives fastprelink's numbers about it."""
    output = fastprelink(
        build,
        "--json",
        f"--ld-library-path={folder / 'lib'}",
        f"--runtime={folder / 'rt'}",
        f"--runtime-source={build / 'runtime/rt'}",
        folder / "bin" / name,
    )
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return next((line for line in lines if "relocations" in line), {})


def undo_restores(build, plain, fast, name):
    """Whether undo gives the bytes of the untouched copies back; the prelinked files stay."""
    output = fast / "original"
    for file in (f"bin/{name}", "lib/libc.so.6"):
        fastprelink(build, "-u", "-o", output, fast / file)
        if (plain / file).read_bytes() != output.read_bytes():
            return False
        output.unlink()
    return True


def show(build, work, command, runs):
    """Copies, prelinks and measures one program, and checks its undo; gives the prelinker's numbers, with the count of
    libraries, and the comparison."""
    path, *arguments = command
    name = os.path.basename(path)
    folder = work / name
    closure = libraries(path)
    size = sum(os.path.getsize(file) for file in [path, *closure.values()])
    note(f"{path}: copying it and {len(closure)} libraries ({size / 1e6:.0f} MB, twice)")
    plain, fast = folder / "plain", folder / "fast"
    for side in (plain, fast):
        copy_closure(path, closure, side)
    note(f"{path}: prelinking the second copy")
    found = prelink(build, fast, name)
    note(f"{path}: starting both copies {runs} times in turn")
    variables = {"HOME": str(work / "home")}
    sides = [measure.Side(directory=str(side), environment=variables) for side in (plain, fast)]
    words = [name, *arguments]
    if sides[0].run(words)[0] != subprocess.run([path, *arguments], capture_output=True, check=False).returncode:
        raise Skip("does not run outside of its own folder")
    result = measure.compare(*sides, words, runs)
    if "declined" in result["runtime"]:
        note(f"{path}: NOT ACCELERATED: {result['runtime']['declined']}")
    if not undo_restores(build, plain, fast, name):
        raise SystemExit(f"demo: {path}: undo did not restore the original")
    return {**found, "libraries": len(closure)}, result


def row(command, found, result):
    plain, fast = result["plain"], result["fast"]
    return (
        command,
        *(str(found.get(key, "?")) for key in ("libraries", "relocations", "resolved")),
        *(f"{side['min_ms']:.1f}, {side['median_ms']:.1f}" for side in (plain, fast)),
        f"{result['ratio_min']:.2f}, {result['ratio_median']:.2f}",
        *(f"{side['private_dirty_kb']}" for side in (plain, fast)),
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
    commands, rows, failed = [], [], False
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
            found, result = show(options.build.resolve(), work, command, options.runs)
            rows.append(row(shlex.join([os.path.basename(command[0]), *command[1:]]), found, result))
            failed |= "declined" in result["runtime"]
        except (Skip, measure.MeasureError) as problem:
            note(f"{command[0]}: {problem}")
            failed = True
        if not options.keep:
            shutil.rmtree(work / os.path.basename(command[0]), ignore_errors=True)
    if not options.keep:
        shutil.rmtree(work, ignore_errors=True)
    if rows:
        print(measure.table([HEAD, *rows]))
        note("both copies gave the same output, and undo gives the exact original bytes")
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
