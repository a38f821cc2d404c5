"""Decodes prelinked files only by what doc/format.md says and compares with the originals and the tool's counts."""

import ctypes
import hashlib
import json
import struct

import pytest

from harness import elf

MASK = 2**64 - 1
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_PHDR, PT_TLS, SEGMENT_FLAGS = 1, 2, 3, 6, 7, 0x04600004
HEADER = struct.Struct("<QIIQQIIIIIIIIQ")
RECORD = struct.Struct("<QQQQQIIIIQQQIIIIIIIIIIIIIHHHHH2x")
RECORD_FIELDS = ("shape identity base dynamic identity_start identity_size dynamic_count flags relative_count rela jmprel"
                 " relr rela_count jmprel_count relr_count run_count slots values targets target_list target_count relative"
                 " relative_words residual residual_count rela_entry relasz_entry relacount_entry pltrelsz_entry"
                 " relrsz_entry").split()
UNDO = struct.Struct("<8sIIQQQQ32s32s")
FILL, BIND_NOW = 1, 2
RELATIVE, WORDS = 8, (1, 6, 7)  # R_X86_64_64, GLOB_DAT, JUMP_SLOT
NO_ENTRY = 0xFFFF
SHAPE_TAGS = {1, 14, 15, 29, 10, 8, 2, 35, 30, 12, 13, 25, 26, 32, 0x6FFFFFFC, 0x6FFFFFFE, 27, 28, 0x6FFFFFF9, 0x6FFFFFFB,
              0x6FFFFFFD, 0x6FFFFFFF, 0x6FFFFDF5, 0x6FFFFDF8}
DT_RELA, DT_RELASZ, DT_RELACOUNT, DT_PLTRELSZ, DT_RELRSZ = 7, 8, 0x6FFFFFF9, 2, 35
DT_GNU_HASH = 0x6FFFFEF5


def words(data):
    return struct.unpack(f"<{len(data) // 8}Q", data)


def mix(value, word):
    value = (value ^ word) * 0x9E3779B97F4A7C15 & MASK
    return value ^ value >> 29


def table_checksum(data):
    lanes, numbers = [1, 2, 3, 4], words(data)
    for index, word in enumerate(numbers):
        lane = index % 4 if index < len(numbers) // 4 * 4 else 0
        lanes[lane] = mix(lanes[lane], word)
    return mix(mix(mix(lanes[0], lanes[1]), lanes[2]), lanes[3])


