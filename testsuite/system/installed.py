"""What an installed system consists of, as far as ld.so is concerned, and copying that into a sandbox root."""

import os
import stat
import struct
from dataclasses import dataclass, field

from harness import elf, files

TREES = ("bin", "sbin", "lib", "lib64", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "usr/libexec", "usr/games",
         "usr/local", "opt")
# Symbolic links that lead from one tree to another.
LINKS = ("etc/alternatives",)
# Files for debuggers, and for other machines and kernels.
WITHOUT = ("usr/lib/debug", "usr/lib/modules", "usr/lib/firmware")
# A checksum beside a library: it is the reason why that is left alone.
CHECKSUMS = (".hmac", ".chk")

HEADER = struct.Struct("<4sBB10xHHIQQQIHHH")
SEGMENT, ENTRY = struct.Struct("<IIQQQQQQ"), struct.Struct("<QQ")
CLASS64, LITTLE, EXEC, DYN, X86_64 = 2, 1, 2, 3, 62
DT_SONAME, DT_FLAGS_1, DF_1_PIE = 14, 0x6ffffffb, 0x8000000


@dataclass
class Installed:
    """Paths as they are called inside the system; of PROGRAMS and LIBRARIES without symbolic links."""

    programs: list = field(default_factory=list)
    libraries: list = field(default_factory=list)
    links: list = field(default_factory=list)
    data: list = field(default_factory=list)


def look(system):
    """Goes through the trees of SYSTEM."""
    found, links = Installed(), []
    for tree in (*TREES, *LINKS):
        top = os.path.join(system, tree)
        for directory, directories, names in os.walk(top) if not os.path.islink(top) else ():
            place = "/" + os.path.relpath(directory, system)
            directories[:] = [name for name in directories if os.path.join(place, name)[1:] not in WITHOUT]
            for name in directories + names:
                path = os.path.join(directory, name)
                if os.path.islink(path):
                    links.append(os.path.join(place, name))
                elif name.endswith(CHECKSUMS) and os.path.isfile(path):
                    found.data.append(os.path.join(place, name))
                elif os.path.isfile(path):
                    kind = classify(path)
                    {"program": found.programs, "library": found.libraries}.get(kind, []).append(os.path.join(place, name))
    found.programs.sort()
    found.libraries.sort()
    found.links = sorted(kept_links(system, links, found.programs + found.libraries))
    return found


def kept_links(system, links, objects):
    """Those of LINKS that lead to one of OBJECTS, or to a directory that has one, and the links on the way there."""
    wanted = set(objects)
    for path in objects:
        while (path := os.path.dirname(path)) not in wanted:
            wanted.add(path)
    return [link for link in links if files.resolved(system, link) in wanted]


def classify(path):
    """"program", "library" or None: something that ld.so has nothing to do with, or is not for x86-64."""
    with open(path, "rb") as stream:
        head = stream.read(HEADER.size)
        if len(head) < HEADER.size or not head.startswith(b"\x7fELF"):
            return None
        _, bits, order, kind, machine, _, _, at, _, _, _, size, count = HEADER.unpack(head)
        if (bits, order, machine, size) != (CLASS64, LITTLE, X86_64, SEGMENT.size) or kind not in (EXEC, DYN):
            return None
        stream.seek(at)
        table = stream.read(count * size)
        segments = {row[0]: row for row in SEGMENT.iter_unpack(table[:len(table) // size * size])}
        if elf.PT_DYNAMIC not in segments:
            return None
        if elf.PT_INTERP not in segments:
            return "library" if kind == DYN else None
        _, _, offset, _, _, length, *_ = segments[elf.PT_DYNAMIC]
        stream.seek(offset)
        dynamic = stream.read(length)
        tags = dict(ENTRY.iter_unpack(dynamic[:len(dynamic) // ENTRY.size * ENTRY.size]))
        executable = os.fstat(stream.fileno()).st_mode & 0o111
    pie = tags.get(DT_FLAGS_1, 0) & DF_1_PIE or DT_SONAME not in tags
    return "program" if executable and (kind == EXEC or pie) else "library"


def copy(root, installed):
    """Copies all of INSTALLED from ROOT's system into ROOT.  Names of one file there become names of one file here, and no
    file here is one of there."""
    first = {}
    for path in installed.programs + installed.libraries + installed.data:
        source, target = root.outside(path), root.host(path)
        status = os.stat(source)
        key = status.st_dev, status.st_ino
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        if key in first:
            os.link(first[key], target)
        else:
            files.copy(source, target)
            first[key] = target
    for path in installed.links:
        target = root.host(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(target):
            target.symlink_to(os.readlink(root.outside(path)))
    root.add()


def unprivileged(path):
    """Takes what raises privileges from the file PATH; returns a function that gives it back."""
    mode = stat.S_IMODE(os.stat(path).st_mode)
    capability = "security.capability"
    kept = {name: os.getxattr(path, name) for name in os.listxattr(path) if name == capability}
    os.chmod(path, mode & 0o777)
    for name in kept:
        os.removexattr(path, name)

    def restore():
        os.chmod(path, mode)
        for name, value in kept.items():
            os.setxattr(path, name, value)
    return restore
