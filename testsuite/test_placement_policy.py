"""Which libraries the command fixes and where: --fixed, --aslr, neither; what floats and why; the same bytes from run to run."""

import json
import os
import re
import shutil

import pytest

from harness import build, elf, files
from harness.run import DEBUG, fastprelink, one_line
from test_shift import addresses

pytestmark = pytest.mark.one_placement  # says itself which


START, END = 0x3000000000, 0x4000000000
LIBDIR = "/usr/lib/x86_64-linux-gnu"
FIXED, ASLR, DEFAULT = ("-f", "--fixed"), ("-f", "--aslr"), ("-f", "--default")
ANSWERS = {"one": "12\n", "two": "13\n", "three": "4\n"}
MAIN = '#include <stdio.h>\nint {0}(void); int main(void) {{ printf("%d\\n", {0}()); return 0; }}'
LIBRARIES = {  # name: (its number, what it needs, bytes of data)
    "common": (10, None, 8),
    "one": (2, "common", 8),
    "two": (3, "common", 3 << 20),
    "three": (4, None, 8),
}


def text_of(name, number=None, size=None):
    """A library with more than enough relocations to be worth an address; NAME() is its number and that of what it needs."""
    own, needs, bytes_ = LIBRARIES[name]
    return (f"char {name}_data[{size or bytes_}] = {{1}}; char *{name}_words[40] = {{ [0 ... 39] = {name}_data }};"
            + (f"int {needs}(void); int (*{name}_at)(void) = {needs};" if needs else "")
            + f"int {name}(void) {{ return {number or own}" + (f" + {name}_at()" if needs else "") + "; }")


def compiled(name, number=None, size=None):
    needs = LIBRARIES[name][1]
    return build.compile_c(text_of(name, number, size), f"lib{name}.so", ["-shared", "-fPIC", f"-Wl,-soname,lib{name}.so"],
                           [compiled(needs)] if needs else [])


def program(name):
    return build.compile_c(MAIN.format(name), name, ["-fPIE", "-pie", "-Wl,--allow-shlib-undefined"], [compiled(name)])


@pytest.fixture
def tree(case):
    """Programs one, two and three: one and two share libcommon.so, three has a library of its own."""
    for name in LIBRARIES:
        shutil.copy(compiled(name), case.lib)
    for name in ANSWERS:
        shutil.copy(program(name), case.bin)
    case.prog = case.bin / "one"
    case.adopt(*programs(case))
    for path in case.lib.iterdir():
        path.chmod(0o755)
    return case


def programs(case, *names):
    return [case.bin / name for name in names or ANSWERS]


def records(done):
    """{name of a file: its record} of a run with --json; the last one is called summary."""
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {"summary" if "summary" in row else row["file"].rsplit("/", 1)[1]: row for row in rows}


def bases(case, *names):
    """{library: the address in its file}"""
    names = names or [f"lib{name}.so" for name in LIBRARIES]
    return {name: next(s[3] for s in elf.segments(case.lib / name) if s[0] == elf.PT_LOAD) for name in names}


def prelink(case, options, *names, status=0):
    return case.prelink(*programs(case, *names), options=options, status=status)


def undo(case):
    fastprelink("-u", *(path for path in [*case.bin.iterdir(), *case.lib.iterdir()]
                        if path.is_file() and b".gnu.prelink_undo\0" in path.read_bytes()))


def runs(case, *names):
    """Each is accelerated and says what it should."""
    for name in names or ANSWERS:
        assert case.run_fast(program=case.bin / name).stdout == ANSWERS[name]


def contents(case):
    return files.digests(case.bin, case.lib)


# The three placements

def test_fixed(tree):
    """Every library but libc and ld.so is at an address of the window and lies there at start."""
    prelink(tree, FIXED)
    found = bases(tree)
    assert all(START <= base < END for base in found.values()) and len(set(found.values())) == len(found)
    assert bases(tree, "libc.so.6") == {"libc.so.6": 0}
    runs(tree)
    biases = addresses(tree)
    assert biases["libone.so"] == biases["libcommon.so"] == 0 and biases["libc.so.6"] != 0


def test_aslr(tree):
    before = files.digests(tree.lib)
    prelink(tree, ASLR)
    assert files.changed(before, files.digests(tree.lib)) == {str(tree.libc)}
    runs(tree)
    assert all(addresses(tree).values())


