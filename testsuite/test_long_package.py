"""Packages at length (make check-package): large programs through upgrades, initramfs images, RPM, pacman, builds."""

import shutil
import tarfile

import pytest

from harness import build, elf, need, package
from harness.debian import PROGRAMS, repack
from harness.run import REQUIRE, run

pytestmark = pytest.mark.root

LARGE = [(("/usr/bin/ffmpeg", "-version"), True), (("/usr/bin/cmake", "--version"), True),
         (("/usr/bin/gdb", "--batch", "-ex", "print 6*7"), True)]
EPOCH = 1_700_000_000


def test_large_programs_through_upgrades(plain_debian, deb, tmp_path):
    """Installed before and after fastprelink, upgraded with libraries of other builds, and all of it removed."""
    root = plain_debian
    root.apt("install", "ffmpeg")
    root.install(deb)
    root.check_programs(LARGE[:1])
    root.apt("install", "cmake", "gdb")
    root.check_programs([*PROGRAMS, *LARGE])

    serve(root, tmp_path, ["libc6", "libssl3*", "libstdc++6", "zlib1g", "libx264-*", "libpython3.[0-9]*[0-9]"])
    upgraded = root.apt("upgrade").stdout
    assert "Unpacking libx264" in upgraded and "Unpacking libc6" in upgraded, upgraded
    assert upgraded.count("Processing triggers for fastprelink") == 1
    root.check_programs([*PROGRAMS, *LARGE])

    root.apt("install", "--reinstall", "libx11-6")
    root.apt("purge", "cmake")
    root.check_programs([*PROGRAMS, LARGE[0], LARGE[2]])
    root.apt("purge", "fastprelink")
    assert root.prelinked() == set()


def serve(root, directory, names):
    """Makes an archive in the root with packages of other builds of NAMES, and tells apt."""
    archive = root.host("/archive")
    archive.mkdir()
    for name in names:
        shutil.copy(repack(root.archive(name), directory, change=rebuild), archive)
    index = run([need.tool("dpkg-scanpackages"), "."], cwd=archive)
    assert index.status == 0, index
    (archive / "Packages").write_text(index.stdout)
    root.host("/etc/apt/sources.list.d/archive.list").write_text("deb [trusted=yes] file:/archive ./\n")
    root.apt("update")


def rebuild(tree):
    for path in tree.rglob("*.so*"):
        if path.is_file() and not path.is_symlink() and path.read_bytes().startswith(b"\x7fELF") \
                and ".note.gnu.build-id" in elf.sections(path):
            elf.other_build(path)


def test_initramfs(prelinked_debian):
    """An image of prelinked programs and libc works, and is accelerated if somebody puts the runtime in."""
    root = prelinked_debian
    root.apt("install", "initramfs-tools-core", "busybox", "kmod", "udev")
    root.host("/etc/initramfs-tools/conf.d/modules").write_text("MODULES=list\n")
    hook = root.host("/etc/initramfs-tools/hooks/openssl")
    hook.write_text("#!/bin/sh\n[ \"$1\" != prereqs ] || exit 0\n. /usr/share/initramfs-tools/hook-functions\n"
                    "copy_exec /usr/bin/openssl\n")
    hook.chmod(0o755)
    root.host("/lib/modules/6.1.0-0-none").mkdir(parents=True)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        root.host(f"/lib/modules/6.1.0-0-none/{name}").touch()
    root.host("/boot/config-6.1.0-0-none").write_text("CONFIG_RD_GZIP=y\n")
    assert root.run("depmod", "6.1.0-0-none").status == 0
    done = root.run("mkinitramfs", "-o", "/tmp/image", "6.1.0-0-none")
    assert done.status == 0, done
    assert root.run("unmkinitramfs", "/tmp/image", "/tmp/unpacked").status == 0
    main = "/tmp/unpacked/main" if root.host("/tmp/unpacked/main").exists() else "/tmp/unpacked"
    image = root.host(main)
    libc = next(image.rglob("libc.so.6"))
    assert b"/usr/lib/fastprelink/rt\0" in libc.read_bytes() and not (image / "usr/lib/fastprelink").exists()

    plain = root.run("/usr/bin/openssl", "version")
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    for command in (["openssl", "version"], ["udevadm", "--version"], ["kmod", "--version"], ["sh", "-c", "true"]):
        assert root.run("chroot", main, *command, env=path).status == 0, command
    assert root.run("chroot", main, "/usr/bin/openssl", "version", env=REQUIRE) == plain
    (image / "usr/lib/fastprelink").mkdir()
    shutil.copy(root.host("/usr/lib/fastprelink/rt"), image / "usr/lib/fastprelink/rt")
    fast = root.run("chroot", main, "/usr/bin/openssl", "version", env=REQUIRE)
    assert fast == plain and any("accelerated" in note and "5 objects" in note for note in fast.notes), fast


def test_units(prelinked_debian):
    prelinked_debian.apt("install", "systemd")
    done = prelinked_debian.run("systemd-analyze", "verify", "--man=no", "/lib/systemd/system/fastprelink.timer",
                                "/lib/systemd/system/fastprelink.service")
    assert (done.status, [line for line in done.stderr.splitlines() if "fastprelink" in line]) == (0, []), done


def test_lintian(deb):
    done = run([need.tool("setpriv"), f"--reuid={package.NOBODY}", f"--regid={package.NOBODY}", "--clear-groups",
                need.tool("lintian"), "--fail-on=error,warning", deb], env={"HOME": "/nonexistent"}, timeout=300)
    assert (done.status, done.stdout) == (0, ""), done


