"""Which definition a reference gets: one rule of symbol look-up per test."""

import pytest

from oracle import Oracle

PRINT = '#include <stdio.h>\n'
PIE = pytest.mark.parametrize("pie", [True, False], ids=["pie", "no-pie"])


def printing(expression, declarations=""):
    """A program that prints the int EXPRESSION."""
    return PRINT + declarations + '\nint main(void) { printf("%d\\n", ' + expression + '); return 0; }'


@PIE
def test_data_relocation(case, pie):
    case.library("liba.so", "int value = 42;")
    case.program(printing("*pointer", "extern int value; int *pointer = &value;"), ["liba.so"], pie=pie)
    case.check("42\n")


@PIE
def test_symbol_plus_addend(case, pie):
    case.library("liba.so", "int table[5] = { 0, 1, 2, 3, 4 };")
    case.library("libb.so", "extern int table[]; int *third = &table[3];", ["liba.so"])
    case.program(printing("*third", "extern int *third;"), ["libb.so", "liba.so"], pie=pie)
    case.check("3\n")


def test_negative_addend(case):
    case.library("liba.so", "int table[5] = { 0, 1, 2, 3, 4 };")
    case.library("libb.so", "extern int table[]; int *before = &table[-2];", ["liba.so"])
    case.program(printing("before[3]", "extern int *before;"), ["libb.so", "liba.so"])
    case.check("1\n")


def test_relative_relocations(case):
    case.library("liba.so", 'static int a = 5, b = 6; static int *pointers[] = { &a, &b };'
                            'int get(int i) { return *((int *volatile *)pointers)[i]; }')
    case.program(printing("get(0) * 10 + get(1)", "int get(int);"), ["liba.so"])
    case.check("56\n")


@PIE
def test_function_address_is_the_same_everywhere(case, pie):
    case.library("liba.so", "int f(void) { return 1; } void *of_library(void) { return f; }")
    case.program(printing("of_library() == (void *)f && f() == 1", "int f(void); void *of_library(void);"),
                 ["liba.so"], pie=pie)
    case.check("1\n")


def test_canonical_plt_address_of_the_program(case):
    case.library("liba.so", "int f(void) { return 1; } void *(*volatile address)(void);"
                            "void *of_library(void) { return f; } void *table[] = { f };")
    case.program(printing("of_library() == (void *)f && table[0] == (void *)f",
                          "int f(void); void *of_library(void); extern void *table[];"),
                 ["liba.so"], pie=False)
    case.check("1\n")


@PIE
def test_copy_relocation(case, pie):
    case.library("liba.so", "int value = 1; int *at = &value; int get(void) { return value; }")
    case.program(printing("(value = 7, get() + (at == &value))", "extern int value, *at; int get(void);"),
                 ["liba.so"], pie=pie)
    case.check("8\n")


def test_copy_of_a_pointer(case):
    case.library("liba.so", 'static char text[] = "x"; char *pointer = text; char *alias(void) { return pointer; }')
    case.program(printing("pointer == alias() && *pointer == 'x'", "extern char *pointer; char *alias(void);"),
                 ["liba.so"], pie=False)
    case.check("1\n")


def test_copy_of_a_weak_alias(case):
    """As with environ and __environ: the program's copy takes both names."""
    case.library("liba.so", "int value = 3; extern int other __attribute__((weak, alias(\"value\")));"
                            "int get(void) { return value; }")
    case.program(printing("(other = 9, get())", "extern int other; int get(void);"), ["liba.so"], pie=False)
    case.check("9\n")


@PIE
def test_program_interposes_library(case, pie):
    case.library("liba.so", "int f(void) { return 1; } int g(void) { return f(); }")
    case.program(printing("g()", "int g(void); int f(void) { return 2; }"), ["liba.so"], pie=pie)
    case.check("2\n")


def test_library_interposes_library(case):
    case.library("liba.so", "int f(void) { return 1; }")
    case.library("libb.so", "int f(void) { return 2; } int g(void) { return f(); }")
    case.program(printing("g() * 10 + f()", "int f(void), g(void);"), ["liba.so", "libb.so"])
    case.check("11\n")


