"""One program and its libraries, as every linker, option and strip tool makes them."""

import pytest

from harness import build, elf, need
from harness.run import run

ANSWER = "sum 146 counter 46 same 1 1\n"
PIE = pytest.mark.parametrize("pie", [True, False], ids=["pie", "no-pie"])
FLAGS = {
    "now": ["-Wl,-z,now"],
    "lazy": ["-Wl,-z,lazy"],
    "hash-sysv": ["-Wl,--hash-style=sysv"],
    "hash-gnu": ["-Wl,--hash-style=gnu"],
    "hash-both": ["-Wl,--hash-style=both"],
    "relr": ["-Wl,-z,pack-relative-relocs"],
    "relr-now": ["-Wl,-z,pack-relative-relocs,-z,now"],
    "ibt-plt": ["-fcf-protection", "-Wl,-z,ibtplt"],
    "no-plt": ["-fno-plt"],
    "norelro": ["-Wl,-z,norelro"],
    "full-relro": ["-Wl,-z,relro,-z,now"],
    "nocombreloc": ["-Wl,-z,nocombreloc"],
    "noseparate-code": ["-Wl,-z,noseparate-code"],
    "2-MiB-pages": ["-Wl,-z,max-page-size=0x200000"],
    "2-MiB-pages-noseparate": ["-Wl,-z,max-page-size=0x200000,-z,noseparate-code"],
    "64-KiB-pages": ["-Wl,-z,max-page-size=0x10000"],
    "no-build-id": ["-Wl,--build-id=none"],
    "sha1-build-id": ["-Wl,--build-id=sha1"],
    "uuid-like-build-id": ["-Wl,--build-id=0x00112233445566778899aabbccddeeff"],
    "no-spare-dynamic": ["-Wl,--spare-dynamic-tags=1"],
    "no-copy-relocations": ["-mno-direct-extern-access"],
    "gdwarf": ["-g"],
    "compressed-debug": ["-g", "-gz=zlib"],
    "no-eh-frame": ["-fno-asynchronous-unwind-tables"],
    "rosegment": ["-Wl,-z,separate-code"],
    "retpoline": ["-mindirect-branch=thunk"],
    "symbolic": ["-Wl,-Bsymbolic-functions"],
    "profile": ["-pg"],
    "execstack": ["-Wl,-z,execstack"],
    "static-libgcc": ["-static-libgcc"],
}


def make(case, flags=(), cc=None, pie=True):
    case.library("libbase.so", build.CASES / "base.c", flags=flags, cc=cc)
    case.library("libuser.so", build.CASES / "user.c", ["libbase.so"], flags, cc=cc)
    case.program(build.CASES / "sampler.c", ["libuser.so", "libbase.so"], flags, pie=pie, cc=cc)
    return case


@PIE
@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
def test_flags(case, flags, pie):
    make(case, flags, pie=pie)
    case.extra_env["GMON_OUT_PREFIX"] = str(case.path.with_name("gmon"))
    answer = case.run().stdout  # the flags may change it: -Bsymbolic-functions undoes the interposition
    assert answer.startswith("sum ")
    case.check(answer)


@PIE
@pytest.mark.parametrize("cc", ["gcc", "clang"])
@pytest.mark.parametrize("linker", ["bfd", "gold", "lld", "mold"])
def test_linkers(case, linker, cc, pie):
    need.tool({"lld": "ld.lld", "mold": "mold"}.get(linker, f"ld.{linker}"))
    make(case, [f"-fuse-ld={linker}"], cc, pie)
    case.check(ANSWER)


@pytest.mark.parametrize("flags", [["-Wl,-z,now"], ["-Wl,-z,separate-loadable-segments"], ["-Wl,-z,nognustack"],
                                   ["-Wl,--no-rosegment"], ["-Wl,--hash-style=sysv"], ["-Wl,--build-id=none"]],
                         ids=["now", "separate-segments", "nognustack", "no-rosegment", "sysv", "no-build-id"])
def test_lld_options(case, flags):
    need.tool("ld.lld")
    make(case, ["-fuse-ld=lld", *flags], "clang")
    case.check(ANSWER)


@PIE
def test_stripped(case, pie):
    make(case, pie=pie)
    for path in (case.prog, case.lib / "libbase.so", case.lib / "libuser.so"):
        assert run(["strip", path]).status == 0
    case.check(ANSWER)


@PIE
def test_without_section_headers(case, pie):
    make(case, pie=pie)
    for path in (case.prog, case.lib / "libbase.so", case.lib / "libuser.so"):
        elf.drop_sections(path)
    case.check(ANSWER)


def test_libraries_without_section_headers_and_build_ids(case):
    make(case, ["-Wl,--build-id=none"])
    for path in (case.lib / "libbase.so", case.lib / "libuser.so"):
        elf.drop_sections(path)
    case.check(ANSWER)


