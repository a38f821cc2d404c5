"""Fixed libraries where a start is not as planned: displaced, changed, opened by others, watched, mixed with floating ones.
Everything is compared with plain libraries; where it says so, word by word."""

import os
import re
import shutil
import subprocess

import pytest

from harness import build, elf, files, need
from harness.run import DEBUG, REQUIRE, fastprelink, run
from test_cxx import HEADER as CXX_HEADER, LIB_A, LIB_B
from test_fixed import table
from test_loading import HEAD
from test_shift import BASE, addresses, occupied, occupier
from test_tls import ANSWER as TLS_ANSWER, LIBRARY as TLS_LIBRARY, PROGRAM as TLS_PROGRAM
from test_tools import SANITIZED, gdb

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
        self.env = {**self.oracle.env, "FASTPRELINK": "1"}
        self.snapshots("before")

    def snapshots(self, when):
        for name, more in self.environments.items():
            self.oracle.env = {**self.env, **more}
            self.oracle.snapshot(f"{name}-{when}")

    def compare(self):
        self.snapshots("after")
        for name in self.environments:
            self.oracle.compare(f"{name}-before", f"{name}-after")


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


# Programs that were not prelinked

LIBRARY = """
int data = 1, *data_at = &data;
char bulk[9]; char *words[40] = { [0 ... 39] = bulk };
int inner(void) { return 10; }
int (*inner_at)(void) = inner;
int outer(void) { return inner() + inner_at() + *data_at + data; }
"""
INTERPOSER = "int data = 100; int inner(void) { return 1000; }"
CALLER = '#include <stdio.h>\nint outer(void); int main(void) { for (int i = 0; i < 2; i++) printf("%d\\n", outer()); return 0; }'


@pytest.fixture
def unrelated(sampler):
    """Fixed libraries (liba.so and what a program over it needs) in a directory with a program that is not prelinked."""
    def make(source, libs=("liba.so",), flags=(), **options):
        sampler.library("liba.so", LIBRARY, flags=flags)
        sampler.library("libo.so", "int outer(void); int twice(void) { return 2 * outer(); } char *there[40] = { [0 ... 39] = (char *)&there };",
                        ["liba.so"], flags)
        sampler.library("libp.so", INTERPOSER)
        sampler.program(CALLER, ["libo.so", "liba.so"], name="fixes")
        sampler.program(source, libs, flags, name="other", **options)
        sampler.adopt(sampler.bin / "other", sampler.bin / "fixes")
        return sampler
    return make


def as_plain(case, env=None, expected=None, **options):
    """What `other` does with fixed libraries is what it does with plain ones; DIR in values of ENV is the directory."""
    def scenario(directory):
        values = {key: value.replace("DIR", str(directory.path)) for key, value in (env or {}).items()}
        return directory.run(program=directory.bin / "other", env={**REQUIRE, **values}, **options)
    done = compare(case, scenario, case.bin / "fixes")
    assert done.status == 0 and done.stdout and (expected is None or done.stdout == expected), done
    return done


@LINKED
@BINDING
@pytest.mark.parametrize("pie", [True, False], ids=["pie", "no-pie"])
def test_another_program_links_them(unrelated, flags, binding, pie):
    as_plain(unrelated(CALLER, flags=flags, pie=pie), binding, "22\n22\n")


@LINKED
@BINDING
def test_interposed_functions_and_data(unrelated, flags, binding):
    """By a preload, in lazily bound libraries and others."""
    as_plain(unrelated(CALLER, flags=flags), {"LD_PRELOAD": "DIR/lib/libp.so", **binding}, "2200\n2200\n")


@LINKED
@BINDING
def test_the_prelinked_program_is_interposed(unrelated, flags, binding):
    case = unrelated(CALLER, flags=flags)
    env = {"LD_PRELOAD": "DIR/lib/libp.so", **binding}

    def scenario(directory):
        values = {key: value.replace("DIR", str(directory.path)) for key, value in env.items()}
        return directory.run(program=directory.bin / "fixes", env=values)
    assert compare(case, scenario, case.bin / "fixes").stdout == "2200\n2200\n"


