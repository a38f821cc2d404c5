"""Fixed libraries in all kinds of processes, and beside floating ones that refer to them and they to these."""

import re
import shutil

import pytest

from harness import build
from harness.run import DEBUG, REQUIRE
from test_cxx import HEADER as CXX_HEADER, LIB_A, LIB_B
from test_fallback import ANSWER, FIXED, LINKED, NOW, Words, base, compare, fix
from test_shift import BASE, addresses, occupier
from test_tls import ANSWER as TLS_ANSWER, LIBRARY as TLS_LIBRARY, PROGRAM as TLS_PROGRAM

pytestmark = pytest.mark.one_placement  # says itself which


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
