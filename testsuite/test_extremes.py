"""More, larger, further, odder than usual: handled, or refused with a reason; never wrong."""

import re
import struct

import pytest

from harness import elf, files, need
from harness.run import DEBUG, one_line, run
from oracle import STAGES

PT_LOAD, PT_GNU_EH_FRAME, PT_GNU_RELRO, PT_GNU_PROPERTY = 1, 0x6474E550, 0x6474E552, 0x6474E553
PF_X, PF_R, PAGE = 1, 4, 4096

PRINT = "#include <stdio.h>\n"
MAIN = '\nint main(void) { printf("%%d\\n", %s); return 0; }'


def right(case, expected):
    """check(), but a refusal with one line is as good."""
    case.adopt()
    assert case.run().stdout == expected
    done = case.prelink(options=["-n", "-f"], status=None)
    if done.status:
        one_line(done, case.prog)
        assert case.run().stdout == expected
    else:
        case.check(expected)


def fill_padding(path):
    """Takes the room behind the code: what is not zero belongs to somebody."""
    end, = [offset + filesz for kind, flags, offset, _, filesz, *_ in elf.segments(path) if kind == PT_LOAD and flags & PF_X]
    elf.patch(path, end, b"\xcc" * (-end % PAGE))


def test_no_padding_behind_the_code_of_the_carrier(sampler):
    """The stub gets a segment of its own."""
    fill_padding(sampler.libc)
    sampler.check(sampler.run().stdout)


def test_carrier_with_a_segment_for_the_stub(sampler):
    fill_padding(sampler.libc)
    before = {segment[:-1] for segment in elf.segments(sampler.libc)}
    sampler.prelink()
    after = {segment[:-1] for segment in elf.segments(sampler.libc)}
    assert [segment[:2] for segment in after - before] == [(PT_LOAD, PF_R | PF_X)]
    assert [segment[0] for segment in before - after] == [PT_GNU_PROPERTY]
    for tool in (["strip", "-g"], ["objcopy"], ["eu-strip"]):
        done = run([need.tool(tool[0]), *tool[1:], sampler.libc, *([sampler.libc] if tool == ["objcopy"] else [])])
        assert done.status == 0, done
        assert sampler.run_fast() == sampler.run(env={"FASTPRELINK": "0"})


def test_no_padding_and_no_program_header_to_spare(sampler):
    fill_padding(sampler.libc)
    for segment in elf.segments(sampler.libc):
        if segment[0] == PT_GNU_PROPERTY:
            elf.patch(sampler.libc, segment[-1], PT_GNU_EH_FRAME.to_bytes(4, "little"))
    before = files.identity(sampler.libc)
    done = sampler.prelink(status=1)
    one_line(done, "no room", "bytes behind the code")
    assert files.identity(sampler.libc) == before


def test_words_that_lead_to_very_many_libraries(case):
    count = 260
    for i in range(count):
        case.library(f"lib{i}.so", f"int v{i} = {i}; int *p{i} = &v{i};", flags=["-nostdlib"])
    names = [f"lib{i}.so" for i in range(count)]
    externs = "".join(f"extern int v{i};" for i in range(count))
    case.library("liball.so", externs + "int *all[] = {" + ",".join(f"&v{i}" for i in range(count)) + "};", names)
    case.program(PRINT + f"extern int *all[]; int sum(void) {{ int s = 0; for (int i = 0; i < {count}; i++) s += *all[i];"
                 "return s; }" + MAIN % "sum()", ["liball.so", *names])
    right(case, f"{sum(range(count))}\n")


def test_very_many_ifuncs(case):
    count = 1300
    source = "".join(f"static int one{i}(void) {{ return {i}; }} static void *choose{i}(void) {{ return one{i}; }}"
                     f'int f{i}(void) __attribute__((ifunc("choose{i}")));' for i in range(count))
    case.library("liba.so", source)
    case.library("libb.so", "".join(f"int f{i}(void);" for i in range(count)) + "int (*all[])(void) = {"
                 + ",".join(f"f{i}" for i in range(count)) + "};", ["liba.so"])
    case.program(PRINT + f"extern int (*all[])(void); int sum(void) {{ int s = 0; for (int i = 0; i < {count}; i++)"
                 "s += all[i](); return s; }" + MAIN % "sum()", ["libb.so"])
    right(case, f"{sum(range(count))}\n")


@pytest.mark.parametrize("addend", [0x7000_0000_0000, -0x7000_0000_0000, 0xffff_ffff, 0x1_0000_0000, -1, -0x8000_0001])
def test_addends_far_away(case, addend):
    case.library("liba.so", "char table[8]; char *own(void) { return table; }")
    asm = f'.data\n.globl far\n.type far, @object\n.size far, 8\nfar: .quad table + {addend}\n.section .note.GNU-stack,"",@progbits\n'
    case.library("libb.so", asm, ["liba.so"], lang="asm")
    case.program(PRINT + "extern char *far; char *own(void);" + MAIN % f"far - own() == {addend}L", ["libb.so", "liba.so"],
                 ["-mno-direct-extern-access"])
    right(case, "1\n")