@LINKED
def test_the_program_interposes(unrelated, flags):
    as_plain(unrelated(CALLER + INTERPOSER, flags=flags), expected="2200\n2200\n")


@LINKED
def test_a_copy_relocation(unrelated, flags):
    source = '#include <stdio.h>\nint outer(void), inner(void); extern int data, *data_at, (*inner_at)(void); int main(void)' \
             '{ data = 5; printf("%d %d %d\\n", outer(), data_at == &data, inner_at == inner); return 0; }'
    as_plain(unrelated(source, flags=flags, pie=False), expected="30 1 1\n")


@BINDING
def test_another_build_by_library_path(unrelated, binding):
    case = unrelated(CALLER)
    case.library("liba.so", LIBRARY.replace("return 10", "return 20"), where="newer")
    as_plain(case, {"LD_LIBRARY_PATH": "DIR/newer:DIR/lib", **binding}, "42\n42\n")


@BINDING
def test_the_prelinked_program_gets_another_build(unrelated, binding):
    case = unrelated(CALLER)
    case.library("liba.so", LIBRARY.replace("return 10", "return 20"), where="newer")
    fix(case, case.bin / "fixes")
    done = case.run(program=case.bin / "fixes", env={**DEBUG, "LD_LIBRARY_PATH": f"{case.path}/newer:{case.lib}", **binding})
    assert done.stdout == "42\n42\n" and done.declined in (9, 12)


def test_displaced_in_another_program(unrelated):
    """Lazily bound, with everything elsewhere."""
    case = unrelated(CALLER)
    preload = occupier(case)
    for more in ({}, NOW):
        fast = case.run(program=case.bin / "other", env={**preload, **more})
        assert fast.stdout == "22\n22\n"
    fix(case, case.bin / "fixes")
    for more in ({}, NOW):
        assert case.run(program=case.bin / "other", env={**preload, **more}) == fast


OPEN = """
static int use(void *handle)
{
    if (!handle) { puts(dlerror()); return 0; }
    int (*twice)(void) = dlsym(handle, "twice"), (*inner)(void) = dlsym(handle, "inner");
    int *data = dlsym(handle, "data");
    *data += 1;
    return twice() * 10 + inner();
}
int data = 500; int inner(void) { return 3; }
int main(void) { %s return 0; }"""
OPENING = {
    "local": 'printf("%d\\n", use(dlopen("libo.so", RTLD_LAZY | RTLD_LOCAL)));',
    "now": 'printf("%d\\n", use(dlopen("libo.so", RTLD_NOW)));',
    "global": 'printf("%d\\n", use(dlopen("libo.so", RTLD_LAZY | RTLD_GLOBAL)));',
    "deepbind": 'printf("%d\\n", use(dlopen("libo.so", RTLD_LAZY | RTLD_DEEPBIND)));',
    "deepbind-now": 'printf("%d\\n", use(dlopen("libo.so", RTLD_NOW | RTLD_DEEPBIND)));',
    "namespace": 'printf("%d\\n", use(dlmopen(LM_ID_NEWLM, "libo.so", RTLD_LAZY)));',
    "two-namespaces": 'void *a = dlmopen(LM_ID_NEWLM, "libo.so", RTLD_NOW), *b = dlmopen(LM_ID_NEWLM, "libo.so", RTLD_LAZY),'
                      '*c = dlopen("libo.so", RTLD_LAZY); printf("%d %d %d %d\\n", use(a), use(b), use(c), use(a));',
    "again": 'for (int i = 0; i < 20; i++) { void *h = dlopen("libo.so", i % 2 ? RTLD_NOW : RTLD_LAZY); printf("%d ", use(h));'
             'printf("%d ", dlclose(h)); printf("%d\\n", dlopen("libo.so", RTLD_NOLOAD | RTLD_LAZY) == 0); }',
    "again-occupied": 'void *h = dlopen("libo.so", RTLD_LAZY); int before = use(h); dlclose(h); void *room = mmap((void *)0x3000000000,'
                      '1 << 26, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);'
                      'printf("%d %d %d\\n", before, room == (void *)0x3000000000, use(dlopen("libo.so", RTLD_LAZY)));',
    "next": 'void *h = dlopen("libo.so", RTLD_NOW | RTLD_GLOBAL); Dl_info info; dladdr(dlsym(h, "outer"), &info);'
            'printf("%s %d\\n", strrchr(info.dli_fname, 47), dlsym(RTLD_NEXT, "outer") == dlsym(h, "outer"));',
}


