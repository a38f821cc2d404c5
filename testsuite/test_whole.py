"""Whole systems, with -a: what is prelinked, what a change affects, what the cache is for and what it is not needed for."""

import json
import os
import shutil
import signal

import pytest

from harness import build, elf, files, need
from harness.root import LIBC, RUNTIME, Root
from harness.run import fastprelink, one_line, placed, run
from test_placement_policy import ANSWERS, LIBDIR, LIBRARIES, MAIN, compiled, program

pytestmark = [pytest.mark.one_placement, pytest.mark.root]

FIX, FLOAT, AS_CONFIGURED = ("--fixed",), ("--aslr",), ("--default",)
CONFIG = "-l /usr/{bin,sbin}\n-l /usr/{lib,lib64}\nmin-saved-us 0\nmin-library-words 0\n"
RT = "/usr/lib/fastprelink/rt"
EARLY, LATE = "/usr/lib/early", "/usr/lib/late"
PROGRAMS = {f"/usr/bin/{name}" for name in ANSWERS}


class System:
    """A root, and the cache of its runs, which is kept outside of it.  What a program says depends on its name up to a hyphen, since it
    adds up the numbers of its libraries."""

    def __init__(self, root):
        self.root = root
        self.cache = root.path.with_name(root.path.name + ".cache")
        self.answers = {f"/usr/bin/{name}": answer for name, answer in ANSWERS.items()}
        self.numbers = {name: LIBRARIES[name][0] for name in LIBRARIES}

    def host(self, name):
        return self.root.host(name)

    def words(self, *options):
        return [f"--root={self.root.path}", RUNTIME, "-C", self.cache, *placed(options)]

    def all(self, *options, **more):
        return fastprelink(*self.words(*(options or FIX)), "-a", **more)

    def changed(self, names, *options, **more):
        """A run that is told that the files NAMES have changed; a text is given as it is."""
        text = names if isinstance(names, bytes) else "".join(f"{name}\n" for name in names).encode()
        return fastprelink(*self.words(*(options or FIX)), "--files-from=-", stdin=None, input=text, **more)

    def config(self, text=CONFIG):
        path = self.host("/usr/lib/fastprelink.conf.d/10-all.conf")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def base(self, name):
        return next(s[3] for s in elf.segments(self.host(name)) if s[0] == elf.PT_LOAD)

    def right(self):
        """Every program starts accelerated and says what it should."""
        for name, answer in self.answers.items():
            assert self.root.run_fast(name).stdout == answer, name

    def state(self):
        return files.identities(self.host("/usr"))

    def settled(self, *options):
        """Nothing is left to be done, and that is not noted once more."""
        before, cache = self.state(), files.identity(self.cache)
        done = self.all(*options)
        assert self.state() == before and files.identity(self.cache) == cache
        return done

    def touched(self, work):
        """What WORK() replaces below /usr: names inside the root."""
        before = self.state()
        work()
        after = self.state()
        self.right()
        return {"/" + os.path.relpath(path, self.root.path) for path in before.keys() | after.keys()
                if before.get(path) != after.get(path)}

    def add(self, name, path=None):
        """The program NAME under another path."""
        path = path or f"/usr/bin/{name}-new"
        install(program(name), self.host(path))
        self.answers[path] = self.answers[f"/usr/bin/{name}"]
        return path

    def replace(self, name, number):
        """Another build of the library NAME, whose number is NUMBER."""
        install(compiled(name, number), self.host(library(name)))
        self.numbers[name] = number
        for path in self.answers:
            affected = path.rsplit("/", 1)[1].split("-")[0]
            if affected in affected_by(name):
                self.answers[path] = f"{self.numbers[affected] + self.numbers.get(LIBRARIES[affected][1], 0)}\n"

    def ldconfig(self):
        assert run([need.tool("ldconfig"), "-r", self.root.path]).status == 0


def library(name):
    return f"{LIBDIR}/lib{name}.so"


def affected_by(name):
    """The programs that load the library NAME."""
    return {each for each in ANSWERS if each == name or LIBRARIES[each][1] == name}


def install(source, target):
    """As package managers do: a new file takes the place of the old one."""
    new = target.with_name(target.name + ".dpkg-new")
    shutil.copy(source, new)
    new.chmod(0o755)
    new.rename(target)


