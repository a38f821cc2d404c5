"""Undo: the exact original bytes, from the file alone."""

import os
import re
import shutil
import struct
import subprocess

import pytest

from harness import build, elf, files, need
from harness.private import PrivateDir
from harness.run import PLACEMENT, fastprelink, fixed_libraries, one_line, run

DIGESTS = {"--md5": "md5sum", "--sha": "sha1sum", "--sha256": "sha256sum"}


def test_undo_restores_every_file(sampler):
    original = files.digests(sampler.bin, sampler.lib)
    fixed = fixed_libraries(sampler.prelink(options=("-f", "-v")))
    assert files.changed(original, files.digests(sampler.bin, sampler.lib)) == {str(sampler.prog), str(sampler.libc), *fixed}
    assert bool(fixed) == (PLACEMENT != "aslr")
    sampler.undo()
    assert files.digests(sampler.bin, sampler.lib) == original


def test_undo_needs_only_the_file(sampler):
    original = files.digest(sampler.prog)
    sampler.prelink()
    alone = sampler.path.with_name("alone")
    shutil.copy2(sampler.prog, alone)
    shutil.rmtree(sampler.path)
    fastprelink("-u", alone)
    assert files.digest(alone) == original


def test_undo_of_the_carrier_alone(sampler):
    original = files.digest(sampler.libc)
    sampler.prelink()
    assert files.digest(sampler.libc) != original
    fastprelink("-u", sampler.libc)
    assert files.digest(sampler.libc) == original
    assert sampler.run().stdout.startswith("sum 146")


def test_undo_to_another_file(sampler):
    original = files.digest(sampler.prog)
    sampler.prelink()
    before = files.identity(sampler.prog)
    output = sampler.path / "output"
    fastprelink("-u", "-o", output, sampler.prog)
    assert files.digest(output) == original and files.identity(sampler.prog) == before
    assert output.stat().st_mode == sampler.prog.stat().st_mode


def test_undo_to_another_file_takes_one_file(sampler):
    sampler.prelink()
    done = fastprelink("-u", "-o", sampler.path / "output", sampler.prog, sampler.libc, status=2)
    assert done.stderr and not (sampler.path / "output").exists()


def test_undo_of_what_is_not_prelinked(sampler):
    before = files.identity(sampler.prog)
    done = fastprelink("-u", sampler.prog, status=None)
    assert done.status == 1
    one_line(done, sampler.prog)
    assert files.identity(sampler.prog) == before


def test_undo_twice(sampler):
    original = files.digest(sampler.prog)
    sampler.prelink()
    sampler.undo()
    fastprelink("-u", sampler.prog, status=1)
    assert files.digest(sampler.prog) == original


def test_prelinking_after_undo_gives_the_same_bytes(sampler):
    sampler.prelink()
    first = files.digests(sampler.path)
    sampler.undo()
    sampler.prelink()
    assert files.digests(sampler.path) == first


def test_undo_of_a_stripped_program_without_build_id(case):
    case.program("#include <stdio.h>\nint main(void) { puts(\"x\"); return 0; }", flags=["-s", "-Wl,--build-id=none"])
    case.check("x\n")


def test_bytes_behind_the_section_headers(case):
    """Data appended to a program (installers do so) is refused, or kept by both prelinking and undo."""
    case.program("#include <stdio.h>\nint main(void) { puts(\"x\"); return 0; }")
    with open(case.prog, "ab") as stream:
        stream.write(b"payload" * 1000)
    case.adopt()
    original = files.digest(case.prog)
    done = case.prelink(status=None)
    if done.status:
        one_line(done, case.prog)
        assert files.digest(case.prog) == original
    else:
        fastprelink("-u", case.prog)
        assert files.digest(case.prog) == original


def test_verify_writes_the_original(sampler):
    original = sampler.prog.read_bytes()
    sampler.prelink()
    output = sampler.path / "output"
    with open(output, "wb") as stream:
        assert subprocess.run([build.TOOL, "-y", sampler.prog], stdout=stream).returncode == 0
    assert output.read_bytes() == original


def test_verify_of_several_files_writes_a_line_each(sampler):
    sampler.prelink()
    done = fastprelink("-y", sampler.prog, sampler.libc)
    assert len(done.stdout.splitlines()) == 2 and str(sampler.prog) in done.stdout