@PIE
def test_large_bss(case, pie):
    source = ('#include <stdio.h>\nstatic char room[1 << 25]; int first = 1; int main(int c, char **v)'
              '{ room[c << 20] = 1; printf("%d\\n", room[1 << 20] + first + room[5]); return 0; }')
    case.program(source, pie=pie)
    case.check("2\n")


@PIE
def test_page_aligned_bss(case, pie):
    source = ('#include <stdio.h>\n_Alignas(4096) int first[1024] = { 1 }; _Alignas(4096) int room[4096];'
              'int main(int c, char **v) { printf("%d\\n", room[c] + first[0]); return 0; }')
    case.program(source, pie=pie)
    case.check("1\n")


def test_no_data_at_all(case):
    case.program('int puts(const char *); int main(void) { puts("x"); return 0; }', flags=["-Wl,-z,norelro"])
    case.check("x\n")


# With the old dynamic tags DT_TEXTREL says it, else DT_FLAGS too.
TEXT_RELOCATIONS = pytest.mark.parametrize("flags", [[], ["-Wl,--disable-new-dtags"]], ids=["flags", "tag"])


@TEXT_RELOCATIONS
def test_text_relocations_in_a_library(case, flags):
    asm = ".globl f\n.type f,@function\nf: movabs $value, %rax\nmov (%rax), %eax\nret\n.globl value\n.data\nvalue: .long 11\n" \
          '.section .note.GNU-stack,"",@progbits\n'
    case.library("liba.so", asm, flags=["-Wl,-z,notext", "-nostartfiles", *flags], lang="asm")
    case.program('#include <stdio.h>\nint f(void); int main(void) { printf("%d\\n", f()); return 0; }', ["liba.so"])
    case.check("11\n")


@TEXT_RELOCATIONS
def test_text_relocations_in_the_program(case, flags):
    case.library("libb.so", "int value = 13;")
    case.program('#include <stdio.h>\nextern int value; int own = 2, *at = &value; int *f(void);\n'
                 '__asm__(".text\\n.type f,@function\\nf: movabs $own, %rax\\nret\\n");'
                 'int main(void) { printf("%d\\n", *f() + *at); return 0; }', ["libb.so"], ["-Wl,-z,notext", *flags])
    case.check("15\n")


def test_pc_relative_text_relocation(case):
    asm = ".globl f\n.type f,@function\nf: sub $8,%rsp\ncall g\nadd $8,%rsp\nret\n" \
          '.section .note.GNU-stack,"",@progbits\n'
    case.library("libb.so", "int g(void) { return 12; }")
    case.library("liba.so", asm, ["libb.so"], flags=["-Wl,-z,notext", "-nostartfiles"], lang="asm")
    case.program('#include <stdio.h>\nint f(void); int main(void) { printf("%d\\n", f()); return 0; }', ["liba.so"],
                 pie=False)
    case.check("12\n")


def test_program_without_debug_tag(case):
    """No DT_DEBUG: debuggers see nothing; it is skipped, or the runtime finds the link maps by itself or declines."""
    make(case)
    elf.dynamic_remove(case.prog, 21)
    case.adopt()
    case.prelink(status=None)
    assert case.run().stdout == ANSWER


def test_bind_now_of_one_library_only(case):
    make(case)
    case.library("libuser.so", build.CASES / "user.c", ["libbase.so"], ["-Wl,-z,now"])
    case.check(ANSWER)


def test_library_that_does_not_need_libc(case):
    case.library("libdata.so", "int data[2] = { 4, 5 }; int *at[2] = { &data[1], data };", flags=["-nostdlib"])
    case.program('#include <stdio.h>\nextern int *at[]; int main(void) { printf("%d\\n", *at[0]); return 0; }',
                 ["libdata.so"])
    case.check("5\n")


def test_library_without_relocations(case):
    case.library("liba.so", "int f(void) { return 6; }", flags=["-nostdlib"])
    case.program('#include <stdio.h>\nint f(void); int main(void) { printf("%d\\n", f()); return 0; }', ["liba.so"])
    case.check("6\n")


def test_nodelete_initfirst_and_other_flags(case):
    for index, flag in enumerate(["nodelete", "initfirst", "origin", "nodump", "global", "nodefaultlib"]):
        case.library(f"lib{index}.so", f"int f{index}(void) {{ return {index}; }} int (*at{index})(void) = f{index};",
                     flags=[f"-Wl,-z,{flag}"])
    total = "+".join(f"at{i}()" for i in range(6))
    case.program("#include <stdio.h>\n" + "".join(f"extern int (*at{i})(void);" for i in range(6))
                 + f'int main(void) {{ printf("%d\\n", {total}); return 0; }}', [f"lib{i}.so" for i in range(6)])
    case.check("15\n")
