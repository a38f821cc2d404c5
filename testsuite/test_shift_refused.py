"""What -r refuses, and says why; wrong usage of it."""

import shutil
import struct

import pytest

from harness import elf, files
from harness.run import fastprelink, one_line, run
from test_linking import ANSWER, FLAGS
from test_shift import BASE, DEBUG_INFORMATION, DT_PRELINKED, SYSTEM, WINDOW_END, end, shift

pytestmark = pytest.mark.one_placement


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