def test_words_that_are_not_aligned(case):
    """Also across the boundary of two pages."""
    case.library("liba.so", "int v = 5;")
    asm = ".data\n.balign 4096\n.globl words\n.type words, @object\n.size words, 4114\nwords: .byte 0\n.quad v\n.byte 0\n.quad local\n.zero 4096 - 18 - 3\n.quad v\n" \
          '.byte 0\n.quad local\nlocal: .long 6\n.section .note.GNU-stack,"",@progbits\n'
    case.library("libb.so", asm, ["liba.so"], lang="asm")
    case.program(PRINT + "#include <string.h>\nextern char words[]; int at(int offset) { int *p; memcpy(&p, words + offset, 8);"
                 "return *p; }" + MAIN % "at(1) * 1000 + at(10) * 100 + at(4093) * 10 + at(4102)", ["libb.so"],
                 ["-mno-direct-extern-access"])
    right(case, "5656\n")


@pytest.mark.parametrize("linker", ["bfd", "lld"])
def test_packed_relative_relocations_of_words_that_are_not_aligned(case, linker):
    """At even addresses, and across the boundary of two pages: a bitmap speaks of words that lie as its address does."""
    words = ".quad local\n" * 600
    asm = f".data\n.balign 4096\n.globl words\n.type words, @object\n.size words, 4804\nwords: .short 0\n{words}.short 0\n" \
          'local: .long 6\n.section .note.GNU-stack,"",@progbits\n'
    packed = "-Wl,-z,pack-relative-relocs" if linker == "bfd" else "-Wl,--pack-dyn-relocs=relr"
    case.library("liba.so", "int v = 5;")
    case.library("libb.so", asm + ".data\n.balign 8\n.quad v\n", ["liba.so"], [f"-fuse-ld={linker}", packed, "-nostdlib"], lang="asm")
    assert re.search("^ *[0-9a-f]+2$", elf.readelf(case.lib / "libb.so", "-rW"), re.MULTILINE)  # of a RELR section
    case.program(PRINT + "#include <string.h>\nextern char words[]; int all(void) { int sum = 0, *p; for (int i = 0; i < 600; i++) {"
                 "memcpy(&p, words + 2 + 8 * i, 8); sum += *p; } return sum; }" + MAIN % "all()", ["libb.so"],
                 ["-mno-direct-extern-access"])
    case.check("3600\n")


def test_absolute_symbols(case):
    """A symbol without a section is a number; ld.so does not add the load address."""
    case.library("liba.so", '.globl number\nnumber = 0x1234\n.type number, @object\n'
                            '.section .note.GNU-stack,"",@progbits\n', lang="asm", flags=["-nostdlib"])
    case.library("libb.so", "extern char number[]; char *at = number;", ["liba.so"])
    case.program(PRINT + "extern char *at;" + MAIN % "(int)(long)at", ["libb.so"])
    right(case, f"{0x1234}\n")


@pytest.mark.parametrize("kind", ["-f", "-F"], ids=["auxiliary", "filter"])
def test_filters(case, kind):
    case.library("libimpl.so", "int f(void) { return 2; }")
    case.library("liba.so", "int f(void) { return 1; } int g(void) { return 10; }", flags=[f"-Wl,{kind},libimpl.so"])
    case.program(PRINT + "int f(void), g(void);" + MAIN % "f() + g()", ["liba.so"])
    case.adopt()
    right(case, case.run().stdout)


def test_preinit_and_init_arrays(case):
    case.program(PRINT + 'static void early(void) { printf("early "); } __attribute__((section(".preinit_array")))'
                 'void (*preinit)(void) = early; __attribute__((constructor(101))) static void a(void) { printf("a "); }'
                 '__attribute__((constructor(102))) static void b(void) { printf("b "); }' + MAIN % "1")
    right(case, "early a b 1\n")


def test_symbols_at_the_very_end_of_an_object(case):
    """_end lies behind the last byte, maybe where the next library starts."""
    case.library("liba.so", "extern char _end[], _edata[], __bss_start[]; char *ends[] = { _end, _edata, __bss_start };"
                            "int space[1024]; "
                            "int check(void) { unsigned long far = ends[0] - (char *)(space + 1024); return far < 65536; }")
    case.program(PRINT + "int check(void);" + MAIN % "check()", ["liba.so"])
    case.adopt()
    right(case, case.run().stdout)


def test_library_needed_twice(case):
    case.library("liba.so", "int v = 4; int *at = &v;")
    case.program(PRINT + "extern int *at;" + MAIN % "*at", ["liba.so", "liba.so"])
    right(case, "4\n")


