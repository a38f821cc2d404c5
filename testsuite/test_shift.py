"""Libraries with a fixed address (-r): they lie there when it is free, and work wherever they are."""

import ctypes
import hashlib
import json
import re
import shutil
import struct
import zlib
from pathlib import Path

import pytest

from harness import build, elf, files, need
from harness.run import DEBUG, fastprelink, one_line, run
from test_cxx import HEADER as CXX_HEADER, LIB_A, LIB_B
from test_format import UNDO, leb128, unpack
from test_linking import ANSWER, FLAGS, make
from test_tls import ANSWER as TLS_ANSWER, LIBRARY as TLS_LIBRARY, PROGRAM as TLS_PROGRAM

pytestmark = pytest.mark.one_placement

BASE = 0x3000000000
WINDOW_END = 0x4000000000
DT_RELA, DT_DEBUG, DT_PRELINKED, DT_CHECKSUM = 7, 21, 0x6FFFFDF5, 0x6FFFFDF8
SYSTEM = "/usr/lib/x86_64-linux-gnu/"
DEBUG_INFORMATION = ["gdwarf", "compressed-debug"]


def libraries(case):
    """What may be shifted in DIR/lib, in the order of ld.so's list."""
    return [path for path in case.closure() if path.parent == case.lib and path.name != "libc.so.6"]


def shift(*paths, base=BASE, options=(), status=0):
    return fastprelink("-r", hex(base), *options, *paths, status=status)


def first_address(path):
    return next(s[3] for s in elf.segments(path) if s[0] == elf.PT_LOAD)


def addresses(case, **env):
    """{name of a library in DIR/lib: its load bias}"""
    found = case.oracle(env=env).addresses()
    return {path.rsplit("/", 1)[1]: int(address, 16) for path, address in found.items() if str(case.lib) in path}


def occupier(case):
    """A library to preload that takes the addresses from BASE on."""
    path = case.path / "occupier" / "liboccupier.so"
    case.library("liboccupier.so", "char space[64 << 20];", where="occupier",
                 flags=[f"-Wl,-Ttext-segment={BASE:#x}", "-nostdlib"])
    return {"LD_PRELOAD": str(path)}


def occupied(address, size=4096):
    """A prefix of commands that run with something mapped at ADDRESS before ld.so starts: no object of theirs, so that the list of
    objects is as always."""
    return [build.compile_c(build.CASES / "occupy.c"), hex(address), str(size)]


def placed(case, env, shifted, there):
    biases = addresses(case, **env)
    assert {name: biases[name] == 0 for name in shifted} == dict.fromkeys(shifted, there)


def check(case, expected, *arguments, env=None):
    """The whole life of shifted libraries: right and equal in every word at their addresses and elsewhere, lazily and at
    once; shifted again, unchanged; undone, exact."""
    case.adopt()
    preload, now = occupier(case), {"LD_BIND_NOW": "1"}
    plain = case.run(*arguments, env=env)
    assert (plain.stdout, plain.status) == (expected, 0), plain
    original = files.digests(case.path)
    oracle = case.oracle(*arguments, env=env)
    variants = {"lazy": {}, "now": now, "occupied": preload, "occupied-now": {**preload, **now}}
    environment = dict(oracle.env)
    for name, more in variants.items():
        oracle.env = {**environment, **more}
        oracle.snapshot(f"plain-{name}")
    paths = libraries(case)
    names = [path.name for path in paths]
    done = shift(*paths)
    assert f"{len(paths)} shifted, 0 unchanged, 0 skipped" in done.stdout
    for name, more in variants.items():
        assert case.run(*arguments, env={**(env or {}), **more}) == plain
        placed(case, more, names, "LD_PRELOAD" not in more)
        oracle.env = {**environment, **more}
        oracle.snapshot(f"shifted-{name}")
        oracle.compare(f"plain-{name}", f"shifted-{name}")
    before = files.identities(case.lib)
    assert f"0 shifted, {len(paths)} unchanged, 0 skipped" in shift(*paths).stdout
    assert files.identities(case.lib) == before
    for path in paths:
        fastprelink("-y", path)
    fastprelink("-u", *paths)
    assert files.digests(case.path) == original


# Every kind of library

@pytest.mark.parametrize("flags", [flags for name, flags in FLAGS.items() if name not in DEBUG_INFORMATION],
                         ids=[name for name in FLAGS if name not in DEBUG_INFORMATION])
def test_flags(case, flags):
    make(case, flags)
    case.extra_env["GMON_OUT_PREFIX"] = str(case.path.with_name("gmon"))
    check(case, case.run().stdout)


@pytest.mark.parametrize("options", [[], ["-Wl,-z,now"]], ids=["lazy", "now"])
@pytest.mark.parametrize("linker", ["bfd", "gold", "lld", "mold"])
def test_linkers(case, linker, options):
    need.tool({"lld": "ld.lld", "mold": "mold"}.get(linker, f"ld.{linker}"))
    make(case, [f"-fuse-ld={linker}", *options], "clang")
    check(case, ANSWER)


@pytest.mark.parametrize("linker", ["bfd", "lld", "mold"])
def test_packed_relative_relocations(case, linker):
    need.tool({"lld": "ld.lld"}.get(linker, linker if linker == "mold" else f"ld.{linker}"))
    script = case.path / "versions"
    script.write_text("ONE { global: f; local: *; };\n")  # lld leaves no room for stamps but in the counts of versions
    option = "-Wl,-z,pack-relative-relocs" if linker == "bfd" else "-Wl,--pack-dyn-relocs=relr"
    case.library("liba.so", "int data[200]; int *at[200] = {"
                 + ",".join(f"&data[{i}]" for i in range(200)) + "}; int *far[3] = { data, 0, data + 2 };"
                 "int f(void) { for (int i = 0; i < 200; i++) *at[i] = i; return far[2] == &data[2] ? data[199] : 0; }",
                 flags=["-nostdlib", "-fvisibility=hidden", f"-fuse-ld={linker}", option,
                        f"-Wl,--version-script={script}",
                        "-Df=__attribute__((visibility(\"default\")))f"])
    assert "(RELR)" in elf.readelf(case.lib / "liba.so", "-d")
    case.program('#include <stdio.h>\nint f(void); int main(void) { printf("%d\\n", f()); return 0; }', ["liba.so"])
    check(case, "199\n")


