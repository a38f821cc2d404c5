"""What a closure goes through: plain, prelinked, displaced, interposed, undone."""

import json
import shutil
from collections import Counter

from generate.make import Maker
from harness import files
from harness.run import CYCLES, DEBUG, fastprelink

# Reasons for which a library of a generated closure may float with --fixed.
MAY_FLOAT = {"floats", "unsupported"}
PLACEMENTS = ("aslr", "fixed")
OCCUPIER = "char space[64 << 20];"
INTERPOSER = """
int f0(int d) { return 70000; } int f1(int d) { return 70001; } int f5(int d) { return 70005; }
int d0[3] = { 71, 72, 73 }, d2[3] = { 74, 75, 76 };
"""
VARIANTS = {"plain": {}, "now": {"LD_BIND_NOW": "1"}, "off": {"FASTPRELINK": "0"},
            "displaced": {"LD_PRELOAD": "occupier/liboccupier.so"}, "interposed": {"LD_PRELOAD": "occupier/libinterposer.so"}}
ACCELERATED = ("plain", "now")
# How much memory ld.so takes for itself has differed between plain starts of libraries with text relocations.
STARTS_WITH_TEXT_RELOCATIONS = 5


def live(case, closure):
    """Makes CLOSURE in CASE and checks everything; returns why what was left alone, {reason: count}."""
    Maker(case, closure).make()
    case.library("liboccupier.so", OCCUPIER, where="occupier", flags=["-Wl,-Ttext-segment=0x3000000000", "-nostdlib"])
    case.library("libinterposer.so", INTERPOSER, where="occupier", flags=["-nostdlib"])
    case.adopt()
    original = files.digests(case.path)
    plain = {name: run(case, name) for name in VARIANTS}
    assert plain["plain"].status == 0 and plain["plain"].stdout.startswith("values "), plain["plain"]
    starts = STARTS_WITH_TEXT_RELOCATIONS if any(one.text_relocation for one in [*closure.libraries, closure.program]) else 1
    for number in range(starts):
        oracle = snapshots(case, f"before{number}")
    left = Counter()
    for placement in PLACEMENTS:
        left += prelink(case, placement)
        fast = {name: run(case, name) for name in VARIANTS}
        for name in VARIANTS:
            assert fast[name] == plain[name], (placement, name, fast[name], plain[name])
            notes = [note for note in fast[name].notes if "accelerated" in note]
            assert bool(notes) == (name in ACCELERATED), (placement, name, fast[name].notes)
        snapshots(case, "after")
        for name in ACCELERATED:
            for stage in ("relocated", "entry"):
                now = "now-before0" if name == "plain" else None
                found = []
                for number in range(starts):
                    found.append(oracle.differences(f"{name}-before{number}", f"{name}-after", stage, now))
                    if not found[-1]:
                        break
                assert not found[-1], f"{placement}, {name}, {stage}:\n" + "\n".join(min(found, key=len))
        prelinked = files.digests(case.path)
        undo(case, original)
        for _ in range(CYCLES - 1):
            prelink(case, placement)
            assert files.digests(case.path) == prelinked
            undo(case, original)
    return left


def run(case, name):
    """The closure's line of output in one environment."""
    env = {key: str(case.path / value) if key == "LD_PRELOAD" else value for key, value in VARIANTS[name].items()}
    return case.run(env={**DEBUG, **env})


def snapshots(case, when):
    """Snapshots of both accelerated variants; what is prelinked must be equal to those of one of the plain starts."""
    oracle = case.oracle()
    environment = {**oracle.env, "FASTPRELINK": "require"}
    for name in ACCELERATED:
        oracle.env = {**environment, **VARIANTS[name]}
        oracle.snapshot(f"{name}-{when}")
    return oracle


def prelink(case, placement):
    done = case.prelink(*sorted(case.bin.iterdir()), options=("-f", "--json", f"--{placement}"), status=None)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    left = Counter()
    for row in rows:
        assert row.get("outcome") != "failed", row
        name = str(row.get("file", ""))
        if name == str(case.bin / "static"):
            assert row["reason"] == "static", row
        elif row.get("reason") and name.startswith(str(case.path)) and name != str(case.libc):
            if name == str(case.prog):
                raise AssertionError(f"{placement}: {row}")
            if placement == "fixed":
                assert row["reason"] in MAY_FLOAT, row
                left[f"{row['reason']}: {row['text']}"] += 1
    assert done.status == 0 or placement == "fixed" or (case.bin / "static").exists(), done
    return left


def undo(case, original):
    changed = [path for path in files.changed(original, files.digests(case.path)) if path != str(case.runtime)]
    fastprelink("-u", *sorted(changed))
    case.runtime.unlink()
    assert files.digests(case.path) == original
    shutil.rmtree(case.path / "none", ignore_errors=True)
