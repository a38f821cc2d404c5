"""Environments that change what ld.so does: the outcome is that of a plain start, accelerated or not."""

import re

import pytest

from harness import build
from harness.run import DEBUG, REQUIRE

ANSWER = "sum 146 counter 46 same 1 1\n"


def same(case, env=None, expected=ANSWER, **options):
    """Runs plain and prelinked in ENV, whose values may name DIR; returns the prelinked result."""
    def scenario(directory):
        values = {key: value.replace("DIR", str(directory.path)) for key, value in (env or {}).items()}
        return directory.run(env={**DEBUG, **values}, **options)
    done = case.compare(scenario)
    assert expected is None or done.stdout == expected
    assert done.notes, done
    return done


def test_nothing_special(sampler):
    assert same(sampler).accelerated


def test_preloaded_interposer(sampler):
    sampler.library("libp.so", "int square(int side) { return 1000; }")
    done = same(sampler, {"LD_PRELOAD": "DIR/lib/libp.so"}, "sum 2126 counter 46 same 1 1\n")
    assert done.declined


def test_preloaded_library_that_defines_nothing_of_interest(sampler):
    sampler.library("libp.so", "int unrelated;")
    same(sampler, {"LD_PRELOAD": "DIR/lib/libp.so"})


def test_preload_of_a_library_of_the_closure(sampler):
    same(sampler, {"LD_PRELOAD": "DIR/lib/libbase.so"})


@pytest.mark.parametrize("name", ["bin/prog", "lib/libc.so.6", "lib/ld-linux-x86-64.so.2"])
def test_preload_of_a_prelinked_file(sampler, name):
    """ld.so refuses a program as a library, and takes libc for the one it knows."""
    same(sampler, {"LD_PRELOAD": f"DIR/{name}"})


def test_preload_that_does_not_exist(sampler):
    same(sampler, {"LD_PRELOAD": "/nonexistent.so"})


def test_library_path_with_another_version(sampler):
    sampler.library("libbase.so", f'#include "{build.CASES}/base.c"\n'
                    + "__attribute__((constructor)) static void more(void) { counter += 1000; }", where="other")
    done = same(sampler, {"LD_LIBRARY_PATH": "DIR/other:DIR/lib"}, "sum 146 counter 1046 same 1 1\n")
    assert done.declined


def test_library_path_with_an_equal_copy(sampler):
    (sampler.path / "other").mkdir()
    (sampler.path / "other/libbase.so").write_bytes((sampler.lib / "libbase.so").read_bytes())
    same(sampler, {"LD_LIBRARY_PATH": "DIR/other:DIR/lib"})


def test_bind_now(sampler):
    same(sampler, {"LD_BIND_NOW": "1"})


def undefined_function(case):
    case.library("liba.so", "int nowhere(void); int f(int call) { return call ? nowhere() : 4; }",
                 flags=["-Wl,-z,undefs"])
    case.program('#include <stdio.h>\n#include <stdlib.h>\nint f(int); int main(void) '
                 '{ printf("%d\\n", f(getenv("CALL") != 0)); fflush(stdout); return 0; }', ["liba.so"])
    return case


def test_undefined_function_that_is_not_called(case):
    assert same(undefined_function(case), expected="4\n").accelerated


def test_undefined_function_that_is_called(case):
    done = same(undefined_function(case), {"CALL": "1"}, "")
    assert done.status == 127 and "undefined symbol: nowhere" in done.stderr


def test_undefined_function_with_bind_now(case):
    done = same(undefined_function(case), {"LD_BIND_NOW": "1"}, "")
    assert done.status == 127 and "undefined symbol: nowhere" in done.stderr


def test_undefined_function_of_a_bind_now_library(case):
    """Plain ld.so refuses to start it; so must we, or not touch it at all."""
    case.library("liba.so", "int nowhere(void); int f(void) { return nowhere(); }", flags=["-Wl,-z,undefs,-z,now"])
    case.program("int f(void); int main(int c, char **v) { return c > 5 ? f() : 0; }", ["liba.so"])
    case.adopt()
    twin = case.twin()
    case.prelink(status=None)
    done = case.run()
    assert done == twin.run() and done.status == 127


