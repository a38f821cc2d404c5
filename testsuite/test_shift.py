"""Libraries with a fixed address (-r): they lie there when it is free, and work wherever they are."""

import re
import shutil
import struct
from pathlib import Path

import pytest

from harness import build, elf, files, need
from harness.run import DEBUG, fastprelink, one_line, run
from test_cxx import HEADER as CXX_HEADER, LIB_A, LIB_B
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
    """A library to preload that takes the addresses from BASE on, with a gap between segments: snapshots would hold memory."""
    path = case.path / "occupier" / "liboccupier.so"
    case.library("liboccupier.so", 'const char end __attribute__((section(".end"))) = 1;', where="occupier",
                 flags=[f"-Wl,-Ttext-segment={BASE:#x},--section-start=.end={BASE + (64 << 20):#x}", "-nostdlib"])
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
