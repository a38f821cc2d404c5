"""`fastprelink -y -a`: is every prelinked file intact, would every program start accelerated?  Nothing of the root is run."""

import json
import os
import shutil
import xml.etree.ElementTree as ElementTree

import pytest

from harness import build
from harness.private import system_libc
from harness.root import RUNTIME
from harness.run import DEBUG, fastprelink, one_line, placed

LIBDIR = "usr/lib/x86_64-linux-gnu"
PROG, CARRIER = "usr/bin/prog", f"{LIBDIR}/libc.so.6"


class Image:
    """A root directory that needs no mounts, because nothing in it is started."""

    def __init__(self, path):
        self.path = path
        # With a directory for the vendor's configuration nothing counts but what a test writes.
        for name in ("usr/bin", "usr/lib64", "usr/lib/fastprelink.conf.d", LIBDIR, "etc"):
            (path / name).mkdir(parents=True)
        for name in ("bin", "lib", "lib64"):
            (path / name).symlink_to("usr/" + name)
        base, user, prog = build.sampler()
        for source, name in ((base, f"{LIBDIR}/libbase.so"), (user, f"{LIBDIR}/libuser.so"), (prog, PROG),
                             (system_libc(), CARRIER), ("/lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2")):
            shutil.copy(source, path / name)
        self.configure("/usr/bin\nmin-saved-us 0\n")

    def configure(self, text):
        (self.path / "etc/fastprelink.conf").write_text(text)

    def program(self, name="other", source="int main(void) { return 0; }"):
        shutil.copy(build.compile_c(source, name, ["-fPIE", "-pie"]), self.path / "usr/bin" / name)
        return self.path / "usr/bin" / name

    def command(self, *options, status=0):
        return fastprelink(f"--root={self.path}", RUNTIME, *options, status=status)

    def prelink_all(self, *options):
        return self.command("-a", "-C", self.path.with_name("cache"), *options, *placed([]))

    def prelink(self, *programs, options=("-f",)):
        return self.command(*placed(options), *(programs or ["/" + PROG]))

    def verify(self, *options, status=0):
        return self.command("-y", "-a", *options, status=status)

    def records(self, *options, status=0):
        """{path inside the root: record}, and the summary."""
        rows = [json.loads(line) for line in self.verify("--json", *options, status=status).stdout.splitlines()]
        assert [("summary" in row) for row in rows] == [False] * (len(rows) - 1) + [True]
        return {os.path.relpath(row["file"], self.path): row for row in rows[:-1]}, rows[-1]


@pytest.fixture
def image(tmp_path):
    yield Image(tmp_path / "image")
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_everything_as_it_should_be(image):
    image.prelink()
    done = image.verify("-v")
    lines = done.stdout.splitlines()
    assert f"{image.path / PROG}: accelerated" in lines and f"{image.path / CARRIER}: intact" in lines
    assert lines[-1] == f"{len(lines) - 1} files checked: {len(lines) - 1} prelinked and intact, 1 programs accelerated, 0 left alone; 0 differ"
    assert done.stderr == "" and image.verify().stdout == lines[-1] + "\n"


def test_after_a_run_over_the_system(image):
    """A run and a verification agree on what is to be prelinked."""
    image.configure("/usr\nmin-saved-us 0\n")
    image.program("more", "int main(void) { return 1; }")
    assert image.verify(status=1).stderr.count(": not prelinked\n") == 2
    image.prelink_all()
    assert image.verify().stdout.endswith("; 0 differ\n")
    image.program("new", "int main(void) { return 2; }")
    image.verify(status=1)
    image.prelink_all()
    image.verify()


def test_what_a_run_over_the_system_leaves_alone_is_counted(image):
    """No line, and no failure; with -v both know it by name."""
    image.configure("/usr\nmin-saved-us 200\n")
    os.link(image.program(), image.path / "usr/bin/second")
    done = image.prelink_all()
    assert done.stderr == "" and "too few relocations to gain from" in done.stdout
    again = image.prelink_all("-v")
    assert "usr/bin/other" in again.stderr


def test_a_root_without_anything(image):
    image.configure("")
    assert image.verify().stdout.startswith("0 files checked: ")


def test_nothing_is_written_or_run(image):
    image.prelink()
    before = {path: path.stat() for path in image.path.rglob("*")}
    image.verify()
    after = {path: path.stat() for path in image.path.rglob("*")}
    assert {path: (stat.st_ino, stat.st_ctime_ns) for path, stat in before.items()} == {
        path: (stat.st_ino, stat.st_ctime_ns) for path, stat in after.items()}


