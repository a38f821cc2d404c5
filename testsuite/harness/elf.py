"""Small looks into ELF files, and small edits that make unusual ones."""

import os
import struct
import subprocess
from pathlib import Path

PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
WINDOW = 0x3000000000  # where fixed addresses begin
E_MACHINE, E_SHOFF, E_SHNUM, E_PHOFF = 18, 40, 60, 32


def readelf(path, *options):
    done = subprocess.run(["readelf", *options, str(path)], capture_output=True, text=True)
    return done.stdout + done.stderr


def relocations(path):
    """Rows of `readelf -r`: (offset, type, symbol name or addend)."""
    rows = [line.split() for line in readelf(path, "-rW").splitlines()]
    return [(int(row[0], 16), row[2], " ".join(row[3:])) for row in rows
            if len(row) >= 4 and row[2].startswith("R_X86_64")]


def slot(path, symbol):
    """Address of the first slot of SYMBOL."""
    return next(row[0] for row in relocations(path) if symbol in row[2].replace("@", " ").split())


def symbol(path, name):
    rows = [line.split() for line in readelf(path, "-sW").splitlines()]
    return next(int(row[1], 16) for row in rows if len(row) == 8 and row[7].split("@")[0] == name)


def patch(path, offset, data):
    with open(path, "r+b") as stream:
        stream.seek(offset)
        stream.write(data)


def segments(path):
    """[(type, flags, offset, vaddr, filesz, memsz, align, offset of the program header)]"""
    data = path.read_bytes()
    start, = struct.unpack_from("<Q", data, E_PHOFF)
    size, count = struct.unpack_from("<HH", data, 54)
    found = []
    for index in range(count):
        at = start + index * size
        kind, flags, offset, vaddr, _, filesz, memsz, align = struct.unpack_from("<IIQQQQQQ", data, at)
        found.append((kind, flags, offset, vaddr, filesz, memsz, align, at))
    return found


def sections(path):
    """{name: (offset, size)}"""
    data = path.read_bytes()
    start, = struct.unpack_from("<Q", data, E_SHOFF)
    size, count, names = struct.unpack_from("<HHH", data, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", data, start + i * size) for i in range(count)]
    at = headers[names][4]
    return {data[at + h[0]:data.index(b"\0", at + h[0])].decode(): (h[4], h[5]) for h in headers}


def other_build(path):
    """Makes the file that of another build, which differs in its build id only."""
    offset, size = sections(path)[".note.gnu.build-id"]
    last = path.read_bytes()[offset + size - 1]
    patch(path, offset + size - 1, bytes([last ^ 0xff]))


def is_shifted(path):
    """Whether the file is a library with an address of ours; quick, and never wrong about whole ELF files."""
    path = Path(path)
    if path.is_symlink() or not path.is_file():
        return False
    data = path.read_bytes()
    return data.startswith(b"\x7fELF") and data[16:18] == b"\3\0" and b".gnu.prelink_undo\0" in data \
        and any(kind == PT_LOAD and vaddr >= WINDOW for kind, _, _, vaddr, *_ in segments(path))


def drop_sections(path):
    """Takes the section header table away, and what no segment holds, as sstrip does."""
    patch(path, E_SHOFF, bytes(8))
    patch(path, E_SHNUM, bytes(4))
    os.truncate(path, max(offset + filesz for _, _, offset, _, filesz, *_ in segments(path)))


def set_interpreter(path, name):
    """Another program interpreter; NAME must not be longer than the present one."""
    _, _, offset, _, size, *_ = next(s for s in segments(path) if s[0] == PT_INTERP)
    patch(path, offset, name.encode().ljust(size, b"\0"))


def dynamic_remove(path, *tags):
    """Removes entries of the dynamic section; later ones move up."""
    _, _, offset, _, size, *_ = next(s for s in segments(path) if s[0] == PT_DYNAMIC)
    data = path.read_bytes()[offset:offset + size]
    rows = [data[at:at + 16] for at in range(0, size, 16)]
    kept = [row for row in rows if struct.unpack("<q", row[:8])[0] not in tags]
    patch(path, offset, b"".join(kept).ljust(size, b"\0"))


def dynamic_or(path, tag, bits):
    """Sets BITS in the value of the entry TAG of the dynamic section."""
    _, _, offset, _, size, *_ = next(s for s in segments(path) if s[0] == PT_DYNAMIC)
    data = path.read_bytes()[offset:offset + size]
    at = next(at for at in range(0, size, 16) if struct.unpack_from("<q", data, at)[0] == tag)
    value, = struct.unpack_from("<Q", data, at + 8)
    patch(path, offset + at + 8, struct.pack("<Q", value | bits))
