"""What the lines of the configuration mean, by a driver of the engine: directories, patterns, settings, includes, errors."""

import os

import pytest

from harness import build
from harness.run import run

pytestmark = pytest.mark.one_placement

EMPTY = "/nonexistent"
DEFAULTS = "placement=default carrier=auto saved=200 words=8"


def drive(*arguments, **options):
    library = build.BUILD / "lib" / "libfastprelink.a"
    driver = build.compile_c(build.TESTSUITE / "selection" / "driver.c", "driver",
                             ["-D_GNU_SOURCE", f"-I{build.TESTSUITE.parent / 'lib'}", str(library), "-lelf", "-lzstd", "-lnettle"],
                             depends=[library])
    return run([driver, *arguments], **options)


@pytest.fixture
def tree(tmp_path):
    """A root with some directories and no configuration."""
    for name in ("usr/lib/fastprelink.conf.d", "etc/fastprelink.conf.d", "usr/bin", "usr/lib64", "opt/a/bin", "opt/b/bin", "opt/c"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "lib").symlink_to("/usr/lib")
    (tmp_path / "usr/bin/tool").touch()
    return tmp_path


def write(tree, text, name="etc/fastprelink.conf"):
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def said(tree, *paths, file="-"):
    done = drive("config", tree, EMPTY, file, *paths)
    assert done.status == 0, done.stdout
    return done.stdout.splitlines()


def wrong(tree, file="-"):
    done = drive("config", tree, EMPTY, file)
    assert done.status == 1
    return done.stdout.rstrip("\n")


def test_nothing(tree):
    assert said(tree, "/usr/bin/tool") == [DEFAULTS, "/usr/bin/tool silent"]


# Directories

@pytest.mark.parametrize("text, directories", [
    ("/usr/bin", ["/usr/bin/"]),
    ("-l /usr/bin/ # programs", ["-l /usr/bin/"]),
    ("-h /usr/bin", ["-h /usr/bin/"]),
    ("-l -h /usr/bin", ["-l -h /usr/bin/"]),
    ("-h\t-l  /usr/bin\r", ["-l -h /usr/bin/"]),
    ("/usr/bin/tool", ["/usr/bin/tool"]),
    ("/", ["//"]),
    ("/not/there\n/opt/[xyz]", []),
    ("/usr/bin\n/opt/c\n/etc", ["/etc/", "/opt/c/", "/usr/bin/"]),
    ("/opt/*/bin", ["/opt/a/bin/", "/opt/b/bin/"]),
    ("/*/[ab]/b?n", ["/opt/a/bin/", "/opt/b/bin/"]),
    ("/usr/lib{,32,64}", ["/usr/lib/", "/usr/lib64/"]),
    ("-l /{usr/{bin,lib64},opt/c}", ["-l /opt/c/", "-l /usr/bin/", "-l /usr/lib64/"]),
    ("{/opt/c,/usr/bin}", ["/opt/c/", "/usr/bin/"]),
    ("/usr/../usr/./bin", ["/usr/bin/"]),
])
def test_directories(tree, text, directories):
    write(tree, text)
    assert said(tree) == [DEFAULTS, *directories]


def test_links_to_directories(tree):
    """They stand for where they lead inside the root, so nothing is there twice; the last line for a directory counts."""
    write(tree, "-l /usr/bin\n/lib\n/{,usr/}lib\n/bin\n")
    assert said(tree) == [DEFAULTS, "/usr/bin/", "/usr/lib/"]


def test_covers(tree):
    write(tree, "/bin\n/usr/lib64/one.so\n-b /usr/bin/sub\n-b *.py\n")
    (tree / "usr/lib64/one.so").touch()
    assert said(tree, "/usr/bin/x", "/usr/bin", "/usr/binx", "/usr/bin/sub", "/usr/bin/sub/deep/x", "/usr/bin/subx", "/usr/bin/x.py",
                "/usr/lib64/one.so", "/usr/lib64/one.so/x", "/usr/lib64/other.so")[3:] == [
        "/usr/bin/x covered silent", "/usr/bin covered silent", "/usr/binx silent", "/usr/bin/sub excluded silent",
        "/usr/bin/sub/deep/x excluded silent", "/usr/bin/subx covered silent", "/usr/bin/x.py excluded silent",
        "/usr/lib64/one.so covered silent", "/usr/lib64/one.so/x silent", "/usr/lib64/other.so silent"]


