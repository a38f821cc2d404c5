"""The oracle itself: two plain runs are equal, and a wrong word is seen."""

import pytest

from harness import build, elf

pytestmark = pytest.mark.one_placement


def two_plain_runs(case, corrupt=None, **options):
    oracle = case.oracle(**options)
    oracle.snapshot("plain")
    oracle.snapshot("other", *(["--corrupt", corrupt] if corrupt else []))
    return oracle


@pytest.mark.parametrize("randomize", [True, False], ids=["random", "setarch-R"])
@pytest.mark.parametrize("pie", [True, False], ids=["pie", "no-pie"])
def test_plain_equals_plain(sampler, pie, randomize):
    sampler.program(build.CASES / "sampler.c", ["libuser.so", "libbase.so"], pie=pie)
    two_plain_runs(sampler, randomize=randomize).compare("plain", "other")


@pytest.mark.parametrize("stage", ["relocated", "entry"])
def test_a_wrong_slot_is_reported(sampler, stage):
    where = elf.slot(sampler.lib / "libuser.so", "hooked")
    found = two_plain_runs(sampler, f"libuser.so:{where}").differences("plain", "other", stage)
    assert found[0].startswith(f"{sampler.lib}/libuser.so+{where:#x}: word: type 1 hooked: plain ")
    assert len(found) == 2 and found[1].endswith(" 1 differences")


def test_a_wrong_slot_of_the_program_is_reported(sampler):
    where = elf.slot(sampler.prog, "counter_pointer")
    found = two_plain_runs(sampler, f":{where}").differences("plain", "other", "relocated")
    assert found[0].startswith(f"program+{where:#x}: word: type 5 counter_pointer")


def test_a_wrong_lazy_slot_is_reported(sampler):
    where = elf.slot(sampler.lib / "libuser.so", "strtol")
    found = two_plain_runs(sampler, f"libuser.so:{where}").differences("plain", "other", "relocated")
    assert "type 7 strtol" in found[0]


def test_a_lazy_slot_may_be_bound(sampler):
    """It is equal to that of a start that binds at once, if that is given, and no other word is."""
    oracle = sampler.oracle()
    oracle.snapshot("plain")
    oracle.env["LD_BIND_NOW"] = "1"
    oracle.snapshot("now")
    oracle.snapshot("other")
    found = oracle.differences("plain", "other", "relocated")
    assert any("type 7 strtol" in line for line in found)
    found = oracle.differences("plain", "other", "relocated", "now")
    assert found and all("type 65535" in line for line in found[:-1]), found  # the GOT's words for lazy binding


@pytest.mark.parametrize("name", ["strtol", "hooked"])
def test_a_wrong_slot_is_reported_where_slots_may_be_bound(sampler, name):
    where = elf.slot(sampler.lib / "libuser.so", name)
    oracle = two_plain_runs(sampler, f"libuser.so:{where}")
    oracle.env["LD_BIND_NOW"] = "1"
    oracle.snapshot("now")
    found = oracle.differences("plain", "other", "relocated", "now")
    assert len(found) == 2 and f" {name}: plain " in found[0]


def test_a_word_without_relocation_is_reported(sampler):
    where = elf.symbol(sampler.lib / "libuser.so", "hook") - 8
    found = two_plain_runs(sampler, f"libuser.so:{where}").differences("plain", "other", "relocated")
    assert found


def test_another_library_is_reported(sampler):
    oracle = sampler.oracle()
    oracle.snapshot("plain")
    oracle.env["LD_PRELOAD"] = sampler.lib / "libbase.so"
    oracle.snapshot("other")
    assert oracle.differences("plain", "other", "relocated")


@pytest.mark.parametrize("signal", ["SIGCONT", "SIGSTOP", "SIGCHLD"])
def test_a_signal_that_does_not_end_the_program_does_not_end_a_snapshot(case, signal):
    case.program("#include <signal.h>\n__attribute__((constructor)) static void f(void) { raise(%s); }\n"
                 "int main(void) { return 0; }" % signal)
    case.adopt()
    two_plain_runs(case).compare("plain", "other")


def test_addresses_vary(sampler):
    found = [sampler.oracle().addresses() for _ in range(3)]
    assert len({addresses[str(sampler.libc)] for addresses in found}) == 3