def filled(root):
    system = System(root)
    for name in LIBRARIES:
        install(compiled(name), root.host(library(name)))
    for name in ANSWERS:
        install(program(name), root.host(f"/usr/bin/{name}"))
    root.copy("/lib64/ld-linux-x86-64.so.2")
    root.add("/bin/true")
    system.config()
    return system


@pytest.fixture
def system(root):
    return filled(root)


def paths_program(system):
    """A program whose libpath.so is looked for in EARLY and found in LATE, under its real name."""
    source = "char path_data[8] = {1}; char *path_words[40] = { [0 ... 39] = path_data }; int path(void) { return %d; }"
    libs = [build.compile_c(source % number, "libpath.so", ["-shared", "-fPIC", "-Wl,-soname,libpath.so"]) for number in (1, 2)]
    main = build.compile_c(MAIN.format("path"), "path", ["-fPIE", "-pie", f"-Wl,-rpath,{EARLY}:{LATE}"], [libs[0]])
    for directory in (EARLY, LATE):
        system.host(directory).mkdir()
    install(libs[0], system.host(f"{LATE}/libpath.so"))
    install(main, system.host("/usr/bin/path"))
    system.answers["/usr/bin/path"] = "1\n"
    return libs[1]


def one_processor():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


# What a run does

@pytest.mark.parametrize("options", [FIX, FLOAT, AS_CONFIGURED], ids=["fixed", "aslr", "default"])
def test_everything_that_is_configured(system, options):
    system.all(*options)
    system.right()
    assert system.root.run_fast("/bin/sh", "-c", "echo yes").stdout == "yes\n"
    assert all(bool(system.base(library(name))) == (options != FLOAT) for name in LIBRARIES)
    done = system.settled(*options)
    assert "0 prelinked" in done.stdout


def test_nothing_is_opened_twice(system):
    """A run with nothing to do opens no program and no library of the root."""
    system.all()
    log = system.cache.with_suffix(".log")
    done = run([need.tool("strace"), "-f", "-qq", "-e", "trace=open,openat", "-o", log, build.TOOL, *system.words(*FIX), "-a",
                f"--runtime-source={build.RUNTIME}"])
    assert done.status == 0, done
    opened = {line.split('"')[1] for line in log.read_text().splitlines() if '"' in line and " = -1 " not in line}
    inside = {os.path.relpath(path, system.root.path) for path in opened if path.startswith(str(system.root.path))}
    names = {os.path.basename(path) for path in opened}
    assert not [path for path in inside if path.startswith("usr/bin/")]
    assert not names & {f"lib{name}.so" for name in LIBRARIES} and not [path for path in inside if path.endswith("libc.so.6")]


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_replaced_library(system, name):
    """Its programs are done again, and it gets its address back; nothing else is touched."""
    system.all()
    base = system.base(library(name))
    system.replace(name, 7)
    touched = system.touched(system.all)
    # What needs it holds natural bindings to it.
    needing = {library(each) for each in LIBRARIES if LIBRARIES[each][1] == name}
    assert {library(name)} | {f"/usr/bin/{each}" for each in affected_by(name)} <= touched
    assert touched <= {library(name)} | needing | {f"/usr/bin/{each}" for each in affected_by(name)}
    assert system.base(library(name)) == base
    system.settled()


def test_a_replaced_library_under_its_real_name(system):
    """ld.so finds it where the walk does."""
    other = paths_program(system)
    system.all()
    install(other, system.host(f"{LATE}/libpath.so"))
    system.answers["/usr/bin/path"] = "2\n"
    assert system.touched(system.all) == {f"{LATE}/libpath.so", "/usr/bin/path"}
    system.settled()


def test_a_replaced_program(system):
    system.all()
    install(program("three"), system.host("/usr/bin/one"))
    system.answers["/usr/bin/one"] = ANSWERS["three"]
    assert system.touched(system.all) == {"/usr/bin/one"}
    system.settled()


def test_a_new_program(system):
    system.all()
    new = system.add("two")
    assert system.touched(system.all) == {new}
    system.settled()


