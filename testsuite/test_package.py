"""The Debian package in a root that debootstrap made: installed, kept up, switched off, removed."""

import shutil
import threading

import pytest

from harness import elf, files
from harness.debian import repack

pytestmark = [pytest.mark.root, pytest.mark.one_placement, pytest.mark.xdist_group("debian")]

RUNTIME = "/usr/lib/fastprelink/rt"


def new_libssl(root, directory):
    """OpenSSL's libraries of another build: not those that programs were prelinked with."""
    def change(tree):
        for name in ("libcrypto.so.3", "libssl.so.3"):
            elf.other_build(tree / "usr/lib/x86_64-linux-gnu" / name)

    return repack(root.archive("libssl3*"), directory, change=change)


def new_libc(root, directory):
    return repack(root.archive("libc6"), directory, change=lambda tree: [
        elf.other_build(path) for path in tree.rglob("libc.so.6")])


def test_installing_prelinks(plain_debian, deb):
    plain = plain_debian.lines()
    done = plain_debian.install(deb)
    assert done.stdout.count("Processing triggers for fastprelink") == 1
    plain_debian.check_programs()
    assert plain_debian.lines() == plain
    names = {path.rpartition("/")[2] for path in plain_debian.prelinked()}
    assert {"openssl", "libcrypto.so.3", "libc.so.6"} <= names


def test_stub_names_the_runtime_of_the_package(prelinked_debian):
    assert prelinked_debian.host(RUNTIME).exists()
    assert RUNTIME.encode() in prelinked_debian.libc.read_bytes()


def test_removing_restores_everything(plain_debian, deb):
    before = plain_debian.state()
    plain_debian.install(deb)
    assert plain_debian.state() != before
    plain_debian.dpkg("-r", "fastprelink")
    assert plain_debian.prelinked() == set()
    assert plain_debian.state() == before
    assert not plain_debian.host("/var/cache/fastprelink").exists()
    plain_debian.check_programs(accelerated=False)


def test_purging_removes_the_configuration(prelinked_debian):
    own = prelinked_debian.host("/etc/fastprelink.conf.d/own.conf")
    own.write_text("float-for gpg\n")
    prelinked_debian.dpkg("-P", "fastprelink")
    for name in ("/etc/default/fastprelink", "/etc/fastprelink.conf.d", "/var/log/fastprelink.log"):
        assert not prelinked_debian.host(name).exists()


def test_configuration_survives_removal(prelinked_debian):
    own = prelinked_debian.host("/etc/fastprelink.conf.d/own.conf")
    own.write_text("float-for gpg\n")
    prelinked_debian.dpkg("-r", "fastprelink")
    assert own.read_text() == "float-for gpg\n" and prelinked_debian.host("/etc/default/fastprelink").exists()


def test_upgrade_of_a_library(prelinked_debian, tmp_path):
    package = new_libssl(prelinked_debian, tmp_path)
    gpg = files.identity(prelinked_debian.host("/usr/bin/gpg"))
    prelinked_debian.install(package, options=["--no-triggers"])
    prelinked_debian.check_programs(accelerated=False)
    assert prelinked_debian.run("/usr/bin/openssl", "version", env={"FASTPRELINK_DEBUG": "1"}).declined
    prelinked_debian.dpkg("--triggers-only", "-a")
    prelinked_debian.check_programs()
    assert files.identity(prelinked_debian.host("/usr/bin/gpg")) == gpg


def test_upgrade_of_libc(prelinked_debian, tmp_path):
    package = new_libc(prelinked_debian, tmp_path)
    prelinked_debian.install(package, options=["--no-triggers"])
    assert RUNTIME.encode() not in prelinked_debian.libc.read_bytes()
    prelinked_debian.check_programs(accelerated=False)
    prelinked_debian.dpkg("--triggers-only", "-a")
    assert RUNTIME.encode() in prelinked_debian.libc.read_bytes()
    prelinked_debian.check_programs()
    prelinked_debian.dpkg("-r", "fastprelink")
    assert prelinked_debian.prelinked() == set()


def test_upgrade_of_fastprelink_undoes_nothing(prelinked_debian, deb, tmp_path):
    prelinked = {path: files.identity(prelinked_debian.host(path)) for path in prelinked_debian.prelinked()}
    prelinked_debian.install(repack(deb, tmp_path, "99"), options=["--no-triggers"])
    assert {path: files.identity(prelinked_debian.host(path)) for path in prelinked} == prelinked
    prelinked_debian.check_programs()
    prelinked_debian.dpkg("--triggers-only", "-a")
    prelinked_debian.check_programs()


