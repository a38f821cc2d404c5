"""Under a filter that kills at system calls that plain ld.so does not make."""

import pytest

from harness import build

LARGE = "int v;\nint *pointers[400000] = { [0 ... 399999] = &v };\n" \
        "__attribute__((section(\".data.rel.ro\"))) int *fixed[400000] = { [0 ... 399999] = &v };\n"
MAIN = '#include <unistd.h>\nextern int *pointers[], *fixed[], v; int main(void)' \
       '{ if (pointers[399999] == &v && fixed[7] == &v) write(1, "ok\\n", 3); return 0; }'


@pytest.fixture
def filtered(case):
    return build.compile_c(build.CASES / "filter.c", "filter")


def test_the_filter_kills(case, filtered):
    case.program("#include <unistd.h>\nint main(void) { getppid(); return 0; }")
    assert case.run(prefix=[filtered]).status == -31  # SIGSYS


def test_a_small_program(sampler, filtered):
    sampler.prelink()
    done = sampler.run(prefix=[filtered], env={"FASTPRELINK": "require"})
    assert done.status == 0 and done.stdout.startswith("sum 146"), done


@pytest.mark.parametrize("pie", [True, False], ids=["pie", "no-pie"])
def test_large_ranges(case, filtered, pie):
    """Enough relocated pages for whatever is done to large ranges."""
    case.library("liblarge.so", LARGE)
    case.program(MAIN, ["liblarge.so"], pie=pie)
    case.adopt()
    assert case.run(prefix=[filtered]).stdout == "ok\n"
    case.prelink()
    done = case.run(prefix=[filtered], env={"FASTPRELINK": "require"})
    assert (done.status, done.stdout) == (0, "ok\n")


def test_large_ranges_hold_the_right_words(case):
    case.library("liblarge.so", LARGE)
    case.program(MAIN, ["liblarge.so"])
    case.check("ok\n")


def test_large_ranges_of_the_program_itself(case):
    case.program(LARGE + MAIN.replace("extern int *pointers[], *fixed[], v;", ""))
    case.check("ok\n")


def test_large_ranges_with_code_among_them(case):
    """A segment that is writable and executable keeps both rights."""
    code = '__asm__(".section .data.code,\\"awx\\"\\n.globl seven\\n.type seven,@function\\n"' \
           '"seven: mov $7,%eax\\n ret\\n.text");\nint seven(void); int call(void) { return seven(); }\n'
    case.library("liblarge.so", LARGE + code + "#include <stdlib.h>\nvoid *more(void) { return malloc(1); }")
    case.program('#include <stdio.h>\nint call(void); extern int *pointers[], v;'
                 'int main(void) { printf("%d %d\\n", call(), pointers[399999] == &v); return 0; }', ["liblarge.so"])
    case.check("7 1\n")


def test_a_decline(sampler, filtered):
    sampler.library("libp.so", "int unrelated;")
    sampler.prelink()
    done = sampler.run(prefix=[filtered], env={"LD_PRELOAD": str(sampler.lib / "libp.so")})
    assert done.status == 0 and done.stdout.startswith("sum 146")


def test_a_missing_runtime(sampler, filtered):
    sampler.prelink()
    sampler.runtime.unlink()
    done = sampler.run(prefix=[filtered])
    assert done.status == 0 and done.stdout.startswith("sum 146")
