"""What cannot be read or written just now, or is not what it was taken for: it is said, nothing is lost, and nothing counts as in order that
nobody could look at."""

import os
import shutil
import struct

import pytest

from harness import build, elf, files, need
from harness.root import RUNTIME
from harness.run import fastprelink, one_line, placed, run
from test_verify import LIBDIR, PROG, image  # noqa: F401

ENV = {"FASTPRELINK_RUNTIME_SOURCE": str(build.RUNTIME)}
USER = ["--reuid=65534", "--regid=65534", "--clear-groups"]


def user(image):
    """The words that run a command as the ordinary user to whom the root belongs."""
    if os.geteuid():
        return []
    for path in [image.path.parent, *image.path.parent.rglob("*")]:
        os.lchown(path, 65534, 65534)
    for path in image.path.parent.parents:
        if path.stat().st_uid == 0 and path.name.startswith(("pytest-", "popen-")):
            path.chmod(0o755)
    return [need.tool("setpriv"), *USER]


def as_user(image, *options, prefix=None):
    return run([*(user(image) if prefix is None else prefix), build.TOOL, f"--root={image.path}", RUNTIME, *options], env=ENV)


def read_only(path, *options):
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
    return run([need.tool("unshare"), "-m", "sh", "-c", script, "sh", path, build.TOOL, *options], env=ENV)


@pytest.mark.root
def test_a_read_only_image_is_verified_as_a_writable_one(image):
    image.program()
    image.prelink_all()
    image.configure("/usr/bin\nmin-saved-us 100000\n")
    image.program("new")
    expected = image.verify()
    done = read_only(image.path, f"--root={image.path}", RUNTIME, "-y", "-a")
    assert (done.status, done.stdout, done.stderr) == (0, expected.stdout, "")
    image.configure("/usr/bin\nmin-saved-us 0\n")
    expected = image.verify(status=1)
    done = read_only(image.path, f"--root={image.path}", RUNTIME, "-y", "-a")
    assert (done.status, done.stderr) == (1, expected.stderr) and "new: not prelinked" in done.stderr


@pytest.mark.user
def test_a_user_verifies_what_belongs_to_others(image):
    image.prelink()
    prefix = user(image)
    if prefix:
        os.chown(image.path / "usr/bin", 0, 0)
        os.chown(image.path / PROG, 0, 0)
    else:
        (image.path / "usr/bin").chmod(0o555)
    done = as_user(image, "-y", "-a", prefix=prefix)
    (image.path / "usr/bin").chmod(0o755)
    assert (done.status, done.stderr) == (0, "")


@pytest.mark.user
@pytest.mark.parametrize("name", ["usr/bin", PROG, "usr", ""])
def test_what_cannot_be_read(image, name):
    image.prelink()
    prefix, original = user(image), files.digests(image.path)
    path = image.path / name
    mode = path.stat().st_mode & 0o777
    path.chmod(0o311 if not name else 0)
    try:
        verified = as_user(image, "-y", "-a", prefix=prefix)
        restored = as_user(image, "-u", "-a", "-n", prefix=prefix)
        prelinked = as_user(image, "-a", "-C", image.path.with_name("cache"), prefix=prefix)
    finally:
        path.chmod(mode)
    if name == "usr":  # the vendor's configuration is in there
        assert verified.status == prelinked.status == 2
    else:
        assert verified.status == 1 and f"fastprelink: {path}: read: Permission denied\n" in verified.stderr, verified
        assert prelinked.status == (0 if not name else 1), prelinked
    assert restored.status == 1 and f"{path}: read: Permission denied" in restored.stderr, restored
    assert "was modified" not in verified.stderr + restored.stderr
    assert files.digests(image.path) == original


@pytest.mark.user
def test_the_runtime_stays_while_something_cannot_be_restored(image):
    image.prelink()
    prefix = user(image)
    (image.path / "usr/bin").chmod(0)
    done = as_user(image, "-u", "-a", prefix=prefix)
    (image.path / "usr/bin").chmod(0o755)
    assert done.status == 1 and f"{image.path / 'usr/bin'}: read: Permission denied" in done.stderr
    runtime = image.path / RUNTIME.partition("=/")[2]
    assert runtime.exists()
    assert as_user(image, "-u", "-a", prefix=prefix).status == 0
    assert not runtime.exists()


def test_too_few_descriptors(image):
    image.prelink()
    script = 'ulimit -n 6; exec "$@"'
    done = run(["sh", "-c", script, "sh", build.TOOL, f"--root={image.path}", RUNTIME, "-y", "-a"], env=ENV)
    assert done.status in (1, 2) and "Too many open files" in done.stderr, done