def test_verify_of_a_damaged_file(sampler):
    sampler.prelink()
    data = bytearray(sampler.prog.read_bytes())
    data[len(data) // 2] ^= 1
    sampler.prog.write_bytes(data)
    done = fastprelink("-y", sampler.prog, status=1)
    assert done.stdout == ""
    one_line(done, sampler.prog)


@pytest.mark.parametrize("part", range(40))
def test_verify_and_undo_notice_any_changed_byte(sampler, part):
    """Wherever the byte lies: refused, and nothing written."""
    sampler.prelink()
    data = bytearray(sampler.prog.read_bytes())
    data[(2 * part + 1) * len(data) // 80] ^= 0x20
    sampler.prog.write_bytes(data)
    before = files.identity(sampler.prog)
    for arguments in (["-y", sampler.prog], ["-u", sampler.prog]):
        done = fastprelink(*arguments, status=1)
        one_line(done, sampler.prog)
    assert files.identity(sampler.prog) == before


@pytest.mark.parametrize("option", DIGESTS)
def test_digests_are_those_of_the_original(sampler, option):
    expected = run([need.tool(DIGESTS[option]), sampler.prog, sampler.libc]).stdout
    assert fastprelink(option, sampler.prog, sampler.libc).stdout == expected
    sampler.prelink()
    assert fastprelink(option, sampler.prog, sampler.libc).stdout == expected
    assert fastprelink("-y", option, sampler.prog, sampler.libc).stdout == expected


def test_digest_of_a_file_that_is_no_program(sampler):
    path = sampler.path / "text"
    path.write_text("text\n")
    expected = run([need.tool("sha256sum"), path]).stdout
    done = fastprelink("--sha256", path, status=None)
    assert done.stdout == expected or done.status == 1 and done.stderr.count("\n") == 1


@pytest.mark.parametrize("tool", [["strip"], ["strip", "--strip-debug"], ["objcopy", "--strip-debug"], ["eu-strip"],
                                  ["patchelf", "--set-rpath", "/nonexistent"], ["patchelf", "--add-needed", "libm.so.6"],
                                  ["objcopy", "--add-section", "extra=/etc/passwd"]], ids=" ".join)
def test_tools_afterwards(sampler, tool):
    """What other tools do to a prelinked program: it runs correctly, and nobody writes garbage."""
    run_before = sampler.run()
    original = files.digest(sampler.prog)
    sampler.prelink()
    changed = run([need.tool(tool[0]), *tool[1:], sampler.prog])
    assert changed.status == 0, changed
    assert sampler.run() == run_before
    modified = files.identity(sampler.prog)
    done = fastprelink("-u", sampler.prog, status=None)
    if done.status == 0:
        assert files.digest(sampler.prog) == original
    else:
        one_line(done, sampler.prog)
        assert files.identity(sampler.prog) == modified
    fast = sampler.prelink(status=None)
    assert fast.status in (0, 1)
    assert sampler.run() == run_before


@pytest.mark.parametrize("flags", [[], ["-Wl,--build-id=none"], ["-Wl,--build-id=none", "-Wl,--hash-style=sysv"]],
                         ids=["notes", "gnu-hash", "sysv-hash"])
@pytest.mark.parametrize("pie", [True, False], ids=["pie", "no-pie"])
@pytest.mark.parametrize("tool", ["strip", "eu-strip", "llvm-strip"])
def test_strip_leaves_a_program_that_is_accelerated(case, tool, pie, flags):
    """Whatever had to make room for the program headers: they stay where strip expects them."""
    case.program('#include <stdio.h>\nint main(void) { puts("x"); return 0; }', flags=[*flags, "-Wl,-z,lazy"], pie=pie)
    case.adopt()
    case.prelink()
    assert struct.unpack_from("<Q", case.prog.read_bytes(), elf.E_PHOFF) == (64,)
    changed = run([need.tool(tool), case.prog])
    assert changed.status == 0 and changed.stderr == "", changed
    assert case.run_fast().stdout == "x\n"


def test_ldconfig_afterwards(sampler):
    sampler.prelink()
    before = files.digests(sampler.lib)
    done = run([need.tool("ldconfig"), "-N", "-n", sampler.lib])
    assert done.status == 0 and done.stderr == ""
    done = run([need.tool("ldconfig"), "-n", sampler.lib])
    assert done.status == 0 and done.stderr == ""
    assert {path: before[path] for path in before} == {path: files.digest(path) for path in before}
    sampler.run_fast()


def test_file_kept_open_while_it_is_replaced(sampler):
    """A running program keeps its old inode."""
    original = sampler.prog.read_bytes()
    with open(sampler.prog, "rb") as stream:
        sampler.prelink()
        assert stream.read() == original


# What an inode remembers

@pytest.fixture
def marked(sampler):
    """The program and libc with unusual attributes."""
    for path in (sampler.prog, sampler.libc):
        os.chmod(path, 0o1751 if path == sampler.prog else 0o640)
        os.setxattr(path, "user.note", b"kept \0 too")
        done = run([need.tool("setfacl"), "-m", "u:65534:rx", path])
        assert done.status == 0, done
        os.utime(path, ns=(1_111_111_111_123_456_789, 1_222_222_222_987_654_321))
    return sampler


def test_attributes_survive_prelinking_and_undo(marked):
    before = [files.attributes(path) for path in (marked.prog, marked.libc)]
    marked.prelink()
    assert [files.attributes(path) for path in (marked.prog, marked.libc)] == before
    marked.undo()
    assert [files.attributes(path) for path in (marked.prog, marked.libc)] == before


@pytest.mark.root
def test_owner_and_capabilities_survive(marked):
    for path in (marked.prog, marked.libc):
        os.chown(path, 1234, 4321)
        os.chmod(path, 0o755)
    assert run([need.tool("setcap"), "cap_net_raw+ep", marked.libc]).status == 0
    before = [files.attributes(path) for path in (marked.prog, marked.libc)]
    assert before[0][1:3] == (1234, 4321) and "security.capability" in before[1][4]
    marked.prelink()
    assert [files.attributes(path) for path in (marked.prog, marked.libc)] == before
    marked.undo()
    assert [files.attributes(path) for path in (marked.prog, marked.libc)] == before


def test_no_temporary_files_are_left(sampler):
    names = set(files.digests(sampler.path))
    sampler.prelink()
    assert set(files.digests(sampler.path)) == names | {str(sampler.runtime)}


def test_a_symbolic_link_stays_one(sampler):
    link = sampler.bin / "link"
    link.symlink_to("prog")
    sampler.prelink(link)
    assert os.readlink(link) == "prog"
    fastprelink("-u", link)
    assert os.readlink(link) == "prog"


# Running twice, running dry

def test_a_second_run_changes_nothing(sampler):
    sampler.prelink()
    before = files.identities(sampler.path)
    done = sampler.prelink()
    assert files.identities(sampler.path) == before
    assert "1 unchanged" in done.stdout


def test_a_dry_run_changes_nothing(sampler):
    before = files.identities(sampler.path)
    done = sampler.prelink(options=["-n", "-f"])
    assert files.identities(sampler.path) == before and done.stdout
    sampler.prelink()
    before = files.identities(sampler.path)
    sampler.prelink(options=["-n", "-f"])
    assert files.identities(sampler.path) == before


def test_a_dry_undo_changes_nothing(sampler):
    sampler.prelink()
    before = files.identities(sampler.path)
    done = fastprelink("-n", "-u", sampler.prog, status=None)
    assert done.status in (0, 2) and files.identities(sampler.path) == before


def test_equal_copies_give_equal_bytes(sampler, tmp_path):
    """The same directory, made twice at one place: nothing depends on time, inode numbers or addresses."""
    spare = tmp_path / "spare"
    shutil.copytree(sampler.path, spare)
    sampler.prelink()
    first = files.digests(sampler.path)
    shutil.rmtree(sampler.path)
    shutil.move(spare, sampler.path)
    again = PrivateDir(sampler.path)
    again.prelink()
    assert files.digests(again.path) == first


def test_programs_in_any_order_give_equal_bytes(sampler):
    other = sampler.program('#include <stdio.h>\nint square(int); int main(void) { printf("%d", square(3)); return 0; }',
                            ["libbase.so"], name="other")
    sampler.prelink(sampler.prog, other)
    first = files.digests(sampler.path)
    sampler.undo(sampler.prog, other, sampler.libc)
    sampler.prelink(other, sampler.prog)
    assert files.digests(sampler.path) == first
    sampler.undo(sampler.prog, other, sampler.libc)
    sampler.prelink(other)
    sampler.prelink(sampler.prog)
    assert files.digests(sampler.path) == first


# What tools think of the result

@pytest.mark.parametrize("which", ["prog", "libc"])
def test_readelf_has_no_complaint(sampler, which):
    path = getattr(sampler, which)
    warned = run(["readelf", "-lSdW", path]).stderr
    sampler.prelink()
    done = run(["readelf", "-lSdW", path])
    assert done.status == 0 and done.stderr == warned


@pytest.mark.parametrize("which", ["prog", "libc"])
def test_elflint_finds_nothing_new(sampler, which):
    """Problems of the result that the original has not, by message without numbers."""
    def problems():
        done = run([need.tool("eu-elflint"), "--gnu-ld", getattr(sampler, which)])
        return [re.sub(r"\d+|0x[0-9a-f]+", "N", line) for line in (done.stdout + done.stderr).splitlines()
                if line != "No errors"]
    before = problems()
    sampler.prelink()
    assert [line for line in problems() if line not in before] == []


def test_added_data_is_covered_by_sections(sampler):
    """Or strip would drop it: after strip, verify still finds everything or says that it was modified."""
    sampler.prelink()
    assert run(["strip", sampler.prog]).status == 0
    done = fastprelink("-y", sampler.prog, status=None)
    assert done.status == 0 or "crash" not in done.stderr and done.stderr.count("\n") == 1
