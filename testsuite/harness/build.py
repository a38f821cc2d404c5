"""Compiles the small programs and libraries of the tests, each content once per session."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from harness import need

TESTSUITE = Path(__file__).resolve().parent.parent
CASES = TESTSUITE / "cases"
BUILD = Path(os.environ.get("FASTPRELINK_BUILD", TESTSUITE.parent / "build")).resolve()
TOOL = BUILD / "src" / "fastprelink"
RUNTIME = BUILD / "runtime" / "rt"

cache = None  # a directory that all workers of the session share; conftest.py sets it

SUFFIX = {"c": ".c", "c++": ".cc", "asm": ".s"}
COMPILER = {"c": "gcc", "c++": "g++", "asm": "gcc"}


def compile_c(source, name="output", flags=(), libs=(), lang="c", cc=None, depends=()):
    """Compiles SOURCE (text, or a path) to a file in the cache and returns it.  LIBS are linked by file name."""
    cc = need.tool(cc or COMPILER[lang])
    include = ["-I", str(source.parent)] if isinstance(source, Path) else []
    text = source.read_text() if isinstance(source, Path) else source
    parts = [cc, name, lang, text, *flags] + [f"{lib.name} {digest(lib)}" for lib in libs]
    parts += [digest(path) for path in depends]
    key = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:24]
    output = cache / key / name
    if output.exists():
        return output
    work = Path(tempfile.mkdtemp(dir=cache))
    (work / ("source" + SUFFIX[lang])).write_text(text)
    for index, lib in enumerate(libs):  # a directory each: two may have one name
        (work / str(index)).mkdir()
        shutil.copyfile(lib, work / str(index) / lib.name)
    line = [cc, "-O1", "-w", f"-fdebug-prefix-map={work}={output.parent}", *include, "-o", name, "source" + SUFFIX[lang], *flags,
            "-Wl,--no-as-needed", *(f"-Wl,-rpath-link,{index}" for index in range(len(libs))),
            *(f"{index}/{lib.name}" for index, lib in enumerate(libs))]
    done = subprocess.run(line, cwd=work, capture_output=True, text=True)
    assert done.returncode == 0, " ".join(map(str, line)) + "\n" + done.stderr
    try:
        work.rename(output.parent)
    except OSError:  # another worker was first
        shutil.rmtree(work)
    return output


def sampler():
    """Compiled files of the program that uses a bit of everything: libbase.so, libuser.so, and the program."""
    flags = ["-shared", "-fPIC"]
    base = compile_c(CASES / "base.c", "libbase.so", [*flags, "-Wl,-soname,libbase.so"])
    user = compile_c(CASES / "user.c", "libuser.so", [*flags, "-Wl,-soname,libuser.so"], [base])
    prog = compile_c(CASES / "sampler.c", "prog", ["-fPIE", "-pie"], [user, base])
    return base, user, prog


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