@LINKED
@pytest.mark.parametrize("exported", [False, True], ids=["plain", "exporting"])
@pytest.mark.parametrize("how", OPENING)
def test_another_program_opens_them(unrelated, how, flags, exported):
    """With -rdynamic the program itself interposes."""
    source = HEAD + "#include <sys/mman.h>\n" + OPEN % OPENING[how]
    as_plain(unrelated(source, [], [*flags, *(["-rdynamic"] if exported else [])]))


@LINKED
def test_a_prelinked_program_opens_what_is_fixed(case, flags):
    """Also what it has already, in another namespace, where the base is occupied by itself."""
    case.library("liba.so", LIBRARY, flags=flags)
    case.library("libo.so", "int outer(void); int twice(void) { return 2 * outer(); }", ["liba.so"], flags)
    case.program(CALLER, ["libo.so", "liba.so"], name="fixes")
    source = HEAD + "int outer(void); int *sum = 0;\nint main(void) { void *a = dlopen(\"libo.so\", RTLD_NOW | RTLD_LOCAL)," \
        '*b = dlmopen(LM_ID_NEWLM, "libo.so", RTLD_LAZY); printf("%d %d %d\\n", ((int (*)(void))dlsym(a, "twice"))(),' \
        '((int (*)(void))dlsym(b, "twice"))(), dlsym(a, "twice") == dlsym(b, "twice")); return outer() != 22; }'
    case.program(source, ["liba.so"], flags)
    case.adopt(case.prog, case.bin / "fixes")
    plain = case.run()
    assert plain.stdout == "44 44 0\n" and plain.status == 0
    fix(case, case.prog, case.bin / "fixes")
    assert case.run_fast() == plain


def test_a_library_that_is_preloaded(unrelated):
    """A fixed library is an ordinary one for LD_PRELOAD, before the program's own."""
    as_plain(unrelated(CALLER), {"LD_PRELOAD": "DIR/lib/libo.so DIR/lib/libbase.so"}, "22\n22\n")


def test_audited(unrelated):
    case = unrelated(CALLER)
    case.library("libaudit.so", "#define _GNU_SOURCE\n#include <link.h>\nunsigned la_version(unsigned v) { return LAV_CURRENT; }"
                 "unsigned la_objopen(struct link_map *m, Lmid_t i, uintptr_t *c) { return LA_FLG_BINDTO | LA_FLG_BINDFROM; }",
                 where="audit")
    as_plain(case, {"LD_AUDIT": "DIR/audit/libaudit.so"}, "22\n22\n")


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


# Tools

def shown(text):
    """TEXT without addresses."""
    return re.sub(r"0x[0-9a-f]+|process \d+|-?DIR-twin", "", text)


@pytest.mark.parametrize("displaced", [False, True], ids=["there", "displaced"])
def test_gdb(sampler, displaced):
    extra = occupier(sampler)["LD_PRELOAD"] if displaced else ""

    def scenario(directory):
        preload = extra.replace(str(sampler.path), str(directory.path))
        return shown(gdb(directory, *([f"set environment LD_PRELOAD {preload}", "set environment FASTPRELINK 1"] if displaced else []),
                         "break square", "run", "bt", "info symbol counter_pointer", "info symbol shapes[1].area", "finish",
                         "info symbol hook", "x/3i total", "print (int)counter", "continue"))
    text = compare(sampler, scenario)
    assert "in square () from DIR/lib/libbase.so" in text and "<total+2>" in text


