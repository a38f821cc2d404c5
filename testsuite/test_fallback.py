"""Fixed libraries where a start is not as planned: displaced, changed, opened by others, watched, mixed with floating ones.
Everything is compared with plain libraries; where it says so, word by word."""

import os
import shutil
import subprocess

import pytest

from harness import build, elf, files, need
from harness.run import DEBUG, REQUIRE, fastprelink, run
from test_fixed import table
from test_shift import BASE, addresses, occupied, occupier

pytestmark = pytest.mark.one_placement  # says itself which


ANSWER = "sum 146 counter 46 same 1 1\n"
FIXED = ("-f", "--fixed")
NOW = {"LD_BIND_NOW": "1"}
BINDING = pytest.mark.parametrize("binding", [{}, NOW], ids=["lazy", "now"])
LINKED = pytest.mark.parametrize("flags", [["-Wl,-z,lazy"], ["-Wl,-z,now"]], ids=["lazy", "now"])


def base(path):
    return next(s[3] for s in elf.segments(path) if s[0] == elf.PT_LOAD)


def fixed(case):
    """Names of the libraries that have an address of the window."""
    return {path.name for path in case.lib.iterdir() if base(path) >= BASE}


def fix(case, *programs, floating=()):
    """Fixes every library but those FLOATING; what is prelinked is accelerated."""
    for name in floating:
        (case.lib / f"{name}.hmac").touch()  # it checks itself
    case.prelink(*programs, options=FIXED)
    for name in floating:
        (case.lib / f"{name}.hmac").unlink()
    expected = {path.name for program in programs or [case.prog] for path in case.closure(program)} - {"libc.so.6", *floating}
    assert expected <= fixed(case) and not fixed(case) & set(floating)


def compare(case, scenario, *programs, floating=()):
    """SCENARIO(directory) must give the same with fixed libraries and with plain ones."""
    case.adopt(*programs)
    twin = case.twin()
    fix(case, *programs, floating=floating)
    plain = scenario(twin)
    assert scenario(case) == plain
    return plain


def where(case, **env):
    """{library: its load bias}, also where the runtime declines"""
    oracle = case.oracle(env=env)
    oracle.env["FASTPRELINK"] = "1"
    return {path.rsplit("/", 1)[1]: int(address, 16) for path, address in oracle.addresses().items() if str(case.lib) in path}


def link_at(case, address, *arguments):
    """A program that has ADDRESS for its own: no linker script for non-PIE startup code allows that, but its file may say so."""
    case.program(*arguments, [f"-Wl,-Ttext-segment={address:#x}"])
    elf.patch(case.prog, 16, b"\2\0")  # ET_EXEC


class Words:
    """Compares what the program holds under some environments with what it held when nothing was prelinked."""

    def __init__(self, case, **environments):
        self.oracle, self.environments = case.oracle(), environments
        self.env = {**self.oracle.env, "FASTPRELINK": "1", "FASTPRELINK_DEBUG": "1"}
        for name in environments:
            self.snapshot(name, "before")
            self.snapshot(name, "now", **NOW)

    def snapshot(self, name, when, **more):
        """Whether the start was accelerated."""
        self.oracle.env = {**self.env, **self.environments[name], **more}
        return "fastprelink: accelerated" in self.oracle.snapshot(f"{name}-{when}")

    def compare(self):
        for name in self.environments:
            accelerated = self.snapshot(name, "after")
            self.oracle.compare(f"{name}-before", f"{name}-after", f"{name}-now" if accelerated else None)


def declines(case, *numbers, env=None, expected=ANSWER, prefix=()):
    done = case.run(env={**DEBUG, **(env or {})}, prefix=prefix)
    assert (done.stdout, done.status) == (expected, 0) and done.declined in numbers, done
    return done


# Occupied addresses

@BINDING
def test_a_preload_occupies_the_addresses(sampler, binding):
    preload = {**occupier(sampler), **binding}
    words = Words(sampler, occupied=preload)
    fix(sampler)
    declines(sampler, 9, 12, env=preload)
    assert all(where(sampler, **preload)[name] for name in ("libbase.so", "libuser.so"))
    words.compare()


