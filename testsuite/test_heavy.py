"""Real programs of the distribution, each with its closure in a sandbox root of its own."""

import os
import re
import resource
import subprocess
import time

import pytest

from harness import build, files, need
from harness.root import Root
from harness.run import PLACEMENT, REQUIRE, fastprelink, run

HELLO = '#include <stddef.h>\nint f(int x) { return x * 3; }\nint main(void) { return f((int)sizeof(size_t)); }\n'
DRAWING = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><circle cx="9" cy="9" r="7" fill="red"/></svg>\n'
PYTHON = "import json, hashlib; print(json.dumps({'a': hashlib.sha256(b'x').hexdigest()}))"

# name: programs, shared directories, commands, and which processor time of the first shows what is gained
HEAVY = {
    "clang": (["/usr/bin/clang-14"], ["/usr/lib/llvm-14/lib/clang", "/usr/include"],
              [["/usr/bin/clang-14", "--version"], ["/usr/bin/clang-14", "-O2", "-S", "-o", "-", "/tmp/hello.c"],
               ["/usr/bin/clang-14", "-fsyntax-only", "/nonexistent.c"]], "all"),
    "ffmpeg": (["/usr/bin/ffmpeg"], [],
               [["/usr/bin/ffmpeg", "-version"], ["/usr/bin/ffmpeg", "-v", "error", "-f", "lavfi", "-i",
                                                  "testsrc=duration=0.2:size=64x64", "-f", "md5", "-"]], "user"),
    "gdb": (["/usr/bin/gdb"], ["/usr/share/gdb", "/usr/lib/python3", "/usr/lib/python3.11"],
            [["/usr/bin/gdb", "--version"], ["/usr/bin/gdb", "-batch", "-nx", "-ex", "print 6 * 7", "-ex",
                                             "python print(6 * 7)"]], ""),
    "inkscape": (["/usr/bin/inkscape"], ["/usr/share", "/etc/fonts", "/usr/lib/x86_64-linux-gnu/gdk-pixbuf-2.0"],
                 [["/usr/bin/inkscape", "--version"],
                  ["/usr/bin/inkscape", "--export-type=png", "--export-filename=/tmp/out.png", "/tmp/drawing.svg"]], "user"),
    "small": (["/usr/bin/python3", "/usr/bin/git", "/bin/ls"], ["/usr/lib/python3", "/usr/lib/python3.11"],
              [["/usr/bin/python3", "-c", PYTHON], ["/usr/bin/git", "--version"],
               ["/usr/bin/git", "hash-object", "/tmp/hello.c"], ["/bin/ls", "/tmp"]], ""),
}


class Prepared:
    """A root in which everything plain has been recorded, and which is prelinked since."""

    def __init__(self, name, directory):
        programs, shared, self.commands, self.gain = HEAVY[name]
        for program in programs:
            if not os.path.exists(program):
                need.missing(program)
        self.root = Root(directory / "root")
        self.root.add(*programs)
        for data in shared:
            self.root.share(data)
        self.root.host("/tmp/hello.c").write_text(HELLO)
        self.root.host("/tmp/drawing.svg").write_text(DRAWING)
        self.programs = [os.path.realpath(program) for program in programs]
        self.original = self.root.digests()
        self.sizes = {path: os.path.getsize(path) for path in self.original if os.path.isfile(path)}
        self.plain = self.outcomes()
        self.oracles = [self.root.oracle(f"oracle-{index}", *command).before()
                        for index, command in enumerate(self.firsts())]
        self.plain_addresses = self.addresses()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.report = self.root.prelink(*self.programs, options=["-f", "-v"])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def firsts(self):
        """The first command of each program."""
        found = {}
        for command in self.commands:
            found.setdefault(command[0], command)
        return list(found.values())

    def outcomes(self, env=None):
        """Results of all commands; with what the last may have written."""
        results = []
        for command in self.commands:
            done = self.run(command, env)
            output = self.root.host("/tmp/out.png")
            results.append((done, output.read_bytes() if output.exists() else None))
            output.unlink(missing_ok=True)
        return results

    def run(self, command, env=None):
        done = self.root.run(*command, env={"HOME": "/tmp", "PATH": "/usr/bin", "LC_ALL": "C", **(env or {})})
        done.stderr = re.sub(r":\d+\)|\d\d:\d\d:\d\d\.\d+", "", done.stderr)  # GLib's process number and time
        return done

    def resolved(self, name):
        """The file that the name of an object leads to inside the root."""
        return files.resolved(self.root.path, name.removeprefix(str(self.root.path)))

    def addresses(self, count=25):
        oracle = self.root.oracle("addresses", *self.commands[0])
        oracle.env["HOME"] = "/tmp"
        return [oracle.addresses() for _ in range(count)]


@pytest.fixture(scope="session", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in HEAVY])
def heavy(request, tmp_path_factory):
    made = Prepared(request.param, tmp_path_factory.mktemp(request.param))
    yield made
    made.root.close()
    run(["rm", "-rf", made.root.path.parent])


pytestmark = [pytest.mark.root, pytest.mark.heavy]


def test_output_is_that_of_a_plain_start(heavy):
    assert heavy.plain[0][0].status == 0
    assert heavy.outcomes(REQUIRE) == heavy.plain