def test_gdb_steps_through_a_lazy_call(sampler):
    text = compare(sampler, lambda directory: shown(gdb(directory, "break main", "run", "break total", "continue", "stepi", "stepi",
                                                        "bt", "info sharedlibrary", "continue")))
    assert "total" in text


def test_gdb_core_dump(sampler):
    core = sampler.path / "core"

    def scenario(directory):
        gdb(directory, "break square", "run", f"generate-core-file {core}", "kill")
        again = run([need.tool("gdb"), "-batch", "-nx", "-ex", "set debuginfod enabled off", "-ex", "bt", directory.prog, core])
        core.unlink()
        return re.findall(r"#\d+ .*?(\w+) \(.*", again.stdout)
    found = compare(sampler, scenario)
    assert found[0] == "square" and "main" in found


def test_separate_debug_information(case):
    """In the file that distributions make of it, found by build id; gdb shows lines in fixed libraries."""
    flags = ["-g", "-O0"]
    case.library("libbase.so", build.CASES / "base.c", flags=flags)
    case.library("libuser.so", build.CASES / "user.c", ["libbase.so"], flags)
    case.program(build.CASES / "sampler.c", ["libuser.so", "libbase.so"])
    for name in ("libbase.so", "libuser.so"):
        path = case.lib / name
        for options in (["--only-keep-debug", path, f"{path}.debug"], ["--strip-debug", path],
                        [f"--add-gnu-debuglink={path}.debug", path]):
            assert run(["objcopy", *options], cwd=case.lib).status == 0
    for path in case.lib.glob("*.debug"):
        (case.path / "debug").mkdir(exist_ok=True)
        path.rename(case.path / "debug" / path.name)
    case.adopt()
    twin = case.twin()
    fix(case)

    def scenario(directory):
        return shown(gdb(directory, f"set debug-file-directory {directory.path}/debug", "break square", "run",
                         "bt", "info line total", "print counter", "print &counter == counter_pointer", "print shapes[1]", "continue"))
    for directory in (case, twin):  # beside the library is where gdb looks first
        for path in (directory.path / "debug").iterdir():
            shutil.copy(path, directory.lib)
    plain, fast = scenario(twin), scenario(case)
    assert "square (side=2) at source.c" in plain
    assert fast == plain


@pytest.mark.parametrize("tool", ["none", "memcheck", "helgrind", "callgrind"])
def test_valgrind(sampler, tool):
    options = {"memcheck": ["--error-exitcode=99", "--leak-check=no"], "helgrind": ["--error-exitcode=99"],
               "callgrind": ["--callgrind-out-file=/dev/null"]}.get(tool, [])
    prefix = [need.tool("valgrind"), "-q", f"--tool={tool}", *options]
    assert compare(sampler, lambda directory: directory.run(prefix=prefix)).stdout == ANSWER


@pytest.mark.heavy
def test_perf(case):
    """Samples in a fixed library are named as in a plain one."""
    perf = need.tool("perf")
    case.library("liba.so", "char b; char *words[40] = { [0 ... 39] = &b }; volatile long sink;"
                            "void burn(void) { for (long i = 0; i < 300000000; i++) sink += i; }")
    case.program("void burn(void); int main(void) { burn(); return 0; }", ["liba.so"])

    def scenario(directory):
        data = directory.path.with_name("perf.data")
        done = directory.run(prefix=[perf, "record", "-q", "-e", "cpu-clock", "-o", data])
        report = run([perf, "script", "-i", data, "-F", "ip,sym,dso"]).stdout
        data.unlink()
        return done.status, "burn" in report, "liba.so" in report
    assert compare(case, scenario) == (0, True, True)


@pytest.mark.parametrize("options", [[], ["-r"], ["-d"], ["-v"], ["-u"]], ids=["plain", "r", "d", "v", "u"])
@pytest.mark.parametrize("of", ["bin/prog", "lib/libuser.so"])
def test_ldd(sampler, options, of):
    def scenario(directory):
        done = directory.run(*options, directory.path / of, program=need.tool("ldd"))
        return re.sub(r" \(0x[0-9a-f]+\)", "", done.stdout), done.stderr, done.status
    compare(sampler, scenario)