@BINDING
def test_the_program_occupies_the_addresses(case, binding):
    """A program that is linked into the window: the list of objects is as recorded, the addresses are not."""
    case.library("libbase.so", build.CASES / "base.c")
    case.library("libuser.so", build.CASES / "user.c", ["libbase.so"])
    link_at(case, BASE, build.CASES / "sampler.c", ["libuser.so", "libbase.so"])
    case.adopt()
    assert case.run(env=binding).stdout == ANSWER
    words = Words(case, start=binding)
    fix(case)
    done = case.run(env={**DEBUG, **binding})
    assert done.stdout == ANSWER and done.accelerated, done
    words.compare()


@BINDING
def test_one_library_of_many_is_displaced(sampler, binding):
    """Half a page of it is enough."""
    fix(sampler)
    place = base(sampler.lib / "libuser.so")
    sampler.library("libp.so", "int unrelated;", where="other", flags=[f"-Wl,-Ttext-segment={place:#x}", "-nostdlib"])
    env = {"LD_PRELOAD": str(sampler.path / "other/libp.so"), **binding}
    declines(sampler, 9, 12, env=env)
    biases = where(sampler, **env)
    assert biases["libuser.so"] and not biases["libbase.so"]


@BINDING
def test_a_library_that_is_relocated_before_the_stub(case, binding):
    """It needs nothing, not even libc, so ld.so may relocate it first.  Displaced, all its words are wrong by a number until then,
    and other libraries and the program hold addresses in it.  So it counts as well, though the runtime fills nothing in it."""
    case.library("libfirst.so", "int value = 7; int *words[40] = { [0 ... 39] = &value }; int first(void) { return *words[39]; }"
                                "int (*entry)(void) = first;", flags=["-nostdlib"])
    case.library("libmiddle.so", "extern int *words[], (*entry)(void); int **to = words + 3; int middle(void) { return **to + entry(); }",
                 ["libfirst.so"])
    case.program('#include <stdio.h>\nint middle(void), first(void); extern int *words[40]; int main(void)'
                 '{ printf("%d %d %d\\n", middle(), first(), *words[0]); return 0; }', ["libmiddle.so", "libfirst.so"])
    case.adopt()
    words = Words(case, start=binding)
    case.prelink(options=FIXED)
    records = table(case)
    assert records["libfirst.so"]["flags"] & 5 == 4 and records["libmiddle.so"]["flags"] & 5 == 5  # FILL is 1, FIXED 4
    assert case.run_fast(env=binding).stdout == "14 7 7\n"
    words.compare()
    declines(case, 12, env=binding, prefix=occupied(base(case.lib / "libfirst.so")), expected="14 7 7\n")


def test_a_library_without_libc_at_its_address(case):
    """Accelerated, and equal in every word."""
    case.library("libfirst.so", "int value = 7; int *words[40] = { [0 ... 39] = &value }; int first(void) { return *words[39]; }",
                 flags=["-nostdlib"])
    case.program('#include <stdio.h>\nint first(void); extern int *words[]; int main(void)'
                 '{ printf("%d %d\\n", first(), *words[0]); return 0; }', ["libfirst.so"])
    case.adopt()
    oracle = case.oracle().before()
    fix(case)
    assert case.run_fast().stdout == "7 7\n"
    oracle.after()


def test_a_library_that_was_linked_into_the_window(case):
    """By its maker, and it floats: it takes its address all the same."""
    case.library("libfirst.so", "char space[1 << 20];", flags=[f"-Wl,-Ttext-segment={BASE:#x}", "-nostdlib"])
    case.library("libbase.so", build.CASES / "base.c")
    case.library("libuser.so", build.CASES / "user.c", ["libbase.so"])
    case.program(build.CASES / "sampler.c", ["libfirst.so", "libuser.so", "libbase.so"])
    case.adopt()
    words = Words(case, lazy={}, now=NOW)
    (case.lib / "libfirst.so.hmac").touch()
    case.prelink(options=FIXED)
    done = case.run(env=DEBUG)
    assert done.stdout == ANSWER and done.accelerated, done
    words.compare()


# Tables that are older than the libraries

@BINDING
def test_a_library_is_undone(sampler, binding):
    words = Words(sampler, start=binding)
    fix(sampler)
    for name in ("libbase.so", "libuser.so"):
        fastprelink("-u", sampler.lib / name)
        assert "libbase.so" in declines(sampler, 9, 12, env=binding).notes[0] or name == "libuser.so"
        words.compare()