@pytest.mark.parametrize("tool", [["strip"], ["strip", "--strip-debug"], ["eu-strip"]], ids=" ".join)
def test_stripped(case, tool):
    make(case)
    for path in case.lib.iterdir():
        assert run([need.tool(tool[0]), *tool[1:], path]).status == 0
    check(case, ANSWER)


def test_without_section_headers(case):
    make(case)
    for path in case.lib.iterdir():
        elf.drop_sections(path)
    check(case, ANSWER)


@pytest.mark.parametrize("dialect", ["gnu", "gnu2"])
@pytest.mark.parametrize("model", ["global-dynamic", "initial-exec"])
def test_thread_local_storage(case, model, dialect):
    attribute = f'__attribute__((tls_model("{model}")))'
    case.library("liba.so", TLS_LIBRARY.format(model=attribute), flags=[f"-mtls-dialect={dialect}"])
    case.program(TLS_PROGRAM, ["liba.so"])
    check(case, TLS_ANSWER)


def test_ifunc(case):
    source = ("static int one(void) { return 1; }\nstatic int two(void) { return 2; }\n"
              "static void *choose(void) { return two; }\n{kind} int {name}(void) __attribute__((ifunc(\"choose\")));\n")
    case.library("liba.so", source.replace("{kind}", "").replace("{name}", "f")
                 + source.split("\n")[-2].replace("{kind}", "static").replace("{name}", "hidden")
                 + "\nint (*at)(void) = hidden; int g(void) { return f() * 10 + hidden() + at(); }")
    case.program('#include <stdio.h>\nint f(void), g(void);\n'
                 'int main(void) { printf("%d\\n", g() * 10 + f()); return 0; }', ["liba.so"])
    check(case, "242\n")


@pytest.mark.parametrize("cc", ["g++", "clang++"])
def test_cxx(case, cc):
    """Virtual calls, casts, exceptions through both libraries, unique symbols."""
    body = """
    for (int i = 0; i < 3; i++) std::printf("%s\\n", make(i)->name().c_str());
    for (int i = 1; i < 4; i++)
        try { fail(i); }
        catch (const Problem &p) { std::printf("Problem %s\\n", p.what()); }
        catch (const std::exception &e) { std::printf("exception %s\\n", e.what()); }
        catch (int number) { std::printf("int %d\\n", number); }
    std::printf("%d %d %d\\n", dynamic_cast<Right *>(make(2))->more, typeid(*make(2)) == typeid(Both), in_a() + in_b());"""
    case.library("liba.so", LIB_A, lang="c++", cc=cc)
    case.library("libb.so", LIB_B, ["liba.so"], lang="c++", cc=cc)
    case.program(CXX_HEADER + "int in_a(), in_b();\nint main() {" + body + "}", ["libb.so", "liba.so"], lang="c++", cc=cc)
    check(case, "Base\nLeft\nBoth/Left\nProblem p\nexception r\nint 3\n2 1 3\n")


def test_absolute_pointers_in_unwind_tables(case):
    """A personality and type information named by address instead of distance: relocations speak of them."""
    source = """
#include <cstdio>
struct Guard { ~Guard() { std::puts("unwound"); } };
void leaf(int x) { if (x) throw x; }
extern "C" void f(int x) { Guard g; leaf(x); }
extern "C" int g(int x) { try { f(x); } catch (int caught) { return caught; } return 0; }"""
    plain = build.compile_c(source, "liba.s", ["-S", "-fPIC", "-fexceptions"], lang="c++").read_text()
    text = re.sub(r"\.cfi_personality 0x9b,DW.ref.(\w+)", r".cfi_personality 0,\1", plain)
    text = re.sub(r"\.cfi_lsda 0x1b,", ".cfi_lsda 0,", text)
    assert text != plain
    case.library("liba.so", text, flags=["-Wl,-z,notext", "-lstdc++"], lang="asm")
    case.program('#include <stdio.h>\nint g(int); int main(void) { printf("%d\\n", g(7)); return 0; }', ["liba.so"])
    if "TEXTREL" in elf.readelf(case.lib / "liba.so", "-d"):
        one_line(shift(case.lib / "liba.so", status=1), "text relocations")
    else:
        check(case, "unwound\n7\n")


def test_versions(case):
    script = case.path / "versions"
    script.write_text("ONE { global: f; local: *; };\nTWO { global: f; } ONE;\n")
    case.library("liba.so", '__asm__(".symver old,f@ONE\\n.symver young,f@@TWO");\nint old(void) { return 1; }\n'
                            "int young(void) { return 2; }", flags=[f"-Wl,--version-script={script}"])
    case.program('#include <stdio.h>\n__asm__(".symver first,f@ONE");\nint f(void), first(void);\n'
                 'int main(void) { printf("%d %d\\n", f(), first()); return 0; }', ["liba.so"])
    check(case, "2 1\n")


def test_constructors_and_destructors(case):
    case.library("liba.so", "#include <stdio.h>\n__attribute__((constructor)) static void begin(void) { puts(\"begin\"); }\n"
                            "__attribute__((destructor)) static void end(void) { puts(\"end\"); }\n"
                            "void _init_a(void) { puts(\"init\"); }\nvoid _fini_a(void) { puts(\"fini\"); }",
                 flags=["-Wl,-init,_init_a,-fini,_fini_a"])
    case.program('#include <stdio.h>\nint main(void) { puts("main"); return 0; }', ["liba.so"])
    check(case, "init\nbegin\nmain\nend\nfini\n")


def test_absolute_symbols(case):
    """They keep their values."""
    case.library("liba.so", '.globl absolute\n.set absolute, 0x1234\n.data\n.balign 8\n.globl words\n.type words,@object\n'
                 'words: .quad absolute, words\n.size words, 16\n.section .note.GNU-stack,"",@progbits\n',
                 flags=["-nostdlib"], lang="asm")
    case.library("libb.so", "extern long words[]; long f(int i) { return words[i]; } long g(void) { return (long)words; }",
                 ["liba.so"])
    case.program("#include <stdio.h>\nlong f(int), g(void);\n"
                 'int main(void) { printf("%#lx %d\\n", f(0), f(1) == g()); return 0; }', ["libb.so", "liba.so"])
    check(case, "0x1234 1\n")