def test_ltrace_and_strace(sampler):
    for prefix in ([need.tool("ltrace"), "-e", "total+square@*", "-o", "/dev/null"], [need.tool("strace"), "-f", "-o", "/dev/null"]):
        twin = sampler.twin() if not fixed(sampler) else twin
        if not fixed(sampler):
            fix(sampler)
        assert sampler.run(prefix=prefix) == twin.run(prefix=prefix)


@pytest.mark.parametrize("tool", [["nm"], ["nm", "-D"], ["objdump", "-T"], ["objdump", "-d", "-j", ".text"], ["readelf", "-aW"],
                                  ["eu-readelf", "-a"], ["size", "-A"]], ids=" ".join)
def test_readers(sampler, tool):
    fix(sampler)
    done = run([need.tool(tool[0]), *tool[1:], sampler.lib / "libuser.so"])
    assert done.status == 0 and done.stdout and "arning" not in done.stdout + done.stderr, done


# Sanitizers

@pytest.mark.parametrize("cc", ["gcc", "clang"])
@pytest.mark.parametrize("kind", SANITIZED)
def test_sanitizers(case, kind, cc):
    """They find the same faults in a program with fixed libraries; their runtimes float."""
    case.library("liba.so", "int f(int x) { return x; } int (*at)(int) = f; char b; char *words[40] = { [0 ... 39] = &b };")
    case.program("int f(int); int main(void) { return f(0); }", ["liba.so"], name="fixes")
    case.program("#include <pthread.h>\n#include <stdlib.h>\n" + SANITIZED[kind], ["liba.so"], [f"-fsanitize={kind}", "-g", "-O0"], cc=cc)
    case.adopt(case.prog, case.bin / "fixes")
    twin = case.twin()
    case.prelink(case.bin / "fixes", case.prog, options=FIXED, status=None)
    assert "liba.so" in fixed(case) and not any("san" in name for name in fixed(case))

    def scenario(directory):
        done = directory.run(prefix=["setarch", "-R"])
        return done.status, done.stdout, re.findall(r"(?:SUMMARY: \w+: [a-z0-9-]+|runtime error: .*)", done.stderr)
    plain = scenario(twin)
    assert plain[2], "the fault is not found by a plain run either"
    assert scenario(case) == plain


@pytest.mark.parametrize("kind", ["address", "thread"])
def test_sanitizers_with_randomisation(case, kind):
    """The window is one that their shadow memory leaves free."""
    case.library("liba.so", "int f(int x) { return x; } char b; char *words[40] = { [0 ... 39] = &b };")
    case.program("int f(int); int main(void) { return f(0); }", ["liba.so"], [f"-fsanitize={kind}"])
    case.adopt()
    twin = case.twin()
    case.prelink(options=FIXED, status=None)
    for _ in range(5):
        done, plain = case.run(), twin.run()
        assert done == plain or "unexpected memory mapping" in done.stderr + plain.stderr, done


# Processes

def test_fork_and_exec(sampler):
    starter = sampler.program('#include <stdio.h>\n#include <unistd.h>\n#include <sys/wait.h>\nint square(int); int total(int);'
                              'int main(int argc, char **argv) { for (int i = 0; i < 3; i++) { if (fork() == 0) {'
                              'printf("%d\\n", square(total(i))); fflush(stdout); execl(argv[1], argv[1], NULL); } wait(NULL); } return 0; }',
                              ["libuser.so", "libbase.so"], name="starter")
    sampler.adopt(sampler.prog, starter)
    plain = sampler.run(sampler.prog, program=starter)
    assert plain.stdout.count(ANSWER) == 3
    fix(sampler, sampler.prog, starter)
    done = sampler.run_fast(sampler.prog, program=starter)
    assert done == plain and sum("accelerated" in note for note in done.notes) == 4