def test_a_root_that_is_not_there(image):
    one_line(fastprelink(f"--root={image.path}/nothing", "-y", "-a", status=2), f"{image.path}/nothing: ", "No such file or directory")
    one_line(fastprelink(f"--root={image.path}/nothing", "-u", "-a", status=2), f"{image.path}/nothing: ", "No such file or directory")


@pytest.mark.parametrize("share", [0.97, 0.6, 0.3])
def test_a_cut_program(image, share):
    image.prelink()
    program = image.path / PROG
    os.truncate(program, int(program.stat().st_size * share))
    assert str(program) in image.verify(status=1).stderr
    assert str(program) in image.command("-u", "-a", status=1).stderr
    assert (image.path / RUNTIME.partition("=/")[2]).exists()


def test_a_cut_library(image):
    image.prelink("/" + PROG, options=["-f", "--fixed"])
    library = image.path / LIBDIR / "libuser.so"
    os.truncate(library, library.stat().st_size - 4096)
    assert f"fastprelink: {library}: " in image.verify(status=1).stderr


def test_a_changed_program_is_not_unchanged(image):
    image.prelink()
    program = image.path / PROG
    data = bytearray(program.read_bytes())
    data[data.index(b"sum %")] ^= 1
    program.write_bytes(data)
    one_line(image.command(*placed(["-f"]), "/" + PROG, status=1), "was modified")
    one_line(prelink_all(image), "was modified")


def prelink_all(image):
    return image.command("-a", "-C", image.path.with_name("cache"), *placed([]), status=1)


def test_a_stripped_program(image):
    image.prelink()
    run([need.tool("strip"), image.path / PROG])
    assert "was modified" in image.verify(status=1).stderr
    assert "was modified" in prelink_all(image).stderr


def test_a_program_with_a_payload_changes_nothing_else(image):
    with (image.path / PROG).open("ab") as file:
        file.write(bytes(100))
    before = files.digests(image.path)
    one_line(image.command("-f", "/" + PROG, status=1), "carries data that is not part of the ELF image")
    assert files.digests(image.path) == before


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../../../../../../../etc/passwd"])
def test_links_stay_inside_the_root(image, target):
    (image.path / "usr/link").symlink_to(target)
    for options in (["-y"], ["--sha256"], ["-u"]):
        done = image.command(*options, "/usr/link", status=1)
        assert "root:" not in done.stdout and "No such file" in done.stderr
    (image.path / "etc/passwd").write_text("inside\n")
    assert image.command("-y", "/usr/link").stdout == "inside\n"