def test_word_relocation_without_a_symbol(case):
    """ld.so adds the load bias to its addend, as for a relative one; no linker here makes them."""
    path = case.library("liba.so", "static int a = 4, b = 5; int *at[] = { &a, &b }; int f(void) { return *at[0] * 10 + *at[1]; }",
                        flags=["-nostdlib"])
    where, size = elf.sections(path)[".rela.dyn"]
    data = path.read_bytes()
    rows = [struct.unpack_from("<QQQ", data, where + at)[1] for at in range(0, size, 24)]
    last = rows.count(8) - 1
    assert rows[:last + 1] == [8] * (last + 1) and last >= 1
    elf.patch(path, where + 24 * last + 8, struct.pack("<Q", 1))
    dynamic, length = next((s[2], s[4]) for s in elf.segments(path) if s[0] == elf.PT_DYNAMIC)
    for at in range(dynamic, dynamic + length, 16):
        if struct.unpack_from("<Q", data, at)[0] == 0x6FFFFFF9:
            elf.patch(path, at + 8, struct.pack("<Q", last))
    case.program('#include <stdio.h>\nint f(void); int main(void) { printf("%d\\n", f()); return 0; }', ["liba.so"])
    check(case, "45\n")


def test_alignment_larger_than_a_page(case):
    case.library("liba.so", "__attribute__((aligned(65536))) char block[8] = \"block\"; char *f(void) { return block; }")
    case.program('#include <stdio.h>\nchar *f(void);\n'
                 'int main(void) { printf("%d %s\\n", (int)((long)f() & 0xffff), f()); return 0; }', ["liba.so"])
    check(case, "0 block\n")
    one_line(shift(case.lib / "liba.so", base=BASE + 0x1000, status=1), "not aligned")


def test_p_align_becomes_a_page(case):
    make(case, ["-Wl,-z,max-page-size=0x200000"])
    path = case.lib / "libbase.so"
    shift(path)
    assert {s[6] for s in elf.segments(path) if s[0] == elf.PT_LOAD} == {4096}
    fastprelink("-u", path)
    check(case, ANSWER)


def test_kept_relocations(case):
    make(case, ["-Wl,--emit-relocs"])
    case.adopt()
    path = case.lib / "libuser.so"
    before = elf.relocations(path)
    shift(path)
    assert [row[0] - BASE for row in elf.relocations(path)] == [row[0] for row in before]
    fastprelink("-u", path)
    check(case, ANSWER)


def test_two_MiB_alignment_side_by_side(case):
    names = [f"lib{i}.so" for i in range(4)]
    for i, name in enumerate(names):
        case.library(name, f"int a{i} = {i}; int f{i}(void) {{ return a{i}; }}", flags=["-Wl,-z,max-page-size=0x200000"])
    total = "+".join(f"f{i}()" for i in range(4))
    case.program("#include <stdio.h>\n" + "".join(f"int f{i}(void);" for i in range(4))
                 + f'int main(void) {{ printf("%d\\n", {total}); return 0; }}', names)
    check(case, "6\n")


# Where they are

def test_several_lie_behind_each_other(case):
    """With 2 MiB free behind large ones, which the kernel wants."""
    case.library("libsmall.so", "int a = 1;", flags=["-nostdlib"])
    case.library("liblarge.so", "char b[3 << 20] = { 1 };", flags=["-nostdlib"])
    case.library("liblast.so", "int c = 1;", flags=["-nostdlib"])
    paths = [case.lib / f"lib{name}.so" for name in ("small", "large", "last")]
    done = shift(*paths, options=["-v"])
    bases = [elf_base(path) for path in paths]
    assert bases[0] == BASE and bases[1] == end(paths[0]) and bases[2] == end(paths[1]) + (2 << 20)
    for path, base in zip(paths, bases):
        assert f"{path}: shifted to {base:#x}, +" in done.stdout


def elf_base(path):
    return next(s[3] for s in elf.segments(path) if s[0] == elf.PT_LOAD) & -4096


def end(path):
    return max(s[3] + s[5] for s in elf.segments(path) if s[0] == elf.PT_LOAD) + 4095 & -4096


def test_a_skipped_library_takes_no_room(sampler):
    done = shift(sampler.libc, sampler.lib / "libbase.so", status=1)
    assert elf_base(sampler.lib / "libbase.so") == BASE
    one_line(done, sampler.libc, "keeps its random address")


def test_another_base(sampler):
    """Shifted again, from the original: the same bytes as shifted at once."""
    path = sampler.lib / "libbase.so"
    shift(path, base=BASE + 0x123000)
    expected = files.digest(path)
    shift(path, base=BASE + 0x7000)
    assert elf_base(path) == BASE + 0x7000
    shift(path, base=BASE + 0x123000)
    assert files.digest(path) == expected


def test_a_library_linked_elsewhere(case):
    case.library("libbase.so", build.CASES / "base.c", flags=["-Wl,-Ttext-segment=0x5500000000"])
    case.library("libuser.so", build.CASES / "user.c", ["libbase.so"], ["-Wl,-Ttext-segment=0x10000"])
    case.program(build.CASES / "sampler.c", ["libuser.so", "libbase.so"])
    check(case, ANSWER)


def test_the_process_shows_it(sampler):
    sampler.program("""
#define _GNU_SOURCE
#include <link.h>
#include <stdio.h>
#include <string.h>
static int show(struct dl_phdr_info *info, size_t size, void *context)
{
    if (strstr(info->dlpi_name, "libuser") || strstr(info->dlpi_name, "libbase"))
        printf("%s %#lx %#lx\\n", strrchr(info->dlpi_name, '/') + 1, info->dlpi_addr,
               info->dlpi_addr + info->dlpi_phdr[0].p_vaddr);
    return 0;
}
int main(void) { dl_iterate_phdr(show, 0); return 0; }""", ["libuser.so", "libbase.so"], name="show")
    shift(sampler.lib / "libbase.so", sampler.lib / "libuser.so")
    second = elf_base(sampler.lib / "libuser.so")
    done = sampler.run(program=sampler.bin / "show")
    assert done.stdout == f"libuser.so 0 {second:#x}\nlibbase.so 0 {BASE:#x}\n"


