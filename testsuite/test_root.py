"""In a sandbox root, by chroot: installation paths, the loader's cache, secure mode, undoing everything."""

import os
import shutil

import pytest

from harness import build, files, need
from harness.private import system_libc
from harness.run import DEBUG, PLACEMENT, REQUIRE, fastprelink, run

pytestmark = pytest.mark.root
ANSWER = "sum 146 counter 46 same 1 1\n"
LIBDIR = "/usr/lib/x86_64-linux-gnu"


@pytest.fixture
def sandbox(root):
    """A root with the sampler in /usr/bin and its libraries in the default directory, found through the cache."""
    base, user, prog = build.sampler()
    for path, name in ((base, f"{LIBDIR}/libbase.so"), (user, f"{LIBDIR}/libuser.so"), (prog, "/usr/bin/prog")):
        shutil.copy(path, root.host(name))
    root.add("/bin/cat")
    return root


def test_whole_life(sandbox):
    original = sandbox.digests()
    plain = sandbox.run("/usr/bin/prog")
    assert plain.stdout == ANSWER
    oracle = sandbox.oracle("oracle", "/usr/bin/prog").before()
    done = sandbox.prelink("/usr/bin/prog")
    assert "installed" in done.stdout
    assert sandbox.run_fast("/usr/bin/prog") == plain
    oracle.after()
    shifted = sandbox.inside(sandbox.shifted())
    changed = sandbox.inside(files.changed(original, sandbox.digests()))
    assert {"/usr/bin/prog", f"{LIBDIR}/libc.so.6"} <= changed and len(changed) == 3 + len(shifted)
    assert shifted <= changed
    assert shifted == ({f"{LIBDIR}/libbase.so", f"{LIBDIR}/libuser.so"} if PLACEMENT != "aslr" else set())
    sandbox.undo()
    assert sandbox.digests() == original


def test_undo_passes_over_what_a_killed_run_left(sandbox):
    """A file, or a directory in which a carrier was tried: who writes there next may take it away at any time."""
    sandbox.prelink("/usr/bin/prog")
    left = sandbox.host(f"{LIBDIR}/.#fastprelink.abcdef")
    left.mkdir()
    shutil.copy2(sandbox.host("/usr/bin/prog"), left / "libc.so.6")
    shutil.copy2(sandbox.host("/usr/bin/prog"), sandbox.host("/usr/bin/.#fastprelink.ghijkl"))
    done = sandbox.undo()
    assert ".#fastprelink" not in done.stdout and not sandbox.host("/usr/bin/.#fastprelink.ghijkl").exists()
    assert (left / "libc.so.6").exists()


def test_name_with_the_root_in_front(sandbox):
    sandbox.prelink(sandbox.host("/usr/bin/prog"))
    sandbox.run_fast("/usr/bin/prog")


def test_symbolic_links_are_followed_inside(sandbox):
    """/bin/link -> /usr/bin/prog is absolute: it means the root's file, not the system's."""
    sandbox.host("/usr/bin/link").symlink_to("/usr/bin/prog")
    sandbox.prelink("/usr/bin/link")
    sandbox.run_fast("/usr/bin/link")


def test_without_the_runtime(sandbox):
    original = sandbox.digests()
    sandbox.prelink("/usr/bin/prog")
    new = set(sandbox.digests()) - set(original)
    assert len(new) == 1
    os.unlink(new.pop())
    done = sandbox.run("/usr/bin/prog", env=REQUIRE)
    assert done.stdout == ANSWER and done.notes == []


def test_without_proc(sandbox):
    sandbox.prelink("/usr/bin/prog")
    sandbox.close()
    assert sandbox.run("/usr/bin/prog", env=DEBUG).stdout == ANSWER


def test_without_the_cache(sandbox):
    sandbox.host("/etc/ld.so.cache").unlink()
    plain = sandbox.run("/usr/bin/prog")
    sandbox.prelink("/usr/bin/prog")
    assert sandbox.run_fast("/usr/bin/prog") == plain