@pytest.mark.parametrize("dialect", ["gnu", "gnu2"])
@pytest.mark.parametrize("floating", [[], ["liba.so"]], ids=["fixed", "floating"])
def test_thread_local_storage(case, dialect, floating):
    case.library("liba.so", TLS_LIBRARY.format(model='__attribute__((tls_model("global-dynamic")))'), flags=[f"-mtls-dialect={dialect}"])
    case.library("libw.so", "char b; char *words[40] = { [0 ... 39] = &b }; __thread int mine = 4; int *my(void) { return &mine; }")
    case.program(TLS_PROGRAM, ["liba.so", "libw.so"])
    case.adopt()
    oracle = case.oracle().before()
    fix(case, floating=floating)
    assert case.run_fast().stdout == TLS_ANSWER
    oracle.after()


def test_threads(case):
    case.library("liba.so", "#include <pthread.h>\n__thread int mine = 4; static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; int sum;"
                            "char b; char *words[40] = { [0 ... 39] = &b }; void *work(void *p) { for (int i = 0; i < 1000; i++) mine++;"
                            "pthread_mutex_lock(&lock); sum += mine; pthread_mutex_unlock(&lock); return p; }")
    case.program('#include <pthread.h>\n#include <stdio.h>\nextern int sum; void *work(void *); int main(void) { pthread_t t[8];'
                 "for (int i = 0; i < 8; i++) pthread_create(&t[i], 0, work, 0); for (int i = 0; i < 8; i++) pthread_join(t[i], 0);"
                 'printf("%d\\n", sum); return 0; }', ["liba.so"])
    case.adopt()
    fix(case)
    assert case.run_fast().stdout == "8032\n"


CXX_BODY = """
    for (int i = 1; i < 4; i++)
        try { fail(i); }
        catch (const Problem &p) { std::printf("Problem %s\\n", p.what()); }
        catch (const std::exception &e) { std::printf("exception %s\\n", e.what()); }
        catch (int number) { std::printf("int %d\\n", number); }
    in_a(); in_b(); Counter<int> c;
    std::printf("%d %d %d %d\\n", dynamic_cast<Right *>(make(2))->more, typeid(*make(2)) == typeid(Both), ++shared(), Counter<int>::count);"""


@pytest.mark.parametrize("pie", [True, False], ids=["pie", "no-pie"])
@pytest.mark.parametrize("floating", [[], ["liba.so"], ["libb.so"], ["libstdc++.so.6"], ["libgcc_s.so.1", "liba.so"]], ids=lambda names: "+".join(names) or "none")
def test_exceptions_and_unique_symbols(case, floating, pie):
    """Thrown, caught, cast and counted across fixed and floating libraries."""
    case.library("liba.so", LIB_A, lang="c++")
    case.library("libb.so", LIB_B, ["liba.so"], lang="c++")
    case.program(CXX_HEADER + "int in_a(), in_b();\nint main() {" + CXX_BODY + "}", ["libb.so", "liba.so"], lang="c++", pie=pie)
    case.adopt()
    plain = case.run()
    assert plain.stdout == "Problem p\nexception r\nint 3\n2 1 3 3\n"
    words = Words(case, lazy={}, now=NOW, off={"FASTPRELINK": "0"}, occupied=occupier(case))
    fix(case, floating=floating)
    assert case.run_fast() == plain
    words.compare()


@pytest.mark.parametrize("prefix", [["setarch", "-R"], ["setarch", "-L"], ["setarch", "-3"], ["setarch", "-R3"], ["setarch", "-RL"],
                                    ["sh", "-c", 'ulimit -s unlimited; exec "$0" "$@"'],
                                    ["sh", "-c", 'ulimit -s 256; exec "$0" "$@"']], ids=lambda words: words[-1][:20].strip("-"))
def test_other_address_spaces(sampler, prefix):
    fix(sampler)
    done = sampler.run(prefix=prefix, env=DEBUG)
    assert done.stdout == ANSWER and done.notes, done


