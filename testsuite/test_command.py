"""The command: options, messages, exit status."""

import json
import os
import re
import subprocess

import pytest

from harness import build, files, need
from harness.private import system_libc
from harness.run import REQUIRE, fastprelink, one_line, run

HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }'


def test_version():
    done = fastprelink("--version")
    assert re.match(r"fastprelink \S+", done.stdout) and fastprelink("-V").stdout == done.stdout


def test_help_fits_one_screen():
    done = fastprelink("--help")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Usage: fastprelink") and len(lines) <= 30 and max(map(len, lines)) < 80
    for option in ("--root", "--verbose", "--dry-run", "--force", "--undo", "--undo-output", "--all", "--verify", "--md5",
                   "--sha", "--sha256", "--carrier", "--ld-library-path", "--ld-preload", "--json", "--bindings",
                   "--config-file", "--black-list", "--files-from", "--junit", "--aslr", "--fixed"):
        assert option in done.stdout, option
    assert fastprelink("-?").stdout == done.stdout and fastprelink("--usage").stdout


@pytest.mark.parametrize("arguments", [[], ["--no-such-option", "x"], ["-o", "out", "file"], ["-u"], ["-y"],
                                       ["-y", "-u", "file"], ["-u", "-a", "-o", "out"], ["--carrier=maybe", "file"],
                                       ["--root"]], ids=" ".join)
def test_wrong_usage(arguments):
    done = fastprelink(*arguments, status=2)
    assert done.stdout == "" and done.stderr.startswith("fastprelink: ")


@pytest.mark.parametrize("options, words", [
    (["-a", "file"], ["--all", "files"]),
    (["-a", "--files-from=list"], ["--all", "files"]),
    (["-a", "--sha256"], ["--all", "--sha256"]),
    (["-y", "--junit=x", "file"], ["--junit", "--verify", "--all"]),
    (["-a", "--bindings"], ["--all", "--bindings"]),
    (["-u", "-q", "file"], ["--quick", "--undo"]),
    (["-y", "-q", "file"], ["--quick", "--verify"]),
    (["-r", "0x3000000000", "-b", "x", "file"], ["--black-list", "--reloc-only"]),
    (["--sha", "--libs-only", "file"], ["--libs-only", "--sha"]),
    (["-u", "-a", "--files-from=-"], ["--all", "files"]),
])
def test_selecting_options_that_do_not_go_together(options, words):
    one_line(fastprelink(*options, status=2), *words)


def test_options_for_what_is_done_anyway():
    """Classic prelink's -e and -i."""
    one_line(fastprelink("-e", "-i", "/nonexistent", status=1), "/nonexistent")


def test_root_that_does_not_exist():
    assert fastprelink("--root=/nonexistent", "/bin/true", status=None).status in (1, 2)


@pytest.mark.parametrize("source, words", [("nothing", ["--runtime-source"]), ("prog", ["not a runtime"])])
def test_without_a_runtime_nothing_is_prelinked(sampler, source, words):
    """And the line says what to do."""
    before = files.digests(sampler.path)
    path = sampler.bin / source
    done = fastprelink("-f", *sampler.places(), f"--runtime-source={path}", sampler.prog, status=1)
    one_line(done, path, *words)
    assert files.digests(sampler.path) == before


def test_summary_line(sampler):
    done = sampler.prelink(options=("-f", "--aslr"))
    assert re.fullmatch(r"1 prelinked, 0 unchanged, 0 skipped; carrier \S*/libc\.so\.6: installed\n", done.stdout)
    assert done.stderr == ""
    again = sampler.prelink(options=("-f", "--aslr"))
    assert again.stdout.startswith("0 prelinked, 1 unchanged, 0 skipped")


def test_summary_of_fixed_libraries(sampler):
    count = len([path for path in sampler.closure() if path != sampler.libc])
    for written, start in ((count, "1 prelinked, 0 unchanged"), (0, "0 prelinked, 1 unchanged")):
        lines = sampler.prelink(options=("-f", "--fixed")).stdout.splitlines()
        assert lines[0] == f"{count} libraries at fixed addresses, 2 floating; {written} written"
        assert len(lines) == 2 and lines[1].startswith(start + ", 0 skipped; carrier ")


