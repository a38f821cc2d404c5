"""Which files a run is about, by a driver of the engine: the walk through directories, named files, kinds."""

import os
import shutil

import pytest

from harness import build
from test_configuration import EMPTY, drive, tree, write  # noqa: F401

pytestmark = pytest.mark.one_placement

SHIPPED = build.TESTSUITE.parent / "contrib" / "fastprelink.conf.d"


def selected(tree, options="a", *paths, vendor=EMPTY):
    done = drive("select", tree, vendor, "-", options, *paths)
    assert done.status == 0, done.stdout
    return done.stdout.splitlines()


def executable(path, text="#!/bin/sh\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """A file of each kind."""
    directory = tmp_path_factory.mktemp("kinds")
    main, library = "int main(void) { return 0; }", "int f(void) { return 0; }"
    for name, text, flags in (("pie", main, ["-pie", "-fPIE"]), ("classic", main, ["-no-pie", "-fno-pie"]), ("static", main, ["-static"]),
                              ("static-pie", main, ["-static-pie", "-fPIE"]), ("library", library, ["-shared", "-fPIC"]),
                              ("object", library, ["-c"])):
        (directory / "source.c").write_text(text)
        shutil.copy(build.compile_c(directory / "source.c", name, flags), directory / name)
    return directory


@pytest.mark.parametrize("name, kind", [("pie", "program"), ("classic", "program"), ("static", "other"), ("static-pie", "other"),
                                        ("library", "library"), ("object", "other")])
def test_kinds(tree, kinds, name, kind):
    """Libraries need no execute bit; programs without one are none."""
    write(tree, "/usr/bin\n-b tool\n")
    shutil.copy(kinds / name, tree / "usr/bin/file")
    (tree / "usr/bin/file").chmod(0o755)
    assert selected(tree) == [f"{kind} /usr/bin/file"]
    (tree / "usr/bin/file").chmod(0o644)
    assert selected(tree) == [f"{'library' if kind == 'library' else 'other'} /usr/bin/file"]


def test_libc_is_a_library(tree):
    """Though it has an interpreter and can be started; ld.so is one too."""
    write(tree, "/usr/lib64\n")
    for name in ("libc.so.6", "ld-linux-x86-64.so.2"):
        shutil.copy(os.path.realpath(f"/lib/x86_64-linux-gnu/{name}"), tree / "usr/lib64" / name)
    assert selected(tree) == ["library /usr/lib64/ld-linux-x86-64.so.2", "library /usr/lib64/libc.so.6"]


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF\x02\x01" + b"\xff" * 58, b"\x7fELF\x02\x01\x01" + b"\0" * 5000],
                         ids=["empty", "magic", "ones", "zeros"])
def test_damaged_heads(tree, kinds, content):
    write(tree, "/usr/bin/\n")
    (tree / "usr/bin/tool").write_bytes(content)
    assert selected(tree) == ["other /usr/bin/tool"]
    whole = (kinds / "pie").read_bytes()
    for length in (63, 64, 100):
        (tree / "usr/bin/tool").write_bytes(whole[:length])
        assert selected(tree) == ["other /usr/bin/tool"]
    (tree / "usr/bin/tool").write_bytes(whole[:32] + content[-8:].ljust(8, b"\xff") + whole[40:])  # e_phoff
    assert selected(tree) == ["other /usr/bin/tool"]


def test_byte_order_and_once(tree):
    """Also with directories one in the other, several names of a file, and names that differ late."""
    write(tree, "/usr\n/usr/bin\n/bin\n/opt\n-b fastprelink*\n")
    names = ["Z", "a/z", "a-b", "a.c", "b", "libpref", "libprefix", "libprefix1", "\u00e9"]
    for name in reversed(names):
        executable(tree / "opt/c" / name)
    os.link(tree / "opt/c/b", tree / "usr/bin/also-b")
    assert selected(tree) == [f"other /opt/c/{name}" for name in names] + ["other /usr/bin/tool"]


def test_what_is_excluded(tree):
    write(tree, "/opt\n-b /opt/a\n-b *.py\n-b /opt/b/bin/x*\n-b c\n")
    for name in ("a/bin/x", "b/bin/x1", "b/bin/y", "b/z.py", "c/x", "d.py/x", "c.d"):
        executable(tree / "opt" / name)
    assert selected(tree) == ["other /opt/b/bin/y", "other /opt/c/x", "other /opt/c.d", "other /opt/d.py/x"]


def test_links(tree):
    """Passed over, unless they are to be followed: then inside the root, and what is excluded stays so."""
    for name in ("target", "dir/inner", "dir/py.py", "excluded"):
        executable(tree / "srv" / name)
    for name, target in (("file", "/srv/target"), ("dir", "../../srv/dir"), ("up", "/../../.."), ("none", "nowhere"), ("no", "/srv/excluded"),
                         ("loop", "loop"), ("self", ".")):
        (tree / "opt/c" / name).symlink_to(target)
    config = "-b /srv/excluded\n-b *.py\n-b /etc\n-b /usr\n-b /opt/up\n"
    write(tree, "/opt/c\n" + config)
    assert selected(tree) == []
    write(tree, "-h /opt/c\n-b /srv/target\n" + config)
    assert selected(tree) == ["other /srv/dir/inner"]
    (tree / "opt/c/up").unlink()
    write(tree, "-h /opt/c\n" + config)
    assert selected(tree) == ["other /srv/dir/inner", "other /srv/target"]


def test_names_of_the_command_line(tree):
    """First, in their order, as they were named and whatever they are; directories contribute files."""
    write(tree, "/usr/bin\n-b excluded\n")
    for name in ("excluded", "x"):
        executable(tree / "opt/c" / name)
    assert selected(tree, "a", "/opt/c/excluded", f"{tree}/usr/bin/tool", "/none", "/opt/c", "/bin/tool") == [
        "unknown named /opt/c/excluded", "unknown named /usr/bin/tool", "unknown named /none", "other /opt/c/x"]
    (tree / "opt/c/link").symlink_to("/usr/bin/tool")
    assert selected(tree, "", "/opt/c") == ["other /opt/c/x"]
    assert selected(tree, "h", "/opt/c") == ["other /usr/bin/tool", "other /opt/c/x"]


def test_changes(tree):
    """What a package manager names: only files that are covered, by their real paths; the rest is counted."""
    write(tree, "/usr/bin\n-b *.py\n")
    executable(tree / "opt/c/x")
    executable(tree / "usr/bin/a.py")
    assert selected(tree, "c", "/opt/c/x", "/bin/tool", "/usr/bin", "/usr/bin/a.py", "/none", "/usr/bin/tool") == [
        "other /usr/bin/tool", "4 passed over"]


def test_known_files_are_not_opened(tree, kinds):
    write(tree, "/usr/bin\n")
    shutil.copy(kinds / "pie", tree / "usr/bin/tool")
    assert selected(tree, "ak") == ["other /usr/bin/tool"]
    assert selected(tree, "a") == ["program /usr/bin/tool"]


def test_no_regular_files(tree):
    write(tree, "/opt\n")
    os.mkfifo(tree / "opt/c/fifo")
    assert selected(tree) == []


def test_shipped_directories(tree):
    """A system whose /bin and /lib are links, or directories of their own: each file once; nothing else."""
    (tree / "usr/lib/fastprelink.conf.d").rmdir()
    names = ["usr/lib64/l", "usr/libexec/x/y", "usr/local/bin/z", "opt/c/d", "usr/sbin/s", "sbin/t", "usr/games/g"]
    for name in (*names, "usr/share/no", "home/u/no", "etc/no", "var/lib/no", "root/no", "srv/no"):
        executable(tree / name)
    assert selected(tree, vendor=SHIPPED) == [f"other /{name}" for name in sorted([*names, "usr/bin/tool"])]


@pytest.mark.parametrize("name", ["x.py", "libx.la", "libx.a", "libasan.so.8", "bwrap", "chrome-sandbox", "x.debug", "lib/debug/x", "x.svg",
                                  ".#fastprelink.abcdef", "lib/modules/6/x.ko"])
def test_shipped_exclusions(tree, name):
    (tree / "usr/lib/fastprelink.conf.d").rmdir()
    (tree / "usr/bin/tool").unlink()
    executable(tree / ("usr/" if name.startswith("lib/") else "opt/c/") / name if "/" in name else tree / "opt/c" / name)
    assert selected(tree, vendor=SHIPPED) == []


@pytest.mark.parametrize("name", ["libx.so", "libx.so.1", "libx.so.5.1.3", "plugin", "x.node", "x-1.0", "x.bin", "tool-3.11", "libm.so.6"])
def test_names_that_are_looked_at(tree, name):
    (tree / "usr/lib/fastprelink.conf.d").rmdir()
    (tree / "usr/bin/tool").unlink()
    executable(tree / "opt/c" / name)
    assert selected(tree, vendor=SHIPPED) == [f"other /opt/c/{name}"]
