"""Input that cannot be prelinked: one clear line, exit status 1, nothing changed, the others still done."""

import os
import random
import shutil
import struct

import pytest

from harness import build, elf, files, need
from harness.private import PrivateDir
from harness.run import fastprelink, one_line, run

HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }'


def refused(case, path, *words, options=("-f",)):
    """PATH is skipped with one line, and nothing at all has changed."""
    case.own_libc()
    before = files.identities(case.path)
    done = case.prelink(path, options=options, status=1)
    one_line(done, path, *words)
    assert files.identities(case.path) == before
    return done


def test_missing(case):
    refused(case, case.bin / "none", "No such file")


def test_empty(case):
    case.prog.touch()
    refused(case, case.prog)


def test_not_elf(case):
    case.prog.write_text("#!/bin/sh\necho hello\n")
    refused(case, case.prog, "not an ELF file")


def test_directory_without_programs(case):
    """A directory stands for the programs in it."""
    done = case.prelink(case.bin)
    assert done.stdout.startswith("0 prelinked, 0 unchanged, 0 skipped") and not done.stderr


@pytest.mark.parametrize("name", ["/dev/null", "/dev/zero"])
def test_device(case, name):
    refused(case, name)


def test_pipe(case):
    os.mkfifo(case.prog)
    refused(case, case.prog)


def test_dangling_link(case):
    case.prog.symlink_to("none")
    refused(case, case.prog)


def test_link_loop(case):
    case.prog.symlink_to("prog")
    refused(case, case.prog)


@pytest.mark.parametrize("machine", [3, 40, 183, 243, 0xffff])
def test_other_machine(case, machine):
    case.program(HELLO)
    elf.patch(case.prog, elf.E_MACHINE, struct.pack("<H", machine))
    refused(case, case.prog)


@pytest.mark.parametrize("offset,value", [(4, 1), (4, 0), (5, 2), (6, 0), (16, 1), (16, 4)],
                         ids=["32-bit", "no-class", "big-endian", "version", "relocatable", "core"])
def test_other_header(case, offset, value):
    case.program(HELLO)
    elf.patch(case.prog, offset, bytes([value]))
    refused(case, case.prog)


def test_static(case):
    case.program(HELLO, flags=["-static"], pie=False)
    refused(case, case.prog)


def test_static_pie(case):
    case.program(HELLO, flags=["-static-pie"])
    refused(case, case.prog)


@pytest.mark.parametrize("interpreter", ["/lib/ld-musl-x86_64.so.1", "/nonexistent/ld.so", ""])
def test_other_libc(case, interpreter):
    case.program(HELLO)
    elf.set_interpreter(case.prog, interpreter)
    refused(case, case.prog)


def test_missing_dependency(sampler):
    (sampler.lib / "libbase.so").unlink()
    refused(sampler, sampler.prog, "libbase.so")


def test_missing_dependency_of_a_dependency(case):
    case.library("libb.so", "int f(void) { return 1; }")
    case.library("liba.so", "int f(void); int (*at)(void) = f;", ["libb.so"])
    case.program(HELLO, ["liba.so"])
    case.adopt()
    (case.lib / "libb.so").unlink()
    refused(case, case.prog, "libb.so")


def test_missing_version(case):
    script = case.path / "map"
    script.write_text("V9 { f; };")
    case.library("liba.so", "int f(void) { return 1; }", flags=[f"-Wl,--version-script={script}"])
    case.program("int f(void); int main(void) { return f(); }", ["liba.so"])
    script.write_text("V8 { f; };")
    case.library("liba.so", "int f(void) { return 2; }", flags=[f"-Wl,--version-script={script}", "-DV8"])
    case.adopt()
    refused(case, case.prog, "V9")


def test_dependency_that_is_not_elf(sampler):
    (sampler.lib / "libbase.so").write_text("INPUT(libother.so)\n")
    refused(sampler, sampler.prog, "libbase.so")


