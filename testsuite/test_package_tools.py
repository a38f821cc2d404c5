"""Tools that compare files with a record, on a Debian system that is prelinked: they see the originals."""

import pytest

from harness import elf
from harness.root import MS_NOEXEC

pytestmark = [pytest.mark.root, pytest.mark.one_placement, pytest.mark.xdist_group("debian")]

OPENSSL = "/usr/bin/openssl"
AIDE = """\
database_in=file:/root/aide.db
database_out=file:/root/aide.db
gzip_dbout=no
report_url=stdout
Files = p+ftype+l+u+g+s+m+n+sha256+acl+xattrs+caps
/usr/bin f,l Files
/usr/lib/x86_64-linux-gnu f,l Files
"""


def modify(root):
    """Changes a prelinked program behind fastprelink's back."""
    path = root.host(OPENSSL)
    elf.patch(path, elf.sections(path)[".text"][0], b"modified")


def originals(root, *command):
    return root.run("fastprelink-originals", *command)


def verify(root):
    """What dpkg --verify says of files in /usr, seeing the originals."""
    done = originals(root, "dpkg", "--verify")
    return [line for line in done.stdout.splitlines() if " /etc/" not in line]


def aide(root, *options):
    return root.run("aide", "--config", "/root/aide.conf", *options)


@pytest.fixture
def recorded(plain_debian, deb):
    """AIDE's record is that of the originals, made before anything was prelinked."""
    plain_debian.host("/root/aide.conf").write_text(AIDE)
    plain_debian.set(AUTO="no")
    plain_debian.install(deb)
    assert aide(plain_debian, "--init").status == 0
    plain_debian.set()
    plain_debian.run("/usr/lib/fastprelink/auto", "trigger")
    return plain_debian


def test_debsums(prelinked_debian):
    """It asks /usr/sbin/prelink by itself."""
    assert prelinked_debian.run("debsums", "-s", "--no-prelink").status == 2
    assert prelinked_debian.run("debsums", "-s").stderr == ""


def test_debsums_reports_a_modified_file(prelinked_debian):
    modify(prelinked_debian)
    done = prelinked_debian.run("debsums", "-s")
    assert done.status == 2 and [line for line in done.stderr.splitlines() if "changed file" in line] == [
        f"debsums: changed file {OPENSSL} (from openssl package)"]


def test_dpkg_verify(prelinked_debian):
    assert prelinked_debian.prelinked()
    assert verify(prelinked_debian) == []


def test_dpkg_verify_reports_a_modified_file(prelinked_debian):
    modify(prelinked_debian)
    assert verify(prelinked_debian) == [f"??5??????   {OPENSSL}"]


def test_aide(recorded):
    assert aide(recorded, "--check").status != 0
    done = originals(recorded, "aide", "--config", "/root/aide.conf", "--check")
    assert done.status == 0 and "NO differences" in done.stdout, done


def test_aide_reports_a_modified_file(recorded):
    modify(recorded)
    done = originals(recorded, "aide", "--config", "/root/aide.conf", "--check")
    assert done.status == 4 and "Changed entries:\t\t1\n" in done.stdout and OPENSSL in done.stdout, done


def test_originals_are_seen_by_the_command_only(prelinked_debian):
    before = prelinked_debian.host(OPENSSL).read_bytes()
    seen = originals(prelinked_debian, "sha256sum", OPENSSL).stdout.split()[0]
    assert prelinked_debian.host(OPENSSL).read_bytes() == before
    assert prelinked_debian.run("fastprelink", "--sha256", OPENSSL).stdout.split()[0] == seen
    assert prelinked_debian.run("sha256sum", OPENSSL).stdout.split()[0] != seen
    assert list(prelinked_debian.host("/var/tmp").iterdir()) == []


def test_originals_have_the_attributes_of_the_files(prelinked_debian):
    assert prelinked_debian.run("chown", "daemon:mail", OPENSSL).status == 0
    stat = ("stat", "-c", "%A %U %G %y", OPENSSL)
    assert originals(prelinked_debian, *stat).stdout == prelinked_debian.run(*stat).stdout


def test_copies_where_nothing_may_be_run(prelinked_debian):
    prelinked_debian.mount("tmpfs", "/var/tmp", "tmpfs", MS_NOEXEC)
    assert originals(prelinked_debian, "openssl", "version").status == 0
    assert verify(prelinked_debian) == []


def test_status_of_the_command(prelinked_debian):
    assert originals(prelinked_debian, "sh", "-c", "exit 7").status == 7
    assert originals(prelinked_debian).status == 125
