"""The oracle for look-ups: does `fastprelink --bindings` say what ld.so says with LD_DEBUG=bindings?

As a command (from testsuite/) it compares programs one by one and prints a table:

    FASTPRELINK_BUILD=... python3 -m oracle.bindings /usr/bin/*
"""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from harness import build, files

LOADER = "/lib64/ld-linux-x86-64.so.2"
LINE = re.compile(r"^ *\d+:\tbinding file (.+) \[0\] to (.+) \[0\]: (?:normal|protected) symbol `(.*?)'(?: \[(.*)\])?$",
                  re.MULTILINE)
UNDEFINED = re.compile(r"undefined symbol: (.*?)(?:, version (.*))?\t\((.*)\)$", re.MULTILINE)
VDSO = "linux-vdso.so.1"

# Looked up by ld.so for itself, in the program's name (glibc elf/dl-minimal.c:__rtld_malloc_init_real).
MALLOC = ("calloc", "free", "malloc", "realloc")


@dataclass
class Told:
    """What was looked up: (holder, symbol, version, provider), in order, and what was not found: (holder, symbol, version).
    ld.so does not tell the values."""

    found: list = field(default_factory=list)
    undefined: list = field(default_factory=list)
    values: set = field(default_factory=set)  # (provider, symbol, version, st_value of the definition)


class Skipped(Exception):
    """The program cannot be compared; the text says why."""


def ours(program, options=(), env=None):
    """What fastprelink says of PROGRAM; without a provider there is nothing that ld.so would tell.  Also the disputed rows."""
    done = subprocess.run([build.TOOL, "--bindings", "--json", *options, program], env={"LC_ALL": "C", **(env or {})},
                          capture_output=True)
    if done.returncode:
        raise Skipped(done.stderr.decode(errors="replace").strip())
    told, disputed = Told(), []
    for row in json.loads(b"[%s]" % b",".join(done.stdout.splitlines())):
        if row["outcome"] == "undefined":
            told.undefined.append((row["holder"], row["symbol"], row["version"]))
        elif row["provider"]:
            told.found.append((row["holder"], row["symbol"], row["version"], row["provider"]))
            told.values.add((row["provider"], row["symbol"], row["version"], row["value"]))
        if row["outcome"] == "disputed":
            disputed.append(row)
    return told, disputed


def secure(program):
    """Whether ld.so would ignore its variables for PROGRAM, and run it instead of tracing it."""
    return os.stat(program).st_mode & 0o6000 or "security.capability" in os.listxattr(program)


def ld_so(program, env=None, run=False, root="/"):
    """What ld.so says of PROGRAM in ROOT when everything is bound at start.  Unless RUN, ld.so does all of it but does not
    start the program, nor relocate itself (as `ldd -r` does)."""
    with tempfile.TemporaryDirectory(dir=outside(root, "/tmp")) as directory:
        inside = "/" + os.path.relpath(directory, root)
        env = {"LC_ALL": "C", "LD_BIND_NOW": "1", "LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": f"{inside}/out", **(env or {})}
        if not run:
            env.update(LD_WARN="1", LD_TRACE_LOADED_OBJECTS="1")
            assert not secure(outside(root, program)), "it would be run: ld.so ignores its variables"
        done = subprocess.run([program], env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=300,
                              preexec_fn=None if root == "/" else functools.partial(enter, root))
        text = "".join(path.read_text(errors="surrogateescape") for path in sorted(Path(directory).iterdir()))
    told = Told()
    lines = LINE.findall(text)
    assert len(lines) == text.count("binding file"), text
    told.found = [(holder, symbol, version or None, provider) for holder, provider, symbol, version in lines if holder != VDSO]
    for symbol, version, holder in UNDEFINED.findall(done.stderr.decode(errors="replace")):
        told.undefined.append((holder, symbol, version or None))
    return told


def differences(name, expected, actual):
    """Lines that say how the list ACTUAL differs from EXPECTED: what is wrong, missing or too many; else the order."""
    if expected == actual:
        return []
    lost, extra = Counter(expected) - Counter(actual), Counter(actual) - Counter(expected)
    lines = [f"{name}: ld.so only: {row}" for row in lost.elements()]
    lines += [f"{name}: fastprelink only: {row}" for row in extra.elements()]
    if not lines:
        lines = [f"{name}: at {index}: ld.so has {a}, fastprelink {b}"
                 for index, (a, b) in enumerate(zip(expected, actual)) if a != b]
    return lines