def test_a_program_that_is_gone(system):
    """It is forgotten, and nobody speaks of it."""
    system.all()
    assert b"/usr/bin/three" in system.cache.read_bytes()
    system.host("/usr/bin/three").unlink()
    del system.answers["/usr/bin/three"]
    done = system.all("--fixed", "-v")
    assert "/usr/bin/three" not in done.stdout and b"/usr/bin/three" not in system.cache.read_bytes()
    system.settled()


def test_a_library_in_an_earlier_directory(system):
    other = paths_program(system)
    system.all()
    install(other, system.host(f"{EARLY}/libpath.so"))
    system.answers["/usr/bin/path"] = "2\n"
    assert system.touched(system.all) == {"/usr/bin/path", f"{EARLY}/libpath.so"}
    system.settled()
    system.host(f"{EARLY}/libpath.so").unlink()
    system.answers["/usr/bin/path"] = "1\n"
    assert system.touched(system.all) == {"/usr/bin/path"}
    system.settled()


def test_another_answer_of_ld_so_cache(system):
    """A directory that ld.so.conf lists first has another libthree.so."""
    system.all()
    system.host("/usr/lib/first").mkdir()
    install(compiled("three", 9), system.host("/usr/lib/first/libthree.so"))
    system.host("/etc/ld.so.conf").write_text("/usr/lib/first\n" + system.host("/etc/ld.so.conf").read_text())
    system.ldconfig()
    system.answers["/usr/bin/three"] = "9\n"
    assert system.touched(system.all) == {"/usr/bin/three", "/usr/lib/first/libthree.so"}
    system.settled()


@pytest.mark.parametrize("gone", ["removed", "script"])
def test_an_exposed_program_comes_and_goes(system, gone):
    """What it loads floats as long as it is there, and the programs that load the same are right at every time."""
    system.all(*AS_CONFIGURED)
    assert all(system.base(library(name)) for name in LIBRARIES)
    exposed = system.host("/usr/sbin/exposed")
    install(program("two"), exposed)
    exposed.chmod(0o4755)
    for _ in range(2):
        system.all(*AS_CONFIGURED)
        assert {name for name in LIBRARIES if system.base(library(name))} == {"one", "three"}
        system.right()
    system.settled(*AS_CONFIGURED)
    exposed.unlink()
    if gone == "script":
        exposed.write_text("#!/bin/sh\n")
        exposed.chmod(0o755)
    system.all(*AS_CONFIGURED)
    assert all(system.base(library(name)) for name in LIBRARIES)
    system.right()
    system.settled(*AS_CONFIGURED)


def test_an_exposed_program_that_is_left_alone(system):
    """What only it loads, by now, floats as well."""
    system.all(*AS_CONFIGURED)
    system.host("/usr/bin/three").unlink()
    del system.answers["/usr/bin/three"]
    install(program("three"), system.host("/usr/sbin/exposed"))
    system.host("/usr/sbin/exposed").chmod(0o4755)
    system.all(*AS_CONFIGURED)
    assert not system.base(library("three")) and system.base(library("one"))
    system.settled(*AS_CONFIGURED)


@pytest.mark.parametrize("how", ["outside", "excluded", "option"])
def test_a_library_that_is_not_to_be_touched(system, how):
    """Programs that load it are prelinked all the same."""
    other = paths_program(system)
    options = FIX
    if how == "outside":
        system.config("-l /usr/bin\n-l /usr/lib64\n-l /usr/lib/x86_64-linux-gnu\nmin-saved-us 0\nmin-library-words 0\n")
    elif how == "excluded":
        system.config(CONFIG + "-b /usr/lib/late\n")
    else:
        options = ("--fixed", "-b", "libpath.so")
    before = files.identity(system.host(f"{LATE}/libpath.so"))
    system.all(*options)
    assert files.identity(system.host(f"{LATE}/libpath.so")) == before
    system.right()
    system.settled(*options)
    install(other, system.host(f"{LATE}/libpath.so"))
    system.answers["/usr/bin/path"] = "2\n"
    assert system.touched(lambda: system.all(*options)) == {"/usr/bin/path"}
    system.settled(*options)


@pytest.mark.parametrize("how", ["outside", "excluded"])
def test_a_carrier_that_is_not_to_be_touched(system, how):
    """Then there is none, and nothing is prelinked."""
    system.config("-l /usr/bin\nmin-saved-us 0\n" if how == "outside" else CONFIG + "-b libc.so.6\n")
    before = system.state()
    done = system.all("--fixed", "-v")
    assert system.state() == before
    assert "0 prelinked" in done.stdout and "libc.so.6" in done.stdout + done.stderr


