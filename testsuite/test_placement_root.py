"""Placement in a sandbox root: exposed programs, the configuration, libraries of other programs, undo."""

import os
import shutil

import pytest

from harness import build, elf, files, need
from harness.root import Root
from harness.run import one_line, run
from test_placement_policy import ANSWERS, ASLR, DEFAULT, FIXED, LIBDIR, LIBRARIES, compiled, program

pytestmark = pytest.mark.one_placement  # says itself which


# In a root

@pytest.fixture
def sandbox(root):
    fill(root)
    return root


def fill(root):
    for name in LIBRARIES:
        shutil.copy(compiled(name), root.host(f"{LIBDIR}/lib{name}.so"))
    for name in ANSWERS:
        shutil.copy(program(name), root.host(f"/usr/bin/{name}"))
    root.copy("/lib64/ld-linux-x86-64.so.2")
    root.add("/bin/true")


PROGRAMS = [f"/usr/bin/{name}" for name in ANSWERS]


def root_bases(root):
    return {name: next(s[3] for s in elf.segments(root.host(f"{LIBDIR}/lib{name}.so")) if s[0] == elf.PT_LOAD)
            for name in LIBRARIES}


def root_runs(root):
    for name, answer in ANSWERS.items():
        assert root.run_fast(f"/usr/bin/{name}").stdout == answer


def said(root, name, options=(*DEFAULT, "-n", "-v")):
    """What a dry run says about the library NAME."""
    text = root.prelink(*PROGRAMS, options=options, status=None).stdout
    return next(line for line in text.splitlines() if f"/lib{name}.so: " in line)


def expose(root, how):
    """A program that loads libtwo.so, and with it libcommon.so, becomes exposed; the words that name it."""
    path = "/usr/sbin/exposed"
    shutil.copy(program("two"), root.host(path))
    if how == "setuid":
        root.host(path).chmod(0o4755)
    elif how == "setgid":
        root.host(path).chmod(0o2755)
    elif how == "capabilities":
        assert run([need.tool("setcap"), "cap_net_raw+ep", root.host(path)]).status == 0
    else:
        place, line = {"named": ("fastprelink.conf", "exposed"), "path": ("fastprelink.conf", "/usr/sbin/exp*"),
                       "directory": ("fastprelink.conf.d/a.conf", "exposed")}[how]
        root.host(f"/etc/{place}").parent.mkdir(exist_ok=True)
        root.host(f"/etc/{place}").write_text(f"# why\nfloat-for {line}\n")
        how = "named"
    return f"loaded by {path} ({how})"


@pytest.mark.root
@pytest.mark.parametrize("how", ["setuid", "setgid", "capabilities", "named", "path", "directory"])
def test_default_floats_what_an_exposed_program_loads(sandbox, how):
    """Everybody's copy of these libraries floats, and it is said which program is to blame; others are fixed.  With --fixed
    all are; in the end the exposed program goes and they get their addresses."""
    original = sandbox.digests()
    blame = expose(sandbox, how)
    for name in ("common", "two"):
        assert blame in said(sandbox, name)
    for name in ("one", "three"):
        assert "would be fixed at 0x3" in said(sandbox, name)
    sandbox.prelink(*PROGRAMS, options=DEFAULT)
    assert {name for name, base in root_bases(sandbox).items() if base} == {"one", "three"}
    root_runs(sandbox)
    before = files.identities(sandbox.host("/usr"))
    sandbox.prelink(*PROGRAMS, options=DEFAULT)
    assert files.identities(sandbox.host("/usr")) == before
    sandbox.prelink(*PROGRAMS, options=FIXED)
    assert all(root_bases(sandbox).values())
    root_runs(sandbox)
    assert blame in said(sandbox, "two") and "would be restored" in said(sandbox, "two")
    sandbox.prelink(*PROGRAMS, options=DEFAULT)
    for name in ("common", "two"):
        path = str(sandbox.host(f"{LIBDIR}/lib{name}.so"))
        assert files.digest(path) == original[path]
    root_runs(sandbox)
    sandbox.host("/usr/sbin/exposed").unlink()
    sandbox.prelink(*PROGRAMS, options=DEFAULT)
    assert all(root_bases(sandbox).values())
    root_runs(sandbox)


@pytest.mark.root
def test_default_with_the_shipped_list(sandbox):
    """A file of the same name in /etc takes its place."""
    shutil.copy(program("two"), sandbox.host("/usr/sbin/sshd"))
    vendor = sandbox.host("/usr/lib/fastprelink.conf.d")
    shutil.copytree(build.TESTSUITE.parent / "contrib" / "fastprelink.conf.d", vendor)
    assert "loaded by /usr/sbin/sshd (named)" in said(sandbox, "two")
    local = sandbox.host("/etc/fastprelink.conf.d/50-exposed.conf")
    local.parent.mkdir()
    local.write_text("float-for /usr/bin/three\n")
    assert "would be fixed" in said(sandbox, "two") and "loaded by /usr/bin/three (named)" in said(sandbox, "three")