def test_interposed_data(case):
    case.library("liba.so", "int value = 1;")
    case.library("libb.so", "int value = 2; int *at = &value;")
    case.program(printing("*at", "extern int *at;"), ["liba.so", "libb.so"])
    case.check("1\n")


def test_interposed_malloc(case):
    case.program("""
#include <stdio.h>
#include <string.h>
static char pool[1 << 20]; static size_t used; static volatile int calls;
void *malloc(size_t n) { calls++; void *p = pool + used; used += (n + 31) & -16; return p; }
void free(void *p) {}
void *calloc(size_t a, size_t b) { return memset(malloc(a * b), 0, a * b); }
void *realloc(void *p, size_t n) { return p ? memcpy(malloc(n), p, n) : malloc(n); }
int main(void) { int before = calls; char *volatile copy = strdup("x"); printf("%d\\n", calls - before); return 0; }""")
    case.check("1\n")


def test_weak_does_not_yield_to_strong(case):
    case.library("liba.so", "__attribute__((weak)) int f(void) { return 1; }")
    case.library("libb.so", "int f(void) { return 2; } int g(void) { return f(); }")
    case.program(printing("g()", "int g(void);"), ["liba.so", "libb.so"])
    case.check("1\n")


@PIE
def test_undefined_weak(case, pie):
    case.library("liba.so", "extern int f(void) __attribute__((weak)); int has(void) { return f != 0; }")
    case.program(printing("has() * 2 + (nothing != 0)",
                          "int has(void); extern int nothing(void) __attribute__((weak));"),
                 ["liba.so"], pie=pie)
    case.check("0\n")


def test_undefined_weak_with_addend(case):
    case.library("liba.so", "extern char gone[] __attribute__((weak)); char *at = gone + 5;")
    case.program(printing("(int)(long)at", "extern char *at;"), ["liba.so"])
    case.check("5\n")


def test_undefined_weak_is_found_in_a_later_library(case):
    case.library("liba.so", "extern int f(void) __attribute__((weak)); int get(void) { return f ? f() : 0; }")
    case.library("libb.so", "int f(void) { return 4; }")
    case.program(printing("get()", "int get(void);"), ["liba.so", "libb.so"])
    case.check("4\n")


def test_protected(case):
    case.library("liba.so", '__attribute__((visibility("protected"))) int f(void) { return 1; }'
                            "int g(void) { return f(); } int (*at)(void) = f;")
    case.program(printing("g() * 10 + at()", "int g(void); extern int (*at)(void);"
                          "__attribute__((noinline)) int unused(void) { return 2; }"), ["liba.so"])
    case.check("11\n")


def test_protected_is_not_interposed(case):
    case.library("liba.so", "int f(void) { return 1; }")
    case.library("libb.so", '__attribute__((visibility("protected"))) int f(void) { return 2; }'
                            "int (*at)(void) = f;")
    case.program(printing("at()", "extern int (*at)(void);"), ["liba.so", "libb.so"])
    case.check("2\n")


def test_hidden_is_not_interposed(case):
    case.library("liba.so", "int f(void) { return 1; }")
    case.library("libb.so", '__attribute__((visibility("hidden"))) int f(void) { return 2; }'
                            "int (*at)(void) = f;")
    case.program(printing("at() * 10 + f()", "extern int (*at)(void); int f(void);"), ["liba.so", "libb.so"])
    case.check("21\n")


def test_symbolic(case):
    case.library("liba.so", "int f(void) { return 1; } int (*at)(void) = f;", flags=["-Wl,-Bsymbolic"])
    case.program(printing("at() * 10 + f()", "extern int (*at)(void); int f(void) { return 2; }"), ["liba.so"])
    case.check("12\n")


def test_symbolic_falls_back_to_the_global_scope(case):
    case.library("libb.so", "int g(void) { return 5; }")
    case.library("liba.so", "int g(void); int (*at)(void) = g;", ["libb.so"], flags=["-Wl,-Bsymbolic"])
    case.program(printing("at()", "extern int (*at)(void); int g(void) { return 6; }"), ["liba.so"])
    case.check("6\n")


