"""Which libraries get fixed addresses and where: layout, configuration, guarded libraries, by a driver of the engine."""

import os
import random
import shutil
import tempfile

import pytest

from harness import build, need
from harness.run import fastprelink, run

pytestmark = pytest.mark.one_placement

START, END, PAGE = 0x3000000000, 0x4000000000, 4096
SHIPPED = build.TESTSUITE.parent / "contrib" / "fastprelink.conf.d"
EMPTY = "/nonexistent"


def drive(*arguments, **options):
    library = build.BUILD / "lib" / "libfastprelink.a"
    driver = build.compile_c(build.TESTSUITE / "placement" / "driver.c", "driver",
                             ["-D_GNU_SOURCE", f"-I{build.TESTSUITE.parent / 'lib'}", str(library), "-lelf", "-lzstd", "-lnettle"],
                             depends=[library])
    return run([driver, *arguments], **options)


# Layout


class Place:
    def __init__(self, room, alignment=PAGE, base=0, programs=(0,)):
        self.room, self.alignment, self.base, self.programs = room, alignment, base, set(programs)

    @property
    def end(self):
        return self.base + -(-self.room // PAGE) * PAGE


def layout(places, occupied=(), start=0, seed=None, conserve=False):
    """Gives PLACES their bases and checks what holds for all layouts; False when they do not fit."""
    words = 2 if conserve else 0
    numbers = [start, int(seed is not None), seed or 0, int(conserve), words, len(occupied)]
    numbers += [end for both in occupied for end in both] + [len(places)]
    for place in places:
        numbers += [place.room, place.alignment, place.base]
        numbers += [sum(1 << p % 64 for p in place.programs if p // 64 == word) for word in range(words)]
    with tempfile.TemporaryFile() as text:
        text.write(" ".join(map(str, numbers)).encode())
        text.seek(0)
        done = drive("layout", stdin=text)
    assert done.status == 0, done
    if done.stdout == "full\n":
        return False
    bases = [int(line) for line in done.stdout.split()]
    assert len(bases) == len(places)
    for place, base in zip(places, bases):
        place.base = base
        assert START <= base and place.end <= END
        assert base % PAGE == 0 and base % place.alignment == 0
        assert not any(low < place.end and base < high for low, high in occupied)
    in_order = sorted(places, key=lambda place: place.base)
    for i, place in enumerate(in_order):
        for other in in_order[i + 1:]:
            if other.base >= place.end:
                break
            assert conserve and not place.programs & other.programs, (place.base, other.base)
    return True


def some(generator, count, programs=1):
    """Libraries of every size; some are large, some want more than a page's alignment."""
    return [Place(int(2 ** generator.uniform(12, 25)), generator.choice([PAGE] * 9 + [1 << generator.randrange(13, 22)]),
                  programs=generator.sample(range(programs), min(programs, 1 + generator.randrange(3))))
            for _ in range(count)]


def bases(places):
    return [place.base for place in places]


def test_layout_is_dense_and_ascends():
    places = [Place(PAGE), Place(3 * PAGE), Place(PAGE + 1), Place(10), Place(PAGE)]
    assert layout(places)
    assert bases(places) == [START + n * PAGE for n in (0, 1, 4, 6, 7)]


def test_layout_starts_where_asked():
    places = [Place(PAGE), Place(PAGE)]
    assert layout(places, start=START + 0x1000000)
    assert bases(places) == [START + 0x1000000, START + 0x1001000]


@pytest.mark.parametrize("seed", range(20))
def test_random_layouts(seed):
    """Nothing overlaps, and all bases stay when libraries come and go."""
    generator = random.Random(seed)
    occupied = [(START + at * PAGE, START + (at + generator.randrange(1, 5000)) * PAGE)
                for at in generator.sample(range(200000), 20)]
    places = some(generator, 150)
    assert layout(places, occupied)
    before = bases(places)
    assert layout(places, occupied) and bases(places) == before
    rest = [place for place in places if generator.random() < 0.8]
    kept = bases(rest)
    mixed = rest + some(generator, 40)
    generator.shuffle(mixed)
    assert layout(mixed, occupied)
    assert bases(rest) == kept


@pytest.mark.parametrize("wrong", ["misaligned", "below", "behind", "end", "occupied", "overlap"])
def test_base_that_cannot_be_kept(wrong):
    """Only the library that has it moves."""
    first, second = Place(4 * PAGE, base=START + 64 * PAGE), Place(4 * PAGE)
    second.base = {"misaligned": START + 16 * PAGE + 16, "below": START - 2 * PAGE, "behind": END + PAGE,
                   "end": END - 2 * PAGE, "occupied": START + 31 * PAGE, "overlap": START + 62 * PAGE}[wrong]
    if wrong == "misaligned":
        second.alignment = 2 * PAGE
    assert layout([first, second, Place(PAGE, base=START)], [(START + 32 * PAGE, START + 33 * PAGE)])
    assert first.base == START + 64 * PAGE
    assert second.base == START + (2 if wrong == "misaligned" else 1) * PAGE


@pytest.mark.parametrize("order", [1, -1])
def test_occupied_ranges_that_overlap(order):
    occupied = [(START + low * PAGE, START + high * PAGE) for low, high in ((10, 11), (0, 100), (90, 120), (120, 121))]
    place = Place(PAGE)
    assert layout([place], occupied[::order], start=START + 50 * PAGE)
    assert place.base == START + 121 * PAGE


def test_full_window():
    half = (END - START) // 2
    assert layout([Place(half), Place(half)])
    assert not layout([Place(half), Place(half), Place(PAGE)])
    assert not layout([Place(PAGE)], [(0, 2 ** 64 - 1)])
    assert not layout([Place(2 ** 64 - 1)]) and not layout([Place(PAGE, alignment=1 << 63)])


def test_gaps_below_the_start_are_used_when_the_window_ends():
    place = Place(8 * PAGE)
    assert layout([place], [(START + 9 * PAGE, END - PAGE)], start=END - 4 * PAGE)
    assert place.base == START


def test_conserving_memory():
    """Libraries that no program has both of share addresses; a program's own never do."""
    places = [Place(64 * PAGE, programs=[n]) for n in range(100)]
    assert layout(places, conserve=True)
    assert set(bases(places)) == {START}
    both = Place(PAGE, programs=[3, 90])
    assert layout(places + [both], conserve=True) and both.base == START + 64 * PAGE


@pytest.mark.parametrize("seed", range(10))
def test_conserving_memory_at_random(seed):
    generator = random.Random(seed)
    places = some(generator, 120, programs=128)
    occupied = [(START + 5 * PAGE, START + 77 * PAGE)]
    assert layout(places, occupied, conserve=True)
    before = bases(places)
    new = some(generator, 10, programs=128)
    assert layout(places + new, occupied, conserve=True)
    assert bases(places) == before


def test_random_start():
    """The seed decides, nothing else; what libraries had does not matter."""
    def place(seed, had=0):
        places = some(random.Random(7), 50)
        for index, one in enumerate(places):
            one.base = had and had + index * (1 << 26)
        assert layout(places, [(START + (1 << 33), START + (1 << 34))], seed=seed)
        return bases(places)

    assert place(1) == place(1, had=START)
    starts = {place(seed)[0] for seed in range(40)}
    assert len(starts) == 40
    assert min(starts) < START + (END - START) // 4 and max(starts) > END - (END - START) // 4


@pytest.mark.parametrize("seed", range(5))
def test_random_start_in_a_nearly_full_window(seed):
    """However little room is left, all fits."""
    quarter = (END - START) // 4
    assert layout([Place(quarter), Place(quarter), Place(quarter), Place(quarter - PAGE)], seed=seed)
    assert layout([Place(quarter), Place(quarter)], [(START + 2 * quarter, END)], seed=seed)
    assert not layout([Place(quarter)] * 5, seed=seed)


def test_random_start_leaves_room_for_alignment():
    """What is skipped to an aligned address is counted, so that no start has to be given up for the window's."""
    starts = []
    for seed in range(20):
        places = [Place((END - START) // 2), Place((END - START) // 2 - (3 << 20), alignment=2 << 20)]
        assert layout(places, seed=seed)
        assert places[0].base < places[1].base
        starts.append(places[0].base)
    assert starts.count(START) <= 2


def test_thousands_of_libraries():
    """A whole system's: as cheap as reading the numbers."""
    generator = random.Random(1)
    places = [Place(PAGE * generator.randrange(1, 500)) for _ in range(5000)]
    assert layout(places)
    before = bases(places)
    for place in generator.sample(places, 500):
        place.base = 0
    assert layout(places)
    assert sum(a != b for a, b in zip(before, bases(places))) <= 500


# Configuration


@pytest.fixture
def tree(tmp_path):
    """An empty root."""
    for name in ("usr/lib/fastprelink.conf.d", "etc/fastprelink.conf.d", "usr/bin"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def floats(root, *paths, vendor=EMPTY):
    done = drive("config", root, vendor, *paths)
    assert done.status == 0, done.stdout
    return [line == "1" for line in done.stdout.split()]


def test_no_configuration(tmp_path):
    assert floats(tmp_path, "/usr/bin/a") == [False]


@pytest.mark.parametrize("line, paths", [
    ("float-for sshd", {"/usr/sbin/sshd": True, "/opt/sshd": True, "/usr/sbin/sshd2": False, "/sshd/a": False}),
    ("float-for php-fpm*", {"/usr/sbin/php-fpm8.2": True, "/usr/sbin/xphp-fpm": False}),
    ("float-for /opt/*/bin/[ab]", {"/opt/x/bin/a": True, "/opt/x/y/bin/a": False, "/usr/opt/x/bin/a": False, "/opt/x/bin/c": False}),
    ("  float-for\tsshd  # why", {"/usr/sbin/sshd": True}),
    ("#float-for sshd\n\n \n float-for a#b\r\nfloat-for c", {"/sshd": False, "/a#b": True, "/c": True}),
])
def test_float_for(tree, line, paths):
    (tree / "etc/fastprelink.conf").write_text(line)
    assert floats(tree, *paths) == list(paths.values())


def test_float_for_a_link(tree):
    """A link stands for the file that it leads to, inside the root."""
    (tree / "usr/bin/real").touch()
    (tree / "bin").symlink_to("/usr/bin")
    (tree / "usr/bin/link").symlink_to("/bin/real")
    (tree / "etc/fastprelink.conf").write_text("float-for /bin/link\n")
    assert floats(tree, "/usr/bin/real", "/usr/bin/other") == [True, False]


def test_files_of_the_configuration(tree):
    """Both directories, the main file; /etc hides the vendor's file of the same name, also with nothing or a link to /dev/null."""
    vendor, local = tree / "usr/lib/fastprelink.conf.d", tree / "etc/fastprelink.conf.d"
    (tree / "etc/fastprelink.conf").write_text("float-for main\n")
    for name in ("10", "20", "30", "40"):
        (vendor / f"{name}.conf").write_text(f"float-for vendor{name}\n")
    (local / "20.conf").write_text("float-for local20\n")
    (local / "30.conf").symlink_to("/dev/null")
    (local / "40.conf").write_text("")
    (local / "50.conf").write_text("float-for local50\n")
    (local / "60.conf.bak").write_text("nonsense\n")
    (local / ".70.conf").write_text("nonsense\n")
    names = ["main", "vendor10", "vendor20", "local20", "vendor30", "vendor40", "local50"]
    assert floats(tree, *("/" + name for name in names)) == [True, True, False, True, False, False, True]


def test_vendor_files_of_the_host(tree):
    """They count where the root has no directory for its own; the root's /etc hides them in the same way."""
    assert floats(tree, "/usr/sbin/sshd", vendor=SHIPPED) == [False]
    (tree / "usr/lib/fastprelink.conf.d").rmdir()
    assert floats(tree, "/usr/sbin/sshd", "/usr/bin/inkscape", vendor=SHIPPED) == [True, False]
    (tree / "etc/fastprelink.conf.d/50-exposed.conf").touch()
    assert floats(tree, "/usr/sbin/sshd", vendor=SHIPPED) == [False]


@pytest.mark.parametrize("text, what", [
    ("float-for a\nfloat-four b\n", "line 2: unknown directive: float-four"),
    ("\n\nfloat-for\n", "line 3: float-for takes one pattern"),
    ("float-for a b\n", "line 1: float-for takes one pattern"),
    ("float-for bin/a\n", "line 1: neither an absolute path nor a name: bin/a"),
    ("a b c d e f g h i j\n", "line 1: too many words"),
    ("float-for a\0b\n", "not a text file"),
])
@pytest.mark.parametrize("name", ["usr/lib/fastprelink.conf.d/a.conf", "etc/fastprelink.conf.d/a.conf", "etc/fastprelink.conf"])
def test_bad_configuration(tree, name, text, what):
    (tree / name).write_text(text)
    done = drive("config", tree, EMPTY)
    assert done.status == 1 and done.stdout == f"bad-configuration: {tree / name}: {what}\n"


def test_configuration_that_is_no_file(tree):
    os.mkfifo(tree / "etc/fastprelink.conf")
    assert drive("config", tree, EMPTY).stdout.startswith("not-regular: ")


def test_endless_configuration(tree):
    (tree / "etc/fastprelink.conf").write_bytes(b"#" * (1 << 20) + b"\n")
    assert drive("config", tree, EMPTY).stdout.startswith("system: ")


# Guarded libraries


def guarded(exposed, *libraries, lines=""):
    """What the driver says: the counts, and a line for each of LIBRARIES."""
    (exposed / "etc").mkdir(exist_ok=True)
    (exposed / "etc/fastprelink.conf").write_text(lines)
    done = drive("guard", exposed, EMPTY, *(f"/usr/lib/{name}" for name in libraries))
    assert done.status == 0, done
    return done.stdout.splitlines()


@pytest.fixture
def exposed(sampler):
    """A root with two programs, /usr/bin/prog that loads libuser.so, and that libbase.so, and /opt/other that loads libother.so."""
    root = sampler.path / "root"
    libraries = root / "usr/lib"
    libraries.mkdir(parents=True)
    (root / "usr/bin").mkdir()
    (root / "opt").mkdir()
    for name in ("lib", "lib64", "usr/lib64"):
        (root / name).symlink_to("/usr/lib")
    for path in sampler.lib.iterdir():
        shutil.copy2(path, libraries)
    shutil.copy2(os.path.realpath("/lib64/ld-linux-x86-64.so.2"), libraries / "ld-linux-x86-64.so.2")
    shutil.copy2(sampler.prog, root / "usr/bin/prog")
    other = build.compile_c("int other(void) { return 1; }", "libother.so", ["-shared", "-fPIC", "-Wl,-soname,libother.so"])
    shutil.copy2(other, libraries)
    shutil.copy2(build.compile_c("int other(void); int main(void) { return other(); }", "other", libs=[other]), root / "opt")
    return root


def test_nothing_is_guarded_without_exposed_programs(exposed):
    assert guarded(exposed, "libuser.so", "libother.so") == [
        "setuid=0 setgid=0 capabilities=0 named=0 failed=0 libraries=0", "-", "-"]


@pytest.mark.parametrize("mode, kind", [(0o4755, "setuid"), (0o2755, "setgid"), (0o6755, "setuid"), (0o2745, None), (0o1755, None)],
                         ids=lambda value: oct(value) if isinstance(value, int) else value)
def test_privileged_program(exposed, mode, kind):
    """It and nothing else; the group's set-ID bit without its execute bit means nothing."""
    program = exposed / "opt/other"
    program.chmod(mode)
    if program.stat().st_mode & 0o7777 != mode:
        pytest.skip("the file system does not keep the mode")
    counts, other, user = guarded(exposed, "libother.so", "libuser.so")
    assert other == (f"{kind} /opt/other" if kind else "-") and user == "-"
    assert (f"{kind}=1 " in counts) == bool(kind)


@pytest.mark.root
def test_program_with_capabilities(exposed):
    assert run([need.tool("setcap"), "cap_net_raw+ep", exposed / "opt/other"]).status == 0
    assert guarded(exposed, "libother.so")[1] == "capabilities /opt/other"


def test_named_program(exposed):
    """With what its libraries need, whatever else is there; the first one in order of path is named."""
    _, *rest = guarded(exposed, "libuser.so", "libbase.so", "libother.so", lines="float-for prog\n")
    assert rest == ["named /usr/bin/prog"] * 2 + ["-"]
    _, *rest = guarded(exposed, "libuser.so", "libother.so", "libc.so.6", lines="float-for /usr/bin/*\nfloat-for oth*\n")
    assert rest == ["named /usr/bin/prog", "named /opt/other", "named /opt/other"]  # byte order of paths


def test_exposed_program_that_cannot_start(exposed):
    """It is passed over, and counted; a script is not even that."""
    (exposed / "usr/lib/libother.so").unlink()
    script = exposed / "usr/bin/script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o4755)
    counts, user = guarded(exposed, "libuser.so", lines="float-for other\n")
    assert counts == "setuid=0 setgid=0 capabilities=0 named=0 failed=1 libraries=0" and user == "-"


# Fixed libraries


def test_fixed_libraries_are_found(case):
    """With base and room; neither prelinked programs nor libraries that were only linked there."""
    def library(name, *flags, size=1):
        made = build.compile_c(f"char text_of_{name}[{size}] = {{1}}; char *at(void) {{ return text_of_{name}; }}",
                               f"lib{name}.so", ["-shared", "-fPIC", *flags])
        (case.path / "usr/lib").mkdir(parents=True, exist_ok=True)
        return shutil.copy2(made, case.path / "usr/lib")

    small, large, linked = library("small"), library("large", size=3 << 20), library("linked", "-Wl,-Ttext-segment=0x3200000000")
    assert drive("fixed", case.path).stdout == ""
    for name, base in ((small, 0x3000100000), (large, 0x3100000000)):
        done = fastprelink("-r", hex(base), name)
        assert done.status == 0, done
    assert linked
    lines = [line.split() for line in drive("fixed", case.path).stdout.splitlines()]
    assert [line[:2] for line in lines] == [[str(large), "0x3100000000"], [str(small), "0x3000100000"]]
    rooms = [int(line[2], 16) for line in lines]
    assert 5 << 20 < rooms[0] < (5 << 20) + 0x10000 and PAGE <= rooms[1] < 0x10000