def test_records(image):
    image.prelink(options=("-f", "--fixed"))
    found, summary = image.records()
    assert {path: (row["kind"], row["outcome"]) for path, row in found.items()} == {
        PROG: ("program", "accelerated"), CARRIER: ("carrier", "intact"),
        f"{LIBDIR}/libbase.so": ("library", "intact"), f"{LIBDIR}/libuser.so": ("library", "intact")}
    assert all(row["action"] == "verify" and row["prelinked"] and row["intact"] for row in found.values())
    assert summary == {"summary": "verify", "intact": 4, "accelerated": 1, "left_alone": 0, "left_alone_by": {},
                       "differing": 0, "differing_by": {}}


def test_a_program_that_should_be_prelinked(image):
    image.prelink()
    other = image.program()
    one_line(image.verify(status=1), other, "not prelinked")
    found, summary = image.records(status=1)
    assert (found["usr/bin/other"]["outcome"], found["usr/bin/other"]["reason"]) == ("differs", "not-prelinked")
    assert summary["differing_by"] == {"not-prelinked": 1}


def test_a_program_with_little_to_gain_is_left_alone(image):
    image.configure("/usr/bin\nmin-saved-us 200\n")
    image.prelink()
    image.program()
    found, summary = image.records()
    assert (found["usr/bin/other"]["outcome"], found["usr/bin/other"]["reason"]) == ("left-alone", "little-gain")
    assert summary["left_alone_by"] == {"little-gain": 1}
    assert "left alone: too few relocations to gain from" in image.verify("-v").stdout
    one_line(image.verify("-f", status=1), "usr/bin/other", "not prelinked")


def test_what_the_configuration_does_not_cover_need_not_be_prelinked(image):
    image.prelink()
    image.program()
    image.configure("/usr/bin\nmin-saved-us 0\n-b other\n")
    image.verify()
    image.configure("min-saved-us 0\n")
    image.verify()
    (image.path / "etc/mine.conf").write_text("/usr/bin\nmin-saved-us 0\n")
    image.verify("-c", "/etc/mine.conf", status=1)
    image.verify("-c", "/etc/mine.conf", "-b", "other")


def test_a_configuration_that_is_not_understood(image):
    image.configure("nonsense\n")
    one_line(image.verify(status=2), "fastprelink.conf", "line 1")