@BINDING
@pytest.mark.parametrize("name", ["libbase.so", "libuser.so"])
def test_a_library_gets_another_base(sampler, name, binding):
    words = Words(sampler, start=binding)
    fix(sampler)
    fastprelink("-r", "0x3123456000", sampler.lib / name)
    assert name in declines(sampler, 9, 12, env=binding).notes[0]
    assert where(sampler)[name] == 0
    words.compare()
    sampler.prelink(options=FIXED)
    assert sampler.run_fast(env=binding).stdout == ANSWER and base(sampler.lib / name) == 0x3123456000
    words.compare()


@BINDING
def test_words_of_a_library_change_at_the_same_base(sampler, binding):
    """A dependency moved, and another program was prelinked since: libuser.so is where it was, and holds other addresses."""
    other = shutil.copy(sampler.prog, sampler.bin / "other")
    words = Words(sampler, start=binding)
    fix(sampler, sampler.prog, other)
    place, digest = base(sampler.lib / "libuser.so"), files.digest(sampler.lib / "libuser.so")
    table = files.digest(sampler.prog)
    fastprelink("-r", "0x3123456000", sampler.lib / "libbase.so")
    sampler.prelink(other, options=FIXED)
    assert base(sampler.lib / "libuser.so") == place and files.digest(sampler.lib / "libuser.so") != digest
    assert files.digest(sampler.prog) == table
    declines(sampler, 9, 12, env=binding)
    words.compare()
    assert sampler.run_fast(program=other, env=binding).stdout == ANSWER
    sampler.prelink(options=FIXED)
    assert sampler.run_fast(env=binding).stdout == ANSWER


@BINDING
def test_libraries_that_were_fixed_after_the_program(sampler, binding):
    """The program's table is of floating ones."""
    words = Words(sampler, start=binding)
    sampler.prelink(options=("-f", "--aslr"))
    for number, name in enumerate(("libuser.so", "libbase.so")):
        fastprelink("-r", hex(BASE + number * 0x100000), sampler.lib / name)
        declines(sampler, 9, 12, env=binding)
        words.compare()


def test_a_library_that_was_changed_in_place(sampler):
    """By patchelf, say: what it holds is no longer what was recorded, and undo refuses, but it runs."""
    fix(sampler)
    path = sampler.lib / "libbase.so"
    assert run([need.tool("patchelf"), "--set-soname", "libbase.so", "--add-rpath", "/nowhere", path]).status == 0
    done = sampler.run(env=DEBUG)
    assert done.stdout == ANSWER


@pytest.mark.parametrize("tool", [["strip"], ["strip", "--strip-debug"], ["objcopy"], ["eu-strip"]], ids=" ".join)
@BINDING
def test_a_fixed_library_that_is_stripped(sampler, tool, binding):
    words = Words(sampler, start=binding, preloaded={**occupier(sampler), **binding})
    fix(sampler)
    for name in ("libbase.so", "libuser.so"):
        assert run([need.tool(tool[0]), *tool[1:], sampler.lib / name]).status == 0
    assert sampler.run(env={**DEBUG, **binding}).stdout == ANSWER
    words.compare()


# Replaced while in use

RUNNING = r"""
#include <stdio.h>
#include <unistd.h>
#include <sys/wait.h>
int late(void), early(void);
int main(int argc, char **argv)
{
    char c;
    printf("%d\n", early()); fflush(stdout);
    read(0, &c, 1);
    printf("%d\n", late()); fflush(stdout);
    if (fork() == 0) { printf("child %d\n", late() + early()); fflush(stdout); execl("/proc/self/exe", "again", "x", NULL); }
    if (argc > 1) return 0;
    wait(0);
    return 0;
}"""