def test_the_runtime_stays_inside_the_root(image, tmp_path):
    """Its directory is a link whose target, as the host sees it, is somewhere else."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (image.path / "usr/lib/fastprelink").symlink_to(outside)
    image.command("-f", "/" + PROG, status=1)
    assert not list(outside.iterdir())
    inside = image.path / str(outside)[1:]
    inside.mkdir(parents=True)
    image.prelink()
    assert [file.name for file in inside.iterdir()] == ["rt"] and not list(outside.iterdir())


@pytest.mark.root
def test_a_library_that_could_not_be_written(image):
    """The reason is gone: the next run fixes it, though no file has changed."""
    behind_a_link(image)
    options = [f"--root={image.path}", RUNTIME, "-a", "--fixed", "-C", image.path.with_name("cache")]
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
    run([need.tool("unshare"), "-m", "sh", "-c", script, "sh", image.path / "opt/l", build.TOOL, *options], env=ENV)
    assert "libuser.so" not in fixed(image)
    fastprelink(*options)
    assert "libuser.so" in fixed(image)


def test_a_library_whose_checksum_is_gone(image):
    behind_a_link(image)
    (image.path / "opt/l/.libuser.so.hmac").write_text("x")
    options = [f"--root={image.path}", RUNTIME, "-a", "--fixed", "-C", image.path.with_name("cache")]
    fastprelink(*options)
    assert "libuser.so" not in fixed(image)
    (image.path / "opt/l/.libuser.so.hmac").unlink()
    fastprelink(*options)
    assert "libuser.so" in fixed(image)


def behind_a_link(image):
    (image.path / "opt/l").mkdir(parents=True)
    (image.path / LIBDIR / "libuser.so").rename(image.path / "opt/l/libuser.so")
    (image.path / LIBDIR / "libuser.so").symlink_to("../../../opt/l/libuser.so")
    image.configure("/usr\n/opt\nmin-saved-us 0\nmin-library-words 0\n")


def fixed(image):
    lines = fastprelink(f"--root={image.path}", "-p", "-C", image.path.with_name("cache")).stdout.splitlines()
    return {os.path.basename(line.split(":")[0]) for line in lines if ": library, fixed at " in line}


@pytest.mark.parametrize("content", [b"-l /usr/bin\n# a configuration\n", b"\x7fELF\2\1\1" + bytes(100)])
def test_what_is_no_cache_is_not_overwritten(image, content):
    path = image.path / "etc/other.conf"
    path.write_bytes(content)
    one_line(fastprelink(f"--root={image.path}", RUNTIME, "-a", "-C", path, status=2), path, "not a cache of this release", "name another file")
    assert path.read_bytes() == content


def test_programs_in_a_configured_directory_of_another_kind(image):
    """They are restored with the rest, and checked."""
    (image.path / "data").mkdir()
    shutil.copy(image.path / PROG, image.path / "data/prog")
    image.configure("/data\n/usr/lib\nmin-saved-us 0\n")
    before = files.digest(image.path / "data/prog")
    image.prelink_all()
    assert files.digest(image.path / "data/prog") != before
    rows, summary = image.records()
    assert rows["data/prog"]["outcome"] == "accelerated" and summary["differing"] == 0
    image.command("-u", "-a")
    assert files.digest(image.path / "data/prog") == before


def test_everything_excluded(image):
    done = image.prelink_all("-b", "/")
    assert done.stdout.endswith("0 prelinked, 0 unchanged, 0 skipped\n") or "excluded" in done.stdout
    assert image.verify("-b", "/").stdout.startswith("0 files checked")


def test_the_command_line_wins_over_a_carrier_that_is_switched_off(image):
    image.configure("/usr\ncarrier no\nmin-saved-us 0\n")
    assert "no carrier" in image.command("-n", *placed([]), "/" + PROG).stdout
    done = image.command("-n", "--carrier=auto", *placed([]), "/" + PROG)
    assert "would be installed" in done.stdout and "no carrier" not in done.stdout


def test_digest_lines_are_those_of_coreutils(image):
    names = [image.path / "usr/bin" / name for name in ("a\nb", "a\\b", "a\rb", "plain")]
    for path in names:
        shutil.copy(image.path / PROG, path)
    for option in ("sha256", "md5"):
        done = run([need.tool(option + "sum"), *names])
        assert fastprelink("--" + option, *names).stdout == done.stdout


def test_numbers_are_decimal_or_hexadecimal(image):
    for seed, status in (("010", 0), ("08", 0), ("0x1f", 0), ("0x", 2), ("1f", 2), ("-1", 2)):
        done = image.command("-n", "-R", f"--seed={seed}", "-f", "/" + PROG, status=status)
        if seed == "010":
            assert done.stdout == image.command("-n", "-R", "--seed=10", "-f", "/" + PROG).stdout


@pytest.mark.parametrize("words", [["-C", "", "-a"], ["-c", "", "-a"], ["--files-from="], ["-u", "-o", "", "/bin/true"], [""], ["-y", "-a", "--junit="]])
def test_names_that_are_empty(words):
    one_line(fastprelink("--root=/nothing", *words, status=2), "name")


@pytest.mark.root
def test_originals_without_a_list_are_an_error(tmp_path):
    """Rather than a command that sees what it must not see."""
    script = (build.TESTSUITE.parent / "contrib/fastprelink-originals.in").read_text().replace("@sbindir@", str(tmp_path))
    path = tmp_path / "originals"
    path.write_text(script)
    path.chmod(0o755)
    for program in (None, "#!/bin/sh\nexit 2\n"):
        if program:
            (tmp_path / "fastprelink").write_text(program)
            (tmp_path / "fastprelink").chmod(0o755)
        done = run([path, "echo", "hi"])
        assert (done.status, done.stdout) == (125, ""), done
    (tmp_path / "fastprelink").write_text("#!/bin/sh\nexit 1\n")
    assert run([path, "echo", "hi"]).stdout == "hi\n"


def test_program_headers_at_the_end_of_the_file(image):
    """Tools move them there; the program is found all the same."""
    path = image.program()
    data = bytearray(path.read_bytes())
    start, = struct.unpack_from("<Q", data, elf.E_PHOFF)
    headers = data[start:start + struct.unpack_from("<H", data, 56)[0] * 56]
    data += bytes(-len(data) % 8) + headers
    struct.pack_into("<Q", data, elf.E_PHOFF, len(data) - len(headers))
    path.write_bytes(data)
    assert f"fastprelink: {path}: not prelinked\n" in image.verify(status=1).stderr