def test_default_fixes_what_no_exposed_program_loads(tree):
    prelink(tree, DEFAULT)
    default = contents(tree)
    undo(tree)
    prelink(tree, FIXED)
    assert contents(tree) == default


def test_bases_ascend_in_the_order_in_which_the_loader_maps(tree):
    prelink(tree, FIXED, "two", "one")
    found = bases(tree)
    assert found["libtwo.so"] < found["libcommon.so"] < found["libone.so"]
    assert found["libtwo.so"] == START
    assert found["libcommon.so"] >= START + 2 * (2 << 20), "what the kernel wants free behind a large library"


def test_every_word(tree):
    """Equal to a plain start's in each placement, and in a mixed directory."""
    oracle = tree.oracle().before()
    prelink(tree, FIXED)
    oracle.after()
    (tree.lib / "libcommon.so.hmac").touch()
    undo(tree)
    for options in (FIXED, ASLR):  # first mixed, then floating
        prelink(tree, options)
        oracle.after()
        assert bases(tree)["libcommon.so"] == 0


# From one to another

SETTINGS = {"aslr": ASLR, "fixed": FIXED, "default": DEFAULT, "random": (*FIXED, "-R", "--seed=7")}


@pytest.mark.parametrize("first", [*SETTINGS, "kept"])
@pytest.mark.parametrize("then", SETTINGS)
def test_transitions(tree, first, then):
    """As a fresh run would have made it; only bases that were chosen at random stay.  A second run changes nothing."""
    original = contents(tree)
    prelink(tree, SETTINGS[then])
    fresh = contents(tree)
    undo(tree)
    assert contents(tree) == original
    if first == "kept":  # an older prelinking that knew fewer programs
        prelink(tree, FIXED, "one")
    else:
        prelink(tree, SETTINGS[first])
    chosen = contents(tree)
    prelink(tree, SETTINGS[then])
    expected = chosen if first == "random" and then in ("fixed", "default") else fresh
    assert contents(tree) == expected
    runs(tree)
    before = files.identities(tree.path)
    done = prelink(tree, SETTINGS[then])
    assert "0 prelinked, 3 unchanged" in done.stdout
    assert files.identities(tree.path) == before
    undo(tree)
    assert contents(tree) == original


def test_aslr_restores_the_libraries(tree):
    """Byte for byte and with all attributes, and says so."""
    for path in tree.lib.iterdir():
        os.utime(path, ns=(10 ** 18 + 5, 10 ** 18 + 7))
    (tree.lib / "libone.so").chmod(0o640)
    before = {path: (files.digest(path), files.attributes(path)) for path in tree.lib.iterdir() if path != tree.libc}
    prelink(tree, FIXED)
    for path, (digest, attributes) in before.items():
        assert files.attributes(path) == attributes
        assert (files.digest(path) != digest) == (path.name in bases(tree))
    done = prelink(tree, (*ASLR, "-v"))
    assert {path: (files.digest(path), files.attributes(path)) for path in before} == before
    assert f"{tree.lib}/libone.so: restored, floats: keeps its random address: as asked for\n" in done.stdout
    runs(tree)


def test_only_the_libraries_of_the_named_programs(tree):
    before = contents(tree)
    prelink(tree, FIXED, "three")
    assert {os.path.basename(path) for path in files.changed(before, contents(tree))} == {"three", "libthree.so", "libc.so.6"}


def test_a_program_that_is_skipped_leaves_its_libraries(tree):
    """Nobody would use the addresses."""
    before = contents(tree)
    done = prelink(tree, ["--fixed"], status=1)
    assert done.stderr.count("too few relocations to gain from") == 3
    assert contents(tree) == before


# Stability

def test_bases_stay_when_a_program_comes(tree):
    prelink(tree, FIXED, "one")
    before, first = files.identities(tree.path), bases(tree, "libone.so", "libcommon.so")
    prelink(tree, FIXED, "three", "two", "one")
    after = files.identities(tree.path)
    assert bases(tree, "libone.so", "libcommon.so") == first
    for name in ("bin/one", "lib/libone.so", "lib/libcommon.so", "lib/libc.so.6"):
        assert before[tree.path / name] == after[tree.path / name], name
    runs(tree)


def test_bases_stay_when_a_program_goes(tree):
    prelink(tree, FIXED)
    (tree.bin / "one").unlink()
    (tree.lib / "libone.so").unlink()
    before = files.identities(tree.path)
    prelink(tree, FIXED, "two", "three")
    assert files.identities(tree.path) == before


