"""Libraries that cannot be changed float, or stay as they are, with the reason."""

import os
import shutil

import pytest

from harness import build, elf, files, need
from harness.run import run
from test_placement_policy import ASLR, FIXED, START, bases, prelink, programs, records, runs, tree

pytestmark = pytest.mark.one_placement  # says itself which


# What cannot be changed

@pytest.fixture
def unlocked(tree):
    yield tree
    for path in (tree.lib / "libcommon.so", tree.lib):
        run(["chattr", "-i", "-a", path])


def locked(kind, case):
    path = case.lib / "libcommon.so"
    if kind == "hard-link":
        os.link(path, case.path / "second")
    elif kind in ("immutable", "append-only"):
        if run([need.tool("chattr"), "+i" if kind == "immutable" else "+a", path]).status != 0:
            pytest.skip("the file system has no attributes")
    elif kind == "dot-hmac":
        (case.lib / ".libcommon.so.hmac").touch()
    elif kind == "hmac":
        (case.lib / "libcommon.so.hmac").touch()
    elif kind == "chk":
        (case.lib / "libcommon.chk").touch()
    elif kind == "payload":
        with open(path, "ab") as stream:
            stream.write(bytes(range(1, 100)))


LOCKS = {"hard-link": "hard-linked", "dot-hmac": "self-checked", "hmac": "self-checked", "chk": "self-checked",
         "payload": "payload",
         "immutable": "immutable", "append-only": "immutable"}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.root if kind in ("immutable", "append-only") else [])
                                  for kind in LOCKS])
def test_a_library_that_cannot_be_changed_floats(unlocked, kind):
    """With that reason, which is no error; everything else is done."""
    locked(kind, unlocked)
    before = files.identity(unlocked.lib / "libcommon.so")
    done = prelink(unlocked, (*FIXED, "--json"))
    found = records(done)
    assert done.stderr == ""
    assert (found["libcommon.so"]["placement"], found["libcommon.so"]["reason"]) == ("floating", LOCKS[kind])
    assert files.identity(unlocked.lib / "libcommon.so") == before
    assert {name for name, base in bases(unlocked).items() if base} == {"libone.so", "libtwo.so", "libthree.so"}
    runs(unlocked)
    assert "3 unchanged" in prelink(unlocked, FIXED).stdout


@pytest.mark.parametrize("kind", ["hard-link", "hmac", pytest.param("immutable", marks=pytest.mark.root)])
@pytest.mark.parametrize("options", [ASLR, FIXED, (*FIXED, "-R", "--seed=3")], ids=["aslr", "fixed", "random"])
def test_a_fixed_library_that_cannot_be_changed_any_more(unlocked, kind, options):
    """It keeps its address, nothing else gets a part of it, and it is said why."""
    prelink(unlocked, FIXED)
    where = bases(unlocked)["libcommon.so"]
    locked(kind, unlocked)
    before = files.identity(unlocked.lib / "libcommon.so")
    found = records(prelink(unlocked, (*options, "--json")))["libcommon.so"]
    assert files.identity(unlocked.lib / "libcommon.so") == before
    assert (found["placement"], found["base"], found["reason"]) == ("fixed", where, LOCKS[kind])
    end = where + max(s[3] + s[5] - where for s in elf.segments(unlocked.lib / "libcommon.so") if s[0] == elf.PT_LOAD)
    assert not any(where <= base < end for name, base in bases(unlocked).items() if name != "libcommon.so")
    runs(unlocked)
    text = prelink(unlocked, (*options, "-n", "-v")).stdout
    line = next(line for line in text.splitlines() if "libcommon.so" in line)
    assert f"fixed at {where:#x}" in line
    if "--aslr" in options:
        assert found["text"] in line, "why it does not float"


@pytest.mark.root
def test_a_library_on_a_read_only_file_system(tree):
    assert need.private_mounts()
    other = tree.path / "other"
    other.mkdir()
    (tree.lib / "libcommon.so").rename(other / "libcommon.so")
    tree.extra_env["LD_LIBRARY_PATH"] = f"{tree.lib}:{other}"
    assert run(["mount", "--bind", other, other]).status == 0
    try:
        assert run(["mount", "-o", "remount,bind,ro", other]).status == 0
        tree.options = [f"--ld-library-path={tree.lib}:{other}"]
        found = records(prelink(tree, (*FIXED, "--json")))["libcommon.so"]
        assert found["placement"] == "floating" and found["reason"] in ("immutable", "system"), found
        assert bases(tree, "libone.so")["libone.so"] >= START
        runs(tree)
    finally:
        run(["umount", "-l", other])


@pytest.mark.user
def test_libraries_in_a_directory_that_may_not_be_written(tree):
    """As the user without rights: the library floats, the others get their addresses."""
    other = tree.path / "other"
    other.mkdir()
    (tree.lib / "libcommon.so").rename(other / "libcommon.so")
    tree.extra_env["LD_LIBRARY_PATH"] = f"{tree.lib}:{other}"
    tree.open_to_all()
    prefix = []
    if os.geteuid() == 0:
        prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        for path in (tree.path, tree.bin, tree.lib, *tree.bin.iterdir(), *tree.lib.iterdir()):
            os.chown(path, 65534, 65534)
    other.chmod(0o555)
    tool = shutil.copy2(build.TOOL, tree.path / "tool")
    source = shutil.copy2(build.RUNTIME, tree.path / "source")
    done = run([*prefix, tool, *FIXED, "--json", f"--ld-library-path={tree.lib}:{other}", f"--runtime={tree.runtime}",
                *programs(tree)], env={"FASTPRELINK_RUNTIME_SOURCE": str(source)})
    other.chmod(0o755)
    assert done.status == 0, done
    found = records(done)["libcommon.so"]
    assert found["placement"] == "floating" and found["reason"] in ("immutable", "system"), found
    assert bases(tree, "libone.so")["libone.so"] >= START
    runs(tree)


@pytest.mark.parametrize("flag, code, what", [("-g", "", "debug information"), ("-Wl,-z,notext", ".quad data", "text relocations")],
                         ids=["debug", "textrel"])
def test_a_library_that_may_not_be_moved(tree, flag, code, what):
    tree.library("libthree.so", "int data; int *three_words[40] = { [0 ... 39] = &data }; int three(void) { return data + 4; }"
                 f'__asm__(".text\\n.balign 8\\n{code}\\n");', flags=[flag])
    found = records(prelink(tree, (*FIXED, "--json")))["libthree.so"]
    assert found["placement"] == "floating" and what in found["text"]
    runs(tree)