def test_same_sources_give_the_same_package(deb, tmp_path):
    """From the build tree, and from a distribution that was configured for something else; by root."""
    first = run(["make", "-s", "-C", build.BUILD, "deb"], env={"SOURCE_DATE_EPOCH": str(EPOCH)}, timeout=600)
    assert first.status == 0, first
    assert (build.BUILD / deb.name).read_bytes() == deb.read_bytes()

    tarball = package.make_distribution(tmp_path)
    source = tmp_path / "source"
    source.mkdir()
    for command in (["tar", "-xf", tarball, "--strip-components=1"],
                    ["./configure", "--prefix=/opt/other", "CFLAGS=-O0"], ["make", "-s", "deb"]):
        done = run(command, cwd=source, env={"SOURCE_DATE_EPOCH": str(EPOCH)}, timeout=600)
        assert done.status == 0, done
    assert (source / deb.name).read_bytes() == deb.read_bytes()


SPEC = """\
Name: other
Version: 1
Release: 1
Summary: Another package
License: none
BuildArch: x86_64
AutoReqProv: no
%global debug_package %{nil}
%global __os_install_post %{nil}
%description
It has a program that gains.
%install
install -D PROGRAM %{buildroot}/usr/bin/other
%files
/usr/bin/other
"""


def rpmbuild(top, *arguments):
    done = run([need.tool("rpmbuild"), "--nodeps", "--define", f"_topdir {top}", *arguments], timeout=600,
               env={"HOME": str(top)})
    assert done.status == 0, done
    return sorted((top / "RPMS").rglob("*.rpm"))


def test_rpm(plain_debian, tmp_path):
    """rpm installs fastprelink, then a program; both are noticed.  Erasing undoes everything."""
    root = plain_debian
    tarball = package.make_distribution(tmp_path)
    own = next(path for path in rpmbuild(tmp_path / "own", "-tb", tarball) if "debug" not in path.name)
    (tmp_path / "other.spec").write_text(SPEC.replace("PROGRAM", str(root.host("/usr/bin/openssl"))))
    other, = rpmbuild(tmp_path / "other", "-bb", tmp_path / "other.spec")
    root.apt("install", "rpm")
    before = root.state()
    for path in (own, other):
        shutil.copy(path, root.host("/root"))

    def rpm(*arguments, status=0):
        done = root.run("rpm", "--force-debian", *arguments)
        assert done.status == status, done
        return done

    (root.host("/etc/default/fastprelink")).unlink()
    root.set()
    rpm("-i", "--nodeps", f"/root/{own.name}")
    root.check_programs()
    rpm("-i", f"/root/{other.name}")
    root.run_fast("/usr/bin/other", "version")
    assert "S.5" in rpm("-V", "other", status=1).stdout
    assert root.run("fastprelink-originals", "rpm", "--force-debian", "-V", "other").stdout == ""
    rpm("-e", "other")
    rpm("-e", "fastprelink")
    assert root.prelinked() == set()
    after = root.state()
    assert {path: after.get(path) for path in before} == before


def pacman_package(path, name, tree, install=None):
    """A package with the files of TREE and the scripts INSTALL."""
    (tree / ".PKGINFO").write_text(f"pkgname = {name}\npkgver = 1-1\npkgdesc = {name}\narch = x86_64\nsize = 1\n")
    if install:
        (tree / ".INSTALL").write_text(install)
    with tarfile.open(path, "w") as archive:
        for entry in sorted(tree.iterdir()):
            archive.add(entry, entry.name)
    return path


def test_pacman(plain_debian, deb, tmp_path):
    """The hook runs after a package was installed, and the package's script before it is removed."""
    root = plain_debian
    root.apt("install", "pacman-package-manager")
    settings = root.host("/etc/pacman.conf")
    settings.write_text(settings.read_text().replace("CheckSpace", ""))  # the root's mount is not in the list inside
    contrib = build.TESTSUITE.parent / "contrib/pacman"
    tree = tmp_path / "own"
    assert run(["dpkg-deb", "-x", deb, tree]).status == 0
    shutil.rmtree(tree / "lib")
    hooks = tree / "usr/share/libalpm/hooks"
    hooks.mkdir(parents=True)
    text = {name: (contrib / f"fastprelink.{name}.in").read_text().replace("@pkglibdir@", "/usr/lib/fastprelink")
            for name in ("hook", "install")}
    (hooks / "fastprelink.hook").write_text(text["hook"])
    own = pacman_package(tmp_path / "own.pkg.tar", "fastprelink", tree, text["install"])
    other_tree = tmp_path / "other"
    (other_tree / "usr/bin").mkdir(parents=True)
    shutil.copy2(root.host("/usr/bin/openssl"), other_tree / "usr/bin/other")
    other = pacman_package(tmp_path / "other.pkg.tar", "other", other_tree)
    for path in (own, other):
        shutil.copy(path, root.host("/root"))
    before = root.state()

    def pacman(*arguments):
        done = root.run("pacman", "--noconfirm", *arguments)
        assert done.status == 0, done

    (root.host("/etc/default/fastprelink")).unlink()
    pacman("-U", f"/root/{own.name}")
    root.set()
    pacman("-U", f"/root/{other.name}")
    root.check_programs()
    root.run_fast("/usr/bin/other", "version")
    pacman("-R", "other")
    pacman("-R", "fastprelink")
    assert root.prelinked() == set()
    after = root.state()
    assert {path: after.get(path) for path in before} == before