def test_configured_directory(sandbox):
    """A directory of ld.so.conf comes before the default ones, through the cache only."""
    directory = sandbox.host("/opt/lib")
    directory.mkdir(parents=True)
    shutil.move(sandbox.host(f"{LIBDIR}/libbase.so"), directory)
    sandbox.host("/etc/ld.so.conf.d/opt.conf").write_text("/opt/lib\n")
    assert run([need.tool("ldconfig"), "-r", sandbox.path]).status == 0
    plain = sandbox.run("/usr/bin/prog")
    assert plain.stdout == ANSWER
    sandbox.prelink("/usr/bin/prog")
    assert sandbox.run_fast("/usr/bin/prog") == plain


def test_cache_that_is_made_later(sandbox):
    """With --ld-so-conf the directories that ldconfig will look through are searched without a cache."""
    directory = sandbox.host("/opt/lib")
    directory.mkdir(parents=True)
    shutil.move(sandbox.host(f"{LIBDIR}/libbase.so"), directory)
    sandbox.host("/etc/ld.so.conf.d/opt.conf").write_text("/opt/lib\n")
    sandbox.host("/etc/ld.so.cache").unlink()
    assert "libbase.so" in sandbox.prelink("/usr/bin/prog", status=1).stderr
    sandbox.prelink("/usr/bin/prog", options=["-f", "--ld-so-conf"])
    assert run([need.tool("ldconfig"), "-r", sandbox.path]).status == 0
    assert sandbox.run_fast("/usr/bin/prog").stdout == ANSWER


def test_hwcaps_in_the_cache(sandbox):
    directory = sandbox.host(f"{LIBDIR}/glibc-hwcaps/x86-64-v2")
    directory.mkdir(parents=True)
    source = (build.CASES / "base.c").read_text().replace("counter = 40", "counter = 50") \
        .replace('#include "base.h"', (build.CASES / "base.h").read_text())
    shutil.copy(build.compile_c(source, "libbase.so", ["-shared", "-fPIC", "-Wl,-soname,libbase.so"]), directory)
    assert run([need.tool("ldconfig"), "-r", sandbox.path]).status == 0
    sandbox.prelink("/usr/bin/prog")
    assert sandbox.run_fast("/usr/bin/prog").stdout == ANSWER.replace("46 same", "56 same")


def test_setuid_program_starts_plainly(sandbox):
    sandbox.prelink("/usr/bin/prog")
    os.chmod(sandbox.host("/usr/bin/prog"), 0o4755)
    done = sandbox.run("/usr/bin/prog", user="65534:65534", env=REQUIRE)
    assert (done.stdout, done.status, done.notes) == (ANSWER, 0, [])


def test_program_with_capabilities_starts_plainly(sandbox):
    sandbox.prelink("/usr/bin/prog")
    assert run([need.tool("setcap"), "cap_net_raw+ep", sandbox.host("/usr/bin/prog")]).status == 0
    done = sandbox.run("/usr/bin/prog", user="65534:65534", env=REQUIRE)
    assert (done.stdout, done.status, done.notes) == (ANSWER, 0, [])


def test_as_an_ordinary_user(sandbox):
    sandbox.prelink("/usr/bin/prog")
    assert sandbox.run_fast("/usr/bin/prog", user="65534:65534").stdout == ANSWER


def test_shell_pipeline(sandbox):
    sandbox.prelink("/usr/bin/prog", "/bin/cat", "/bin/sh")
    done = sandbox.run("/bin/sh", "-c", "prog | cat | cat", env={**DEBUG, "PATH": "/bin"})
    assert done.stdout == ANSWER and len(done.notes) == 4 and all("accelerated" in note for note in done.notes)