def test_a_carrier_that_has_its_stub_already(system):
    """It serves though the configuration does not cover it, nor ld.so; and that affects nobody again and again."""
    system.all()
    system.config("-l /usr/bin\nmin-saved-us 0\n")
    system.add("three")
    for _ in range(2):
        system.all()
        system.right()
    system.settled()
    new = system.add("three", "/usr/bin/three-newer")
    assert system.touched(system.all) == {new}


def test_a_configured_directory_that_appears(system):
    """What is in it is covered from then on."""
    paths_program(system)
    system.config("-l /usr/{bin,lib64,alias}\n-l /usr/lib/x86_64-linux-gnu\nmin-saved-us 0\n")
    system.all()
    assert not system.base(f"{LATE}/libpath.so")
    system.host("/usr/alias").symlink_to(LATE)
    system.all()
    assert system.base(f"{LATE}/libpath.so")
    system.right()
    system.settled()
    before = files.identity(system.host(f"{LATE}/libpath.so"))
    system.host("/usr/alias").unlink()
    system.all()
    assert files.identity(system.host(f"{LATE}/libpath.so")) == before
    system.right()
    system.settled()


def test_libraries_alone(system):
    """--libs-only gives them their places; the next run does the programs."""
    touched = system.root.digests()
    system.all("--fixed", "--libs-only")
    changed = system.root.inside(files.changed(touched, system.root.digests()))
    assert {library(name) for name in LIBRARIES} <= changed and not changed & PROGRAMS
    bases = {name: system.base(library(name)) for name in LIBRARIES}
    assert all(bases.values())
    system.all()
    assert {name: system.base(library(name)) for name in LIBRARIES} == bases
    system.right()
    system.settled()


def test_directories_that_are_named(system):
    """Of them only programs count."""
    other = files.identity(system.host("/usr/bin/three"))
    system.host("/usr/some").mkdir()
    for name in ("one", "two"):
        system.host(f"/usr/bin/{name}").rename(system.host(f"/usr/some/{name}"))
        system.answers[f"/usr/some/{name}"] = system.answers.pop(f"/usr/bin/{name}")
    shutil.copy(compiled("three"), system.host("/usr/some/libthree.so"))
    before = files.identity(system.host("/usr/some/libthree.so"))
    del system.answers["/usr/bin/three"]
    done = fastprelink(*system.words("--fixed", "-v"), "/usr/some")
    assert {line.split(":")[0] for line in done.stdout.splitlines() if line.startswith("/usr/some")} == {"/usr/some/one", "/usr/some/two"}
    assert files.identity(system.host("/usr/some/libthree.so")) == before
    assert files.identity(system.host("/usr/bin/three")) == other
    system.right()


def test_each_program_is_told_of_once(system):
    """Also one that has two names, in directories that are one."""
    system.config(CONFIG + "-l /bin\n-h /usr/links\n")
    system.host("/usr/links").mkdir()
    system.host("/usr/links/also-one").symlink_to("/usr/bin/one")
    system.host("/usr/links/bin").symlink_to("/bin")
    for _ in range(2):
        rows = [json.loads(line) for line in system.all("--fixed", "--json").stdout.splitlines()]
        names = [row["file"] for row in rows if "file" in row]
        assert len(names) == len(set(names)) and PROGRAMS <= set(names)
    system.settled()


def test_hard_links_are_told_of_once(system):
    """Such files are left alone."""
    os.link(system.host("/usr/bin/one"), system.host("/usr/bin/one-too"))
    before = files.digest(system.host("/usr/bin/one"))
    for _ in range(2):
        done = system.all("--fixed", "-v", status=None)
        assert sum("/usr/bin/one" in line for line in (done.stdout + done.stderr).splitlines()) == 1
    assert files.digest(system.host("/usr/bin/one")) == before
    system.host("/usr/bin/one-too").unlink()
    system.all()
    system.right()
    system.settled()


