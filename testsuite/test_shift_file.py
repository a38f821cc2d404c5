"""The file that -r writes: stamps, undo data, verification, what other tools say of it."""

import ctypes
import hashlib
import json
import re
import shutil
import struct
import zlib

import pytest

from harness import elf, files, need
from harness.run import fastprelink, one_line, run
from test_format import UNDO, leb128, read_ranges, unpack
from test_shift import BASE, DT_CHECKSUM, DT_PRELINKED, check, elf_base, libraries, shift

pytestmark = pytest.mark.one_placement


# The file

def test_a_dry_run_changes_nothing(sampler):
    before = files.identities(sampler.path)
    done = shift(*libraries(sampler), options=["-n"])
    assert files.identities(sampler.path) == before
    assert f"{sampler.lib}/libuser.so: would be shifted to 0x" in done.stdout and "2 to shift" in done.stdout


def test_long_option_and_decimal_address(sampler):
    fastprelink(f"--reloc-only={BASE + 4096}", sampler.lib / "libbase.so")
    assert elf_base(sampler.lib / "libbase.so") == BASE + 4096


def test_json(sampler):
    path = sampler.lib / "libbase.so"
    size = path.stat().st_size
    lines = [json.loads(line) for line in shift(path, options=["--json"]).stdout.splitlines()]
    assert lines[0] == {"file": str(path), "action": "relocate", "outcome": "shifted", "dry_run": False, "base": BASE,
                        "original_size": size, "added_size": path.stat().st_size - size}
    assert lines[1]["summary"] == "relocate" and lines[1]["done"] == 1


def test_stamps(sampler):
    """DT_CHECKSUM is the CRC-32 of the allocated sections with both stamps zero."""
    path = sampler.lib / "libbase.so"
    shift(path)
    data = bytearray(path.read_bytes())
    offset, size = next((s[2], s[4]) for s in elf.segments(path) if s[0] == elf.PT_DYNAMIC)
    stamps = {}
    for at in range(offset, offset + size, 16):
        tag, value = struct.unpack_from("<QQ", data, at)
        if tag in (DT_PRELINKED, DT_CHECKSUM):
            stamps[tag] = value
            data[at + 8:at + 16] = bytes(8)
    start, = struct.unpack_from("<Q", data, elf.E_SHOFF)
    count, = struct.unpack_from("<H", data, elf.E_SHNUM)
    crc = 0
    for index in range(count):
        _, kind, flags, _, where, length = struct.unpack_from("<IIQQQQ", data, start + 64 * index)
        if flags & 7 and kind != 8:
            crc = zlib.crc32(data[where:where + length], crc)
    assert stamps[DT_CHECKSUM] == crc and 0 < stamps[DT_PRELINKED] < 2**32


def tags(path):
    """Names of the dynamic entries, in order."""
    return re.findall(r"^ 0x[0-9a-f]+ \((\w+)\)", elf.readelf(path, "-dW"), re.MULTILINE)


@pytest.mark.parametrize("flags, taken", [
    (["-Wl,--spare-dynamic-tags=2"], ["RELACOUNT"]),
    (["-Wl,--spare-dynamic-tags=1"], ["RELACOUNT", "VERNEEDNUM"]),
    (["-Wl,--spare-dynamic-tags=0", "-nostdlib", "-Wl,--default-symver"], ["VERDEFNUM", "SYMENT"]),
], ids=["one", "two", "two-others"])
def test_stamps_take_the_places_of_entries(case, flags, taken):
    """Tools still read what versions there are; programs run, there and displaced."""
    path = case.library("liba.so", "int f(void) { return 199; } int (*const at)(void) = f;", flags=flags)
    case.program('#include <stdio.h>\nint f(void); int main(void) { printf("%d\\n", f()); return 0; }', ["liba.so"])
    before, versions = tags(path), elf.readelf(path, "-VW")
    shift(path)
    assert [tag for tag in tags(path) if "PRELINKED" not in tag and tag != "CHECKSUM"] == [
        tag for tag in before if tag not in taken]
    assert {"GNU_PRELINKED", "CHECKSUM"} <= set(tags(path))
    assert re.sub(r"0x[0-9a-f]{16}", "", elf.readelf(path, "-VW")) == re.sub(r"0x[0-9a-f]{16}", "", versions)
    fastprelink("-u", path)
    check(case, "199\n")