@pytest.mark.root
def test_a_named_program_is_prelinked_itself(sandbox):
    """It floats, and starts faster all the same."""
    sandbox.host("/etc/fastprelink.conf").write_text("float-for one\n")
    done = sandbox.prelink(*PROGRAMS, options=DEFAULT)
    assert "3 prelinked" in done.stdout
    assert {name for name, base in root_bases(sandbox).items() if base} == {"two", "three"}
    root_runs(sandbox)


@pytest.mark.root
@pytest.mark.parametrize("options", [DEFAULT, FIXED, ASLR], ids=["default", "fixed", "aslr"])
def test_a_configuration_with_an_error(sandbox, options):
    """Nothing is guessed."""
    sandbox.host("/etc/fastprelink.conf").write_text("float-four one\n")
    before = sandbox.digests()
    done = sandbox.prelink(*PROGRAMS, options=options, status=2)
    one_line(done, "/etc/fastprelink.conf", "line 1", "float-four")
    assert sandbox.digests() == before


@pytest.mark.root
def test_every_word_in_a_mixed_root(sandbox):
    """libtwo.so and libcommon.so float, the others do not: references in both directions."""
    oracle = sandbox.oracle("oracle", "/usr/bin/one").before()
    expose(sandbox, "setuid")
    sandbox.prelink(*PROGRAMS, options=DEFAULT)
    oracle.after()
    sandbox.prelink(*PROGRAMS, options=FIXED)
    oracle.after()


@pytest.mark.root
def test_libraries_that_are_fixed_elsewhere_in_the_root(sandbox):
    """Nobody gets a part of what they have; they themselves are not touched."""
    sandbox.prelink("/usr/bin/two", options=FIXED)
    before = files.identities(sandbox.host("/usr"))
    first = root_bases(sandbox)
    sandbox.prelink("/usr/bin/three", options=FIXED)
    after = root_bases(sandbox)
    assert after["three"] >= first["common"] and after["three"] not in first.values()
    identities = files.identities(sandbox.host("/usr"))
    for name in ("bin/two", "lib/x86_64-linux-gnu/libtwo.so", "lib/x86_64-linux-gnu/libcommon.so"):
        assert identities[sandbox.host("/usr") / name] == before[sandbox.host("/usr") / name]
    sandbox.prelink("/usr/bin/one", options=(*FIXED, "-R", "--seed=1"))
    last = root_bases(sandbox)
    assert len(set(last.values())) == 4
    assert sandbox.run_fast("/usr/bin/one").stdout == ANSWERS["one"]
    assert sandbox.run_fast("/usr/bin/three").stdout == ANSWERS["three"]


@pytest.mark.root
def test_one_by_one_or_together(sandbox):
    """The same bytes, as long as the order is the same."""
    sandbox.prelink(*PROGRAMS, options=FIXED)
    together = sandbox.digests()
    sandbox.undo()
    for name in PROGRAMS:
        sandbox.prelink(name, options=FIXED)
    assert sandbox.digests() == together


@pytest.mark.root
def test_undo_of_everything(sandbox):
    original = sandbox.digests()
    sandbox.prelink(*PROGRAMS, options=FIXED)
    changed = sandbox.inside(files.changed(original, sandbox.digests()))
    assert {f"{LIBDIR}/lib{name}.so" for name in LIBRARIES} <= changed
    sandbox.undo()
    assert sandbox.digests() == original


@pytest.mark.root
@pytest.mark.parametrize("options", [FIXED, DEFAULT, (*FIXED, "-R", "--seed=9"), (*FIXED, "-m")],
                         ids=["fixed", "default", "random", "conserve"])
def test_the_same_bytes_in_two_roots(root, tmp_path, options):
    """Whatever the order in which their files were made."""
    with Root(tmp_path / "other") as other:
        fill(root)
        for name in reversed(LIBRARIES):
            shutil.copy(compiled(name), other.host(f"{LIBDIR}/lib{name}.so"))
        fill(other)
        found = []
        for each in (root, other):
            each.prelink(*PROGRAMS, options=options)
            found.append({os.path.relpath(path, each.path): digest for path, digest in each.digests().items()
                          if "ld.so.cache" not in path})
        assert found[0] == found[1]
        assert all(root_bases(root).values())