def test_undefined_variable(case):
    case.library("liba.so", "int gone;", where="stub")
    case.program("extern int gone; int *at = &gone; int main(void) { return 0; }", [case.path / "stub/liba.so"],
                 flags=["-mno-direct-extern-access"])
    case.library("liba.so", "int other;")
    case.adopt()
    twin = case.twin()
    case.prelink(status=None)
    done = case.run()
    assert done == twin.run() and done.status == 127 and "undefined symbol: gone" in done.stderr


@pytest.mark.parametrize("variable", ["LD_BIND_NOT=1", "LD_DYNAMIC_WEAK=1", "LD_WARN=1", "LD_VERBOSE=1",
                                      "LD_HWCAP_MASK=0", "LD_PREFER_MAP_32BIT_EXEC=1",
                                      "LD_ORIGIN_PATH=/tmp", "LD_USE_LOAD_BIAS=1",
                                      "GLIBC_TUNABLES=glibc.rtld.dynamic_sort=1",
                                      "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2_Usable,-ERMS",
                                      "GLIBC_TUNABLES=glibc.malloc.check=3",
                                      "GLIBC_TUNABLES=glibc.rtld.optional_static_tls=4096",
                                      "MALLOC_ARENA_MAX=1", "LD_ASSUME_KERNEL=2.6"])
def test_variables(sampler, variable):
    name, _, value = variable.partition("=")
    same(sampler, {name: value})


@pytest.mark.parametrize("what", ["all", "libs", "reloc", "bindings", "statistics", "symbols", "versions", "files",
                                  "scopes", "unused", "nonsense"])
def test_ld_debug(sampler, what):
    """Output to a file, whose bindings must be those of a plain process."""
    def scenario(directory):
        done = directory.run(env={"LD_DEBUG": what, "LD_DEBUG_OUTPUT": str(directory.path.with_name("debug"))})
        text = "".join(path.read_text() for path in directory.path.parent.glob("debug.*"))
        for path in directory.path.parent.glob("debug.*"):
            path.unlink()
        lines = [line.split(":", 1)[-1].replace(str(directory.path), "DIR") for line in text.splitlines()]
        return done, sorted(line for line in lines if "binding file" in line)
    done, bindings = sampler.compare(scenario)
    assert done.stdout == ANSWER
    assert bool(bindings) == (what in ("all", "bindings"))


def test_ld_trace_loaded_objects(sampler):
    def scenario(directory):
        done = directory.run(env={"LD_TRACE_LOADED_OBJECTS": "1"})
        return [line.split(" (0x")[0] for line in done.stdout.splitlines()], done.stderr, done.status
    assert "\tlibbase.so => DIR/lib/libbase.so" in sampler.compare(scenario)[0]


AUDIT = """
#define _GNU_SOURCE
#include <link.h>
#include <stdio.h>
#include <string.h>
static int objects, bindings;
unsigned la_version(unsigned version) { return version; }
unsigned la_objopen(struct link_map *map, Lmid_t id, uintptr_t *cookie) { objects++; return LA_FLG_BINDTO | LA_FLG_BINDFROM; }
uintptr_t la_symbind64(Elf64_Sym *s, unsigned n, uintptr_t *r, uintptr_t *d, unsigned *f, const char *name)
{ bindings++; if (!strcmp(name, "exit")) dprintf(2, "%d %d\\n", objects, bindings); return s->st_value; }
"""


def test_audit(sampler):
    sampler.library("libaudit.so", AUDIT)
    done = same(sampler, {"LD_AUDIT": "DIR/lib/libaudit.so", "LD_BIND_NOW": "1"})
    assert done.declined


def test_audit_lazily(sampler):
    sampler.library("libaudit.so", AUDIT)
    same(sampler, {"LD_AUDIT": "DIR/lib/libaudit.so"})


def test_profile(sampler):
    """LD_PROFILE writes FILE.profile with the call counts of a library."""
    def scenario(directory):
        output = directory.path.with_name("profile")
        output.mkdir()
        done = directory.run(env={"LD_PROFILE": "libuser.so", "LD_PROFILE_OUTPUT": str(output)})
        size = (output / "libuser.so.profile").stat().st_size
        (output / "libuser.so.profile").unlink()
        output.rmdir()
        return done, size
    assert sampler.compare(scenario)[0].stdout == ANSWER


def test_address_space_limit(sampler):
    """With less and less memory: the same successes and failures."""
    def scenario(directory):
        return [directory.run(prefix=["sh", "-c", f'ulimit -v {kib}; exec "$0" "$@"']).status
                for kib in (2500, 3500, 10000, 50000)]
    assert sampler.compare(scenario)[-1] == 0