def test_downgrade_of_fastprelink_undoes_first(plain_debian, deb, tmp_path):
    """What a newer release has written an older one may not know."""
    before = plain_debian.state()
    plain_debian.install(repack(deb, tmp_path, "99"))
    assert plain_debian.prelinked()
    plain_debian.install(deb, options=["--no-triggers"])
    assert plain_debian.prelinked() == set()
    after = plain_debian.state()
    assert {path: after[path] for path in before} == before
    plain_debian.dpkg("--triggers-only", "-a")
    plain_debian.check_programs()


def test_switched_off(plain_debian, deb, tmp_path):
    plain_debian.set(AUTO="no")
    plain_debian.install(deb)
    plain_debian.install(new_libssl(plain_debian, tmp_path))
    assert plain_debian.prelinked() == set()


def test_removing_undoes_what_was_made_before_it_was_switched_off(prelinked_debian):
    prelinked_debian.set(AUTO="no")
    prelinked_debian.dpkg("-r", "fastprelink")
    assert prelinked_debian.prelinked() == set()


def test_failing_run_does_not_fail_dpkg(plain_debian, deb):
    plain_debian.set(OPTIONS="--no-such-option")
    done = plain_debian.install(deb)
    assert "--no-such-option" in done.stderr
    assert "install ok installed" in plain_debian.dpkg("-s", "fastprelink").stdout


def test_file_that_cannot_be_restored_stops_removal(prelinked_debian):
    openssl = prelinked_debian.host("/usr/bin/openssl")
    openssl.with_name("other").hardlink_to(openssl)
    done = prelinked_debian.dpkg("-r", "fastprelink", status=1)
    assert "/usr/bin/openssl" in done.stderr
    assert "install ok installed" in prelinked_debian.dpkg("-s", "fastprelink").stdout
    openssl.with_name("other").unlink()
    prelinked_debian.dpkg("-r", "fastprelink")
    assert prelinked_debian.prelinked() == set()


def test_modified_file_does_not_stop_removal(prelinked_debian):
    """Only its package has the original."""
    openssl = prelinked_debian.host("/usr/bin/openssl")
    elf.patch(openssl, elf.sections(openssl)[".text"][0], b"modified")
    done = prelinked_debian.dpkg("-r", "fastprelink")
    assert "/usr/bin/openssl" in done.stderr
    assert prelinked_debian.prelinked() == {"/usr/bin/openssl"}


def test_diverted_program_is_restored(prelinked_debian):
    prelinked_debian.run("dpkg-divert", "--local", "--rename", "--add", "/usr/bin/openssl")
    assert prelinked_debian.host("/usr/bin/openssl.distrib").exists()
    prelinked_debian.dpkg("-r", "fastprelink")
    prelinked_debian.run("dpkg-divert", "--local", "--rename", "--remove", "/usr/bin/openssl")
    assert prelinked_debian.prelinked() == set()


def test_mode_of_an_override_is_kept(prelinked_debian, tmp_path):
    """dpkg-statoverride's owner and mode are those of the file that it unpacks; prelinking keeps them."""
    done = prelinked_debian.run("dpkg-statoverride", "--update", "--add", "daemon", "root", "0750", "/usr/bin/openssl")
    assert done.status == 0, done
    prelinked_debian.install(repack(prelinked_debian.archive("openssl"), tmp_path))
    assert "/usr/bin/openssl" in prelinked_debian.prelinked()
    status = prelinked_debian.host("/usr/bin/openssl").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1, 0, 0o750)


def test_programs_start_at_every_moment(plain_debian, deb, tmp_path):
    """A loop that starts programs all the while sees no failure."""
    library, libc = new_libssl(plain_debian, tmp_path), new_libc(plain_debian, tmp_path)
    plain = [result.stdout for result in plain_debian.lines()]
    done, failures, rounds = threading.Event(), [], 0

    def start():
        nonlocal rounds
        while not done.is_set():
            rounds += 1
            results = plain_debian.lines()
            failures.extend(result for result, line in zip(results, plain) if result.status or result.stdout != line)

    thread = threading.Thread(target=start)
    thread.start()
    try:
        plain_debian.install(deb)
        plain_debian.install(library)
        plain_debian.install(libc)
        plain_debian.run("fastprelink", "-u", "-a")
        plain_debian.run("/usr/lib/fastprelink/auto", "trigger")
        plain_debian.dpkg("-r", "fastprelink")
    finally:
        done.set()
        thread.join()
    assert rounds > 5 and failures == []


def test_apt_installs_the_package(plain_debian, deb):
    shutil.copy(deb, plain_debian.host("/root"))
    plain_debian.apt("install", f"/root/{deb.name}")
    plain_debian.check_programs()
