"""A sample of the installed system: the code of `make check-system`, in every placement."""

import os
import shutil
from pathlib import Path

import pytest

from generate import faults
from harness import build
from harness.root import Root
from harness.run import run
from system import installed, sweep, table
from system.sweep import PLACEMENTS, Sweep

pytestmark = [pytest.mark.root, pytest.mark.one_placement]
HEAVY = ("clang-14", "ffmpeg", "gdb", "git", "inkscape", "perf", "python3")
PRIVILEGED = ("passwd", "ssh-agent")  # below the threshold, and above it
EVERY = 40  # one of so many programs of /usr/bin
LIBDIR = "/usr/lib/x86_64-linux-gnu"


def sample():
    """Paths without links; which, depends on the names of the programs only."""
    names = sorted(name for name in os.listdir("/usr/bin") if not os.path.islink(f"/usr/bin/{name}"))
    paths = [f"/usr/bin/{name}" for name in names if installed.classify(f"/usr/bin/{name}") == "program"][::EVERY]
    heavy = [os.path.realpath(f"/usr/bin/{name}") for name in HEAVY + PRIVILEGED if os.path.exists(f"/usr/bin/{name}")]
    return sorted({*paths, *heavy})


@pytest.fixture(scope="session")
def sampled(tmp_path_factory):
    directory = tmp_path_factory.mktemp("system")
    with Root(directory / "root") as root:
        programs = sample()
        root.add(*programs)
        yield Sweep(root, programs, jobs=1)
    run(["rm", "-rf", directory])


@pytest.mark.heavy
@pytest.mark.xdist_group("system")
def test_look_ups_are_those_of_ld_so(sampled):
    assert not sampled.plain.different
    assert len(sampled.plain.started) > len(HEAVY) and table.lookups(sampled.plain)


@pytest.mark.heavy
@pytest.mark.xdist_group("system")
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_word_is_that_of_ld_so(sampled, placement):
    """And every byte is restored in the end."""
    outcome = sampled.place(placement)
    assert not outcome.different and not outcome.problems
    assert not outcome.missed and outcome.accelerated >= len(HEAVY)
    assert (outcome.rewritten == 0) == (placement == "aslr")


# Whatever is wrong, a sweep says it.


class Spoiled(Sweep):
    """A sweep in which SPOIL is called before each command, and what it returned after the command."""

    spoil = staticmethod(lambda: lambda: None)

    def _command(self, programs, options):
        restore = self.spoil()
        done = super()._command(programs, options)
        restore()
        return done


@pytest.fixture
def small(root, case):
    """A root with the program that generate/faults.py is about."""
    library = faults.closure(case)
    for path in (library, library.with_name("libb.so"), library.with_name("libuser.so")):
        shutil.copy(path, root.host(LIBDIR))
    shutil.copy(case.prog, root.host("/usr/bin/prog"))
    root.add()
    return Spoiled(root, ["/usr/bin/prog"], jobs=1, force=True)


@pytest.mark.parametrize("placement", ["aslr", "fixed"])
@pytest.mark.parametrize("fault", faults.FAULTS)
def test_a_wrong_binding_is_said(small, fault, placement):
    library = small.root.host(f"{LIBDIR}/liba.so")
    small.spoil = lambda: faults.FAULTS[fault](library)
    outcome = small.place(placement)
    assert bool(outcome.different) == outcome.failed == (fault != "none"), outcome
    if outcome.different:
        assert any("libuser.so+" in line and ": word: " in line for line in outcome.different[0].lines)


def test_a_program_that_is_not_accelerated_is_said(small):
    def spoil():
        return lambda: small.root.host("/usr/lib/fastprelink/rt").unlink()
    small.spoil = spoil
    outcome = small.place("aslr")
    assert outcome.different and not outcome.accelerated and table.short_of([outcome])


def test_a_file_that_is_not_restored_is_said(small):
    def spoil():
        return lambda: small.root.host("/usr/bin/true").write_bytes(Path("/bin/false").read_bytes())
    small.spoil = spoil
    outcome = small.place("aslr")
    assert outcome.problems == ["/usr/bin/true: changed without a word", f"{small.root.path}/usr/bin/true: not restored"]


@pytest.mark.parametrize("spoiled", [False, True])
def test_cycles_reach_the_same_bytes(small, monkeypatch, spoiled):
    """And when one does not, it is said."""
    monkeypatch.setattr(sweep, "CYCLES", 3)
    commands = []

    def spoil():
        commands.append(None)
        return lambda: spoiled and len(commands) == 2 and small.root.host("/usr/bin/true").write_bytes(b"")
    small.spoil = spoil
    outcome = small.place("fixed")
    assert len(commands) == 3 and bool(outcome.problems) == spoiled
    assert not spoiled or outcome.problems[0] == f"{small.root.path}/usr/bin/true: other bytes in cycle 1"


def test_a_program_that_does_not_start_is_skipped(root):
    library = build.compile_c("int f(void) { return 0; }", "libf.so", ["-shared", "-fPIC", "-Wl,-soname,libf.so"])
    shutil.copy(build.compile_c("int f(void); int main(void) { return f(); }", "lost", libs=[library]), root.host("/usr/bin/lost"))
    outcome = Sweep(root, ["/usr/bin/lost", "/usr/bin/true"], jobs=1, force=True).place("fixed")
    skipped, = [result for result in outcome.results if result.skipped]
    assert skipped.program == "/usr/bin/lost" and skipped.skipped.startswith("does not start plain: ")
    assert not outcome.failed and outcome.above == outcome.accelerated == 1


# Copying


def test_owner_mode_and_capabilities_are_copied(root, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"x")
    os.chown(file, 12, 34)
    file.chmod(0o4755)
    assert run(["setcap", "cap_net_raw+ep", file]).status == 0
    root.system = tmp_path
    root.copy("/file")
    status, original = root.host("/file").stat(), file.stat()
    assert (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns) == (
        original.st_mode, 12, 34, original.st_mtime_ns)
    assert status.st_nlink == 1 and os.getxattr(root.host("/file"), "security.capability")


def test_what_ld_so_works_with_is_found(root):
    """Programs, libraries that they open, links between trees; not scripts, objects or data."""
    _, user, prog = build.sampler()
    for path, name in ((user, "/opt/tool/libuser.so"), (prog, "/opt/tool/prog")):
        root.host(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root.host(name))
    root.host("/opt/tool/script").write_text("#!/bin/sh\n")
    root.host("/usr/bin/prog").symlink_to("/etc/alternatives/prog")
    root.host("/etc/alternatives").mkdir()
    root.host("/etc/alternatives/prog").symlink_to("/opt/tool/prog")
    root.host("/usr/lib/dangling").symlink_to("nowhere")
    found = installed.look(root.path)
    assert {"/opt/tool/prog", "/usr/bin/true"} <= set(found.programs) and "/opt/tool/libuser.so" in found.libraries
    assert f"{LIBDIR}/libc.so.6" in found.libraries and "/opt/tool/script" not in found.programs + found.libraries + found.data
    assert {"/usr/bin/prog", "/etc/alternatives/prog"} <= set(found.links) and "/usr/lib/dangling" not in found.links
