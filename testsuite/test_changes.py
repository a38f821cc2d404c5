"""Files that change after prelinking: whatever happens, programs run as if they had never been prelinked."""

import os
import random
import re
import shutil
import struct

import pytest

from harness import build, elf
from harness.private import system_libc
from harness.run import DEBUG, REQUIRE, run

ANSWER = "sum 146 counter 46 same 1 1\n"
BASE = (build.CASES / "base.c").read_text().replace('#include "base.h"', (build.CASES / "base.h").read_text())


def after(case, change, expected=ANSWER):
    """CHANGE(directory) after prelinking; the start must be equal to a plain one after the same change."""
    def scenario(directory):
        change(directory)
        return directory.run(env=DEBUG)
    done = case.compare(scenario)
    assert expected is None or done.stdout == expected, done
    assert not done.accelerated
    return done


def replace(path, data):
    """As package managers do: another inode."""
    new = path.with_name(path.name + ".new")
    new.write_bytes(data)
    if path.exists():
        shutil.copymode(path, new)
    new.rename(path)


def runtime_change(data):
    def change(directory):
        if directory.runtime.exists():  # the plain copy has none
            replace(directory.runtime, data(directory.runtime.read_bytes()))
    return change


def test_runtime_deleted(sampler):
    assert after(sampler, lambda directory: directory.runtime.unlink(missing_ok=True)).notes == []


@pytest.mark.parametrize("size", [0, 1, 16, 100, 1000, 4096])
def test_runtime_truncated(sampler, size):
    after(sampler, runtime_change(lambda data: data[:size]))


def test_runtime_is_short_of_its_last_byte(sampler):
    after(sampler, runtime_change(lambda data: data[:-1]))


@pytest.mark.parametrize("garbage", [b"\0" * 8192, b"\xff" * 8192, b"\xcc" * 8192, b"garbage\n" * 1000],
                         ids=["zeros", "ones", "int3", "text"])
def test_runtime_is_garbage(sampler, garbage):
    after(sampler, runtime_change(lambda data: garbage))


@pytest.mark.parametrize("where", [0, 4, 8, 15, 16, 24, 32, 64, 100, 200, 500, 1000, -100, -8, -1])
def test_runtime_has_a_flipped_bit(sampler, where):
    def flip(data):
        data = bytearray(data)
        data[where] ^= 0x10
        return bytes(data)
    after(sampler, runtime_change(flip))


@pytest.mark.parametrize("size", [0, 16, 24, 31, 32, 33, 4096, 8192, 16376, 16384, 1 << 20, 1 << 40, (1 << 64) - 8])
def test_runtime_is_not_as_long_as_it_says(sampler, size):
    after(sampler, runtime_change(lambda data: data[:16] + struct.pack("<Q", size) + data[24:]))


def test_runtime_has_something_appended(sampler):
    sampler.prelink()
    with open(sampler.runtime, "ab") as stream:
        stream.write(b"x")
    assert sampler.run().stdout == ANSWER


def test_runtime_is_a_directory(sampler):
    def change(directory):
        directory.runtime.unlink(missing_ok=True)
        directory.runtime.mkdir()
    after(sampler, change)


def test_runtime_is_a_pipe(sampler):
    """Opening it must not hang."""
    def change(directory):
        directory.runtime.unlink(missing_ok=True)
        os.mkfifo(directory.runtime)
    after(sampler, change)


@pytest.mark.user
def test_runtime_is_unreadable(sampler):
    sampler.prelink()
    sampler.runtime.chmod(0)
    prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    sampler.open_to_all()
    done = sampler.run(prefix=prefix, env=DEBUG)
    assert done.stdout == ANSWER and not done.accelerated


def test_library_replaced_by_a_newer_build(sampler):
    newer = build.compile_c(BASE.replace("counter = 40", "counter = 50"), "libbase.so",
                            ["-shared", "-fPIC", "-Wl,-soname,libbase.so"])
    done = after(sampler, lambda directory: replace(directory.lib / "libbase.so", newer.read_bytes()),
                 "sum 146 counter 56 same 1 1\n")
    assert done.declined


def test_library_replaced_in_place(sampler):
    """The same inode, other content, of the same size."""
    newer = build.compile_c(BASE.replace("counter = 40", "counter = 50"), "libbase.so",
                            ["-shared", "-fPIC", "-Wl,-soname,libbase.so"])
    after(sampler, lambda directory: (directory.lib / "libbase.so").write_bytes(newer.read_bytes()),
          "sum 146 counter 56 same 1 1\n")


def test_library_replaced_by_one_that_looks_alike(sampler):
    """No build id, the same size and the same tables; only the code has moved: told apart by something else."""
    flags = ["-shared", "-fPIC", "-Wl,-soname,libbase.so", "-Wl,--build-id=none"]
    square, twice = re.findall(r"int (?:square|twice)\(.*?\n}", BASE, re.DOTALL)
    swapped = BASE.replace(f"{square}\n{twice}", f"{twice}\n{square}")
    assert swapped != BASE
    older, newer = (build.compile_c(source, "libbase.so", flags) for source in (BASE, swapped))
    assert older.stat().st_size == newer.stat().st_size
    shutil.copy(older, sampler.lib / "libbase.so")
    after(sampler, lambda directory: replace(directory.lib / "libbase.so", newer.read_bytes()))