def test_no_room_for_stamps(case):
    path = case.library("liba.so", "int f(void) { return 1; }", flags=["-Wl,--spare-dynamic-tags=0", "-nostdlib"])
    before = files.identity(path)
    one_line(shift(path, status=1), "no room", "dynamic section")
    assert files.identity(path) == before


def test_equal_libraries_give_equal_bytes(sampler, tmp_path):
    other = tmp_path / "libother.so"
    shutil.copy(sampler.lib / "libbase.so", other)
    shift(other)
    shift(sampler.lib / "libbase.so")
    assert files.digest(other) == files.digest(sampler.lib / "libbase.so")


@pytest.mark.parametrize("part", range(20))
def test_any_changed_byte_is_noticed(sampler, part):
    path = sampler.lib / "libuser.so"
    shift(path)
    data = bytearray(path.read_bytes())
    data[(2 * part + 1) * len(data) // 40] ^= 0x20
    path.write_bytes(data)
    before = files.identity(path)
    for arguments in (["-y", path], ["-u", path], ["-r", hex(BASE), path]):
        one_line(fastprelink(*arguments, status=1), path)
    assert files.identity(path) == before


def test_digests_and_verification(sampler):
    path = sampler.lib / "libbase.so"
    expected = {option: run([need.tool(tool), path]).stdout for option, tool in
                {"--md5": "md5sum", "--sha": "sha1sum", "--sha256": "sha256sum"}.items()}
    shift(path)
    for option, line in expected.items():
        assert fastprelink(option, path).stdout == line


@pytest.mark.parametrize("name", ["libbase.so", "libuser.so"])
def test_tools_find_nothing_new(sampler, name):
    def problems():
        path = sampler.lib / name
        lint = run([need.tool("eu-elflint"), "--gnu-ld", path])
        return (run(["readelf", "-aW", path]).stderr,
                sorted(re.sub(r"\d+|0x[0-9a-f]+", "N", line) for line in (lint.stdout + lint.stderr).splitlines()))
    before = problems()
    shift(*libraries(sampler))
    assert problems() == before


# Undo data of version 2, by doc/format.md alone

def word_ranges(raw, at):
    """[(constant, first word, number of words)], and where they end."""
    found, (count, at) = [], leb128(raw, at)
    for _ in range(count):
        constant, at = leb128(raw, at)
        ranges, at = leb128(raw, at)
        end = 0
        for _ in range(ranges):
            gap, at = leb128(raw, at)
            length, at = leb128(raw, at)
            found.append((constant, end + gap, length))
            end += gap + length
    return found, at


def test_undo_data(sampler):
    path = sampler.lib / "libbase.so"
    original = path.read_bytes()
    shift(path)
    data = path.read_bytes()
    start, size = elf.sections(path)[".fastprelink.undo"]
    magic, version, header_size, whole, range_count, raw_size, packed_size, digest, seal = UNDO.unpack_from(data, start)
    assert (magic, version, header_size) == (b"FPLNUNDO", 2, UNDO.size) and size == UNDO.size + packed_size
    raw = unpack(data[start + header_size:start + size], raw_size)
    ranges, at = read_ranges(raw, range_count)
    words, at = word_ranges(raw, at)
    bits = at + sum(length for _, length in ranges)
    restored, marked = bytearray(data[:whole]), 0
    for constant, first, length in words:
        assert constant == BASE
        for word in range(length):
            if raw[bits + word // 8] >> word % 8 & 1:
                value, = struct.unpack_from("<Q", restored, 8 * (first + word))
                struct.pack_into("<Q", restored, 8 * (first + word), value - constant & 2**64 - 1)
                marked += 1
        bits += (length + 7) // 8
    assert bits == raw_size and marked > 50
    for where, length in ranges:
        restored[where:where + length] = raw[at:at + length]
        at += length
    assert hashlib.sha256(restored).digest() == digest and restored == original


def test_programs_keep_undo_data_of_version_1(sampler):
    sampler.prelink()
    for path in (sampler.prog, sampler.libc):
        start, _ = elf.sections(path)[".fastprelink.undo"]
        assert UNDO.unpack_from(path.read_bytes(), start)[1] == 1


def number(value):
    """VALUE as LEB128."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def numbers(*values):
    return b"".join(map(number, values))


def rewrite_undo(path, change):
    """Replaces the unpacked payload of PATH's undo data by CHANGE(payload), with everything around it right."""
    zstd = ctypes.CDLL("libzstd.so.1")
    zstd.ZSTD_compress.restype = ctypes.c_size_t
    data = bytearray(path.read_bytes())
    start, size = elf.sections(path)[".fastprelink.undo"]
    header = list(UNDO.unpack_from(data, start))
    raw = change(unpack(bytes(data[start + UNDO.size:start + size]), header[5]), header)
    packed = ctypes.create_string_buffer(len(raw) + 1024)
    length = zstd.ZSTD_compress(packed, ctypes.c_size_t(len(packed)), raw, ctypes.c_size_t(len(raw)), 19)
    header[5], header[6], header[8] = len(raw), length, bytes(32)
    where = len(data) + -len(data) % 8
    data = data.ljust(where, b"\0") + UNDO.pack(*header) + packed.raw[:length]
    table, = struct.unpack_from("<Q", data, elf.E_SHOFF)
    count, = struct.unpack_from("<H", data, elf.E_SHNUM)
    at = next(table + 64 * i for i in range(count) if struct.unpack_from("<Q", data, table + 64 * i + 24)[0] == start)
    struct.pack_into("<QQ", data, at + 24, where, UNDO.size + length)
    data[where + 80:where + 112] = hashlib.sha256(data).digest()
    path.write_bytes(data)


TRANSPLANTS = {
    "the same": lambda raw, header: raw,
    "a byte more": lambda raw, header: raw + b"\0",
    "a byte less": lambda raw, header: raw[:-1],
    "no constants": lambda raw, header: header.__setitem__(4, 0) or numbers(0),
    "a range of no words": lambda raw, header: header.__setitem__(4, 0) or numbers(1, BASE, 1, 0, 0),
    "a range behind the end": lambda raw, header: header.__setitem__(4, 0) or numbers(1, BASE, 1, 1 << 40, 8) + b"\0",
    "a gap that wraps": lambda raw, header: header.__setitem__(4, 0) or numbers(1, BASE, 2, 8, 8, 2**64 - 8, 8) + b"\0\0",
    "a length that wraps": lambda raw, header: header.__setitem__(4, 0) or numbers(1, BASE, 1, 8, 2**64 - 1) + b"\0",
    "a bit too many": lambda raw, header: header.__setitem__(4, 0) or numbers(1, BASE, 1, 8, 3) + b"\x08",
    "no bits": lambda raw, header: header.__setitem__(4, 0) or numbers(1, BASE, 1, 8, 3),
    "many constants": lambda raw, header: header.__setitem__(4, 0) or numbers(2**63) + bytes(100),
    "many ranges": lambda raw, header: header.__setitem__(4, 0) or numbers(1, BASE, 2**63) + bytes(100),
    "bytes that wrap": lambda raw, header: header.__setitem__(4, 2) or numbers(0, 2**63, 1, 2**63, 1, BASE, 0),
    "another digest": lambda raw, header: header.__setitem__(7, bytes(32)) or raw,
}


@pytest.mark.parametrize("name", TRANSPLANTS)
def test_malformed_undo_data(sampler, name):
    """The seal is right, what is in it is not: refused, never followed."""
    path = sampler.lib / "libbase.so"
    original = files.digest(path)
    shift(path)
    rewrite_undo(path, TRANSPLANTS[name])
    before = files.identity(path)
    done = fastprelink("-u", path, status=0 if name == "the same" else 1)
    if name == "the same":
        assert files.digest(path) == original
    else:
        one_line(done, path)
        assert files.identity(path) == before


def test_undo_data_of_a_later_version(sampler):
    path = sampler.lib / "libbase.so"
    shift(path)
    rewrite_undo(path, lambda raw, header: header.__setitem__(1, 3) or raw)
    one_line(fastprelink("-u", path, status=1), "written by a newer fastprelink")