def test_a_program_that_gets_another_library(tree):
    """The library goes behind the others, or into a gap; theirs stay."""
    prelink(tree, FIXED)
    before = bases(tree)
    tree.library("libnew.so", text_of("three").replace("three", "new"))
    tree.program('#include <stdio.h>\nint one(void), new(void); int main(void) { printf("%d\\n", one() + new()); return 0; }',
                 ["libnew.so", "libone.so"], name="one")
    prelink(tree, FIXED)
    assert bases(tree) == before
    assert bases(tree, "libnew.so")["libnew.so"] not in (0, *before.values())
    assert tree.run_fast(program=tree.bin / "one").stdout == "16\n"
    runs(tree, "two", "three")


@pytest.mark.parametrize("size", [8, 2 << 20], ids=["as-large", "grown"])
def test_a_library_that_is_upgraded(tree, size):
    """The new one gets an address too; the others keep theirs, and tables of programs that do not load it stay."""
    prelink(tree, FIXED)
    before, identities = bases(tree), files.identities(tree.path)
    shutil.copy(compiled("common", 20, size), tree.lib / "new")
    (tree.lib / "new").rename(tree.lib / "libcommon.so")
    assert tree.run(env=DEBUG).stdout == "22\n"
    prelink(tree, FIXED)
    after = bases(tree)
    assert {name for name in before if before[name] != after[name]} <= {"libcommon.so"} and after["libcommon.so"]
    if size == 8:
        assert after == before, "its place was free"
    for name in ("bin/three", "lib/libthree.so"):
        assert files.identities(tree.path)[tree.path / name] == identities[tree.path / name]
    assert tree.run_fast(program=tree.bin / "one").stdout == "22\n"
    assert tree.run_fast(program=tree.bin / "two").stdout == "23\n"


def test_a_base_given_by_hand_is_kept(tree):
    fastprelink("-r", "0x3123456000", tree.lib / "libcommon.so")
    prelink(tree, FIXED)
    assert bases(tree)["libcommon.so"] == 0x3123456000
    runs(tree)
    before = files.identities(tree.path)
    prelink(tree, FIXED)
    assert files.identities(tree.path) == before
    fastprelink("-r", "0x3200000000", tree.lib / "libone.so")
    prelink(tree, FIXED)
    found = bases(tree)
    assert (found["libone.so"], found["libcommon.so"]) == (0x3200000000, 0x3123456000)
    runs(tree)


def test_two_bases_given_by_hand_that_overlap(tree):
    """One of them moves."""
    for name in ("libcommon.so", "libone.so"):
        fastprelink("-r", "0x3123456000", tree.lib / name)
    prelink(tree, FIXED)
    found = bases(tree)
    assert 0x3123456000 in (found["libone.so"], found["libcommon.so"]) and found["libone.so"] != found["libcommon.so"]
    runs(tree)


def test_the_order_of_programs(tree):
    """It counts for new libraries only."""
    prelink(tree, FIXED)
    first = contents(tree)
    before = files.identities(tree.path)
    prelink(tree, FIXED, "three", "one", "two")
    assert files.identities(tree.path) == before
    undo(tree)
    prelink(tree, FIXED, "three", "one", "two")
    assert contents(tree) != first and bases(tree)["libthree.so"] == START
    runs(tree)


def test_a_program_named_twice(tree):
    done = prelink(tree, FIXED, "one", "one", "two")
    assert "2 prelinked, 1 unchanged" in done.stdout
    runs(tree, "one", "two")


# What gains little

def test_small_libraries_float_unless_forced(tree):
    tree.library("libsmall.so", "int small(void) { return 1; }")
    tree.program('#include <stdio.h>\nint one(void), small(void); int main(void) { printf("%d\\n", one() + small()); return 0; }',
                 ["libsmall.so", "libone.so"], name="one")
    prelink(tree, ASLR)  # a program that has a table keeps it without -f
    found = records(prelink(tree, ["--fixed", "--json"]))
    assert found["libsmall.so"]["reason"] == "little-gain" and re.search(r"\d+ words", found["libsmall.so"]["text"])
    assert found["libone.so"]["placement"] == "fixed"
    assert bases(tree, "libsmall.so") == {"libsmall.so": 0}
    assert tree.run_fast(program=tree.bin / "one").stdout == "13\n"
    prelink(tree, FIXED)
    assert bases(tree, "libsmall.so")["libsmall.so"] >= START
    assert tree.run_fast(program=tree.bin / "one").stdout == "13\n"