def test_symbolic_functions(case):
    case.library("liba.so", "int f(void) { return 1; } int value = 1; int get(void) { return f() * 10 + value; }",
                 flags=["-Wl,-Bsymbolic-functions"])
    case.program(printing("get()", "int get(void); int f(void) { return 2; } int value = 2;"), ["liba.so"])
    case.check("12\n")


VERSIONED = """
int old_f(void) { return 1; } int new_f(void) { return 2; }
__asm__(".symver old_f,f@V1"); __asm__(".symver new_f,f@@V2");
"""
VERSION_MAP = "V1 { global: f; local: *; }; V2 { global: f; } V1;"


def versioned(case, source=VERSIONED, script=VERSION_MAP, name="liba.so"):
    path = case.path / "version.map"
    path.write_text(script)
    return case.library(name, source + f"/* {script} */", flags=[f"-Wl,--version-script={path}"])


def test_default_version(case):
    versioned(case)
    case.program(printing("f()", "int f(void);"), ["liba.so"])
    case.check("2\n")


def test_two_versions_of_one_symbol(case):
    versioned(case)
    case.program(printing("f() * 10 + old()", 'int f(void), old(void); __asm__(".symver old,f@V1");'), ["liba.so"])
    case.check("21\n")


def test_version_decides_between_libraries(case):
    versioned(case, "int f(void) { return 1; }", "A { f; };", "liba.so")
    versioned(case, "int f(void) { return 2; }", "B { f; };", "libb.so")
    case.library("libc1.so", "int f(void); int g(void) { return f(); }", ["libb.so"])
    case.program(printing("g() * 10 + f()", "int f(void), g(void);"), ["liba.so", "libc1.so"])
    case.check("21\n")


def test_unversioned_reference_to_a_versioned_library(case):
    """Linked against a build without versions; the base version (index 2) is then the right one."""
    stub = case.library("liba.so", "int f(void) { return 0; }", where="stub")
    case.library("libuser.so", "int f(void); int (*at)(void) = f;", [stub])
    versioned(case)
    case.program(printing("at()", "extern int (*at)(void);"), ["libuser.so"], ["-Wl,--unresolved-symbols=ignore-all"])
    case.check("1\n")


def test_versioned_reference_to_an_unversioned_library(case):
    versioned(case)
    case.program(printing("f()", "int f(void);"), ["liba.so"])
    case.library("liba.so", "int f(void) { return 3; }")
    case.adopt()
    plain = case.run()
    assert "no version information available" in plain.stderr
    case.check("3\n")


def test_versioned_reference_interposed_by_an_unversioned_definition(case):
    versioned(case)
    case.library("libuser.so", "int f(void); int g(void) { return f(); }", ["liba.so"])
    case.program(printing("g()", "int g(void); int f(void) { return 9; }"), ["libuser.so", "liba.so"])
    case.check("9\n")


def test_unique_symbol_is_one_across_libraries(case):
    header = "template<int> struct S { static int value; }; template<int N> int S<N>::value = N;\n"
    for name in "ab":
        case.library(f"lib{name}.so", header + f"int *{name}() {{ return &S<4>::value; }}", lang="c++")
    case.program(header + PRINT + "int *a(), *b(); int main() "
                 '{ printf("%d %d\\n", a() == b() && a() == &S<4>::value, *b()); }',
                 ["liba.so", "libb.so"], lang="c++")
    case.check("1 4\n")


@pytest.mark.parametrize("mode", ["RTLD_NOW", "RTLD_LAZY|RTLD_GLOBAL", "RTLD_NOW|RTLD_DEEPBIND"])
def test_unique_symbol_is_shared_with_a_library_opened_later(case, mode):
    header = "inline int &value() { static int v = 4; return v; }\n"
    case.library("liba.so", header + "int *a() { return &value(); }", lang="c++")
    case.library("libb.so", header + 'extern "C" int *b() { return &value(); }', lang="c++")
    case.program(PRINT + f"""#include <dlfcn.h>
int *a();
int main() {{
    void *handle = dlopen("libb.so", {mode});
    int *(*b)() = (int *(*)())dlsym(handle, "b");
    printf("%d\\n", b() == a());
}}""", ["liba.so"], lang="c++")
    case.check("1\n")


