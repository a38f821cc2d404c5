"""Fixed libraries under debuggers, tracers, profilers and sanitizers."""

import re
import shutil

import pytest

from harness import build, need
from harness.run import run
from test_fallback import ANSWER, FIXED, compare, fix, fixed
from test_shift import occupier
from test_tools import SANITIZED, faults, gdb

pytestmark = pytest.mark.one_placement  # says itself which


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
    twin = sampler.twin()
    fix(sampler)
    for prefix in ([need.tool("ltrace"), "-e", "total+square@*", "-o", "/dev/null"], [need.tool("strace"), "-f", "-o", "/dev/null"]):
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
        return done.status, done.stdout, faults(done)
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