# Patterns

@pytest.mark.parametrize("pattern, yes, no", [
    ("/usr/bin/a", ["/usr/bin/a", "/usr/bin/a/b/c"], ["/usr/bin/ab", "/bin/a"]),
    ("/usr/bin/", ["/usr/bin/a"], ["/usr/binx"]),
    ("/bin/a", ["/usr/bin/a"], ["/bin/a"]),
    ("/bin/a*", ["/usr/bin/ab"], ["/usr/bin/b"]),
    ("/bin", ["/usr/bin/a"], ["/usr/lib/a"]),
    ("/opt/*/bin", ["/opt/x/bin", "/opt/x/bin/y"], ["/opt/x/y/bin", "/opt/x/lib"]),
    ("/opt/*", ["/opt/x/y"], ["/opt"]),
    ("/{opt,srv}/x{1,2}", ["/opt/x1", "/opt/x2", "/srv/x1/y"], ["/opt/x3", "/opt/x"]),
    ("*.py", ["/a.py", "/a/b.py", "/a.b.py", "/.py"], ["/a.pyc", "/py", "/a.py/b"]),
    ("*.so.debug", ["/a.so.debug"], ["/a.debug"]),
    ("*.{py,la}", ["/a.py", "/a.la"], ["/a.so"]),
    ("name", ["/a/name"], ["/a/names", "/name/a"]),
    ("lib[ab]san.so*", ["/x/libasan.so.8"], ["/x/libcsan.so"]),
    ("core.?", ["/core.1"], ["/core.12"]),
    (r"\*", ["/*"], ["/x"]),
    (r"a\{b", ["/a{b"], ["/a"]),
])
def test_excluded(tree, pattern, yes, no):
    write(tree, f"-b {pattern}\n")
    assert said(tree, *yes, *no)[1:] == [f"{path} excluded silent" for path in yes] + [f"{path} silent" for path in no]


@pytest.mark.parametrize("options", ["-b -l", "-l -b", "-h -b", "-l -h -b"])
def test_excluded_with_classic_options(tree, options):
    write(tree, f"{options} /opt/c\n")
    assert said(tree, "/opt/c/x") == [DEFAULTS, "/opt/c/x excluded silent"]


@pytest.mark.parametrize("pattern, answer", [
    ("/bin", "1"), ("t{oo,ee}l", "1"), ("other", "0"),
    ("a/b", "bad-configuration: -b: neither an absolute path nor a name: a/b"), ("{", "bad-configuration: -b: a brace without its partner: {"),
])
def test_excluded_by_the_command_line(tree, pattern, answer):
    assert drive("exclude", tree, pattern, "/usr/bin/tool").stdout == answer + "\n"


def test_a_link_that_is_excluded_stands_for_its_file(tree):
    (tree / "opt/link").symlink_to("/bin/tool")
    write(tree, "-b /opt/link")
    assert said(tree, "/usr/bin/tool")[1:] == ["/usr/bin/tool excluded silent"]


def test_placement_of_libraries(tree):
    """The last line that matches counts, whatever its kind."""
    write(tree, "float libq.so*\nfix /usr/lib/*\nfloat *.mine\nfix z\nfloat /usr/lib/z\n")
    assert said(tree, "/opt/libq.so.1", "/usr/lib/libq.so.1", "/usr/lib/a.mine", "/usr/lib/z", "/opt/z", "/opt/y")[1:] == [
        "/opt/libq.so.1 floats", "/usr/lib/libq.so.1 fixed", "/usr/lib/a.mine floats", "/usr/lib/z floats", "/opt/z fixed", "/opt/y silent"]


# Settings

@pytest.mark.parametrize("text, expected", [
    ("placement aslr", "placement=aslr carrier=auto saved=200 words=8"),
    ("placement aslr\nplacement fixed", "placement=fixed carrier=auto saved=200 words=8"),
    ("placement fixed\nplacement default", DEFAULTS),
    ("carrier no", "placement=default carrier=no saved=200 words=8"),
    ("carrier no\ncarrier auto", DEFAULTS),
    ("min-saved-us 0\nmin-library-words 4294967295", "placement=default carrier=auto saved=0 words=4294967295"),
])
def test_settings(tree, text, expected):
    write(tree, text)
    assert said(tree) == [expected]


# Files