def test_little_address_space(sampler):
    """Enough or not enough as for plain libraries."""
    def scenario(directory):
        return [directory.run(prefix=["sh", "-c", f'ulimit -v {kilobytes}; exec "$0" "$@"'], env={"FASTPRELINK": "1"})
                for kilobytes in (2000, 2500, 3000, 4000, 8000, 100000)]
    twin = sampler.twin()
    fix(sampler)
    plain, fast = scenario(twin), scenario(sampler)
    assert plain[-1].stdout == ANSWER
    assert [done.stdout for done in fast] == [done.stdout for done in plain]
    assert [done.status for done in fast] == [done.status for done in plain]


@pytest.mark.parametrize("options", [[], ["--inhibit-cache"], ["--argv0", "name"], ["--preload", "DIR/lib/libbase.so"], ["--library-path", "DIR/lib"],
                                     ["--list"], ["--verify"]], ids=lambda options: (options or ["plain"])[0])
def test_loader_as_a_command(sampler, options):
    def scenario(directory):
        words = [word.replace("DIR", str(directory.path)) for word in options]
        done = directory.run(*words, directory.prog, program="/lib64/ld-linux-x86-64.so.2")
        return re.sub(r"0x[0-9a-f]+", "", done.stdout), done.stderr, done.status
    assert compare(sampler, scenario)[2] == 0


@pytest.mark.parametrize("variable", ["LD_BIND_NOT=1", "LD_DYNAMIC_WEAK=1", "GLIBC_TUNABLES=glibc.malloc.check=0", "FASTPRELINK=0",
                                      "LD_PROFILE=libbase.so"])
def test_variables_of_the_loader(sampler, variable):
    key, value = variable.split("=", 1)
    env = {key: value, "LD_PROFILE_OUTPUT": str(sampler.path)}
    words = Words(sampler, start={key: value}) if key != "LD_PROFILE" else None
    fix(sampler)
    done = sampler.run(env={**DEBUG, **env})
    assert done.stdout == ANSWER and not done.accelerated
    if words:
        words.compare()


@pytest.mark.root
def test_chroot_without_the_runtime(root):
    """Nor with a carrier: fixed libraries in a root of their own."""
    flags = ["-shared", "-fPIC"]
    base_ = build.compile_c(build.CASES / "base.c", "libbase.so", [*flags, "-Wl,-soname,libbase.so"])
    user = build.compile_c(build.CASES / "user.c", "libuser.so", [*flags, "-Wl,-soname,libuser.so"], [base_])
    prog = build.compile_c(build.CASES / "sampler.c", "prog", ["-fPIE", "-pie"], [user, base_])
    directory = "/usr/lib/x86_64-linux-gnu"
    for path, name in ((base_, f"{directory}/libbase.so"), (user, f"{directory}/libuser.so"), (prog, "/usr/bin/prog")):
        shutil.copy(path, root.host(name))
    root.add("/bin/true")
    plain_libc = root.libc.read_bytes()
    root.prelink("/usr/bin/prog", options=FIXED)
    assert base(root.host(f"{directory}/libbase.so")) >= BASE
    assert root.run_fast("/usr/bin/prog").stdout == ANSWER
    root.host("/usr/lib/fastprelink/rt").unlink()
    for env in ({}, NOW):
        done = root.run("/usr/bin/prog", env={**REQUIRE, **env})
        assert (done.stdout, done.status, done.notes) == (ANSWER, 0, [])
    root.libc.write_bytes(plain_libc)
    for env in ({}, NOW):
        assert root.run("/usr/bin/prog", env=env).stdout == ANSWER
    root.close()
    assert root.run("/usr/bin/prog").stdout == ANSWER


# Fixed and floating libraries that refer to each other