# In other company

def test_interposed_by_a_preload(sampler):
    """Lazily bound, at once, and displaced."""
    other = sampler.library("libother.so", "int square(int side) { return 1000; } int twice(int v) { return 5; }",
                            where="preload")
    preload = {"LD_PRELOAD": str(other)}
    both = {"LD_PRELOAD": f"{other} {occupier(sampler)['LD_PRELOAD']}"}
    twin = sampler.twin()
    plain = twin.run(env=preload)
    assert plain.stdout != ANSWER
    shift(sampler.lib / "libbase.so", sampler.lib / "libuser.so")
    for env in (preload, both, {**preload, "LD_BIND_NOW": "1"}, {**both, "LD_BIND_NOW": "1"}):
        assert sampler.run(env=env) == plain


@pytest.mark.parametrize("prefix", [["setarch", "-R"], ["setarch", "-L"], ["setarch", "-3"],
                                    ["sh", "-c", 'ulimit -s unlimited; exec "$0" "$@"']], ids=["R", "L", "3", "stack"])
def test_other_address_spaces(sampler, prefix):
    shift(*libraries(sampler))
    assert sampler.run(prefix=prefix).stdout == ANSWER


@pytest.mark.parametrize("variable", ["LD_BIND_NOT", "LD_DEBUG_OUTPUT", "LD_PREFER_MAP_32BIT_EXEC", "LD_DYNAMIC_WEAK"])
def test_variables_of_the_loader(sampler, variable):
    shift(*libraries(sampler))
    assert sampler.run(env={variable: "1"}).stdout == ANSWER


def test_audited(sampler):
    audit = sampler.library("libaudit.so", "unsigned la_version(unsigned v) { return v; }\n"
                            "unsigned la_objopen(void *m, long l, long *c) { return 3; }\n"
                            "unsigned long la_symbind64(unsigned long *s, unsigned i, long *r, long *d, unsigned *f, char *n)"
                            " { return s[1]; }", where="audit")
    for path in libraries(sampler):
        shift(path)
    for env in ({}, {"LD_BIND_NOW": "1"}):
        assert sampler.run(env={"LD_AUDIT": str(audit), **env}).stdout == ANSWER


def test_dlopen_and_dlmopen(case):
    """Opened by a program that does not know it; a second copy in another namespace lies elsewhere."""
    case.library("liba.so", "#include <stdlib.h>\nstatic int value = 5; int *at = &value;\n"
                            "int f(void) { return atoi(\"4\") + ++*at; }")
    case.program("""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
int main(void)
{
    struct link_map *map;
    for (int i = 0; i < 4; i++) {
        void *handle = i == 2 ? dlmopen(LM_ID_NEWLM, "liba.so", RTLD_LAZY) : dlopen("liba.so", i ? RTLD_NOW : RTLD_LAZY);
        dlinfo(handle, RTLD_DI_LINKMAP, &map);
        printf("%d %d\\n", ((int (*)(void))dlsym(handle, "f"))(), map->l_addr == 0);
        if (i == 0)
            dlclose(handle);
    }
    return 0;
}""")
    case.adopt()
    shutil.copy2(SYSTEM + "libc.so.6", case.libc)
    assert case.run().stdout == "10 0\n10 0\n10 0\n11 0\n"
    shift(case.lib / "liba.so")
    assert case.run().stdout == "10 1\n10 1\n10 0\n11 1\n"


@pytest.mark.parametrize("options", [[], ["-r"], ["-v"], ["-u"]], ids=["plain", "r", "v", "u"])
def test_ldd(sampler, options):
    def text():
        done = sampler.run(*options, sampler.prog, program=need.tool("ldd"))
        return re.sub(r" \(0x[0-9a-f]+\)", "", done.stdout), done.stderr, done.status
    plain = text()
    shift(*libraries(sampler))
    assert text() == plain


def test_valgrind(sampler):
    shift(*libraries(sampler))
    done = sampler.run(prefix=[need.tool("valgrind"), "-q", "--error-exitcode=99"])
    assert (done.stdout, done.status) == (ANSWER, 0), done


@pytest.mark.parametrize("displaced", [False, True], ids=["there", "displaced"])
def test_gdb(sampler, displaced):
    """Names in a backtrace, from .symtab, with the library at its address or another."""
    sampler.program(build.CASES / "sampler.c", ["libuser.so", "libbase.so"], flags=["-g"])
    preload = occupier(sampler) if displaced else {}

    def text():
        line = [need.tool("gdb"), "-batch", "-nx", "-ex", "set debuginfod enabled off", "-ex", "set breakpoint pending on"]
        for key, value in sampler.env(**preload).items():
            line += ["-ex", f"set environment {key} {value}"]
        for command in ("break twice", "run", "bt", "info symbol begin", "info symbol square", "x/2i square", "continue"):
            line += ["-ex", command]
        return re.sub(r"0x[0-9a-f]+|process \d+", "", run(line + [sampler.prog]).stdout)
    plain = text()
    assert "in twice ()" in plain and "in main ()" in plain and "begin in section .text" in plain
    shift(*libraries(sampler))
    assert text() == plain