def test_a_library_under_two_names(system):
    """One program finds it by ld.so.cache, another one by its own path; a change of its place concerns both."""
    libs = [compiled("three")]
    main = build.compile_c(MAIN.format("three"), "three-too", ["-fPIE", "-pie", f"-Wl,-rpath,{LIBDIR}"], libs)
    install(main, system.host("/usr/bin/three-too"))
    system.answers["/usr/bin/three-too"] = ANSWERS["three"]
    system.all()
    system.right()
    system.settled()
    assert run([need.tool("chroot"), system.root.path, "/bin/true"]).status == 0
    system.all("--fixed", "-R", "--seed=3")
    system.right()
    system.root.undo(library("three"))
    assert system.touched(system.all) == {library("three"), "/usr/bin/three", "/usr/bin/three-too"}
    system.settled()


def test_a_library_that_moves_under_its_other_name(system):
    """What floats now, because of an exposed program that finds it under one name, is right for who finds it under another."""
    main = build.compile_c(MAIN.format("three"), "three-too", ["-fPIE", "-pie", f"-Wl,-rpath,{LIBDIR}"], [compiled("three")])
    install(main, system.host("/usr/bin/three-too"))
    system.answers["/usr/bin/three-too"] = ANSWERS["three"]
    system.all(*AS_CONFIGURED)
    install(program("three"), system.host("/usr/sbin/exposed"))
    system.host("/usr/sbin/exposed").chmod(0o4755)
    system.all(*AS_CONFIGURED)
    assert not system.base(library("three"))
    system.right()
    system.settled(*AS_CONFIGURED)


def test_a_library_that_was_missing(system):
    """Its program waits for it."""
    other = paths_program(system)
    system.host(f"{LATE}/libpath.so").unlink()
    done = system.all("--fixed", "-v")
    assert "libpath.so" in done.stdout + done.stderr
    install(other, system.host(f"{LATE}/libpath.so"))
    system.answers["/usr/bin/path"] = "2\n"
    system.changed([f"{LATE}/libpath.so"])
    system.right()
    system.settled()


def test_a_library_that_could_not_be_written(system):
    """The next run tries again, though no file has changed."""
    def limit():
        import resource
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2500000, 2500000))

    done = system.all(preexec_fn=limit, status=1)
    assert "libtwo.so" in done.stdout + done.stderr
    assert not system.base(library("two"))
    system.right()
    system.all()
    assert system.base(library("two"))
    system.right()
    system.settled()


def test_a_library_that_was_undone_by_hand(system):
    system.all()
    system.root.undo(library("common"))
    assert not system.base(library("common"))
    assert library("common") in system.touched(system.all)
    assert system.base(library("common"))
    system.settled()


def test_a_carrier_that_was_replaced(system):
    """As by an upgrade of glibc: everything is accelerated again."""
    original = system.cache.with_suffix(".libc")
    shutil.copy(system.root.libc, original)
    system.all()
    install(original, system.root.libc)
    assert "/" + LIBC in system.touched(system.all)
    system.settled()


def test_the_runtime_comes_back(system):
    system.all()
    system.host(RT).unlink()
    assert system.touched(system.all) == {RT}


def test_undo_of_everything(system):
    """Every byte is restored, and the next run starts anew."""
    original = system.root.digests()
    system.all()
    first = system.root.digests()
    system.root.undo()
    assert system.root.digests() == original
    system.all()
    assert system.root.digests() == first
    system.right()
    system.settled()


def test_without_a_configured_directory(system):
    system.config("min-saved-us 0\n")
    before = system.state()
    one_line(system.all("--fixed", status=2), "no directory is configured")
    assert system.state() == before and not system.cache.exists()


# What may be asked for

def test_a_dry_run(system):
    """It changes nothing, not even the cache, and says what the run after it does."""
    for prepare in (lambda: None, lambda: system.replace("common", 5)):
        prepare()
        before, cache = system.root.digests(), system.cache.exists() and files.identity(system.cache)
        said = system.all("--fixed", "-n", "--json").stdout.splitlines()
        assert system.root.digests() == before
        assert (system.cache.exists() and files.identity(system.cache)) == cache
        rows = [json.loads(line) for line in said]
        expected = {row["file"] for row in rows if row.get("outcome") == "prelinked"}
        assert {name for name in system.touched(system.all) if name.startswith(("/usr/bin", "/usr/sbin"))} == expected


