"""Functions that a resolver chooses at start."""

import pytest

PIE = pytest.mark.parametrize("pie", [True, False], ids=["pie", "no-pie"])
IFUNC = """
static int one(void) { return 1; }
static int two(void) { return 2; }
static void *choose(void) { return %s; }
int f(void) __attribute__((ifunc("choose")));
"""
LIBRARY = IFUNC % "two"
MAIN = '\n#include <stdio.h>\nint main(void) { printf("%%d\\n", %s); return 0; }'


@PIE
def test_in_the_program(case, pie):
    case.program(LIBRARY + MAIN % "f()", pie=pie)
    case.check("2\n")


@PIE
def test_in_the_program_addressed(case, pie):
    case.program(LIBRARY + "int (*at)(void) = f;" + MAIN % "at()", pie=pie)
    case.check("2\n")


@PIE
def test_called_across_libraries(case, pie):
    case.library("liba.so", LIBRARY)
    case.library("libb.so", "int f(void); int g(void) { return f(); }", ["liba.so"])
    case.program("int f(void), g(void);" + MAIN % "g() * 10 + f()", ["libb.so", "liba.so"], pie=pie)
    case.check("22\n")


def test_addressed_across_libraries(case):
    case.library("liba.so", LIBRARY + "int (*in_a)(void) = f;")
    case.library("libb.so", "int f(void); int (*in_b)(void) = f; int (*more[])(void) = { f, f };", ["liba.so"])
    case.program("extern int (*in_a)(void), (*in_b)(void), (*more[])(void);"
                 + MAIN % "in_b() * 100 + more[1]() * 10 + in_a()", ["libb.so", "liba.so"])
    case.check("222\n")


def test_local_to_a_library(case):
    case.library("liba.so", LIBRARY.replace("int f(", "static int f(")
                 + "int (*volatile at)(void) = f; int g(void) { return at() * 10 + f(); }")
    case.program("int g(void);" + MAIN % "g()", ["liba.so"])
    case.check("22\n")


def test_interposed_by_a_plain_function(case):
    case.library("liba.so", LIBRARY + "int (*at)(void) = f;")
    case.program("int f(void) { return 7; } extern int (*at)(void);" + MAIN % "at()", ["liba.so"])
    case.check("7\n")


def test_interposes_a_plain_function(case):
    case.library("liba.so", "int f(void) { return 7; } int (*at)(void) = f; int g(void) { return f(); }")
    case.library("libb.so", LIBRARY)
    case.program("extern int (*at)(void); int g(void);" + MAIN % "at() * 10 + g()", ["libb.so", "liba.so"])
    case.check("22\n")


def test_resolver_reads_relocated_data(case):
    case.library("libb.so", "int setting = 1;")
    case.library("liba.so", "extern int setting; int *where = &setting;"
                 + IFUNC % "*where ? two : one" + "int (*at)(void) = f;", ["libb.so"])
    case.program("extern int (*at)(void);" + MAIN % "at()", ["liba.so", "libb.so"])
    case.check("2\n")


def test_resolver_calls_another_library(case):
    case.library("libb.so", "int setting(void) { return 1; }")
    case.library("liba.so", "int setting(void);" + IFUNC % "setting() ? two : one", ["libb.so"])
    case.library("libuser.so", "int f(void); int (*at)(void) = f;", ["liba.so"])
    case.program("extern int (*at)(void);" + MAIN % "at()", ["libuser.so"])
    case.check("2\n")


def test_resolver_asks_the_processor(case):
    case.library("liba.so", IFUNC % '(__builtin_cpu_init(), __builtin_cpu_supports("sse2")) ? two : one')
    case.program("int f(void);" + MAIN % "f()", ["liba.so"])
    case.check("2\n")


def test_resolver_asks_the_processor_through_libgcc(case):
    """libgcc_s's __cpu_model is a variable in another library."""
    case.library("liba.so", IFUNC % '__builtin_cpu_supports("sse2") ? two : one', flags=["-shared-libgcc"])
    case.program("int f(void);" + MAIN % "f()", ["liba.so"])
    case.check("2\n")


def test_resolver_is_called_once_per_relocation_or_less(case):
    """The count may shrink; the result may not: the resolver is free to choose anew at each call."""
    case.library("liba.so", "int calls;" + IFUNC % "(calls++, two)" + "int (*at[])(void) = { f, f, f };")
    case.program("extern int (*at[])(void);" + MAIN % "at[0]() + at[1]() + at[2]()", ["liba.so"])
    case.check("6\n")


def test_of_libc_addressed(case):
    """memcpy, strlen and time are chosen by processor or vDSO; their addresses are taken here."""
    case.library("liba.so", "#include <string.h>\n#include <time.h>\n"
                            "void *(*volatile copy)(void *, const void *, size_t) = memcpy;"
                            "size_t (*volatile length)(const char *) = strlen; time_t (*volatile now)(time_t *) = time;")
    case.program('#include <stddef.h>\nextern void *(*volatile copy)(void *, const void *, size_t);'
                 "extern size_t (*volatile length)(const char *); extern long (*volatile now)(long *);"
                 + MAIN % '({ char text[4]; copy(text, "abc", 4); (int)length(text) + (now(0) > 0); })', ["liba.so"])
    case.check("4\n")