def test_libc_replaced_by_an_upgrade(sandbox):
    sandbox.prelink("/usr/bin/prog")
    new = sandbox.host(f"{LIBDIR}/new")
    shutil.copy(system_libc(), new)
    new.rename(sandbox.libc)
    assert sandbox.run("/usr/bin/prog", env=REQUIRE).stdout == ANSWER
    sandbox.prelink("/usr/bin/prog")
    assert sandbox.run_fast("/usr/bin/prog").stdout == ANSWER


def test_undo_of_one_program_leaves_the_others(sandbox):
    sandbox.prelink("/usr/bin/prog", "/bin/cat")
    sandbox.undo("/usr/bin/prog")
    assert sandbox.run("/usr/bin/prog", env=DEBUG).notes == []
    assert sandbox.run_fast("/bin/cat", "/dev/null").status == 0


def test_undo_of_everything_twice(sandbox):
    original = sandbox.digests()
    sandbox.prelink("/usr/bin/prog", "/bin/cat")
    sandbox.undo()
    assert sandbox.digests() == original
    fastprelink(f"--root={sandbox.path}", "-u", "-a", status=None)
    assert sandbox.digests() == original


def test_undo_after_the_libraries_are_gone(sandbox):
    original = sandbox.digests()
    sandbox.prelink("/usr/bin/prog")
    for name in ("libbase.so", "libuser.so"):
        sandbox.host(f"{LIBDIR}/{name}").unlink()
    fastprelink(f"--root={sandbox.path}", "-u", "/usr/bin/prog")
    path = str(sandbox.host("/usr/bin/prog"))
    assert files.digest(path) == original[path]


def test_runtime_elsewhere(sandbox):
    sandbox.prelink("/usr/bin/prog", options=["-f", "--runtime=/opt/rt"])
    assert sandbox.host("/opt/rt").exists()
    sandbox.run_fast("/usr/bin/prog")


def test_second_run_changes_nothing(sandbox):
    sandbox.prelink("/usr/bin/prog", "/bin/cat")
    before = files.identities(sandbox.host("/usr"))
    sandbox.prelink("/usr/bin/prog", "/bin/cat")
    assert files.identities(sandbox.host("/usr")) == before


def test_loader_is_never_touched(sandbox):
    before = files.identity(sandbox.host(f"{LIBDIR}/ld-linux-x86-64.so.2"))
    sandbox.prelink("/usr/bin/prog")
    assert files.identity(sandbox.host(f"{LIBDIR}/ld-linux-x86-64.so.2")) == before


def test_running_the_loader_of_the_root(sandbox):
    sandbox.prelink("/usr/bin/prog")
    assert sandbox.run("/lib64/ld-linux-x86-64.so.2", "/usr/bin/prog", env=DEBUG).stdout == ANSWER
    assert sandbox.run("/lib64/ld-linux-x86-64.so.2", "--verify", "/usr/bin/prog").status == 0


def test_libc_run_as_a_command(sandbox):
    """libc.so.6 can be executed: it prints its version."""
    plain = sandbox.run(f"{LIBDIR}/libc.so.6")
    sandbox.prelink("/usr/bin/prog")
    assert sandbox.run(f"{LIBDIR}/libc.so.6") == plain and "GNU C Library" in plain.stdout


def test_preload_file(sandbox):
    """/etc/ld.so.preload counts at prelinking and at start."""
    source = "int square(int side) { return 1000; }"
    shutil.copy(build.compile_c(source, "libp.so", ["-shared", "-fPIC", "-Wl,-soname,libp.so"]), sandbox.host(LIBDIR))
    sandbox.prelink("/usr/bin/prog")
    sandbox.host("/etc/ld.so.preload").write_text(f"{LIBDIR}/libp.so\n")
    done = sandbox.run("/usr/bin/prog", env=DEBUG)
    assert done.stdout == "sum 2126 counter 46 same 1 1\n" and done.declined
    sandbox.prelink("/usr/bin/prog")
    assert sandbox.run_fast("/usr/bin/prog").stdout == "sum 2126 counter 46 same 1 1\n"