def test_the_cache_is_not_updated(system):
    system.all("--fixed", "-N")
    assert not system.cache.exists()
    system.all()
    cache = files.identity(system.cache)
    system.replace("three", 6)
    system.all("--fixed", "-N")
    system.right()
    assert files.identity(system.cache) == cache
    system.all()
    system.right()
    system.settled()


@pytest.mark.parametrize("options", [FLOAT, ("--fixed", "-f"), ("--fixed", "-m"), ("--fixed", "--carrier=no"), "config"],
                         ids=["placement", "force", "conserve", "carrier", "configuration"])
def test_a_cache_of_another_run(system, options):
    """What was found out for other options or another configuration is not used."""
    system.all()
    if options == "config":
        options = FIX
        system.config(CONFIG + "float *libthree*\n")
        expected = {name for name in LIBRARIES if name != "three"}
    else:
        expected = set() if options == FLOAT else set(LIBRARIES)
    system.all(*options)
    assert {name for name in LIBRARIES if system.base(library(name))} == expected
    system.right()
    system.settled() if options == FIX else None
    system.config()
    system.all()
    assert all(system.base(library(name)) for name in LIBRARIES)
    system.right()
    system.settled()


def test_at_random(system):
    """Every run moves everything; a run without -R leaves it where it is."""
    found = []
    for seed in (1, 2):
        system.all("--fixed", "-R", f"--seed={seed}")
        found.append([system.base(library(name)) for name in LIBRARIES])
        system.right()
    assert not set(found[0]) & set(found[1])
    system.all()
    assert [system.base(library(name)) for name in LIBRARIES] == found[1]


def test_addresses_are_shared(system):
    """With -m; without it nobody shares any more."""
    system.all("--fixed", "-m")
    system.right()
    bases = [system.base(library(name)) for name in LIBRARIES]
    assert len(set(bases)) < len(bases)
    system.all()
    bases = [system.base(library(name)) for name in LIBRARIES]
    assert len(set(bases)) == len(bases)
    system.right()
    system.settled()


# What has changed is said by somebody else

def test_changed_library(system):
    """Its programs are found without a walk."""
    system.all()
    system.replace("common", 8)
    done = system.changed([library("common"), "/usr/bin/nothing", "relative", "/usr/lib"])
    assert "2 prelinked" in done.stdout
    system.right()
    system.settled()


def test_changed_names_end_with_nulls(system):
    system.all()
    new = system.add("three", "/usr/bin/three-new\nname")
    system.changed(f"{new}\0/usr/bin/nothing\0".encode())
    system.right()
    system.settled()


def test_changed_names_with_the_roots_prefix(system):
    system.all()
    new = system.add("three")
    system.changed([system.host(new)])
    system.right()
    system.settled()


def test_nothing_has_changed(system):
    """An empty list."""
    system.all()
    before, cache = system.state(), files.identity(system.cache)
    system.changed([])
    assert system.state() == before and files.identity(system.cache) == cache


def test_changed_without_a_cache(system):
    """Nobody knows what a change affects: everything is looked at."""
    system.changed(["/usr/bin/one"])
    system.right()
    system.settled()


def test_changed_outside_of_the_configuration(system):
    system.all()
    system.host("/opt").mkdir()
    shutil.copy(program("one"), system.host("/opt/one"))
    before = files.identity(system.host("/opt/one"))
    system.changed(["/opt/one"])
    assert files.identity(system.host("/opt/one")) == before
    system.settled()


def test_changed_programs_that_are_gone(system):
    system.all()
    system.host("/usr/bin/three").unlink()
    del system.answers["/usr/bin/three"]
    system.changed(["/usr/bin/three"])
    assert b"/usr/bin/three" not in system.cache.read_bytes()
    system.right()


# The same bytes

@pytest.mark.parametrize("options", [FIX, ("--fixed", "-m"), AS_CONFIGURED], ids=["fixed", "conserve", "default"])
def test_the_same_bytes_in_two_roots(system, tmp_path, options):
    """On one processor or all."""
    with Root(tmp_path / "other") as other:
        twin = filled(other)
        system.all(*options)
        twin.all(*options, preexec_fn=one_processor)
        found = [{os.path.relpath(path, each.root.path): digest for path, digest in each.root.digests().items()
                  if "ld.so.cache" not in path} for each in (system, twin)]
        assert found[0] == found[1]
