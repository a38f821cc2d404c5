"""Zeros at the end of a fixed library's segments: they are in the file, are zero, and undo knows nothing of them."""

import pytest

from harness import elf, files
from harness.need import tool
from harness.run import run

pytestmark = pytest.mark.one_placement  # says itself which

LIBRARY = """
int data[3] = { 1, 2, 3 };
char zeros[%(size)d];
int sum(void) { int s = data[2]; for (unsigned i = 0; i < sizeof(zeros); i++) s += zeros[i]++; return s; }
"""
PROGRAM = """
#include <stdio.h>
int sum(void);
int main(void) { int first = sum(); printf("%d %d\\n", first, sum() - first); return 0; }
"""
FIXED = ("-f", "--fixed")


def last_load(path):
    """(p_filesz, p_memsz, end in the file) of the last segment in memory."""
    _, _, offset, _, filesz, memsz, _, _ = max((s for s in elf.segments(path) if s[0] == elf.PT_LOAD), key=lambda s: s[3])
    return filesz, memsz, offset + filesz


def make(case, size, flags=()):
    case.library("liba.so", LIBRARY % {"size": size}, flags=flags)
    case.program(PROGRAM, ["liba.so"])
    return f"3 {size}\n"


@pytest.mark.parametrize("flags", [[], ["-s"], ["-g"], ["-Wl,-z,now"], ["-Wl,-z,max-page-size=0x200000"], ["-fuse-ld=lld"]],
                         ids=["plain", "stripped", "debug", "now", "large-pages", "lld"])
@pytest.mark.parametrize("size", [1, 100, 3000, 4096, 5000, 20000, 65000])
def test_small_bss_is_in_the_file(case, size, flags):
    expected = make(case, size, flags)
    before = last_load(case.lib / "liba.so")
    assert before[0] < before[1]
    case.adopt()
    original = files.digests(case.bin, case.lib)
    case.prelink(options=FIXED)
    after = last_load(case.lib / "liba.so")
    if flags != ["-g"]:  # libraries with debug information float
        assert after[0] == after[1] == before[1] and (case.lib / "liba.so").read_bytes()[after[2] - size:after[2]] == bytes(size)
    done = case.run_fast()
    assert done.stdout == expected
    assert case.run(env={"FASTPRELINK": "0"}).stdout == expected
    case.undo(*files.changed(original, files.digests(case.bin, case.lib)))
    assert files.digests(case.bin, case.lib) == original


def test_large_bss_stays_out_of_the_file(case):
    expected = make(case, 100000)
    before = last_load(case.lib / "liba.so")
    case.prelink(options=FIXED)
    assert last_load(case.lib / "liba.so")[:2] == before[:2]
    assert case.run_fast().stdout == expected


def test_sections_behind_move(case):
    """What stood in the zeros' place is found by its section header as before."""
    make(case, 9000)
    library = case.lib / "liba.so"
    (case.path / "note").write_text("kept " * 50)
    assert run([tool("objcopy"), f"--add-section=.kept={case.path / 'note'}", library]).status == 0
    symbols = run([tool("nm"), library]).stdout.splitlines()
    case.prelink(options=FIXED)
    out = case.path / "out"
    assert run([tool("objcopy"), "-O", "binary", "--only-section=.kept", "--set-section-flags", ".kept=alloc", library, out]).status == 0
    assert out.read_text() == "kept " * 50
    comment = run([tool("readelf"), "-p", ".comment", library]).stdout
    assert "GCC" in comment
    assert [line.split()[-1] for line in run([tool("nm"), library]).stdout.splitlines()] == [line.split()[-1] for line in symbols]
    assert run([tool("eu-elflint"), "--gnu-ld", "-q", library]).status == 0


def test_stripped_afterwards(case):
    expected = make(case, 5000)
    case.prelink(options=FIXED)
    assert run([tool("strip"), case.lib / "liba.so"]).status == 0
    assert case.run().stdout == expected