class Object:
    """A file, read at addresses."""

    def __init__(self, path):
        self.data, self.segments = path.read_bytes(), elf.segments(path)
        offset, size = next((s[2], s[4]) for s in self.segments if s[0] == PT_DYNAMIC)
        self.dynamic = list(struct.iter_unpack("<QQ", self.data[offset:offset + size]))
        self.dynamic = self.dynamic[:[tag for tag, _ in self.dynamic].index(0)]

    def at(self, address, size):
        offset = next(s[2] + address - s[3] for s in self.segments if s[0] == PT_LOAD and 0 <= address - s[3] < s[4])
        return self.data[offset:offset + size]

    def rela(self, address, count):
        """(r_offset, symbol, type, addend)"""
        rows = struct.iter_unpack("<QQQ", self.at(address, count * 24) if count else b"")
        return [(where, info >> 32, info & 0xFFFFFFFF, addend) for where, info, addend in rows]

    def shape(self):
        value = len(self.dynamic)
        for tag, number in self.dynamic:
            value = mix(value, tag)
            value = mix(value, number) if tag in SHAPE_TAGS else value
        return value

    def identity(self, start, size):
        lanes, data = [size, 2, 3, 4], self.at(start, size)
        for index, word in enumerate(words(data[:size // 8 * 8])):
            lane = index % 4 if index < size // 32 * 4 else 0
            lanes[lane] = mix(lanes[lane], word)
        lanes[0] = mix(lanes[0], int.from_bytes(data[size // 8 * 8:], "little"))
        return mix(mix(mix(lanes[0], lanes[1]), lanes[2]), lanes[3])


def relr_addresses(numbers):
    found, where = [], 0
    for number in numbers:
        if number & 1 == 0:
            found.append(number)
            where = number + 8
            continue
        found += [where + 8 * bit for bit in range(63) if number >> bit + 1 & 1]
        where += 8 * 63
    return found


def decode_object(table, record, target):
    """Checks one filled object's arrays; what the runtime does with it: counts."""
    def array(offset, form, count):
        return struct.unpack_from(f"<{count}{form}", table, offset)

    rela, jmprel = target.rela(record["rela"], record["rela_count"]), target.rela(record["jmprel"], record["jmprel_count"])
    relr = relr_addresses(words(target.at(record["relr"], record["relr_count"] * 8)) if record["relr_count"] else ())
    leading = rela[:record["relative_count"]]
    assert {row[2] for row in leading} <= {RELATIVE}
    if record["relative_words"]:
        listed = relr_addresses(array(record["relative"], "Q", record["relative_words"]))
        assert listed == sorted(row[0] for row in leading)
        assert all(words(target.at(row[0], 8)) == (row[3],) for row in leading)
    codes = array(record["targets"], "B", record["run_count"])
    targets = array(record["target_list"], "H", record["target_count"])
    assert len(array(record["values"], "I", record["run_count"])) == len(codes)
    assert all(code < 3 + len(targets) for code in codes)
    now, run, residual = record["flags"] & BIND_NOW, -1, set()
    counts = {"relative": len(leading) + len(relr), "lazy": 0 if now else len(jmprel)}
    counts["resolved"] = counts["relative"]
    for rows in (rela[len(leading):], jmprel if now else ()):
        symbol = None
        for row in rows:
            if row[2] in WORDS:
                run += row[1] != symbol
                symbol = row[1]
            if row[2] == RELATIVE:
                counts["relative"] += 1
            if row[2] == RELATIVE or (row[2] in WORDS and codes[run] != 0):
                counts["resolved"] += 1
            elif row[2] != 0:
                residual.add(row)
    assert run + 1 == record["run_count"]
    left = list(struct.iter_unpack("<QQQ", table[record["residual"]:record["residual"] + 24 * record["residual_count"]]))
    left = {(where, info >> 32, info & 0xFFFFFFFF, addend) for where, info, addend in left}
    assert residual <= left <= set(rela) | set(jmprel)
    counts["residual"] = record["residual_count"]
    for tag, name in ((DT_RELA, "rela"), (DT_RELASZ, "relasz"), (DT_RELACOUNT, "relacount"),
                      (DT_PLTRELSZ, "pltrelsz"), (DT_RELRSZ, "relrsz")):
        places = [index for index, entry in enumerate(target.dynamic) if entry[0] == tag]
        assert record[name + "_entry"] == (places[-1] if places else NO_ENTRY)
    return counts


def identity_range(target):
    """Where the bytes are that identify an object without a build id: (address, size)"""
    first = next(s for s in target.segments if s[0] == PT_LOAD)
    skipped = 64 if first[2] == 0 and first[4] > 64 else 0
    return first[3] + skipped, first[4] - skipped


def check_table(sampler, build_ids=True):
    report = next(row for row in map(json.loads, sampler.prelink(options=("-f", "--aslr", "--json")).stdout.splitlines())
                  if "objects" in row)
    sections, segments = elf.sections(sampler.prog), elf.segments(sampler.prog)
    offset, size = sections[".fastprelink"]
    assert [s[2] for s in segments if s[0] == PT_LOAD and s[1] == SEGMENT_FLAGS] == [offset]
    program = Object(sampler.prog)
    table = program.data[offset:offset + size]
    (magic, version, whole, checksum, head, count, carrier, loader, objects, ifuncs, ifunc_count, fills, fill_count,
     word_count) = HEADER.unpack_from(table)
    assert (magic, version, whole) == (0x4B4E494C45525046, 2, size) and size % 8 == 0
    assert checksum == table_checksum(table[24:])
    assert head == table_checksum(table[32:objects + count * RECORD.size])
    names = {index + 1: name for index, name in enumerate(library_names(program.data, sections))}
    assert count == report["objects"] == len(names) + 1
    assert names[carrier] == "libc.so.6" and names[loader].startswith("ld-linux")
    totals = dict.fromkeys(("relative", "lazy", "resolved", "residual"), 0)
    left = 0
    for index in range(count):
        record = dict(zip(RECORD_FIELDS, RECORD.unpack_from(table, objects + index * RECORD.size)))
        path = sampler.prog if index == 0 else sampler.lib / names[index]
        target = Object(path if path.exists() else path.__class__("/lib64") / path.name)
        first = next(s for s in target.segments if s[0] == PT_LOAD)
        assert record["base"] == first[3] & -4096
        assert record["dynamic"] == next(s[3] for s in target.segments if s[0] == PT_DYNAMIC)
        assert record["dynamic_count"] == len(target.dynamic)
        assert record["shape"] == target.shape()
        assert index or build_ids or (record["identity_start"], record["identity_size"]) == identity_range(target)
        assert record["identity"] == target.identity(record["identity_start"], record["identity_size"])
        if record["flags"] & FILL:
            for key, value in decode_object(table, record, target).items():
                totals[key] += value
        else:
            left += 1
            assert not any(record[name] for name in RECORD_FIELDS[RECORD_FIELDS.index("relative_count"):])
    assert totals == {key: report[key] for key in totals} and word_count == totals["resolved"]
    assert left == report["left_objects"]
    for index in range(ifunc_count):
        assert struct.unpack_from("<II", table, ifuncs + 8 * index)[0] == carrier
    for index in range(fill_count):
        holder, pages, start, _ = struct.unpack_from("<IIQQ", table, fills + 24 * index)
        assert holder < count and pages >= 4 and start % 4096 == 0


def test_the_table(sampler):
    check_table(sampler)


def check_new_segment(program, original, before):
    """What the two ways to make room for program headers have in common; the new PT_LOAD's (offset, address)."""
    after, count = elf.segments(program), struct.unpack_from("<H", program.read_bytes(), 56)[0]
    loads, old_loads = ([s for s in segments if s[0] == PT_LOAD] for segments in (after, before))
    assert count == len(before) + 1 and [s[:7] for s in loads[:-1]] == [s[:7] for s in old_loads]
    _, flags, offset, address, filesz, memsz, align, _ = loads[-1]
    assert (flags, align, filesz, offset % 4096, address % 4096) == (SEGMENT_FLAGS, 4096, memsz, 0, 0)
    assert offset >= len(original) and address >= max(s[3] + s[5] for s in before if s[0] in (PT_LOAD, PT_TLS))
    assert next(s[4:6] for s in after if s[0] == PT_PHDR) == (count * 56, count * 56)
    return offset, address


def program_without_notes(case, **options):
    return case.program("void _exit(int); void _start(void) { _exit(0); }",
                        flags=["-nostartfiles", "-fcf-protection=none", "-Wl,--build-id=none"], **options)


@pytest.mark.parametrize("notes", [True, False], ids=["notes", "hash-tables"])
def test_program_headers_that_grow(case, notes):
    """Without notes the interpreter's name does not make room enough; the hash table moves with it."""
    case.program("int main(void) { return 0; }") if notes else program_without_notes(case)
    case.adopt()
    original, before = case.prog.read_bytes(), elf.segments(case.prog)
    check_table(case, build_ids=notes)
    offset, address = check_new_segment(case.prog, original, before)
    data, start = case.prog.read_bytes(), 64 + 56 * len(before)
    moved = -(-sum(elf.sections(case.prog)[".fastprelink"]) // 16) * 16 + start % 16
    assert offset == -(-len(original) // 4096) * 4096 and data[moved:moved + 56] == original[start:start + 56]
    interpreter = [s for s in before if s[0] == PT_INTERP][0]
    assert next(s[2] for s in elf.segments(case.prog) if s[0] == PT_INTERP) == moved + interpreter[2] - start
    hash_table = dict(Object(case.prog).dynamic)[DT_GNU_HASH]
    assert (hash_table >= address) == (not notes)


@pytest.mark.parametrize("pie", [True, False], ids=["pie", "fixed"])
def test_program_headers_that_move(case, pie):
    """Where no section header tells what is a hash table either.  They and the new segment keep their distance."""
    program_without_notes(case, pie=pie)
    elf.drop_sections(case.prog)
    case.adopt()
    original, before = case.prog.read_bytes(), elf.segments(case.prog)
    check_table(case, build_ids=False)
    offset, address = check_new_segment(case.prog, original, before)
    headers = struct.unpack_from("<Q", case.prog.read_bytes(), elf.E_PHOFF)[0]
    assert headers == sum(elf.sections(case.prog)[".fastprelink"])
    assert address - offset == before[2][3] - before[2][2] and before[2][0] == PT_LOAD
    assert next(s[2:4] for s in elf.segments(case.prog) if s[0] == PT_PHDR) == (headers, headers + address - offset)


def library_names(data, sections):
    (list_at, list_size), (names_at, _) = sections[".gnu.liblist"], sections[".gnu.libstr"]
    for entry in struct.iter_unpack("<IIIII", data[list_at:list_at + list_size]):
        start = names_at + entry[0]
        yield data[start:data.index(b"\0", start)].decode()


def leb128(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            return value, at


def read_ranges(raw, count):
    """COUNT ranges of undo data [(offset, length)], and the place behind them in RAW."""
    ranges, at, end = [], 0, 0
    for _ in range(count):
        gap, at = leb128(raw, at)
        length, at = leb128(raw, at)
        ranges.append((end + gap, length))
        end += gap + length
    return ranges, at


def unpack(packed, size):
    zstd = ctypes.CDLL("libzstd.so.1")
    zstd.ZSTD_decompress.restype = ctypes.c_size_t
    raw = ctypes.create_string_buffer(size or 1)
    assert zstd.ZSTD_decompress(raw, ctypes.c_size_t(size), packed, ctypes.c_size_t(len(packed))) == size
    return raw.raw[:size]


@pytest.mark.parametrize("which", ["prog", "libc"])
def test_undo_data(sampler, which):
    path = getattr(sampler, which)
    original = path.read_bytes()
    sampler.prelink()
    data, sections = path.read_bytes(), elf.sections(path)
    start, size = sections[".fastprelink.undo"]
    magic, version, header_size, whole, range_count, raw_size, packed_size, digest, seal = UNDO.unpack_from(data, start)
    assert (magic, version, header_size) == (b"FPLNUNDO", 1, UNDO.size) and size == UNDO.size + packed_size
    assert seal == hashlib.sha256(data[:start + 80] + bytes(32) + data[start + 112:]).digest()
    raw = unpack(data[start + header_size:start + size], raw_size)
    ranges, at = read_ranges(raw, range_count)
    restored = bytearray(data[:whole].ljust(whole, b"\0"))
    for where, length in ranges:
        restored[where:where + length] = raw[at:at + length]
        at += length
    assert at == raw_size and hashlib.sha256(restored).digest() == digest and restored == original
    classic, size = sections[".gnu.prelink_undo"]
    phnum, shnum, shoff = *struct.unpack_from("<H2xH", original, 56), struct.unpack_from("<Q", original, 40)[0]
    assert data[classic:classic + size] == original[:64 + phnum * 56] + original[shoff + 64:shoff + shnum * 64]


def test_the_stub_and_the_runtime(sampler):
    sampler.prelink()
    libc = Object(sampler.libc)
    start, size = elf.sections(sampler.libc)[".fastprelink.stub"]
    flags, offset, address, filesz, memsz = next(s[1:6] for s in elf.segments(sampler.libc)
                                                 if s[0] == PT_LOAD and s[2] <= start < s[2] + s[4])
    assert flags & 3 == 1 and filesz == memsz and start + size == offset + filesz
    stub = address + start - offset
    resolvers = [row[2] for row in elf.relocations(sampler.libc) if row[1].startswith("R_X86_64_IRELATIV")]
    assert stub in [int(resolver, 16) for resolver in resolvers] and stub % 16 == 0
    path = str(sampler.runtime).encode() + b"\0"
    data = libc.data[start:start + size]
    assert data.endswith(path)
    parameters = size - len(path) - 12
    anchor, resolver, argument_count = struct.unpack_from("<iii", data, parameters)
    assert (stub + parameters + anchor, argument_count) == (elf.slot(sampler.libc, "_dl_argv"), -8)
    assert 0 < stub + parameters + resolver < stub
    image = words(sampler.runtime.read_bytes())
    value = 0x4D49544E55525046
    for word in image[:-1]:
        value = mix(value, word)
    assert image[0] == 0x4D49544E55525046 and image[-1] == value and 16 <= image[1] < 8 * len(image) < 16384