def test_verbose_line(sampler):
    done = sampler.prelink(options=["-f", "-v"])
    line = next(line for line in done.stdout.splitlines() if line.startswith(f"{sampler.prog}: prelinked: "))
    assert re.search(r"\d+ objects, \d+ of \d+ relocations resolved, \d+ lazy, \d+ left to ld.so, (\d+ objects left alone, )?\+\d+ \S?B", line)


def test_verbose_counts_are_plausible(sampler):
    done = sampler.prelink(options=["-f", "-v"])
    line = next(line for line in done.stdout.splitlines() if line.startswith(f"{sampler.prog}: prelinked: "))
    objects, resolved, all_of_them, lazy, left = map(int, re.findall(r"(\d+)", line.replace(str(sampler.prog), ""))[:5])
    assert objects == len(sampler.closure()) + 2 and resolved + lazy + left <= all_of_them


def test_json(sampler):
    done = sampler.prelink(options=["-f", "--json"])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert any(str(sampler.prog) in row.values() for row in rows)


def test_too_little_gain(case):
    """`ls`-like programs are left alone unless -f says otherwise."""
    case.program(HELLO)
    case.adopt()
    before = files.identities(case.path)
    done = case.prelink(options=[], status=1)
    one_line(done, case.prog)
    assert files.identities(case.path) == before
    case.prelink()
    assert case.run_fast().stdout == "hello\n"


def test_enough_gain(case):
    """A program with many symbolic relocations is prelinked without -f."""
    names = range(20000)
    case.library("liba.so", "".join(f"int v{i};" for i in names))
    case.library("libb.so", "".join(f"extern int v{i};" for i in names) + "int *all[] = {"
                 + ",".join(f"&v{i}" for i in names) + "};", ["liba.so"])
    case.program('#include <stdio.h>\nextern int *all[], v7; int main(void) { printf("%d\\n", all[7] == &v7); return 0; }',
                 ["libb.so", "liba.so"])
    case.adopt()
    case.prelink(options=[])
    assert case.run_fast().stdout == "1\n"


def test_no_carrier(sampler):
    before = files.identity(sampler.libc)
    done = sampler.prelink(options=["-f", "--carrier=no"], status=None)
    assert files.identity(sampler.libc) == before
    assert "carrier" in done.stdout + done.stderr
    assert sampler.run(env=REQUIRE).stdout.startswith("sum 146")


def test_several_programs(sampler):
    other = sampler.program(HELLO, name="other")
    done = sampler.prelink(sampler.prog, other)
    assert done.stdout.splitlines()[-1].startswith("2 prelinked, ")
    assert sampler.run_fast(program=other).stdout == "hello\n"
    sampler.run_fast()


def test_one_program_given_twice(sampler):
    sampler.prelink(sampler.prog, sampler.prog)
    sampler.run_fast()
    sampler.undo()


def test_bad_files_do_not_stop_the_others(sampler):
    text = sampler.path / "text"
    text.write_text("text\n")
    other = sampler.program(HELLO, name="other")
    done = sampler.prelink(sampler.path / "none", sampler.prog, text, other, status=1)
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and all(line.startswith("fastprelink: ") for line in lines)
    assert str(sampler.path / "none") in lines[0] and str(text) in lines[1]
    assert done.stdout.splitlines()[-1].startswith("2 prelinked, 0 unchanged, 2 skipped")
    sampler.run_fast()


def test_a_library_is_not_a_program(sampler):
    before = files.identity(sampler.lib / "libbase.so")
    one_line(sampler.prelink(sampler.lib / "libbase.so", status=1), sampler.lib / "libbase.so")
    assert files.identity(sampler.lib / "libbase.so") == before