@pytest.mark.parametrize("prefix", [["setarch", "-R"], ["setarch", "-L"], ["setarch", "-3"], ["setarch", "-X"],
                                    ["sh", "-c", 'ulimit -s unlimited; exec "$0" "$@"'],
                                    ["sh", "-c", 'ulimit -d 100000; exec "$0" "$@"'],
                                    ["sh", "-c", 'ulimit -l 0; exec "$0" "$@"'],
                                    ["nice", "-n", "19"], ["env", "-u", "PATH"]],
                         ids=["no-randomize", "legacy-layout", "3GB", "read-implies-exec", "stack", "data", "lock", "nice",
                              "no-path"])
def test_kinds_of_process(sampler, prefix):
    assert same(sampler, prefix=prefix).accelerated


def test_off(sampler):
    """FASTPRELINK=0 is silent about it unless asked."""
    sampler.prelink()
    done = sampler.run(env={"FASTPRELINK": "0"})
    assert done.stdout == ANSWER and done.stderr == "" and not done.notes


def test_off_says_so_when_asked(sampler):
    sampler.prelink()
    done = sampler.run(env={"FASTPRELINK": "0", **DEBUG})
    assert done.stdout == ANSWER and not done.accelerated


def opens_runtime(case, *variables):
    """Whether a start with these variables reads the runtime at all."""
    log = case.path / "calls"
    settings = [word for variable in variables for word in ("-E", variable)]
    done = case.run(prefix=["strace", "-o", log, "-e", "trace=openat", *settings])
    assert done.stdout.endswith(ANSWER)
    return str(case.runtime) in log.read_text()


@pytest.mark.parametrize("variable", [
    "FASTPRELINK=0", "LD_AUDIT=", "LD_BIND_NOT=1", "LD_DEBUG=unused", "LD_DYNAMIC_WEAK=1", "LD_PROFILE=libb.so",
    "GLIBC_TUNABLES=glibc.malloc.check=0"])
def test_what_declines_for_certain_does_not_load_the_runtime(sampler, variable):
    sampler.prelink()
    assert not opens_runtime(sampler, variable)
    assert opens_runtime(sampler, variable, "FASTPRELINK_DEBUG=1")
    assert opens_runtime(sampler, "FASTPRELINK_DEBUG=1", variable)


@pytest.mark.parametrize("variable", [
    "FASTPRELINK=00", "FASTPRELINK=", "FASTPRELINK=1", "FASTPRELIN=0", "LD_BIND_NOW=1", "LD_BIND_=NOT", "LD_LIBRARY_PATH_64=x",
    "GLIBC_T=1", "LD_=1", "L=", "XLD_DEBUG=all"])
def test_other_variables_do_load_it(sampler, variable):
    sampler.prelink()
    assert opens_runtime(sampler, variable)


def test_silent_by_default(sampler):
    sampler.prelink()
    done = sampler.run()
    assert (done.stdout, done.stderr, done.notes) == (ANSWER, "", [])


def test_require_is_fatal_when_declined(sampler):
    sampler.library("libp.so", "int unrelated;")
    sampler.prelink()
    done = sampler.run(env={**REQUIRE, "LD_PRELOAD": str(sampler.lib / "libp.so")})
    assert done.status == 127 and done.stdout == "" and done.declined


def test_require_without_debug_names_the_reason(sampler):
    sampler.library("libp.so", "int unrelated;")
    sampler.prelink()
    done = sampler.run(env={"FASTPRELINK": "require", "LD_PRELOAD": str(sampler.lib / "libp.so")})
    assert done.status == 127 and done.declined


def test_program_without_tables_is_silent(sampler):
    """The carrier alone: nothing is printed, even with FASTPRELINK=require."""
    other = sampler.program('#include <stdio.h>\nint main(void) { puts("other"); return 0; }', name="other")
    sampler.prelink()
    done = sampler.run(program=other, env=REQUIRE)
    assert (done.stdout, done.stderr, done.notes, done.status) == ("other\n", "", [], 0)


def test_debug_line_has_the_counts(sampler):
    sampler.prelink()
    note = sampler.run_fast().notes[0]
    found = re.fullmatch(r"fastprelink: accelerated: (\d+) objects, (\d+) words, (\d+) us", note)
    assert found and int(found.group(1)) >= 4 and int(found.group(2)) > 5