def test_audited_program(case):
    case.program(HELLO, flags=["-Wl,--audit=/nonexistent.so"])
    case.adopt()
    refused(case, case.prog)


def test_depaudited_program(case):
    case.program(HELLO, flags=["-Wl,--depaudit=/nonexistent.so"])
    case.adopt()
    refused(case, case.prog)


@pytest.mark.parametrize("eighth", range(8))
def test_truncated_program(sampler, eighth):
    """Cut anywhere but within the unloaded tail; what is left may be refused or handled, never half written."""
    whole = sampler.prog.read_bytes()
    for size in range(1 + eighth * len(whole) // 8, (eighth + 1) * len(whole) // 8, 401):
        sampler.prog.write_bytes(whole[:size])
        os.chmod(sampler.prog, 0o755)
        before = files.identities(sampler.path)
        done = sampler.prelink(status=None)
        assert done.status == 1, (size, done)
        one_line(done, sampler.prog)
        assert files.identities(sampler.path) == before


def test_truncated_library(sampler):
    library = sampler.lib / "libuser.so"
    whole = library.read_bytes()
    for size in range(0, len(whole), 701):
        library.write_bytes(whole[:size])
        before = files.identities(sampler.path)
        done = sampler.prelink(status=None)
        assert done.status == 1, (size, done)
        one_line(done, "libuser.so")
        assert files.identities(sampler.path) == before


TABLES = ["headers", ".dynamic", ".dynsym", ".dynstr", ".gnu.hash", ".hash", ".rela.dyn", ".rela.plt", ".gnu.version",
          ".gnu.version_r", ".interp", ".note.gnu.build-id", "sections"]


def place(path, table):
    if table == "headers":
        return 0, 64 + 56 * len(elf.segments(path))
    if table == "sections":
        start, = struct.unpack_from("<Q", path.read_bytes(), elf.E_SHOFF)
        return start, path.stat().st_size - start
    return elf.sections(path).get(table, (0, 64))


@pytest.mark.parametrize("which", ["prog", "library"])
@pytest.mark.parametrize("table", TABLES)
def test_garbage_in_a_table(case, table, which):
    """Seeded: the command neither crashes nor hangs; if it goes ahead, undo still brings back the input."""
    flags = ["-Wl,--hash-style=both"]
    case.library("libbase.so", build.CASES / "base.c", flags=flags)
    case.library("libuser.so", build.CASES / "user.c", ["libbase.so"], flags)
    case.program(build.CASES / "sampler.c", ["libuser.so", "libbase.so"], flags)
    case.adopt()
    case.prelink()  # the carrier is there from now on
    fastprelink("-u", case.prog)
    path = case.prog if which == "prog" else case.lib / "libuser.so"
    whole = path.read_bytes()
    program, libc = files.digest(case.prog), files.digest(case.libc)
    generator = random.Random(f"{table} {which}")
    start, size = place(path, table)
    for _ in range(16):
        data = bytearray(whole)
        for _ in range(generator.choice([1, 1, 2, 8])):
            data[start + generator.randrange(size)] = generator.choice([0, 1, 0x7f, 0x80, 0xff, generator.randrange(256)])
        path.write_bytes(data)
        given = files.digest(case.prog)
        done = case.prelink(status=None)
        assert done.status in (0, 1)
        if done.status == 1:
            assert done.stderr.startswith("fastprelink: ") and done.stderr.count("\n") == 1
            # A library that is damaged and was to be changed is refused on its own.
            assert "\n0 prelinked" in "\n" + done.stdout or case.shifted()
        if "\n0 prelinked" in "\n" + done.stdout:
            assert files.digest(case.prog) == given
        elif files.digest(case.prog) != given:
            fastprelink("-u", case.prog)
            assert files.digest(case.prog) == given
        assert files.digest(case.libc) == libc
        path.write_bytes(whole)
    assert files.digest(case.prog) == program


@pytest.mark.parametrize("seed", range(8))
def test_garbage_in_prelinked_files(sampler, seed):
    """Undo, verify and digests of damaged prelinked files: refused, no crash, nothing written."""
    sampler.prelink()
    whole = sampler.prog.read_bytes()
    generator = random.Random(seed)
    for _ in range(6):
        data = bytearray(whole)
        for _ in range(generator.choice([1, 3, 20])):
            data[generator.randrange(len(data))] = generator.randrange(256)
        if generator.random() < 0.3:
            data = data[:generator.randrange(len(data))]
        if data == whole:
            continue
        sampler.prog.write_bytes(data)
        before = files.identity(sampler.prog)
        for arguments in (["-u"], ["-y"], ["-o", sampler.path / "out", "-u"]):
            done = fastprelink(*arguments, sampler.prog, status=None)
            assert done.status == 1 and done.stderr.count("\n") == 1, done
        sampler.prelink(status=None)
        assert not (sampler.path / "out").exists()
        assert files.identity(sampler.prog) == before or sampler.run().status is not None


def test_directory_that_cannot_be_written(sampler):
    """As an ordinary user (root becomes one for it): nothing can be replaced, one line says so."""
    prefix = as_user(sampler)
    sampler.bin.chmod(0o555)
    before = files.identities(sampler.path)
    done = run([*prefix, build.TOOL, "-f", "--carrier=no", f"--ld-library-path={sampler.lib}",
                f"--runtime={sampler.runtime}", sampler.prog], env={"FASTPRELINK_RUNTIME_SOURCE": str(build.RUNTIME)})
    sampler.bin.chmod(0o755)
    assert done.status == 1
    one_line(done, sampler.prog)
    assert files.identities(sampler.path) == before


def test_unreadable_program(sampler):
    prefix = as_user(sampler)
    sampler.prog.chmod(0)
    before = sampler.prog.stat().st_ino
    done = run([*prefix, build.TOOL, "-f", sampler.prog])
    assert done.status == 1
    one_line(done, sampler.prog, "ermission denied")
    assert sampler.prog.stat().st_ino == before


def as_user(case):
    """A command prefix that makes root an ordinary user to whom the files do not belong; for others, nothing."""
    if os.geteuid() != 0:
        return []
    case.open_to_all()
    for path in case.path.rglob("*"):
        os.chown(path, 65534, 65534)
    return [need.tool("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.mark.root
@pytest.mark.parametrize("room", [0, 4, 16, 64], ids=lambda room: f"{room}KiB")
def test_no_space(sampler, room):
    """A file system that is full but for some KiB: old or new, never half."""
    assert need.private_mounts()
    mount = sampler.path.with_name("small")
    mount.mkdir()
    size = sum(-(-path.stat().st_size // 4096) * 4 + 8 for path in sampler.path.rglob("*") if path.is_file())
    assert run(["mount", "-t", "tmpfs", "-o", f"size={size + room + 8}k", "tmpfs", mount]).status == 0
    try:
        target = mount / "case"
        shutil.copytree(sampler.path, target)
        with open(mount / "filler", "wb") as stream:
            free = os.statvfs(mount).f_bavail * os.statvfs(mount).f_frsize - room * 1024
            stream.write(b"x" * max(free, 0))
        small = PrivateDir(target)
        before = files.digests(target)
        done = small.prelink(status=None)
        assert done.status == 1 and "No space left" in done.stderr
        left = files.changed(before, files.digests(target))
        assert str(small.prog) not in left and not [name for name in left if ".#" in name]
        assert small.run().stdout.startswith("sum 146")
    finally:
        run(["umount", "-l", mount])


@pytest.mark.root
def test_read_only_file_system(sampler):
    assert need.private_mounts()
    assert run(["mount", "--bind", sampler.path, sampler.path]).status == 0
    try:
        assert run(["mount", "-o", "remount,bind,ro", sampler.path]).status == 0
        done = sampler.prelink(status=1)
        one_line(done)
    finally:
        run(["umount", "-l", sampler.path])
