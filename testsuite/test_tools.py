"""Debuggers, tracers and checkers over a prelinked program."""

import re

import pytest

from harness import build, need
from harness.run import DEBUG, REQUIRE, run

ANSWER = "sum 146 counter 46 same 1 1\n"


@pytest.fixture
def debugged(case):
    """The sampler with debug information."""
    case.library("libbase.so", build.CASES / "base.c", flags=["-g", "-O0"])
    case.library("libuser.so", build.CASES / "user.c", ["libbase.so"], flags=["-g", "-O0"])
    case.program(build.CASES / "sampler.c", ["libuser.so", "libbase.so"], flags=["-g", "-O0"])
    case.adopt()
    return case


def gdb(directory, *commands):
    """What gdb prints, without addresses; the private libraries are for the program only."""
    line = [need.tool("gdb"), "-batch", "-nx", "-ex", "set debuginfod enabled off",
            "-ex", "set breakpoint pending on", "-ex", f"set environment LD_LIBRARY_PATH {directory.lib}"]
    for key, value in REQUIRE.items():
        line += ["-ex", f"set environment {key} {value}"]
    for command in commands:
        line += ["-ex", command]
    text = run(line + [directory.prog]).stdout.replace(str(directory.path), "DIR")
    return re.sub(r"0x[0-9a-f]+|process \d+|-?DIR-twin", "", text)


def test_gdb_breakpoint_and_backtrace(debugged):
    text = debugged.compare(lambda directory: gdb(directory, "break square", "run", "bt", "info sharedlibrary", "finish",
                                                  "info line total", "print counter", "continue"))
    assert "square (side=2)" in text and "main () at" in text and "libbase.so" in text


def test_gdb_breakpoint_in_a_constructor(debugged):
    text = debugged.compare(lambda directory: gdb(directory, "break begin", "run", "bt",
                                                  "print words", "continue"))
    assert "begin () at" in text


def test_gdb_steps_through_a_lazy_call(debugged):
    text = debugged.compare(lambda directory: gdb(directory, "break total", "run", "next", "next", "info symbol hook"))
    assert "per_thread" in text


def test_gdb_reads_thread_local_data(debugged):
    assert "= 7" in debugged.compare(lambda directory: gdb(directory, "break total", "run", "print per_thread"))


def test_gdb_disassembles_the_program_before_it_runs(debugged):
    assert "main" in debugged.compare(lambda directory: gdb(directory, "info line main", "x/5i main", "list main"))


@pytest.mark.parametrize("tool", ["none", "memcheck"])
def test_valgrind(debugged, tool):
    """Under valgrind the stub and the runtime run on a simulated processor."""
    options = ["--error-exitcode=99", "--leak-check=no"] if tool == "memcheck" else []
    prefix = [need.tool("valgrind"), "-q", f"--tool={tool}", *options]
    done = debugged.compare(lambda directory: directory.run(prefix=prefix, env=DEBUG))
    assert done.stdout == ANSWER and done.status == 0


def test_strace(sampler):
    sampler.prelink()
    log = sampler.path / "log"
    done = sampler.run_fast(prefix=[need.tool("strace"), "-f", "-o", log])
    assert done.stdout == ANSWER
    assert f'"{sampler.runtime}"' in log.read_text()


def test_system_calls_of_a_program_without_tables(sampler):
    """The stub alone makes none."""
    other = sampler.program("int main(void) { return 0; }", name="other")
    twin = sampler.twin()
    sampler.prelink()

    def calls(directory):
        log = directory.path / "log"
        directory.run(program=directory.bin / other.name, prefix=[need.tool("strace"), "-o", log])
        return [line.split("(")[0] for line in log.read_text().splitlines()]
    assert calls(sampler) == calls(twin)


def test_ltrace(sampler):
    prefix = [need.tool("ltrace"), "-e", "total+square@*", "-o", "/dev/null"]
    assert sampler.compare(lambda directory: directory.run(prefix=prefix)).stdout == ANSWER


@pytest.mark.heavy
def test_perf_record_and_report(debugged):
    """Samples fall into functions that perf can name."""
    perf = need.tool("perf")

    def scenario(directory):
        data = directory.path / "perf.data"
        done = directory.run(prefix=[perf, "record", "-q", "-e", "cpu-clock", "-o", data])
        report = run([perf, "script", "-i", data, "-F", "comm"])
        return done.stdout, done.status, report.status
    assert debugged.compare(scenario) == (ANSWER, 0, 0)