def test_every_start_is_accelerated(heavy):
    for command in heavy.firsts():
        assert heavy.root.run_fast(*command, env={"HOME": "/tmp"}).status == 0


def test_every_word_is_the_same(heavy):
    for oracle in heavy.oracles:
        oracle.after()


def test_only_programs_and_libc_differ(heavy):
    """And the fixed libraries, if any."""
    shifted = heavy.root.shifted()
    assert bool(shifted) == (PLACEMENT != "aslr")
    changed = files.changed(heavy.original, heavy.root.digests())
    new = {path for path in changed if path not in heavy.original}
    assert heavy.root.inside(changed - new - shifted) == {*heavy.programs, "/usr/lib/x86_64-linux-gnu/libc.so.6"}
    assert shifted <= changed
    if shifted:
        assert f"{len(shifted)} libraries at fixed addresses, " in heavy.report.stdout
    assert len(new) == 1 and os.path.getsize(new.pop()) <= 16 * 1024


def test_load_addresses_vary_as_before(heavy):
    """Except those of fixed libraries, which are always the same."""
    prelinked = heavy.addresses()
    shifted = heavy.root.inside(heavy.root.shifted())
    fixed = {name for name in heavy.plain_addresses[0] if heavy.resolved(name) in shifted}
    assert bool(fixed) == bool(shifted)
    for name in fixed:
        assert {addresses[name] for addresses in prelinked} == {"0"}, name
    for name in heavy.plain_addresses[0].keys() - fixed:
        before = {addresses[name] for addresses in heavy.plain_addresses}
        assert len({addresses[name] for addresses in prelinked}) >= len(before) - 1, name


def test_bind_now(heavy):
    """LD_BIND_NOW=1 binds what is lazy otherwise; programs with undefined functions fail as when plain."""
    for command in heavy.firsts():
        fast = heavy.run(command, {"LD_BIND_NOW": "1"})
        assert fast == heavy.run(command, {"LD_BIND_NOW": "1", "FASTPRELINK": "0"})


def test_second_run_changes_nothing_and_is_quick(heavy):
    before = {**files.identities(heavy.root.host("/usr/bin")), **files.identities(heavy.root.libc.parent)}
    start = time.monotonic()
    done = heavy.root.prelink(*heavy.programs)
    assert time.monotonic() - start < 0.3 * len(heavy.programs) * 3  # the machine is shared
    assert done.stdout.splitlines()[-1].startswith("0 prelinked, ")
    assert {**files.identities(heavy.root.host("/usr/bin")), **files.identities(heavy.root.libc.parent)} == before


def test_prelinking_is_cheap(heavy):
    """CPU time of the whole command, the trial of the new carrier included: several times what it is on an idle machine, since page
    faults take ten times as long on some virtual ones."""
    assert heavy.seconds < 8 * len(heavy.programs)


def test_added_bytes(heavy):
    """At most 1.2 MB per program and 2.5 % of a closure (small programs aside)."""
    for program in heavy.programs:
        path = str(heavy.root.host(program))
        with subprocess.Popen([build.TOOL, "-y", path], stdout=subprocess.PIPE) as verify:
            original = len(verify.stdout.read())
        closure = sum(os.path.getsize(name) for name in heavy.original if ".so" in name) + original
        shifted = heavy.root.shifted()
        grown = sum(os.path.getsize(name) for name in shifted) - sum(heavy.sizes[name] for name in shifted)
        assert grown + os.path.getsize(path) - original <= max(closure * 0.03, 64 * 1024)
        assert os.path.getsize(path) - original <= max(min(1_200_000, closure * 0.025), 64 * 1024)


def test_digests_are_those_of_the_original(heavy):
    paths = [str(heavy.root.host(program)) for program in heavy.programs] + [str(heavy.root.libc)]
    paths += sorted(heavy.root.shifted())
    lines = fastprelink("--sha256", *paths).stdout.splitlines()
    assert lines == [f"{heavy.original[path]}  {path}" for path in paths]


def test_starts_are_faster(heavy):
    """A guard, not a benchmark, in processor time of runs in turn, against the same files with FASTPRELINK=0.  Look-ups are spent in user
    mode, of which a quarter is left; page faults, whose time depends on the machine, are not.  Of a program with few look-ups all counts."""
    if not heavy.gain:
        return
    spent = {"0": [], "1": []}
    for _ in range(25):
        for value in spent:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            heavy.run(heavy.commands[0], {"FASTPRELINK": value})
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
            spent[value].append(user if heavy.gain == "user" else user + system)
    if heavy.gain == "user":  # in ticks: only the sum tells
        assert sum(spent["0"]) > 1.5 * sum(spent["1"]), spent
    else:
        assert min(spent["0"]) > 1.15 * min(spent["1"]), spent


def test_undo_and_prelinking_again(heavy):
    prelinked = heavy.root.digests()
    heavy.root.undo()
    assert heavy.root.digests() == heavy.original
    assert heavy.outcomes(REQUIRE) == heavy.plain
    heavy.root.prelink(*heavy.programs, options=["-f", "-v"])
    assert heavy.root.digests() == prelinked