@pytest.mark.parametrize("name", [PROG, CARRIER])
def test_a_changed_byte(image, name):
    image.prelink()
    with open(image.path / name, "r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last[0] ^ 1]))
    found, summary = image.records(status=1)
    assert found[name]["outcome"] == "differs" and not found[name]["intact"] and summary["differing"] >= 1


def test_a_file_that_is_cut_off(image):
    image.prelink()
    os.truncate(image.path / PROG, (image.path / PROG).stat().st_size - 100)
    found, _ = image.records(status=1)
    assert found[PROG]["outcome"] == "differs"


def report(image, *options, status):
    path = image.path.with_name("report.xml")
    image.verify(f"--junit={path}", *options, status=status)
    suite, = ElementTree.parse(path).getroot()
    return suite


def test_junit(image):
    """One test for each file."""
    image.prelink()
    suite = report(image, status=0)
    assert (suite.tag, suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("testsuite", str(len(suite)), "0", "0")
    names = {case.get("name"): case for case in suite}
    assert names[str(image.path / PROG)].get("classname") == "program" and len(names[str(image.path / PROG)]) == 0
    assert names[str(image.path / CARRIER)].get("classname") == "carrier"


def test_junit_failures(image):
    image.prelink()
    image.program().rename(image.path / "usr/bin/a<b>&\"c'\n\x01\udcff\ufffe")
    shutil.copy(system_libc(), image.path / CARRIER)
    image.configure("/usr/bin\nmin-saved-us 0\n")
    suite = report(image, status=1)
    failures = {os.path.relpath(case.get("name"), image.path): failure for case in suite for failure in case.findall("failure")}
    assert suite.get("failures") == str(len(failures)) == "2"
    assert failures[PROG].get("type") == "no-stub" and "the carrier has no stub" in failures[PROG].get("message")
    odd, = set(failures) - {PROG}
    assert odd == r"usr/bin/" + "a<b>&\"c'\\012\\001" + r"\xff\xef\xbf\xbe" and failures[odd].get("type") == "not-prelinked"


def test_junit_skips_what_is_left_alone(image):
    image.configure("/usr/bin\nmin-saved-us 200\n")
    image.prelink()
    image.program()
    suite = report(image, status=0)
    skipped = {case.get("name"): case.find("skipped").get("message") for case in suite if case.find("skipped") is not None}
    assert suite.get("skipped") == "1" and "too few relocations" in skipped[str(image.path / "usr/bin/other")]


def test_junit_file_that_cannot_be_written(image):
    image.prelink()
    one_line(image.verify("--junit=/nonexistent/report.xml", status=2), "/nonexistent/report.xml", "open")
    one_line(image.verify("--junit=/dev/full", status=2), "/dev/full", "write")


@pytest.mark.parametrize("arguments", [["--junit=x", "-y", "file"], ["--junit=x", "file"], ["-y", "-a", "file"], ["-y", "-a", "--md5"],
                                       ["-y", "-a", "-n"], ["-y", "-a", "--files-from=-"], ["-y", "-b", "x", "file"]], ids=" ".join)
def test_wrong_usage(arguments):
    assert fastprelink(*arguments, status=2).stdout == ""


# What verification says, and what a start in the same root then does.

@pytest.fixture
def sandbox(root):
    base, user, prog = build.sampler()
    for source, name in ((base, f"{LIBDIR}/libbase.so"), (user, f"{LIBDIR}/libuser.so"), (prog, PROG)):
        shutil.copy(source, root.host(name))
    root.host("/etc/fastprelink.conf").write_text("/usr/bin\n")
    return root


def said(sandbox, status=1):
    done = fastprelink(f"--root={sandbox.path}", RUNTIME, "-y", "-a", "--json", status=status)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return next(row for row in rows if row.get("file") == str(sandbox.host(PROG)))


def other_library(root):
    shutil.copy(build.compile_c(build.CASES / "base.c", "libbase.so", ["-shared", "-fPIC", "-Wl,-soname,libbase.so", "-DOTHER", "-O0"]),
                root.host(f"{LIBDIR}/libbase.so"))


def one_more_object(root):
    library = build.compile_c("int unused;", "libmore.so", ["-shared", "-fPIC"])
    shutil.copy(library, root.host("/usr/lib/libmore.so"))
    root.host("/etc/ld.so.preload").write_text("/usr/lib/libmore.so\n")


def plain_libc(root):
    shutil.copy(system_libc(), root.host(CARRIER))


def no_runtime(root):
    root.host("/usr/lib/fastprelink/rt").unlink()


def short_runtime(root):
    os.truncate(root.host("/usr/lib/fastprelink/rt"), 4096)


def setuid(root):
    root.host(PROG).chmod(0o4755)


@pytest.mark.root
@pytest.mark.parametrize("change, reason, decline", [(other_library, "object-differs", 9), (one_more_object, "object-differs", 9),
                                                     (plain_libc, "no-stub", None), (no_runtime, "no-runtime", None),
                                                     (short_runtime, "no-runtime", None), (setuid, "setuid", 5)])
def test_why_a_program_does_not_start_accelerated(sandbox, change, reason, decline):
    """The runtime, where it is reached, gives the same number."""
    sandbox.prelink("/" + PROG)
    assert said(sandbox, status=0)["outcome"] == "accelerated"
    assert sandbox.run("/" + PROG, env=DEBUG).accelerated
    change(sandbox)
    row = said(sandbox)
    assert (row["outcome"], row["reason"], row.get("decline")) == ("differs", reason, decline)
    start = sandbox.run("/" + PROG, env=DEBUG, user="65534:65534")
    assert start.status == 0 and not start.accelerated
    # Under raised privileges the stub does not call the runtime, which would say 5.
    assert start.declined == decline or change is setuid


@pytest.mark.root
@pytest.mark.one_placement
def test_libraries_in_each_others_place(sandbox):
    """Both are fixed at one address and, having other names, keep it."""
    for name in ("libbase.so", "libuser.so"):
        path = sandbox.host(f"{LIBDIR}/{name}")
        fastprelink(f"--root={sandbox.path}", "-r", "0x3000000000", path)
        os.link(path, path.with_suffix(".name"))
    sandbox.prelink("/" + PROG, options=("-f", "--fixed"))
    row = said(sandbox)
    assert (row["reason"], row["decline"]) == ("displaced", 12) and row["about"].endswith(".so") and row["text"].endswith("is in its place")
    assert sandbox.run("/" + PROG, env=DEBUG).declined == 12


@pytest.mark.root
def test_the_reasons_are_those_of_the_manual(sandbox):
    """What verification says of a decline is what the runtime writes."""
    sandbox.prelink("/" + PROG)
    other_library(sandbox)
    start = sandbox.run("/" + PROG, env=DEBUG)
    assert said(sandbox)["text"] in start.notes[0]


