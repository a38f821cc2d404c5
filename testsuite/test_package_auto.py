"""What package managers and the timer call: when it does something, when not, and that it never fails an upgrade."""

import contextlib
import fcntl

import pytest

from harness import build
from harness.run import run

pytestmark = [pytest.mark.root, pytest.mark.one_placement]
AUTO = "/usr/lib/fastprelink/auto"
debian = pytest.mark.xdist_group("debian")


@contextlib.contextmanager
def locked(path):
    """Locks the file as package managers do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as stream:
        fcntl.lockf(stream, fcntl.LOCK_EX)
        yield


@pytest.fixture
def other_system(root):
    """A root without dpkg, in which prelinking leaves a mark."""
    root.add("/usr/bin/awk", "/usr/bin/stat", "/usr/bin/tail")
    script = root.host(AUTO)
    script.parent.mkdir(parents=True)
    text = (build.TESTSUITE.parent / "contrib/auto.in").read_text()
    script.write_text(text.replace("@sbindir@", "/usr/sbin").replace("@sysconfdir@", "/etc"))
    command = root.host("/usr/sbin/fastprelink")
    command.write_text('#!/bin/sh\necho "$@" >>/mark\n')
    for path in (script, command):
        path.chmod(0o755)
    root.host("/var/log").mkdir(parents=True)
    return root


def called(root):
    """How fastprelink was called."""
    mark = root.host("/mark")
    return mark.read_text().splitlines() if mark.exists() else []


def auto(root, action):
    done = root.run("/bin/sh", AUTO, action)
    assert done.status == 0, done
    return done.stderr


def test_timer_prelinks(other_system):
    assert auto(other_system, "timer") == "" and called(other_system) == ["-a"]


def test_options(other_system):
    other_system.host("/etc/default").mkdir()
    other_system.host("/etc/default/fastprelink").write_text("OPTIONS='--aslr -m'\n")
    auto(other_system, "trigger")
    assert called(other_system) == ["-a --aslr -m"]


@pytest.mark.parametrize("lock", ["/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock"])
def test_timer_while_rpm_works(other_system, lock):
    with locked(other_system.host(lock)):
        assert "at work" in auto(other_system, "timer")
    assert called(other_system) == []
    assert auto(other_system, "timer") == "" and called(other_system) == ["-a"]


def test_timer_while_pacman_works(other_system):
    lock = other_system.host("/var/lib/pacman/db.lck")
    lock.parent.mkdir(parents=True)
    lock.touch()
    assert "at work" in auto(other_system, "timer") and called(other_system) == []
    lock.unlink()
    auto(other_system, "timer")
    assert called(other_system) == ["-a"]


def test_read_only_system(other_system):
    other_system.bind(other_system.host("/usr"), "/usr")
    other_system.make_read_only("/usr")
    for action in ("timer", "trigger"):
        assert auto(other_system, action) == ""
    assert called(other_system) == []


def test_failed_run_is_told(other_system):
    command = other_system.host("/usr/sbin/fastprelink")
    command.write_text("#!/bin/sh\necho it went wrong\nexit 2\n")
    assert "it went wrong" in auto(other_system, "trigger")


def test_skipped_files_are_no_failure(other_system):
    command = other_system.host("/usr/sbin/fastprelink")
    command.write_text("#!/bin/sh\necho it is static\nexit 1\n")
    assert auto(other_system, "trigger") == ""
    assert other_system.host("/var/log/fastprelink.log").read_text() == "it is static\n"


@debian
def test_timer_runs_under_the_locks_of_dpkg(plain_debian, deb):
    plain_debian.set(AUTO="no")
    plain_debian.install(deb)
    plain_debian.set()
    done = plain_debian.run(AUTO, "timer")
    assert done.status == 0 and "Processing triggers for fastprelink" in done.stdout, done
    plain_debian.check_programs()


@debian
@pytest.mark.parametrize("name", ["lock", "lock-frontend"])
def test_timer_while_dpkg_works(plain_debian, deb, name):
    """Nothing is done then, but not forgotten either."""
    plain_debian.set(AUTO="no")
    plain_debian.install(deb)
    plain_debian.set()
    with locked(plain_debian.host(f"/var/lib/dpkg/{name}")):
        done = plain_debian.run(AUTO, "timer")
        assert done.status == 0 and "dpkg is at work" in done.stderr, done
        assert plain_debian.prelinked() == set()
    plain_debian.dpkg("--configure", "-a")
    plain_debian.check_programs()


@pytest.mark.parametrize("name", ["auto", "fastprelink-originals"])
def test_installed_scripts_have_their_paths(name, tmp_path):
    done = run(["make", "-s", "-C", build.BUILD, f"contrib/{name}"])
    assert done.status == 0, done
    text = (build.BUILD / "contrib" / name).read_text()
    assert "@" not in text.replace('"$@"', "") and run(["sh", "-n", build.BUILD / "contrib" / name]).status == 0