# Random bases

def test_random_bases(tree):
    """The seed decides; without one there is another each time, which is said."""
    prelink(tree, (*FIXED, "-R", "--seed=1"))
    first, where = contents(tree), bases(tree)
    prelink(tree, (*FIXED, "-R", "--seed=2"))
    assert contents(tree) != first
    assert not set(bases(tree).values()) & set(where.values())
    prelink(tree, (*FIXED, "-R", "--seed=0x1"))
    assert contents(tree) == first
    runs(tree)
    seeds = set()
    for _ in range(3):
        text = prelink(tree, (*FIXED, "-R")).stdout
        (seed,) = re.findall(r"seed (\d+)", text)
        seeds.add(seed)
        runs(tree)
    assert len(seeds) == 3
    chosen = contents(tree)
    prelink(tree, (*FIXED, "-R", "--seed=1"))
    found = records(prelink(tree, (*FIXED, "-R", f"--seed={seed}", "--json")))
    assert contents(tree) == chosen and found["summary"]["seed"] == int(seed)


def test_no_seed_without_random(tree):
    done = prelink(tree, (*FIXED, "--json"))
    assert "seed" not in records(done)["summary"]
    undo(tree)
    assert ", seed" not in prelink(tree, FIXED).stdout


# Memory conserved

def ranges_overlap(case, a, b):
    def extent(name):
        loads = [s for s in elf.segments(case.lib / name) if s[0] == elf.PT_LOAD]
        return loads[0][3], loads[-1][3] + loads[-1][5]
    (low, high), (start, end) = extent(a), extent(b)
    return low < end and start < high


def test_memory_is_conserved(tree):
    """Libraries of programs that share none may have one address; those that meet never."""
    prelink(tree, (*FIXED, "-m"))
    assert ranges_overlap(tree, "libone.so", "libthree.so") or ranges_overlap(tree, "libcommon.so", "libthree.so")
    for a, b in (("libone.so", "libcommon.so"), ("libtwo.so", "libcommon.so")):
        assert not ranges_overlap(tree, a, b)
    runs(tree)
    before = files.identities(tree.path)
    prelink(tree, (*FIXED, "-m"))
    assert files.identities(tree.path) == before


def test_without_conserving_again(tree):
    """Nothing overlaps any more, and everything works."""
    prelink(tree, (*FIXED, "-m"))
    prelink(tree, FIXED)
    names = list(bases(tree))
    assert not any(ranges_overlap(tree, a, b) for i, a in enumerate(names) for b in names[i + 1:])
    runs(tree)


def test_a_program_that_loads_what_never_met_before(tree):
    """Its libraries are moved apart, also with -m."""
    prelink(tree, (*FIXED, "-m"))
    tree.program('#include <stdio.h>\nint one(void), three(void); int main(void) { printf("%d\\n", one() + three()); return 0; }',
                 ["libone.so", "libthree.so"], name="both")
    assert tree.run(program=tree.bin / "both").stdout == "16\n"
    tree.prelink(*programs(tree, *ANSWERS, "both"), options=(*FIXED, "-m"))
    for a, b in (("libone.so", "libthree.so"), ("libcommon.so", "libthree.so")):
        assert not ranges_overlap(tree, a, b)
    assert tree.run_fast(program=tree.bin / "both").stdout == "16\n"
    runs(tree)


# Without a carrier

def test_without_a_carrier_libraries_stay(tree):
    """Nobody would use their addresses."""
    before = contents(tree)
    done = prelink(tree, (*FIXED, "--carrier=no"))
    assert {os.path.basename(path) for path in files.changed(before, contents(tree))} <= set(ANSWERS)
    assert "no carrier" in done.stdout
    for name, answer in ANSWERS.items():
        assert tree.run(program=tree.bin / name).stdout == answer


def test_a_carrier_that_is_there_already(tree):
    prelink(tree, ASLR, "three")
    libc = files.identity(tree.libc)
    prelink(tree, (*FIXED, "--carrier=no"))
    assert files.identity(tree.libc) == libc
    assert all(bases(tree).values())
    runs(tree)


# What a dry run says