def test_separate_debug_information(case):
    """gdb and elfutils line it up with the shifted library."""
    for name, libs in (("base", []), ("user", ["libbase.so"])):
        path = case.library(f"lib{name}.so", build.CASES / f"{name}.c", libs, ["-g", "-O0"])
        debug = path.with_name(f"lib{name}.debug")
        assert run(["objcopy", "--only-keep-debug", path, debug]).status == 0
        assert run(["objcopy", "--strip-all", f"--add-gnu-debuglink={debug}", path], cwd=case.lib).status == 0
    case.program(build.CASES / "sampler.c", ["libuser.so", "libbase.so"], ["-g", "-O0"])
    case.adopt()

    def text():
        line = [need.tool("gdb"), "-batch", "-nx", "-ex", "set debuginfod enabled off", "-ex", "set breakpoint pending on",
                "-ex", f"set environment LD_LIBRARY_PATH {case.lib}"]
        for command in ("break square", "run", "bt", "print counter", "info line total"):
            line += ["-ex", command]
        return re.sub(r"0x[0-9a-f]+", "", run(line + [case.prog]).stdout)
    plain = text()
    assert "square (side=" in plain and "base.c" in plain or "source.c" in plain
    shift(case.lib / "libbase.so", case.lib / "libuser.so")
    assert text() == plain
    where = elf.symbol(case.lib / "libbase.so", "square") + 4
    done = run([need.tool("eu-addr2line"), "-f", "-e", case.lib / "libbase.so", hex(where)])
    assert done.stdout.startswith("square\n"), done


# With prelinked programs

def test_prelinked_program_declines_and_is_prelinked_again(sampler):
    sampler.prelink(options=("-f", "--aslr"))
    sampler.run_fast()
    paths = [sampler.lib / "libbase.so", sampler.lib / "libuser.so"]
    shift(*paths)
    done = sampler.run(env={"FASTPRELINK_DEBUG": "1"})
    assert done.stdout == ANSWER and done.declined == 9
    assert "1 prelinked" in sampler.prelink(options=("-f", "--fixed")).stdout
    assert sampler.run_fast().stdout == ANSWER
    assert addresses(sampler)["libuser.so"] == 0
    preload = occupier(sampler)
    assert sampler.run(env=preload).stdout == ANSWER
    fastprelink("-u", *paths)
    done = sampler.run(env={"FASTPRELINK_DEBUG": "1"})
    assert done.stdout == ANSWER and done.declined == 9


@pytest.mark.parametrize("flags", [[], ["-Wl,-z,now"], ["-Wl,-z,pack-relative-relocs"]], ids=["lazy", "now", "relr"])
def test_prelinked_with_shifted_libraries(case, flags):
    """Accelerated, and every word as in a plain start of the originals."""
    make(case, flags)
    case.adopt()
    oracle = case.oracle().before()
    shift(*libraries(case))
    at = {path: first_address(path) for path in libraries(case)}
    case.prelink(options=("-f", "--fixed"))
    assert {path: first_address(path) for path in at} == at
    assert case.run_fast().stdout == ANSWER
    oracle.after()


def test_prelinked_where_a_shifted_library_is_displaced(case):
    """The address is taken by something that is no object."""
    make(case)
    case.adopt()
    shift(*libraries(case))
    case.prelink(options=("-f", "--fixed"))
    case.run_fast()
    for library in libraries(case):
        done = case.run(env=DEBUG, prefix=occupied(elf.segments(library)[0][3] & -4096))
        assert done.stdout == ANSWER and done.declined == 12 and library.name in done.notes[0], done


@pytest.mark.root
def test_in_a_root(root):
    """Named with or without the root in front; everything is undone by -u -a."""
    names = [SYSTEM + "libz.so.1", SYSTEM + "libgmp.so.10"]
    root.add(*names)
    original = root.digests()
    done = fastprelink(f"--root={root.path}", "-r", hex(BASE), "-v", names[0], root.host(names[1]))
    assert "2 shifted" in done.stdout
    first = Path(str(root.path) + str(Path(names[0]).resolve()))
    assert elf_base(first) == BASE and len(files.changed(original, root.digests())) == 2
    assert "2 restored" in fastprelink(f"--root={root.path}", "-u", "-a").stdout
    assert root.digests() == original


# What is refused

def test_programs_are_refused(sampler):
    before = files.identity(sampler.prog)
    one_line(shift(sampler.prog, status=1), "a program, not a library")
    assert files.identity(sampler.prog) == before


@pytest.mark.parametrize("pie", [True, False], ids=["pie", "no-pie"])
def test_program_of_any_kind_is_refused(case, pie):
    case.program("int main(void) { return 0; }", pie=pie)
    one_line(shift(case.prog, status=1), "a program, not a library")


@pytest.mark.parametrize("name", ["libc.so.6", "ld-linux-x86-64.so.2", "libasan.so.8", "libtsan.so.2", "libubsan.so.1"])
def test_libraries_that_float(case, name):
    path = case.lib / name
    shutil.copy2(SYSTEM + name, path, follow_symlinks=True)
    before = files.identity(path)
    one_line(shift(path, status=1), path, "keeps its random address")
    assert files.identity(path) == before


def test_library_with_an_interpreter(case):
    """It is a program too: the kernel loads it where it loads position-independent programs."""
    case.library("liba.so", """
        #include <unistd.h>
        const char interp[] __attribute__((section(".interp"))) = "/lib64/ld-linux-x86-64.so.2";
        const char *const words[] = { "started\\n" };
        void start(void) { write(1, words[0], 8); _exit(0); }
    """, flags=["-Wl,-e,start"])
    library = case.lib / "liba.so"
    library.chmod(0o755)
    assert run([library]).stdout == "started\n"
    shift(library)
    for _ in range(5):
        assert run([library]).stdout == "started\n"
    assert run(["setarch", "-R", library]).stdout == "started\n"


@pytest.mark.parametrize("name", DEBUG_INFORMATION)
def test_debug_information(case, name):
    case.library("liba.so", "int f(void) { return 1; }", flags=FLAGS[name])
    one_line(shift(case.lib / "liba.so", status=1), "keeps its random address", "debug_")


def test_mini_debug_information(case):
    path = case.library("liba.so", "int f(void) { return 1; }")
    assert run(["objcopy", "--add-section", ".gnu_debugdata=/etc/passwd", path]).status == 0
    one_line(shift(path, status=1), "keeps its random address", ".gnu_debugdata")


def test_text_relocations(case):
    case.library("liba.so", ".data\nx: .quad 1\n.text\n.globl f\nf: movabs $x, %rax\nret\n"
                            '.section .note.GNU-stack,"",@progbits\n', flags=["-Wl,-z,notext"], lang="asm")
    one_line(shift(case.lib / "liba.so", status=1), "text relocations")