def test_long_names(case):
    name = "n" * 5000
    case.library("liba.so", f"int {name} = 8; int *at = &{name};")
    case.program(PRINT + f"extern int {name}, *at;" + MAIN % f"{name} + (at == &{name})", ["liba.so"], pie=False)
    right(case, "9\n")


@pytest.mark.parametrize("kib", [28, 36, 48, 64, 132])
def test_small_stacks(sampler, kib):
    """What the stub and the runtime keep on the stack must not make a start fail that succeeds otherwise."""
    prefix = ["sh", "-c", f'ulimit -s {kib}; exec "$0" "$@"']
    assert sampler.compare(lambda directory: directory.run(prefix=prefix, env=DEBUG)).status is not None


@pytest.mark.parametrize("kib", [28, 36, 48, 64, 132])
def test_small_stacks_with_many_libraries(case, kib):
    for i in range(200):
        case.library(f"lib{i}.so", f"int v{i} = {i}; int *p{i} = &v{i};", flags=["-nostdlib"])
    case.program(PRINT + "".join(f"extern int *p{i};" for i in range(200)) + MAIN % "*p7 + *p199",
                 [f"lib{i}.so" for i in range(200)])
    prefix = ["sh", "-c", f'ulimit -s {kib}; exec "$0" "$@"']
    assert case.compare(lambda directory: directory.run(prefix=prefix, env=DEBUG)).status is not None


def test_relro_that_ends_behind_the_file(case):
    """lld rounds it up to whole pages; nobody reads its bytes in the file."""
    case.library("liba.so", "int x = 3, *p = &x;")
    case.program(PRINT + "extern int *p;" + MAIN % "*p", ["liba.so"])
    path = case.lib / "liba.so"
    for index, segment in enumerate(elf.segments(path)):
        if segment[0] == PT_GNU_RELRO:
            at = struct.unpack_from("<Q", path.read_bytes(), 32)[0] + index * 56 + 32
            elf.patch(path, at, struct.pack("<Q", path.stat().st_size))
    case.adopt()
    case.check("3\n")


@pytest.mark.parametrize("pie", [False, True])
@pytest.mark.parametrize("length", [20, 300, 5000])
def test_patchelf_cuts_tables_in_two(case, length, pie):
    """It puts the string table in front of a program that stays where it is, and lets it run on into the next segment."""
    case.library("liba.so", "int x = 3, *p = &x;")
    case.program(PRINT + "extern int *p;" + MAIN % "*p", ["liba.so"], pie=pie)
    run([need.tool("patchelf"), "--set-rpath", "/" + "a" * length, case.prog])
    case.adopt()
    # That segment is a writable one, and holds the ELF header as well.
    case.check("3\n", stages=STAGES if pie else ())


def test_program_headers_at_an_odd_offset(case):
    """Kernel and ld.so take them; some injectors of resources make them."""
    case.program(PRINT + MAIN % "3")
    data = bytearray(case.prog.read_bytes())
    start, = struct.unpack_from("<Q", data, 32)
    headers = data[start:start + struct.unpack_from("<H", data, 56)[0] * 56]
    data += bytes(-(len(data) + 1) % 8) + headers
    struct.pack_into("<Q", data, 32, len(data) - len(headers))
    case.prog.write_bytes(data)
    done = case.prelink(status=1)
    one_line(done, "not supported: program headers at an offset that is no multiple of 8")


@pytest.mark.one_placement
def test_program_in_the_window(case):
    """What it grows by moves no library: a second run finds everything as it is to be."""
    objects = [run(["gcc", f"-print-file-name={name}"]).stdout.strip() for name in ("Scrt1.o", "crti.o", "crtn.o")]
    case.library("liba.so", "int f(int x) { return x + 1; } int (*volatile table[200])(int) = { [0 ... 199] = f };")
    case.program(PRINT + "extern int (*volatile table[200])(int); int (*volatile mine[9000])(int) = { [0 ... 8999] = 0 };"
                 + MAIN % "table[7](2)", ["liba.so"], ["-fPIE", "-nostartfiles", *objects, "-Wl,--no-relax", "-Wl,-Ttext-segment=0x3000000000"], pie=False)
    case.adopt()
    case.prelink(options=["-f", "--fixed"])
    before = files.digests(case.path)
    assert case.run_fast().stdout == "3\n"
    done = case.prelink(options=["-f", "--fixed"])
    assert files.digests(case.path) == before and "0 prelinked, 1 unchanged" in done.stdout


def test_payload_without_section_headers(case):
    """What reads its own last bytes must find them there."""
    case.program(PRINT + MAIN % "3")
    elf.drop_sections(case.prog)
    case.adopt()
    case.check("3\n")
    with case.prog.open("ab") as file:
        file.write(bytes(5000) + b"HELLO")
    before = files.digests(case.path)
    one_line(case.prelink(status=1), "carries data that is not part of the ELF image: 5005 bytes")
    assert files.digests(case.path) == before