def test_breadth_first_order(case):
    """a needs c, c defines f; b defines f too: b comes before c, although c is reached through a."""
    case.library("libc1.so", "int f(void) { return 3; }")
    case.library("liba.so", "int f(void); int g(void) { return f(); }", ["libc1.so"])
    case.library("libb.so", "int f(void) { return 2; }")
    case.program(printing("g()", "int g(void);"), ["liba.so", "libb.so"])
    case.check("2\n")


def test_many_symbols(case):
    """Enough for hash chains, bloom filters and large tables to matter."""
    count = 3000
    case.library("liba.so", "".join(f"int v{i} = {i};" for i in range(count)))
    case.library("libb.so", "".join(f"extern int v{i};" for i in range(count)) + "int *all[] = {"
                 + ",".join(f"&v{(i * 7) % count}" for i in range(count)) + "};", ["liba.so"])
    case.program(printing("sum()", f"extern int *all[]; int sum(void) {{ int s = 0; "
                          f"for (int i = 0; i < {count}; i++) s += *all[i] * (i % 3); return s; }}"),
                 ["libb.so", "liba.so"])
    case.check(f"{sum((i * 7) % count * (i % 3) for i in range(count))}\n")


def test_lazy_calls_after_start(case):
    case.library("liba.so", "".join(f"int f{i}(int x) {{ return x + {i}; }}" for i in range(50)))
    case.library("libb.so", "".join(f"int f{i}(int);" for i in range(50)) + "int sum(void) { int s = 0;"
                 + "".join(f"s = f{i}(s);" for i in range(50)) + "return s; }", ["liba.so"])
    case.program(printing("sum() + f3(1)", "int sum(void), f3(int);"), ["libb.so", "liba.so"])
    case.check(f"{sum(range(50)) + 4}\n")


def table_of(names, prefix="extern int"):
    return "".join(f"{prefix} {name}(void);" for name in names) + f"void *table[] = {{ {', '.join(names)} }};"


def defining(names, result):
    return "".join(f"int {name}(void) {{ return {result}; }}" for name in names)


@pytest.mark.one_placement
def test_what_one_program_finds_is_not_taken_for_another_ones(case):
    """Programs of one run share what they find.  Each of these has a library that refers to 1,000 functions, which others define
    elsewhere: each must hold the same as if it had been alone, whatever the order."""
    names = [f"f{i}" for i in range(1000)]
    case.library("libbase.so", defining(names, 1))
    case.library("libother.so", defining(names[500:], 2))
    case.library("libempty.so", "int empty;")
    case.library("libuser.so", table_of(names) + "int sum(void) { int all = 0; for (int i = 0; i < 1000; i++)"
                 " all += ((int (*)(void))table[i])(); return all; }", flags=["-Wl,--allow-shlib-undefined"])
    closures = {"alone": (["libuser.so", "libbase.so"], "", 1000),
                "before": (["libuser.so", "libother.so", "libbase.so"], "", 1500),
                "behind": (["libuser.so", "libempty.so", "libbase.so", "libother.so"], "", 1000),
                "own": (["libuser.so", "libbase.so"], defining(names[:100], 3), 1200)}
    for name, (libs, own, _) in closures.items():
        case.program(printing("sum()", "int sum(void);" + own), libs, ["-rdynamic"], name)
    programs = [case.bin / name for name in closures]
    case.own_libc()
    oracles = {program: Oracle(case.path / "oracle" / program.name, [program], case.env()).before() for program in programs}
    separate = {}
    for program in programs:
        case.prelink(program, options=["-f", "--aslr"])
        separate[program] = program.read_bytes()
        case.undo(program)
    for order in (programs, programs[::-1]):
        case.prelink(*order, options=["-f", "--aslr"])
        for program, (_, _, answer) in zip(programs, closures.values()):
            assert program.read_bytes() == separate[program], program
            assert case.run_fast(program=program).stdout == f"{answer}\n"
            oracles[program].after()
        case.undo(*programs)