@pytest.mark.heavy
def test_perf_stat(sampler):
    prefix = [need.tool("perf"), "stat", "-x,", "-o", "/dev/null", "-e", "cpu-clock"]
    assert sampler.compare(lambda directory: directory.run(prefix=prefix)).stdout == ANSWER


@pytest.mark.parametrize("options", [[], ["-r"], ["-d"], ["-v"], ["-u"]], ids=["plain", "r", "d", "v", "u"])
def test_ldd(sampler, options):
    def scenario(directory):
        done = directory.run(*options, directory.prog, program=need.tool("ldd"))
        return re.sub(r" \(0x[0-9a-f]+\)", "", done.stdout), done.stderr, done.status
    text, errors, _ = sampler.compare(scenario)
    assert "libbase.so" in text or options == ["-u"]
    assert errors == ""


def test_ldd_reports_undefined_functions(case):
    case.library("liba.so", "int nowhere(void); int f(void) { return nowhere(); }", flags=["-Wl,-z,undefs"])
    case.program("int f(void); int main(int c, char **v) { return c > 5 ? f() : 0; }", ["liba.so"])

    def scenario(directory):
        done = directory.run("-r", directory.prog, program=need.tool("ldd"))
        return re.sub(r" \(0x[0-9a-f]+\)", "", done.stdout + done.stderr), done.status
    assert "undefined symbol: nowhere" in case.compare(scenario)[0]


def faults(done):
    """What a sanitizer found, without addresses."""
    return re.findall(r"(?:SUMMARY: \w+: [a-z0-9-]+|runtime error: .*)", done.stderr)


SANITIZED = {
    "address": "int f(int); int main(int c, char **v) { char *p = malloc(10); p[f(c) + 9] = 1; free(p); return 0; }",
    "thread": "static int value; static void *work(void *p) { value++; return p; } int f(int); int main(void) { pthread_t t;"
              "pthread_create(&t, 0, work, 0); value += f(1); pthread_join(t, 0); return 0; }",
    "undefined": "int f(int); int main(int c, char **v) { volatile int sum = f(c) + 0x7fffffff; return 0; }",
    "leak": "void *keep; int f(int); int main(int c, char **v) { keep = malloc(f(c)); keep = 0; return 0; }",
}


@pytest.mark.parametrize("cc", ["gcc", "clang"])
@pytest.mark.parametrize("kind", SANITIZED.keys())
def test_sanitizers(case, kind, cc):
    """The sanitizer works, and finds the same fault."""
    case.library("liba.so", "int f(int x) { return x; } int (*at)(int) = f;")
    source = "#include <pthread.h>\n#include <stdlib.h>\n" + SANITIZED[kind]
    case.program(source, ["liba.so"], [f"-fsanitize={kind}", "-g", "-O0"], cc=cc)
    case.adopt()
    twin = case.twin()
    case.prelink(status=None)

    def scenario(directory):
        done = directory.run(env=DEBUG, prefix=["setarch", "-R"])
        return done.status, done.stdout, faults(done)
    plain = scenario(twin)
    assert plain[2], "the fault is not found by a plain run either"
    assert scenario(case) == plain


@pytest.mark.parametrize("kind", ["address", "thread"])
def test_sanitizers_with_randomisation(case, kind):
    case.program("int main(void) { return 0; }", flags=[f"-fsanitize={kind}"])
    case.adopt()
    case.prelink(status=None)
    for _ in range(5):
        done = case.run()
        assert done.status == 0 or "unexpected memory mapping" in done.stderr, done


def test_core_dump_is_read_by_gdb(debugged):
    """AT_PHDR in the core leads gdb to the load address of a program that was moved about."""
    core = debugged.path / "core"

    def scenario(directory):
        text = gdb(directory, "break square", "run", f"generate-core-file {core}", "kill")
        again = run([need.tool("gdb"), "-batch", "-nx", "-ex", "set debuginfod enabled off", "-ex", "bt", directory.prog, core])
        core.unlink()
        return "square (side=2)" in text, re.findall(r"#\d+ .*?(\w+) \(.*", again.stdout)
    assert debugged.compare(scenario) == (True, ["square", "square", "main"])


@pytest.mark.parametrize("tool", [["nm", "-D"], ["objdump", "-d", "-j", ".text"], ["size", "-A"], ["readelf", "-Ws"],
                                  ["readelf", "-h"], ["eu-readelf", "-d"]], ids=" ".join)
def test_readers_read_it(sampler, tool):
    sampler.prelink()
    done = run([need.tool(tool[0]), *tool[1:], sampler.prog])
    assert done.status == 0 and done.stdout and "arning" not in done.stderr, done