def test_unknown_dynamic_entry(case):
    path = case.library("liba.so", "int f(void) { return 1; }")
    offset = next(s[2] for s in elf.segments(path) if s[0] == elf.PT_DYNAMIC)
    data = path.read_bytes()
    while struct.unpack_from("<Q", data, offset)[0] != 0:
        offset += 16
    elf.patch(path, offset, struct.pack("<QQ", 0x6000001F, 0x40))
    one_line(shift(path, status=1), "0x6000001f", "may hold an address")
    elf.patch(path, offset, struct.pack("<QQ", 0x6000001F, 0x400000000))
    shift(path)


def test_prelinked_by_another_tool(case):
    path = case.library("liba.so", "int f(void) { return 1; }")
    offset = next(s[2] for s in elf.segments(path) if s[0] == elf.PT_DYNAMIC)
    data = path.read_bytes()
    while struct.unpack_from("<Q", data, offset)[0] != 0:
        offset += 16
    elf.patch(path, offset, struct.pack("<QQ", DT_PRELINKED, 0x40))
    one_line(shift(path, status=1), "prelinked by another tool")


def test_the_carrier_is_refused(sampler):
    sampler.prelink()
    before = files.identity(sampler.libc)
    one_line(shift(sampler.libc, status=1), sampler.libc, "keeps its random address")
    assert files.identity(sampler.libc) == before


def test_data_behind_the_image(case):
    path = case.library("liba.so", "int f(void) { return 1; }")
    with open(path, "ab") as stream:
        stream.write(b"payload" * 100)
    one_line(shift(path, status=1), path, "carries data")


@pytest.mark.parametrize("base", [0x3000000800, 0x2FFFFFF000, WINDOW_END, WINDOW_END - 0x1000, 0])
def test_bad_bases(sampler, base):
    path = sampler.lib / "libbase.so"
    before = files.identity(path)
    one_line(shift(path, base=base, status=1), path, hex(base))
    assert files.identity(path) == before


def test_the_last_base(sampler):
    path = sampler.lib / "libbase.so"
    shift(path)
    last = WINDOW_END - (end(path) - BASE)
    shift(path, base=last)
    assert end(path) == WINDOW_END and sampler.run().stdout == ANSWER


@pytest.mark.parametrize("arguments", [["-r"], ["-r", "0x3000000000"], ["-r", "x", "FILE"], ["-r", "-1", "FILE"],
                                       ["-r", "0x1g", "FILE"], ["-r", "1" * 30, "FILE"], ["-r", "", "FILE"],
                                       ["-r", "0x3000000000", "-a"], ["-r", "0x3000000000", "-u", "FILE"],
                                       ["-r", "0x3000000000", "-y", "FILE"], ["-r", "0x3000000000", "--md5", "FILE"],
                                       ["-r", "0x3000000000", "-o", "out", "FILE"]], ids=" ".join)
def test_wrong_usage(sampler, arguments):
    before = files.identities(sampler.path)
    path = sampler.lib / "libbase.so"
    done = fastprelink(*[path if word == "FILE" else word for word in arguments], status=2, cwd=sampler.path)
    assert done.stderr.count("\n") == 1 and files.identities(sampler.path) == before


# The file

def test_a_dry_run_changes_nothing(sampler):
    before = files.identities(sampler.path)
    done = shift(*libraries(sampler), options=["-n"])
    assert files.identities(sampler.path) == before
    assert f"{sampler.lib}/libuser.so: would be shifted to 0x" in done.stdout and "2 to shift" in done.stdout


def test_long_option_and_decimal_address(sampler):
    fastprelink(f"--reloc-only={BASE + 4096}", sampler.lib / "libbase.so")
    assert elf_base(sampler.lib / "libbase.so") == BASE + 4096


def test_json(sampler):
    path = sampler.lib / "libbase.so"
    size = path.stat().st_size
    lines = [json.loads(line) for line in shift(path, options=["--json"]).stdout.splitlines()]
    assert lines[0] == {"file": str(path), "action": "relocate", "outcome": "shifted", "dry_run": False, "base": BASE,
                        "original_size": size, "added_size": path.stat().st_size - size}
    assert lines[1]["summary"] == "relocate" and lines[1]["done"] == 1


def test_stamps(sampler):
    """DT_CHECKSUM is the CRC-32 of the allocated sections with both stamps zero."""
    path = sampler.lib / "libbase.so"
    shift(path)
    data = bytearray(path.read_bytes())
    offset, size = next((s[2], s[4]) for s in elf.segments(path) if s[0] == elf.PT_DYNAMIC)
    stamps = {}
    for at in range(offset, offset + size, 16):
        tag, value = struct.unpack_from("<QQ", data, at)
        if tag in (DT_PRELINKED, DT_CHECKSUM):
            stamps[tag] = value
            data[at + 8:at + 16] = bytes(8)
    start, = struct.unpack_from("<Q", data, elf.E_SHOFF)
    count, = struct.unpack_from("<H", data, elf.E_SHNUM)
    crc = 0
    for index in range(count):
        _, kind, flags, _, where, length = struct.unpack_from("<IIQQQQ", data, start + 64 * index)
        if flags & 7 and kind != 8:
            crc = zlib.crc32(data[where:where + length], crc)
    assert stamps[DT_CHECKSUM] == crc and 0 < stamps[DT_PRELINKED] < 2**32


def tags(path):
    """Names of the dynamic entries, in order."""
    return re.findall(r"^ 0x[0-9a-f]+ \((\w+)\)", elf.readelf(path, "-dW"), re.MULTILINE)


@pytest.mark.parametrize("flags, taken", [
    (["-Wl,--spare-dynamic-tags=2"], ["RELACOUNT"]),
    (["-Wl,--spare-dynamic-tags=1"], ["RELACOUNT", "VERNEEDNUM"]),
    (["-Wl,--spare-dynamic-tags=0", "-nostdlib", "-Wl,--default-symver"], ["VERDEFNUM", "SYMENT"]),
], ids=["one", "two", "two-others"])
def test_stamps_take_the_places_of_entries(case, flags, taken):
    """Tools still read what versions there are; programs run, there and displaced."""
    path = case.library("liba.so", "int f(void) { return 199; } int (*const at)(void) = f;", flags=flags)
    case.program('#include <stdio.h>\nint f(void); int main(void) { printf("%d\\n", f()); return 0; }', ["liba.so"])
    before, versions = tags(path), elf.readelf(path, "-VW")
    shift(path)
    assert [tag for tag in tags(path) if "PRELINKED" not in tag and tag != "CHECKSUM"] == [
        tag for tag in before if tag not in taken]
    assert {"GNU_PRELINKED", "CHECKSUM"} <= set(tags(path))
    assert re.sub(r"0x[0-9a-f]{16}", "", elf.readelf(path, "-VW")) == re.sub(r"0x[0-9a-f]{16}", "", versions)
    fastprelink("-u", path)
    check(case, "199\n")