MUTUAL = """
#define V(kind) __attribute__((kind))
char {me}_bulk; char *{me}_words[40] = {{ [0 ... 39] = &{me}_bulk }};
extern char *{you}_words[];
int {me}_data = {number}; extern int {you}_data;
int {me}_function(void) {{ return {number} * 10; }} int {you}_function(void);
static int {me}_chosen(void) {{ return {number} * 100; }} static void *{me}_choose(void) {{ return {me}_chosen; }}
int {me}_indirect(void) V(ifunc("{me}_choose")); int {you}_indirect(void);
V(tls_model("global-dynamic")) __thread int {me}_thread = {number} * 1000; extern __thread int {you}_thread V(tls_model("global-dynamic"));
V(weak) int {me}_nobody(void); V(weak) extern int {me}_nothing; V(weak) int {you}_maybe(void);
int {me}_maybe(void) {{ return {number}; }}
V(weak) int both(void) {{ return {number}; }} int (*{me}_both)(void) = both;
int *{me}_data_at = &{you}_data, *{me}_own = &{me}_data;
int (*{me}_function_at)(void) = {you}_function, (*{me}_own_function)(void) = {me}_function;
int (*{me}_indirect_at)(void) = {you}_indirect;
int (*const volatile {me}_weak[])(void) = {{ {me}_nobody, {you}_maybe }}; int *const volatile {me}_weak_data = &{me}_nothing;
unsigned long strlen(const char *); unsigned long (*{me}_length)(const char *) = strlen; char **{me}_far = &{you}_words[7];
int {me}_sum(void)
{{
    return *{me}_data_at + *{me}_own + {you}_data + {you}_function() + {me}_function() + {me}_function_at() + {me}_own_function() + {me}_indirect_at()
        + {you}_indirect() + {you}_thread + ({me}_weak[0] != 0) + ({me}_weak_data != 0) + {me}_weak[1]() + {me}_both() * 7
        + (int){me}_length("four") + **{me}_far;
}}
"""
MUTUAL_MAIN = """
#include <stdio.h>
int a_sum(void), b_sum(void), a_function(void), b_function(void); extern int a_data, b_data, *a_own, *b_own, (*a_both)(void), (*b_both)(void);
extern int (*a_own_function)(void), (*b_own_function)(void);
int main(void)
{
    a_data += 3; b_data += 5;
    printf("%d %d %d %d %d %d %d\\n", a_sum(), b_sum(), a_own == &a_data, b_own == &b_data, a_both == b_both, a_own_function == a_function,
           b_own_function == b_function);
    return 0;
}"""


@pytest.mark.parametrize("pie", [True, False], ids=["pie", "no-pie"])
@LINKED
@pytest.mark.parametrize("floating", [[], ["liba.so"], ["libb.so"], ["liba.so", "libb.so"]], ids=["none", "a", "b", "both"])
def test_references_in_both_directions(case, floating, flags, pie):
    """Functions, data, IFUNC, thread-local, weak ones (defined, defined twice, by nobody), copy relocations."""
    for me, you, number in (("a", "b", 1), ("b", "a", 2)):
        case.library(f"lib{me}.so", MUTUAL.format(me=me, you=you, number=number), flags=["-Wl,-z,undefs", *flags])
    # A circle: each needs the other.
    for me, you, number in (("a", "b", 1), ("b", "a", 2)):
        other = case.lib / f"lib{you}.so"
        case.library(f"lib{me}.so", MUTUAL.format(me=me, you=you, number=number), [other], flags=["-Wl,-z,undefs", *flags])
    case.program(MUTUAL_MAIN, ["liba.so", "libb.so"], flags, pie=pie)
    case.adopt()
    plain, plain_now = case.run(), case.run(env=NOW)
    assert plain.status == 0 and plain.stdout == plain_now.stdout and plain.stdout.endswith(" 1 1 1 1 1\n"), plain
    words = Words(case, lazy={}, now=NOW, off={"FASTPRELINK": "0"}, occupied=occupier(case))
    fix(case, floating=floating)
    assert case.run_fast() == plain and case.run_fast(env=NOW) == plain_now
    words.compare()
    for name in ("liba.so", "libb.so"):
        assert (addresses(case)[name] == 0) == (name not in floating)
