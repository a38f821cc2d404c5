"""The cache of runs over whole systems: it may be anything, and what it knows is printed."""

import json
import random
import shutil
import struct

import pytest

from harness.root import LIBC
from harness.run import fastprelink, one_line
from test_placement_policy import ANSWERS
from test_whole import CONFIG, LATE, library, paths_program, system  # noqa: F401

pytestmark = [pytest.mark.one_placement, pytest.mark.root]


def mix(hash_, value):
    """As fp_mix (include/fastprelink/abi.h)."""
    hash_ = ((hash_ ^ value) * 0x9e3779b97f4a7c15) % 2 ** 64
    return hash_ ^ hash_ >> 29


def mended(data):
    """DATA with the checksum that its body needs."""
    words = struct.unpack(f"<{len(data[32:]) // 8}Q", data[32:32 + len(data[32:]) // 8 * 8])
    lanes, full = [1, 2, 3, 4], len(words) // 4 * 4
    for i, word in enumerate(words):
        lane = i % 4 if i < full else 0
        lanes[lane] = mix(lanes[lane], word)
    result = lanes[0]
    for lane in lanes[1:]:
        result = mix(result, lane)
    return data[:16] + struct.pack("<QQ", len(words) * 8, result) + data[32:32 + len(words) * 8]


def test_the_checksum_is_understood(system):
    system.all()
    data = system.cache.read_bytes()
    assert mended(data) == data


def damages(data):
    generator = random.Random(5)
    yield from (b"", data[:7], data[:31], data[:32], data[:len(data) // 2], data[:-8], data + b"more", b"\xff" * len(data))
    yield generator.randbytes(len(data))
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    yield bytes(flipped)


def test_a_damaged_cache(system):
    """As without one."""
    system.all()
    before, data = system.state(), system.cache.read_bytes()
    for damaged in damages(data):
        system.cache.write_bytes(damaged)
        system.all()
        assert system.state() == before and system.cache.read_bytes()[:8] == data[:8]
        system.settled()


def test_a_cache_that_is_no_file(system):
    system.cache.mkdir()
    system.all()
    system.right()
    system.cache.rmdir()
    system.cache.symlink_to("/dev/zero")
    system.all()
    system.right()


@pytest.mark.parametrize("seed", range(4))
def test_a_hostile_cache(system, seed):
    """Whatever it says, with the right checksum: the run ends as it should, and -f puts everything right."""
    system.all()
    data, generator = system.cache.read_bytes(), random.Random(seed)
    for _ in range(40):
        hostile = bytearray(data)
        for _ in range(generator.choice([1, 1, 2, 5, 50])):
            at = generator.randrange(32, len(hostile))
            hostile[at] = generator.choice([hostile[at] ^ 1 << generator.randrange(8), generator.randrange(256), 0, 0xff])
        system.cache.write_bytes(mended(bytes(hostile)))
        system.all("--fixed", generator.choice(["-n", "-v"]), status=None)
        for name, answer in system.answers.items():
            assert system.root.run(name).stdout == answer
    system.all("--fixed", "-f")
    system.right()


def test_a_cache_without_the_path_of_ld_so_cache(system):
    """But with an interpreter."""
    system.all()
    data = system.cache.read_bytes()
    length = data[32] - 1
    at = 33 + length
    assert data[at] == len("/etc/ld.so.cache") + 1
    without = data[:at] + b"\0" + data[at + data[at]:]
    system.cache.write_bytes(mended(without + bytes(-len(without) % 8)))
    system.all()
    system.right()


# What it knows

def printed(system, *options, **more):
    return fastprelink(*system.words(), "-p", *options, **more)


def test_what_the_cache_knows(system):
    """One line for a file, in order; files are not looked at."""
    paths_program(system)
    system.host(f"{LATE}/libpath.so").unlink()
    system.config(CONFIG + "float libone.so\n")
    system.all("--fixed", "-m")
    shutil.rmtree(system.host("/usr/bin"))
    lines = printed(system).stdout.splitlines()
    assert lines == sorted(lines, key=lambda line: line.split(":")[0])
    for name in ANSWERS:
        assert f"/usr/bin/{name}: program, prelinked" in lines
    assert f"{library('three')}: library, fixed at {system.base(library('three')):#x}, room 0x" in "\n".join(lines)
    assert any(line.startswith(f"{library('one')}: library, floats: ") and line.endswith("as configured") for line in lines)
    assert any(line.startswith("/usr/bin/path: program, to be looked at again: ") and "libpath.so" in line for line in lines)


def test_what_the_cache_knows_in_json(system):
    system.all()
    rows = {row["file"]: row for row in map(json.loads, printed(system, "--json").stdout.splitlines())}
    assert rows["/usr/bin/one"] == {"file": "/usr/bin/one", "action": "cache", "outcome": "prelinked", "dry_run": False, "kind": "program"}
    row = rows[library("one")]
    assert (row["kind"], row["outcome"], row["base"]) == ("library", "fixed", system.base(library("one"))) and row["room"] >= 4096
    assert rows["/" + LIBC]["outcome"] == "floating" and "carrier" in rows["/" + LIBC]["text"]


def test_no_cache_to_print(system):
    one_line(printed(system, status=2), system.cache, "No such file")
    system.cache.write_bytes(b"FPCACHE\n" + bytes(24))
    one_line(printed(system, status=2), system.cache, "not a cache of this release")
    one_line(printed(system, "/usr/bin/one", status=2), "--print-cache takes no files")
