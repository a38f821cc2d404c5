"""Wrong bindings that are planted (generate/faults.py): off by one symbol, of another version, scope or order.  Each is seen."""

import struct

import pytest

from generate import faults, life
from harness import elf
from oracle import bindings

pytestmark = pytest.mark.one_placement  # says itself which


def words(library):
    """What the file has in the six words that `table` consists of."""
    at = elf.symbol(library, "table")
    segment = next(s for s in elf.segments(library) if s[0] == elf.PT_LOAD and s[3] <= at < s[3] + s[4])
    start = segment[2] + at - segment[3]
    return struct.unpack("<6Q", library.read_bytes()[start:start + 48])


@pytest.mark.parametrize("natural", [True, False], ids=["natural", "not-natural"])
@pytest.mark.parametrize("placement", life.PLACEMENTS)
@pytest.mark.parametrize("fault", faults.FAULTS)
def test_a_wrong_word_is_noticed(case, fault, placement, natural):
    """By the output and by the oracle, as soon as there is one; and there is none without the fault."""
    library = faults.closure(case, natural)
    assert case.run().stdout == faults.RIGHT
    oracle = case.oracle().before()
    restore = faults.FAULTS[fault](library)
    case.prelink(options=("-f", f"--{placement}"))
    restore()
    assert case.run_fast().stdout == faults.WRONG[fault]
    # The wrong words come from the file of the fixed library; otherwise from the table's rows or, of a floating one, runs.
    held = words(case.lib / "libuser.so")[0] in (elf.symbol(library, "one"), elf.symbol(library, "two"))
    assert held == (placement == "fixed" and natural)
    oracle.snapshot("prelinked")
    found = oracle.differences("plain", "prelinked", "relocated")
    assert any("libuser.so+" in line and ": word: " in line for line in found) == (fault != "none"), found


@pytest.mark.parametrize("fault", faults.FAULTS)
def test_a_wrong_look_up_is_noticed(case, fault):
    library = faults.closure(case)
    restore = faults.FAULTS[fault](library)
    told, _ = bindings.ours(case.prog, [f"--ld-library-path={case.lib}"])
    restore()
    found = bindings.compare(bindings.ld_so(case.prog, case.env()), told)
    assert bool(found) == (fault != "none"), found