@pytest.mark.parametrize("state", [None, *SETTINGS])
@pytest.mark.parametrize("then", SETTINGS)
def test_dry_run(tree, state, then):
    """It writes nothing, and the run that follows does what it said.  Only sizes of programs are not known before."""
    if state:
        prelink(tree, SETTINGS[state], "one", "three")
    before = files.identities(tree.path)
    options = (*SETTINGS[then], "--json")
    said = prelink(tree, (*options, "-n"))
    text = prelink(tree, (*SETTINGS[then], "-n", "-v"))
    assert files.identities(tree.path) == before
    done = prelink(tree, options)

    def comparable(rows):
        for row in rows.values():
            row.pop("dry_run")
            if "objects" in row:  # a program
                for name in ("added_size", "original_size", "resolved", "relative", "residual", "lazy", "left_objects"):
                    row.pop(name)
            elif row.get("outcome") != "unchanged" and "added_size" in row:
                row.pop("added_size")
        return rows
    expected, actual = comparable(records(said)), comparable(records(done))
    assert expected == actual
    for name, row in actual.items():
        lines = [line for line in text.stdout.splitlines() if line.split(": ")[0].endswith("/" + name)]
        if row.get("placement") == "fixed":
            assert f"fixed at {row['base']:#x}" in lines[0] and ("would be" in lines[0]) == (row["outcome"] == "placed")
        elif row.get("placement") == "floating":
            assert "floats: " + row["text"] in lines[0]
        elif name in ANSWERS:
            assert ("would be prelinked" in lines[0]) == (row["outcome"] == "prelinked")


# Records

def test_json_records(tree):
    found = records(prelink(tree, (*FIXED, "--json")))
    where = bases(tree)
    for name, base in where.items():
        row, size = found[name], os.path.getsize(tree.lib / name)
        assert (row["action"], row["outcome"], row["placement"], row["base"]) == ("prelink", "placed", "fixed", base)
        assert "reason" not in row and row["original_size"] + row["added_size"] == size and row["dry_run"] is False
    for name in ("libc.so.6", "ld-linux-x86-64.so.2"):
        row = found[name]
        assert (row["placement"], row["outcome"], row["reason"]) == ("floating", "unchanged", "floats") and "base" not in row
    summary = found["summary"]
    assert (summary["fixed"], summary["floating"], summary["placed"], summary["done"]) == (4, 2, 4, 3)
    found = records(prelink(tree, (*FIXED, "--json")))
    assert {found[name]["outcome"] for name in where} == {"unchanged"} and found["summary"]["placed"] == 0
    assert {found[name]["base"] for name in where} == set(where.values())


def test_summary_lines(tree):
    lines = prelink(tree, FIXED).stdout.splitlines()
    assert lines[0] == "4 libraries at fixed addresses, 2 floating; 4 written" and len(lines) == 2
    lines = prelink(tree, FIXED).stdout.splitlines()
    assert lines[0] == "4 libraries at fixed addresses, 2 floating; 0 written"
    lines = prelink(tree, ASLR).stdout.splitlines()
    assert lines[0] == "0 libraries at fixed addresses, 6 floating; 4 written"


# Wrong usage

@pytest.mark.parametrize("options, words", [
    (["--aslr", "--fixed"], ["--aslr", "--fixed"]),
    (["--aslr", "-R"], ["--aslr", "--random"]),
    (["--aslr", "-m"], ["--aslr", "--conserve-memory"]),
    (["--fixed", "--seed=1"], ["--seed", "--random"]),
    (["--fixed", "-R", "--seed=x"], ["--seed", "number", "x"]),
    (["--fixed", "-R", "--seed="], ["--seed", "number"]),
    (["--fixed", "-R", "--seed=-1"], ["--seed", "number"]),
    (["--fixed", "-R", "--seed=99999999999999999999"], ["--seed", "number"]),
    (["-u", "--fixed"], ["--fixed", "--undo"]),
    (["-u", "--aslr"], ["--aslr", "--undo"]),
    (["-y", "--fixed"], ["--fixed", "--verify"]),
    (["--sha", "-m"], ["--conserve-memory", "--sha"]),
    (["-r", "0x3000000000", "--fixed"], ["--fixed", "--reloc-only"]),
    (["-r", "0x3000000000", "-R"], ["--random", "--reloc-only"]),
])
def test_wrong_options(tree, options, words):
    before = files.identities(tree.path)
    one_line(fastprelink(*options, tree.prog, status=2), *words)
    assert files.identities(tree.path) == before