@functools.lru_cache(maxsize=2000)
def definitions(path, _changed):
    """{symbol: {version: values}} of the dynamic symbols of the file PATH as readelf shows them; "" is no version."""
    found = {}
    for line in subprocess.run(["readelf", "--dyn-syms", "-W", path], capture_output=True, text=True).stdout.splitlines():
        words = line.split()
        if len(words) < 8 or not words[0][:-1].isdigit():
            continue
        name, _, version = words[7].partition("@")
        value = int(words[1], 16)
        if words[6] != "UND" or (value and words[3] == "FUNC"):  # the latter: a canonical PLT address
            found.setdefault(name, {}).setdefault(version.removeprefix("@"), set()).add(value)
    return found


def outside(root, path):
    """Where the file that is called PATH in ROOT lies."""
    return os.path.join(root, files.resolved(root, path).lstrip("/")) if root != "/" else str(path)


def enter(root):
    os.chroot(root)
    os.chdir("/")


def wrong_values(told, root="/"):
    """Where a definition has the version that is asked for, or is the only one of that name, it must be that one."""
    tables, lines = {}, []
    for path in {row[0] for row in told.values}:
        file = outside(root, path)
        tables[path] = definitions(file, os.stat(file).st_ctime_ns)
    for provider, symbol, version, value in told.values:
        versions = tables[provider].get(symbol, {})
        right = versions.get(version) if version in versions or len(versions) != 1 else next(iter(versions.values()))
        if right and value not in right:
            lines.append(f"value: {symbol}@{version} of {provider} is {sorted(right)}, not {value}")
        elif not versions:
            lines.append(f"value: no definition of {symbol} in {provider}")
    return sorted(lines)


def libc_first(rows):
    """ROWS with those of libc.so.6 in front.  Since glibc 2.39 a start relocates it first (elf/rtld.c:dl_main), but a trace still
    has it where dependencies put it."""
    return sorted(rows, key=lambda row: os.path.basename(row[0]) != "libc.so.6")


def compare(theirs, told, root="/"):
    """Differences between a trace of ld.so and what fastprelink TOLD, both about a program in ROOT."""
    values = wrong_values(told, root)
    told = Told([row for row in told.found if row[0] != LOADER], [row for row in told.undefined if row[0] != LOADER])
    return (differences("found", libc_first(theirs.found), libc_first(told.found))
            + differences("undefined", theirs.undefined, told.undefined) + values)


def compare_run(program, theirs, told):
    """The same for a run: ld.so looks malloc up for itself, relocates itself, and later binds what the program opens."""
    own = [row for row in told.found if row[0] == LOADER]
    rest = [row for row in told.found if row[0] != LOADER]
    start, mallocs = theirs.found[:len(rest)], theirs.found[len(rest):len(rest) + len(MALLOC)]
    after = theirs.found[len(rest) + len(MALLOC):]
    lines = differences("start", start, rest)
    if [row[0] for row in mallocs] != [str(program)] * 4 or sorted(row[1] for row in mallocs) != list(MALLOC):
        lines.append(f"start: no end behind {len(rest)} look-ups: {mallocs}")
    return lines + differences("ld.so", after[:len(own)], own)


def check(program, options=(), env=None, root="/"):
    """Differences for PROGRAM as it is installed in ROOT, the number of look-ups, and the disputed ones.  Of a program that
    runs with raised privileges, a copy without them."""
    program = files.resolved(root, program)
    file = outside(root, program)
    if secure(file):
        with tempfile.TemporaryDirectory(dir=outside(root, "/tmp")) as directory:
            copy = shutil.copyfile(file, Path(directory) / os.path.basename(program))
            copy.chmod(0o755)
            return check("/" + os.path.relpath(copy, root), options, env, root)
    told, disputed = ours(program, [*options, *([] if root == "/" else [f"--root={root}"])], env)
    lines = compare(ld_so(program, env, root=root), told, root)
    return lines, len(told.found), disputed


def main(programs):
    total, compared, different, disputes, skipped, seen = 0, 0, 0, 0, Counter(), set()
    for program in programs:
        real = os.path.realpath(program)
        if real in seen or not os.path.isfile(real):
            continue
        seen.add(real)
        with open(real, "rb") as file:
            if file.read(4) != b"\177ELF":
                continue
        try:
            lines, count, disputed = check(real)
        except Skipped as why:
            reason = str(why).split(": ", 2)[-1]
            skipped[reason.split(": ")[0]] += 1
            print(f"{real}: skipped: {reason}")
            continue
        total, compared = total + count, compared + 1
        disputes += len(disputed)
        if lines:
            different += 1
            print(f"{real}: {len(lines)} differences", *lines[:10], sep="\n  ")
        if disputed:
            print(f"{real}: {len(disputed)} disputed", *disputed[:3], sep="\n  ")
        sys.stdout.flush()
    for reason, count in skipped.most_common():
        print(f"{count:8} skipped: {reason}")
    print(f"{compared:8} programs compared, {total} look-ups, {disputes} disputed")
    print(f"{different:8} programs differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