def test_no_room_for_stamps(case):
    path = case.library("liba.so", "int f(void) { return 1; }", flags=["-Wl,--spare-dynamic-tags=0", "-nostdlib"])
    before = files.identity(path)
    one_line(shift(path, status=1), "no room", "dynamic section")
    assert files.identity(path) == before


def test_equal_libraries_give_equal_bytes(sampler, tmp_path):
    other = tmp_path / "libother.so"
    shutil.copy(sampler.lib / "libbase.so", other)
    shift(other)
    shift(sampler.lib / "libbase.so")
    assert files.digest(other) == files.digest(sampler.lib / "libbase.so")


@pytest.mark.parametrize("part", range(20))
def test_any_changed_byte_is_noticed(sampler, part):
    path = sampler.lib / "libuser.so"
    shift(path)
    data = bytearray(path.read_bytes())
    data[(2 * part + 1) * len(data) // 40] ^= 0x20
    path.write_bytes(data)
    before = files.identity(path)
    for arguments in (["-y", path], ["-u", path], ["-r", hex(BASE), path]):
        one_line(fastprelink(*arguments, status=1), path)
    assert files.identity(path) == before


def test_digests_and_verification(sampler):
    path = sampler.lib / "libbase.so"
    expected = {option: run([need.tool(tool), path]).stdout for option, tool in
                {"--md5": "md5sum", "--sha": "sha1sum", "--sha256": "sha256sum"}.items()}
    shift(path)
    for option, line in expected.items():
        assert fastprelink(option, path).stdout == line


@pytest.mark.parametrize("name", ["libbase.so", "libuser.so"])
def test_tools_find_nothing_new(sampler, name):
    def problems():
        path = sampler.lib / name
        lint = run([need.tool("eu-elflint"), "--gnu-ld", path])
        return (run(["readelf", "-aW", path]).stderr,
                sorted(re.sub(r"\d+|0x[0-9a-f]+", "N", line) for line in (lint.stdout + lint.stderr).splitlines()))
    before = problems()
    shift(*libraries(sampler))
    assert problems() == before


# Undo data of version 2, by doc/format.md alone

def word_ranges(raw, at):
    """[(constant, first word, number of words)], and where they end."""
    found, (count, at) = [], leb128(raw, at)
    for _ in range(count):
        constant, at = leb128(raw, at)
        ranges, at = leb128(raw, at)
        end = 0
        for _ in range(ranges):
            gap, at = leb128(raw, at)
            length, at = leb128(raw, at)
            found.append((constant, end + gap, length))
            end += gap + length
    return found, at


def test_undo_data(sampler):
    path = sampler.lib / "libbase.so"
    original = path.read_bytes()
    shift(path)
    data = path.read_bytes()
    start, size = elf.sections(path)[".fastprelink.undo"]
    magic, version, header_size, whole, range_count, raw_size, packed_size, digest, seal = UNDO.unpack_from(data, start)
    assert (magic, version, header_size) == (b"FPLNUNDO", 2, UNDO.size) and size == UNDO.size + packed_size
    raw = unpack(data[start + header_size:start + size], raw_size)
    ranges, at, end = [], 0, 0
    for _ in range(range_count):
        gap, at = leb128(raw, at)
        length, at = leb128(raw, at)
        ranges.append((end + gap, length))
        end += gap + length
    words, at = word_ranges(raw, at)
    bits = at + sum(length for _, length in ranges)
    restored, marked = bytearray(data[:whole]), 0
    for constant, first, length in words:
        assert constant == BASE
        for word in range(length):
            if raw[bits + word // 8] >> word % 8 & 1:
                value, = struct.unpack_from("<Q", restored, 8 * (first + word))
                struct.pack_into("<Q", restored, 8 * (first + word), value - constant & 2**64 - 1)
                marked += 1
        bits += (length + 7) // 8
    assert bits == raw_size and marked > 50
    for where, length in ranges:
        restored[where:where + length] = raw[at:at + length]
        at += length
    assert hashlib.sha256(restored).digest() == digest and restored == original


def test_programs_keep_undo_data_of_version_1(sampler):
    sampler.prelink()
    for path in (sampler.prog, sampler.libc):
        start, _ = elf.sections(path)[".fastprelink.undo"]
        assert UNDO.unpack_from(path.read_bytes(), start)[1] == 1


def number(value):
    """VALUE as LEB128."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def numbers(*values):
    return b"".join(map(number, values))


def rewrite_undo(path, change):
    """Replaces the unpacked payload of PATH's undo data by CHANGE(payload), with everything around it right."""
    zstd = ctypes.CDLL("libzstd.so.1")
    zstd.ZSTD_compress.restype = ctypes.c_size_t
    data = bytearray(path.read_bytes())
    start, size = elf.sections(path)[".fastprelink.undo"]
    header = list(UNDO.unpack_from(data, start))
    raw = change(unpack(bytes(data[start + UNDO.size:start + size]), header[5]), header)
    packed = ctypes.create_string_buffer(len(raw) + 1024)
    length = zstd.ZSTD_compress(packed, ctypes.c_size_t(len(packed)), raw, ctypes.c_size_t(len(raw)), 19)
    header[5], header[6], header[8] = len(raw), length, bytes(32)
    where = len(data) + -len(data) % 8
    data = data.ljust(where, b"\0") + UNDO.pack(*header) + packed.raw[:length]
    table, = struct.unpack_from("<Q", data, elf.E_SHOFF)
    count, = struct.unpack_from("<H", data, elf.E_SHNUM)
    at = next(table + 64 * i for i in range(count) if struct.unpack_from("<Q", data, table + 64 * i + 24)[0] == start)
    struct.pack_into("<QQ", data, at + 24, where, UNDO.size + length)
    data[where + 80:where + 112] = hashlib.sha256(data).digest()
    path.write_bytes(data)


TRANSPLANTS = {
    "the same": lambda raw, header: raw,
    "a byte more": lambda raw, header: raw + b"\0",
    "a byte less": lambda raw, header: raw[:-1],
    "no constants": lambda raw, header: header.__setitem__(4, 0) or numbers(0),
    "a range of no words": lambda raw, header: header.__setitem__(4, 0) or numbers(1, BASE, 1, 0, 0),
    "a range behind the end": lambda raw, header: header.__setitem__(4, 0) or numbers(1, BASE, 1, 1 << 40, 8) + b"\0",
    "a gap that wraps": lambda raw, header: header.__setitem__(4, 0) or numbers(1, BASE, 2, 8, 8, 2**64 - 8, 8) + b"\0\0",
    "a length that wraps": lambda raw, header: header.__setitem__(4, 0) or numbers(1, BASE, 1, 8, 2**64 - 1) + b"\0",
    "a bit too many": lambda raw, header: header.__setitem__(4, 0) or numbers(1, BASE, 1, 8, 3) + b"\x08",
    "no bits": lambda raw, header: header.__setitem__(4, 0) or numbers(1, BASE, 1, 8, 3),
    "many constants": lambda raw, header: header.__setitem__(4, 0) or numbers(2**63) + bytes(100),
    "many ranges": lambda raw, header: header.__setitem__(4, 0) or numbers(1, BASE, 2**63) + bytes(100),
    "bytes that wrap": lambda raw, header: header.__setitem__(4, 2) or numbers(0, 2**63, 1, 2**63, 1, BASE, 0),
    "another digest": lambda raw, header: header.__setitem__(7, bytes(32)) or raw,
}


@pytest.mark.parametrize("name", TRANSPLANTS)
def test_malformed_undo_data(sampler, name):
    """The seal is right, what is in it is not: refused, never followed."""
    path = sampler.lib / "libbase.so"
    original = files.digest(path)
    shift(path)
    rewrite_undo(path, TRANSPLANTS[name])
    before = files.identity(path)
    done = fastprelink("-u", path, status=0 if name == "the same" else 1)
    if name == "the same":
        assert files.digest(path) == original
    else:
        one_line(done, path)
        assert files.identity(path) == before


def test_undo_data_of_a_later_version(sampler):
    path = sampler.lib / "libbase.so"
    shift(path)
    rewrite_undo(path, lambda raw, header: header.__setitem__(1, 3) or raw)
    one_line(fastprelink("-u", path, status=1), "written by a newer fastprelink")


# Libraries of the distribution

REAL = ["libstdc++.so.6", "libssl.so.3", "libcrypto.so.3", "libicui18n.so.72", "libicuuc.so.72", "libgtk-3.so.0",
        "libQt5Gui.so.5", "libQt5Widgets.so.5", "libpython3.11.so.1.0", "libm.so.6", "libgcc_s.so.1", "libz.so.1",
        "libpthread.so.0", "libX11.so.6", "libXdmcp.so.6", "libgmp.so.10", "libglib-2.0.so.0", "libsqlite3.so.0"]


@pytest.mark.parametrize("name", REAL)
def test_real_library(case, name):
    """Opened, wherever it is; undone; little is added; nobody finds a fault."""
    if not Path(SYSTEM, name).exists():
        need.missing(name)
    path = case.lib / name
    shutil.copy2(SYSTEM + name, path, follow_symlinks=True)
    original, size = files.digest(path), path.stat().st_size
    lint = [need.tool("eu-elflint"), "--gnu-ld", path]
    before = run(lint).stdout
    case.program('#include <dlfcn.h>\n#include <link.h>\n#include <stdio.h>\nint main(int c, char **v)\n'
                 '{ struct link_map *m = dlopen(v[1], *v[2] == \'n\' ? RTLD_NOW : RTLD_LAZY);\n'
                 '  if (!m) puts(dlerror()); else printf("%d\\n", m->l_addr == 0); return 0; }')
    shift(path)
    preload = occupier(case)
    for mode in ("now", "lazy"):
        assert case.run(path, mode).stdout == "1\n"
        assert case.run(path, mode, env=preload).stdout == "0\n"
    assert run(lint).stdout == before
    assert path.stat().st_size - size <= size // 100 + 5500
    fastprelink("-u", path)
    assert files.digest(path) == original


def real_closure(case, program, *arguments, path=()):
    shutil.copy2(program, case.prog)
    case.extra_env["LD_LIBRARY_PATH"] = ":".join(map(str, [case.lib, *path]))
    home = case.path.with_name("home")  # inkscape complains where it has none, with the time
    home.mkdir()
    case.extra_env["HOME"] = str(home)
    case.adopt()
    plain = case.run(*arguments)
    assert plain.status == 0 and plain.stdout, plain
    paths = libraries(case)
    original, size = files.digests(case.lib), sum(path.stat().st_size for path in paths)
    done = shift(*paths, status=None)
    skipped = done.stderr.count("keeps its random address")
    assert skipped == done.stderr.count("\n")
    biases = addresses(case)
    assert sum(biases[path.name] == 0 for path in paths) == len(paths) - skipped > 10
    preload = occupier(case)
    for env in ({}, {"LD_BIND_NOW": "1"}, preload, {**preload, "LD_BIND_NOW": "1"}):
        assert case.run(*arguments, env=env) == plain
    assert sum(path.stat().st_size for path in paths) - size < size * 3 // 100
    fastprelink("-u", *[path for path in paths if files.digest(path) != original[str(path)]])
    assert files.digests(case.lib) == original


@pytest.mark.heavy
def test_clang(case):
    real_closure(case, "/usr/bin/clang-14", "--version")


@pytest.mark.heavy
def test_inkscape(case):
    real_closure(case, "/usr/bin/inkscape", "--version", path=[SYSTEM + "inkscape"])