def test_order_of_files(tree):
    """Names of both directories in byte order, then the main file; /etc hides the vendor's file of the same name."""
    write(tree, "min-saved-us 1\nmin-library-words 1\nplacement aslr\n", "usr/lib/fastprelink.conf.d/10.conf")
    write(tree, "nonsense\n", "usr/lib/fastprelink.conf.d/20.conf")
    write(tree, "min-saved-us 2\nmin-library-words 2\n", "etc/fastprelink.conf.d/20.conf")
    write(tree, "min-saved-us 3\n")
    assert said(tree) == ["placement=aslr carrier=auto saved=3 words=2"]


def test_another_main_file(tree):
    """It takes the place of /etc/fastprelink.conf alone, and must be there."""
    write(tree, "nonsense\n")
    write(tree, "min-library-words 5\n", "etc/fastprelink.conf.d/a.conf")
    write(tree, "min-saved-us 7\n", "opt/my.conf")
    assert said(tree, file="/opt/my.conf") == ["placement=default carrier=auto saved=7 words=5"]
    assert wrong(tree, file="/opt/none.conf") == "system: /opt/none.conf: open: No such file or directory"


def test_includes(tree):
    """In byte order, in the place of the line; braces and wildcards are understood, and no match is none."""
    write(tree, "-c /etc/more/*.conf\n-c /etc/{x,y}.conf\n-c /etc/none/*\nmin-library-words 3\n")
    write(tree, "min-saved-us 1\nmin-library-words 1\n", "etc/more/a.conf")
    write(tree, "min-saved-us 2\n", "etc/more/b.conf")
    write(tree, "nonsense\n", "etc/more/.hidden.conf")
    write(tree, "nonsense\n", "etc/more/b.conf~")
    write(tree, "carrier no\n", "etc/y.conf")
    assert said(tree) == ["placement=default carrier=no saved=2 words=3"]


def test_a_file_included_twice(tree):
    write(tree, "-c /etc/a\nmin-saved-us 1\n-c /etc/a\n")
    write(tree, "min-saved-us 5\n", "etc/a")
    assert said(tree) == ["placement=default carrier=auto saved=5 words=8"]


def test_a_file_that_includes_itself(tree):
    path = write(tree, "\n-c /etc/fast*.conf\n")
    assert wrong(tree) == f"bad-configuration: {path}: line 2: included again from within itself: {path}"


def test_files_that_include_each_other(tree):
    first = write(tree, "-c /etc/a\n")
    second = write(tree, "# x\n# y\n-c /lib/../../etc/fastprelink.conf\n", "etc/a")
    assert wrong(tree) == f"bad-configuration: {second}: line 3: included again from within itself: {first}"


def test_includes_too_deep(tree):
    write(tree, "-c /etc/0\n")
    for i in range(20):
        write(tree, f"-c /etc/{i + 1}\n", f"etc/{i}")
    assert wrong(tree).startswith(f"bad-configuration: {tree}/etc/14: line 1: too many files one in the other: {tree}/etc/15")


def test_includes_that_multiply(tree):
    """Each of a dozen files includes the next one four times."""
    write(tree, "-c /etc/0\n")
    for i in range(12):
        write(tree, f"-c /etc/{i + 1}\n" * 4, f"etc/{i}")
    write(tree, "", "etc/12")
    assert "too many files: " in wrong(tree)


# Errors