@pytest.mark.parametrize("what", ["newer", "undone", "moved", "removed"])
def test_a_library_is_replaced_while_a_process_uses_it(case, what):
    """The process goes on with what it has mapped, calls what it has not called before, and forks; what it starts anew gets the new one."""
    code = "int early(void) { return 1; } int late(void) { return %d; } char b; char *words[40] = { [0 ... 39] = &b };"
    case.library("liba.so", code % 2, flags=["-Wl,-z,lazy"])
    case.program(RUNNING.replace("execl(", "if (argc == 1 && access(argv[0], 9) == 5) execl("), ["liba.so"], ["-Wl,-z,lazy"])
    case.adopt()
    fix(case)
    env = {"PATH": os.environ["PATH"], **case.env(**REQUIRE)}
    path = case.lib / "liba.so"
    with subprocess.Popen([case.prog], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "1\n"
        if what == "newer":
            new = build.compile_c(code % 3, "liba.so", ["-shared", "-fPIC", "-Wl,-soname,liba.so"])
            shutil.copy(new, case.lib / "new")
            (case.lib / "new").rename(path)
        elif what == "undone":
            fastprelink("-u", path)
        elif what == "moved":
            fastprelink("-r", "0x3200000000", path)
        else:
            path.unlink()
        rest, errors = process.communicate("x", timeout=60)
    assert rest == "2\nchild 3\n" and "accelerated" in errors and process.returncode == 0
    if what != "removed":
        done = case.run(input=b"x", stdin=None, env=DEBUG)
        assert done.stdout == ("1\n3\nchild 4\n" if what == "newer" else "1\n2\nchild 3\n") and done.declined in (9, 12)


# Large alignments

def test_two_MiB_alignment_side_by_side(case):
    """Linked for 2 MiB pages, and with data aligned so: at their bases, accelerated, equal in every word."""
    for name, number in (("a", 1), ("b", 2), ("c", 3)):
        data = "static char big[64] __attribute__((aligned(2 << 20))) = {1};" if name != "a" else "static char big[64] = {1};"
        case.library(f"lib{name}.so", f"{data} char *{name}_words[40] = {{ [0 ... 39] = big }};"
                     f"int {name}(void) {{ return {number} + ((long)big & {0x1fffff if name != 'a' else 0}) + *{name}_words[3]; }}",
                     flags=["-Wl,-z,max-page-size=0x200000"])
    case.library("libd.so", "char d_data; char *d_words[40] = { [0 ... 39] = &d_data }; int d(void) { return *d_words[7] + 4; }")
    case.program('#include <stdio.h>\nint a(void), b(void), c(void), d(void); int main(void)'
                 '{ printf("%d%d%d%d\\n", a(), b(), c(), d()); return 0; }', ["liba.so", "libb.so", "libc.so", "libd.so"])
    case.adopt()
    oracle = case.oracle().before()
    fix(case)
    for _ in range(10):
        assert case.run_fast().stdout == "2344\n"
    biases = addresses(case)
    assert all(biases[f"lib{name}.so"] == 0 for name in "abcd"), biases
    oracle.after()


def test_large_libraries_side_by_side(case):
    """Newer kernels want 2 MiB free behind a large mapping, or choose another address."""
    for name in "abc":
        case.library(f"lib{name}.so", f"char {name}_data[5 << 20] = {{1}}; char *{name}_words[40] = {{ [0 ... 39] = {name}_data }};"
                     f"int {name}(void) {{ return {name}_words[3][0]; }}")
    case.program('#include <stdio.h>\nint a(void), b(void), c(void); int main(void) { printf("%d\\n", a() + b() + c()); return 0; }',
                 ["liba.so", "libb.so", "libc.so"])
    case.adopt()
    fix(case)
    for _ in range(5):
        assert case.run_fast().stdout == "3\n"


# Randomisation

def test_200_starts(sampler):
    """What floats has as many addresses as before, what is fixed has one."""
    sampler.program('#include <stdio.h>\n#include <string.h>\nint total(int), square(int); int main(void) { char line[999];'
                    'FILE *f = fopen("/proc/self/maps", "r"); while (fgets(line, 999, f)) if (strstr(line, " 00000000 ") && strrchr(line, 47)) {'
                    'line[strcspn(line, "-")] = 32; printf("%.*s %s", (int)strcspn(line, " "), line, strrchr(line, 47)); }'
                    "return square(total(1)) == 0; }", ["libuser.so", "libbase.so"])
    sampler.adopt()

    def starts():
        found = {}
        for _ in range(200):
            for line in sampler.run().stdout.splitlines():
                address, name = line.split(" /")
                found.setdefault(name, set()).add(address)
        return {name: len(places) for name, places in found.items()}
    plain = starts()
    assert set(plain.values()) == {200}, plain
    fix(sampler)
    assert sampler.run_fast().status == 0
    assert starts() == {**plain, "libuser.so": 1, "libbase.so": 1}