def test_library_replaced_by_one_with_new_dependencies(sampler):
    extra = sampler.library("libextra.so", "int hooked(void) { return 100000; } int extra;")
    newer = build.compile_c("extern int extra; int *more = &extra;\n" + BASE, "libbase.so",
                            ["-shared", "-fPIC", "-Wl,-soname,libbase.so"], [extra])
    assert after(sampler, lambda directory: replace(directory.lib / "libbase.so", newer.read_bytes())).declined


def test_library_stripped(sampler):
    """The same build id and the same memory: accelerated or not, it is right."""
    sampler.prelink()
    assert run(["strip", sampler.lib / "libbase.so"]).status == 0
    assert sampler.run().stdout == ANSWER


def test_library_missing(sampler):
    done = after(sampler, lambda directory: (directory.lib / "libbase.so").unlink(), "")
    assert done.status == 127 and "libbase.so: cannot open shared object file" in done.stderr


def test_library_truncated(sampler):
    def change(directory):
        data = (directory.lib / "libbase.so").read_bytes()
        replace(directory.lib / "libbase.so", data[:200])
    after(sampler, change, "")


def test_library_moved_earlier_in_the_search_path(sampler):
    def change(directory):
        hwcaps = directory.lib / "glibc-hwcaps/x86-64-v2"
        hwcaps.mkdir(parents=True)
        newer = BASE.replace("counter = 40", "counter = 60")
        shutil.copy(build.compile_c(newer, "libbase.so", ["-shared", "-fPIC", "-Wl,-soname,libbase.so"]), hwcaps)
    after(sampler, change, "sum 146 counter 66 same 1 1\n")


def test_libc_replaced_by_its_original(sampler):
    done = after(sampler, lambda directory: replace(directory.libc, system_libc().read_bytes()))
    assert done.notes == []


def test_require_without_a_carrier_is_a_plain_start(sampler):
    sampler.prelink()
    replace(sampler.libc, system_libc().read_bytes())
    assert sampler.run(env=REQUIRE).stdout == ANSWER


def test_program_rebuilt(sampler):
    """A new build of the program has no tables: a plain start, silently."""
    sampler.prelink()
    sampler.program((build.CASES / "sampler.c").read_text().replace('#include "base.h"',
                    (build.CASES / "base.h").read_text()).replace("sum %d", "new %d"), ["libuser.so", "libbase.so"])
    done = sampler.run(env=REQUIRE)
    assert done.stdout == ANSWER.replace("sum", "new") and done.notes == []


def test_prelinked_again_after_a_library_was_replaced(sampler):
    sampler.prelink()
    original = run([build.TOOL, "--sha256", sampler.prog]).stdout
    sampler.library("libbase.so", BASE.replace("counter = 40", "counter = 50"))
    assert sampler.run(env=DEBUG).declined
    sampler.prelink()
    assert sampler.run_fast().stdout == "sum 146 counter 56 same 1 1\n"
    assert run([build.TOOL, "--sha256", sampler.prog]).stdout == original


@pytest.mark.parametrize("factor", [20, 0], ids=["grown", "shrunk"])
def test_prelinked_again_after_libraries_grew_or_shrank(sampler, factor):
    sampler.prelink()
    more = "".join(f"int filler{i}; int *pointer{i} = &filler{i};" for i in range(100 * factor))
    sampler.library("libbase.so", BASE + more)
    twin = sampler.twin()
    twin.undo()
    sampler.prelink()
    assert sampler.run_fast() == twin.run()


def test_carrier_of_another_directory(sampler):
    """The program finds a libc with a stub that names another runtime: right, accelerated or not."""
    twin = sampler.twin()
    sampler.prelink()
    twin.prelink()
    assert sampler.run(env={"LD_LIBRARY_PATH": str(twin.lib)}).stdout == ANSWER


def test_tables_copied_to_another_machine(sampler):
    """The whole directory at another path: names play no part in recognising objects; or it declines."""
    sampler.prelink()
    copy = sampler.twin()
    assert copy.run(env=DEBUG).stdout == ANSWER


def test_tables_with_any_byte_changed(sampler):
    """The table's header and what it says of objects: nothing in it is followed before it is known to be whole."""
    sampler.prelink()
    start, _ = elf.sections(sampler.prog)[".fastprelink"]
    data = sampler.prog.read_bytes()
    behind_objects, = struct.unpack_from("<I", data, start + 40)
    for where in range(start, start + behind_objects):
        elf.patch(sampler.prog, where, bytes([data[where] ^ 0x21]))
        assert sampler.run().stdout == ANSWER, where - start
        elf.patch(sampler.prog, where, data[where:where + 1])


@pytest.mark.parametrize("seed", range(60))
def test_tables_with_a_flipped_bit(sampler, seed):
    """A damaged table is noticed, or does no harm; it never makes the process differ."""
    sampler.prelink()
    found = {name: place for name, place in elf.sections(sampler.prog).items()
             if name.startswith((".fastprelink", ".gnu.liblist", ".gnu.conflict")) and "undo" not in name and place[1]}
    assert found
    generator = random.Random(seed)
    offset, size = generator.choice(sorted(found.values()))
    where = offset + generator.randrange(size)
    byte = sampler.prog.read_bytes()[where]
    elf.patch(sampler.prog, where, bytes([byte ^ 1 << generator.randrange(8)]))
    assert sampler.run().stdout == ANSWER