@pytest.mark.parametrize("text, what", [
    ("/usr/bin\nnonsense a\n", "line 2: unknown directive: nonsense"),
    ("-x /usr\n", "line 1: unknown option: -x"),
    ("-lh /usr\n", "line 1: unknown option: -lh"),
    ("-l\n", "line 1: a path is missing"),
    ("-b # *.py\n", "line 1: a path is missing"),
    ("/usr /opt\n", "line 1: more than one path: /opt"),
    ("-b a b\n", "line 1: more than one path: b"),
    ("-l usr/bin\n", "line 1: not an absolute path: usr/bin"),
    ("-c a.conf\n", "line 1: not an absolute path: a.conf"),
    ("-c -l /a\n", "line 1: -c goes with no other option"),
    ("-b a/b\n", "line 1: neither an absolute path nor a name: a/b"),
    ("float a/b\n", "line 1: neither an absolute path nor a name: a/b"),
    ("fix\n", "line 1: fix takes one pattern"),
    ("fix a b\n", "line 1: fix takes one pattern"),
    ("float-for {a,b\n", "line 1: a brace without its partner: {a,b"),
    ("/usr}\n", "line 1: a brace without its partner: /usr}"),
    ("/{a,b/c\n", "line 1: a brace without its partner: /{a,b/c"),
    ("-b " + "{a,b}" * 20 + "\n", "line 1: stands for too many names: " + "{a,b}" * 20),
    ("-b " + "{" * 70 + "}" * 70 + "\n", "line 1: stands for too many names: " + "{" * 70 + "}" * 70),
    ("placement random\n", "line 1: placement is default, fixed or aslr, not: random"),
    ("placement\n", "line 1: placement takes one word"),
    ("carrier /lib/libc.so.6\n", "line 1: carrier is auto or no, not: /lib/libc.so.6"),
    ("min-saved-us -1\n", "line 1: not a number: -1"),
    ("min-saved-us 1ms\n", "line 1: not a number: 1ms"),
    ("min-library-words 4294967296\n", "line 1: not a number: 4294967296"),
    ("min-library-words\n", "line 1: min-library-words takes one number"),
    ("-b /" + "x" * 4096 + "\n", "line 1: longer than any path: /" + "x" * 159),
])
def test_errors(tree, text, what):
    """With file and line, in an included file too."""
    path = write(tree, text)
    assert wrong(tree) == f"bad-configuration: {path}: {what}"
    path.write_text("-c /etc/included\n")
    path = write(tree, text, "etc/included")
    assert wrong(tree) == f"bad-configuration: {path}: {what}"


def test_the_file_after_an_include(tree):
    """The line of an error is that of its own file."""
    path = write(tree, "-c /etc/more\n\nnonsense\n")
    write(tree, "\n\n\n\n\n", "etc/more")
    assert wrong(tree) == f"bad-configuration: {path}: line 3: unknown directive: nonsense"


# Hostile files

@pytest.mark.parametrize("content, reason", [
    (b"\x7fELF\x02\x01\x01\0\0\0\0", "bad-configuration: {}: not a text file"),
    (b"#" * (1 << 20) + b"\n", "system: {}: read: File too large"),
    (b"\xff\xfe \xfd\n", None),
    (b"/" * 4000 + b"\n", None),
    (b"/" + b"*/" * 2000 + b"\n", None),
    (b"a" * 1000000, None),
    (b"a " * 500000, "bad-configuration: {}: line 1: too many words"),
    (b"\n" * 1000000 + b"x", "bad-configuration: {}: line 1000001: unknown directive: x"),
])
def test_hostile_contents(tree, content, reason):
    path = tree / "etc/fastprelink.conf"
    path.write_bytes(content)
    done = drive("config", tree, EMPTY, "-", timeout=20)
    assert done.status in (0, 1)
    if reason:
        assert done.stdout == reason.format(path) + "\n"


@pytest.mark.parametrize("kind", ["fifo", "directory"])
@pytest.mark.parametrize("name", ["etc/fastprelink.conf", "etc/fastprelink.conf.d/a.conf", "usr/lib/fastprelink.conf.d/a.conf", "etc/included"])
def test_no_regular_file(tree, kind, name):
    if name == "etc/included":
        write(tree, "-c /etc/included\n")
    path = tree / name
    os.mkfifo(path) if kind == "fifo" else path.mkdir()
    assert wrong(tree) == f"not-regular: {path}: "


def test_unreadable_file(tree):
    """For root, who reads everything, there is a link to nowhere instead, which is a loop."""
    path = write(tree, "/usr/bin\n")
    if os.geteuid() == 0:
        path.unlink()
        path.symlink_to("fastprelink.conf")
        assert wrong(tree).endswith("open: Too many levels of symbolic links")
    else:
        path.chmod(0)
        assert wrong(tree) == f"system: {path}: open: Permission denied"


def test_links_stay_inside_the_root(tree):
    write(tree, "min-saved-us 9\n", "opt/conf")
    (tree / "etc/fastprelink.conf").symlink_to("/opt/conf")
    write(tree, "-c /../../opt/dir/*\n", "etc/fastprelink.conf.d/a.conf")
    write(tree, "min-library-words 9\n", "opt/real/x")
    (tree / "opt/dir").symlink_to("/../opt/real")
    assert said(tree) == ["placement=default carrier=auto saved=9 words=9"]