def test_ld_library_path_of_the_environment(sampler):
    """Whether the tool's own environment counts or not: the program runs right."""
    fastprelink("-f", f"--runtime={sampler.runtime}", "--carrier=no", sampler.prog, status=None,
                env={"LD_LIBRARY_PATH": str(sampler.lib)})
    assert sampler.run().stdout.startswith("sum 146")


def test_relative_names(sampler):
    fastprelink("-f", "--ld-library-path=lib", "--runtime=" + str(sampler.runtime), "bin/prog", cwd=sampler.path, status=None)
    assert sampler.run().stdout.startswith("sum 146")


def test_names_with_spaces_and_newlines(sampler):
    odd = sampler.bin / "a b\nc"
    sampler.prog.rename(odd)
    sampler.prelink(odd)
    assert sampler.run_fast(program=odd).stdout.startswith("sum 146")


def test_name_that_looks_like_an_option(sampler):
    odd = sampler.bin / "-u"
    sampler.prog.rename(odd)
    fastprelink("-f", f"--ld-library-path={sampler.lib}", f"--runtime={sampler.runtime}", "--", "-u", cwd=sampler.bin)
    assert sampler.run_fast(program=odd).stdout.startswith("sum 146")


def test_hard_linked_program_is_refused(sampler):
    os.link(sampler.prog, sampler.bin / "second")
    before = files.digest(sampler.prog)
    one_line(sampler.prelink(status=1), sampler.prog)
    assert files.digest(sampler.prog) == before


@pytest.mark.root
def test_immutable_program_is_refused(sampler):
    assert run([need.tool("chattr"), "+i", sampler.prog]).status == 0
    try:
        one_line(sampler.prelink(status=1), sampler.prog)
    finally:
        run([need.tool("chattr"), "-i", sampler.prog])


def test_setuid_program_is_refused_or_inert(sampler):
    sampler.prog.chmod(0o4755)
    before = files.digest(sampler.prog)
    done = sampler.prelink(status=None)
    if done.status:
        one_line(done, sampler.prog)
        assert files.digest(sampler.prog) == before
    assert sampler.prog.stat().st_mode & 0o7777 == 0o4755


def test_carrier_is_reported_once_and_then_present(sampler):
    assert "installed" in sampler.prelink().stdout
    other = sampler.program(HELLO, name="other")
    assert "installed" not in sampler.prelink(other).stdout


def test_carrier_exports_what_libc_exports(sampler):
    def symbols():
        return run(["nm", "-D", "--with-symbol-versions", sampler.libc]).stdout
    before = symbols()
    sampler.prelink()
    assert symbols() == before


def test_carrier_changes_little(sampler):
    """Within the original file: the stub, one addend, a segment's size and headers; nothing else of libc."""
    original = system_libc().read_bytes()
    sampler.prelink()
    carrier = sampler.libc.read_bytes()
    different = sum(a != b for a, b in zip(original, carrier))
    assert 0 < different < 1500
    assert len(carrier) - len(original) < 64 * 1024


def test_floating_libraries_are_never_written(sampler):
    before = {path: files.identity(path) for path in sampler.lib.iterdir() if path.name != "libc.so.6"}
    sampler.prelink(options=("-f", "--aslr"))
    assert {path: files.identity(path) for path in before} == before


def test_runtime_is_small(sampler):
    sampler.prelink()
    assert sampler.runtime.stat().st_size <= 16 * 1024 and build.RUNTIME.stat().st_size <= 16 * 1024


def test_installed_runtime_is_the_one_that_was_built(sampler):
    sampler.prelink()
    assert sampler.runtime.read_bytes() == build.RUNTIME.read_bytes()


def test_output_that_cannot_be_written(sampler):
    with open("/dev/full", "w") as full:
        done = subprocess.run([build.TOOL, "-y", sampler.libc], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode in (1, 2) and done.stderr.startswith(b"fastprelink: ")
    sampler.prelink()
    with open("/dev/full", "w") as full:
        done = subprocess.run([build.TOOL, "-y", sampler.prog], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode in (1, 2) and done.stderr.startswith(b"fastprelink: ")
