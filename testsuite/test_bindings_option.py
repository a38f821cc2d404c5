"""`fastprelink --bindings` says what ld.so says: LD_DEBUG=bindings, with everything bound at start."""

import json
import os
import subprocess

import pytest

from harness import build, elf, files, need
from harness.run import fastprelink, one_line
from oracle import bindings
from test_bindings import VERSION_MAP, VERSIONED, printing, versioned

pytestmark = pytest.mark.one_placement  # says itself which

DT_FLAGS, DF_SYMBOLIC = 30, 2

HEAVY = """addr2line apt-get ar as bash clang-14 dpkg-deb eu-readelf ffmpeg ffplay ffprobe find g++ gdb getfacl git grep
inkscape inkview ld.bfd ld.gold ld.lld llvm-objdump llvm-readobj ls ltrace mold objdump patchelf perl python3
readelf strace tar valgrind-listener""".split()


def rows(case, *options):
    """The records of the program of CASE."""
    done = fastprelink("--bindings", "--json", f"--ld-library-path={case.lib}", *options, case.prog)
    return [json.loads(line) for line in done.stdout.splitlines()]


def agree(case):
    """Compares CASE's program with ld.so, traced and run; returns the records."""
    told, disputed = bindings.ours(case.prog, [f"--ld-library-path={case.lib}"])
    assert told.found and not disputed
    assert not bindings.compare(bindings.ld_so(case.prog, case.env()), told)
    if not told.undefined:
        assert not bindings.compare_run(case.prog, bindings.ld_so(case.prog, case.env(), run=True), told)
    return rows(case)


def of(found, symbol, holder):
    """What the references to SYMBOL of the object HOLDER are: kind, version, outcome, and the provider's file name."""
    return [(row["kind"], row["version"], row["outcome"], row["provider"] and os.path.basename(row["provider"]))
            for row in found if row["symbol"] == symbol and os.path.basename(row["holder"]) == holder]


def test_sampler(sampler):
    agree(sampler)


def test_versions(case):
    versioned(case)
    case.program(printing("f() * 10 + old()", 'int f(void), old(void); __asm__(".symver old,f@V1");'), ["liba.so"])
    found = agree(case)
    values = {row["version"]: row["value"] for row in found if row["symbol"] == "f"}
    assert values == {"V1": elf.symbol(case.lib / "liba.so", "old_f"), "V2": elf.symbol(case.lib / "liba.so", "new_f")}
    assert sorted(of(found, "f", "prog")) == [("plt", "V1", "bound", "liba.so"), ("plt", "V2", "bound", "liba.so")]


def test_version_decides_between_libraries(case):
    versioned(case, "int f(void) { return 1; }", "A { f; };", "liba.so")
    versioned(case, "int f(void) { return 2; }", "B { f; };", "libb.so")
    case.library("libc1.so", "int f(void); int g(void) { return f(); }", ["libb.so"])
    case.program(printing("g() * 10 + f()", "int f(void), g(void);"), ["liba.so", "libc1.so"])
    found = agree(case)
    assert of(found, "f", "libc1.so") == [("plt", "B", "bound", "libb.so")]
    assert of(found, "f", "prog") == [("plt", "A", "bound", "liba.so")]


def test_unversioned_reference_to_a_versioned_library(case):
    stub = case.library("liba.so", "int f(void) { return 0; }", where="stub")
    case.library("libuser.so", "int f(void); int (*at)(void) = f;", [stub])
    versioned(case, VERSIONED, VERSION_MAP)
    case.program(printing("at()", "extern int (*at)(void);"), ["libuser.so"], ["-Wl,--unresolved-symbols=ignore-all"])
    found = agree(case)
    assert of(found, "f", "libuser.so") == [("word", None, "bound", "liba.so")]
    assert [row["value"] for row in found if row["symbol"] == "f"] == [elf.symbol(case.lib / "liba.so", "old_f")]


def test_unversioned_reference_passes_over_hidden_versions(case):
    stub = case.library("liba.so", "int f(void) { return 0; }", where="stub")
    case.library("libuser.so", "int f(void); int (*at)(void) = f;", [stub])
    versioned(case, 'int g(void) { return 1; } int old_f(void) { return 2; } __asm__(".symver old_f,f@V2");',
              "V1 { global: g; local: *; }; V2 { global: f; } V1;")
    case.library("libb.so", "int f(void) { return 3; }")
    case.program(printing("at()", "extern int (*at)(void);"), ["libuser.so", "liba.so", "libb.so"])
    assert of(agree(case), "f", "libuser.so") == [("word", None, "bound", "libb.so")]


def test_weak(case):
    case.library("liba.so", "__attribute__((weak)) int f(void) { return 1; }")
    case.library("libb.so", "int f(void) { return 2; } int g(void) { return f(); }"
                            "extern int gone(void) __attribute__((weak)); int has(void) { return gone != 0; }")
    case.program(printing("g() + has()", "int g(void), has(void);"), ["liba.so", "libb.so"])
    found = agree(case)
    assert of(found, "f", "libb.so") == [("plt", None, "bound", "liba.so")]
    assert of(found, "gone", "libb.so") == [("slot", None, "unbound", None)]


def test_undefined(case):
    case.library("liba.so", "int gone(void); int f(int n) { return n ? gone() : 1; }")
    case.program(printing("f(0)", "int f(int);"), ["liba.so"])
    assert of(agree(case), "gone", "liba.so") == [("plt", None, "undefined", None)]


def test_undefined_version(case):
    """The version is there, but no longer this symbol."""
    versioned(case)
    case.program(printing("f()", "int f(void);"), ["liba.so"])
    versioned(case, "int f(void) { return 1; } int g(void) { return 2; }", "V1 { f; }; V2 { g; } V1;")
    assert of(agree(case), "f", "prog") == [("plt", "V2", "undefined", None)]


@pytest.mark.parametrize("pie", [True, False], ids=["pie", "no-pie"])
def test_copy_and_canonical_plt(case, pie):
    case.library("liba.so", "int value = 1; int *at = &value; int f(void) { return 1; } void *address(void) { return f; }")
    case.program(printing("value + *at + (address() == (void *)f)",
                          "extern int value, *at; int f(void); void *address(void);"), ["liba.so"], pie=pie)
    found = agree(case)
    assert of(found, "value", "prog") == [("copy", None, "bound", "liba.so")]
    assert of(found, "value", "liba.so") == [("word", None, "bound", "prog")]
    assert of(found, "f", "liba.so") == [("slot", None, "bound", "liba.so" if pie else "prog")]


def test_protected_and_interposed(case):
    case.library("liba.so", "int f(void) { return 1; } int g(void) { return 1; }")
    case.library("libb.so", '__attribute__((visibility("protected"))) int f(void) { return 2; } int g(void) { return 2; }'
                            "int (*at)(void) = f; int (*other)(void) = g;")
    case.program(printing("at() + other()", "extern int (*at)(void), (*other)(void);"), ["liba.so", "libb.so"])
    found = agree(case)
    assert of(found, "f", "libb.so") == [("word", None, "bound", "libb.so")]
    assert of(found, "g", "libb.so") == [("word", None, "bound", "liba.so")]


def test_canonical_plt_of_a_protected_function(case):
    """ld.so may warn about it, so tables leave it alone; what it is bound to is said nevertheless."""
    case.library("liba.so", "int f(void) { return 1; }")
    case.program(printing("(at = f) != 0 && f()", "int f(void); int (*volatile at)(void);"), ["liba.so"], pie=False)
    case.library("liba.so", '__attribute__((visibility("protected"))) int f(void) { return 1; }')
    told, disputed = bindings.ours(case.prog, [f"--ld-library-path={case.lib}"])
    assert [row["symbol"] for row in disputed] == ["f"]
    assert not bindings.compare(bindings.ld_so(case.prog, case.env()), told)
    assert of(rows(case), "f", "prog") == [("plt", None, "disputed", "liba.so")]


def test_symbolic(case):
    case.library("libb.so", "int g(void) { return 5; }")
    case.library("liba.so", "int g(void); int f(void) { return 1; } int (*at[])(void) = { f, g };", ["libb.so"],
                 flags=["-Wl,-Bsymbolic"])
    case.program(printing("at[0]() + at[1]()", "extern int (*at[])(void); int f(void) { return 2; } int g(void) { return 6; }"),
                 ["liba.so"])
    assert of(agree(case), "g", "liba.so") == [("word", None, "bound", "prog")]


def test_symbolic_prefers_itself(case):
    """Linkers resolve these themselves; a flag that is added later makes ld.so do it."""
    case.library("liba.so", "int f(void) { return 1; } int (*at)(void) = f;", flags=["-Wl,-z,now"])
    elf.dynamic_or(case.lib / "liba.so", DT_FLAGS, DF_SYMBOLIC)
    case.program(printing("at()", "extern int (*at)(void); int f(void) { return 2; }"), ["liba.so"])
    assert of(agree(case), "f", "liba.so") == [("word", None, "bound", "liba.so")]


def test_unique(case):
    header = "template<int> struct S { static int value; }; template<int N> int S<N>::value = N;\n"
    for name in "ab":
        case.library(f"lib{name}.so", header + f"int *{name}() {{ return &S<4>::value; }}", lang="c++")
    case.library("libc1.so", header + "int *at = &S<4>::value;", lang="c++")
    case.program(header + "int *a(), *b(); extern int *at; int main() { return a() != b() || *at != 4; }",
                 ["liba.so", "libb.so", "libc1.so"], lang="c++")
    found = agree(case)
    assert any(row["unique"] for row in found)


def test_unique_depends_on_the_order(case):
    """liba comes first in the scope, but libb is relocated first and finds its own definition, which is everybody's then."""
    header = "inline int &value() { static int v = 4; return v; }\n"
    case.library("libb.so", header + "int *b() { return &value(); }", lang="c++", flags=["-Wl,-z,now"])
    elf.dynamic_or(case.lib / "libb.so", DT_FLAGS, DF_SYMBOLIC)
    case.library("liba.so", header + "int *b(); int *a() { return b() == &value() ? b() : 0; }", ["libb.so"], lang="c++")
    case.program("int *a(), *b(); int main() { return !a() || !b(); }", ["liba.so", "libb.so"], lang="c++")
    found = agree(case)
    assert any(row["unique"] and row["symbol"] == "_ZZ5valuevE1v" for row in found)
    assert {row["provider"] for row in found if row["symbol"] == "_ZZ5valuevE1v"} == {str(case.lib / "libb.so")}


def test_ifunc(case):
    case.library("liba.so", "static int one(void) { return 1; } static void *choose(void) { return one; }"
                            'int f(void) __attribute__((ifunc("choose"))); int (*at)(void) = f;')
    case.program(printing("f() + at()", "int f(void); extern int (*at)(void);"), ["liba.so"])
    found = agree(case)
    assert of(found, "f", "prog") == [("plt", None, "bound", "liba.so")]
    assert all(row["ifunc"] for row in found if row["symbol"] == "f")


@pytest.mark.parametrize("dialect,kinds", [("gnu", {"tls-module", "tls-module-offset"}), ("gnu2", {"tls-descriptor"})])
def test_tls(case, dialect, kinds):
    case.library("liba.so", "__thread int value = 3;")
    case.library("libb.so", "extern __thread int value; int get(void) { return value; }", ["liba.so"],
                 flags=[f"-mtls-dialect={dialect}"])
    case.program(printing("get() + value", "int get(void); extern __thread int value;"), ["libb.so", "liba.so"])
    found = agree(case)
    assert {kind for kind, *_ in of(found, "value", "libb.so")} <= kinds
    assert of(found, "value", "libb.so")
    assert of(found, "value", "prog") == [("tls-offset", None, "bound", "liba.so")]


def test_preload(case):
    case.library("liba.so", "int f(void) { return 1; }")
    other = case.library("libpre.so", "int f(void) { return 2; }")
    case.program(printing("f()", "int f(void);"), ["liba.so"])
    told, _ = bindings.ours(case.prog, [f"--ld-library-path={case.lib}", f"--ld-preload={other}"])
    assert not bindings.compare(bindings.ld_so(case.prog, case.env(LD_PRELOAD=str(other))), told)
    assert (str(case.prog), "f", None, str(other)) in told.found


def test_a_prelinked_program_and_its_libraries(sampler):
    """Rewriting, in any placement, changes no binding; shifted libraries have other values."""
    def told():
        return [{**row, "value": None} for row in rows(sampler)]

    sampler.adopt()
    before = told()
    for placement in ("--aslr", "--fixed"):
        sampler.prelink(options=["-f", placement])
        assert told() == before
        agree(sampler)


def test_text(case):
    versioned(case)
    case.program(printing("f()", "int f(void);"), ["liba.so"])
    line = fastprelink("--bindings", f"--ld-library-path={case.lib}", case.prog).stdout.splitlines()
    assert f"{case.prog}: plt f@V2 => {case.lib}/liba.so" in line
    assert f"{case.prog}: slot _ITM_registerTMCloneTable => nothing" in line
    assert len(line) == len(rows(case))


def test_several_programs(sampler):
    other = sampler.program("int main(void) { return 0; }", name="other")
    options = ["--bindings", "--json", f"--ld-library-path={sampler.lib}"]
    both = fastprelink(*options, sampler.prog, other).stdout
    assert both == fastprelink(*options, sampler.prog).stdout + fastprelink(*options, other).stdout
    assert {json.loads(line)["file"] for line in both.splitlines()} == {str(sampler.prog), str(other)}


def test_a_reader_that_stops(sampler):
    """Nobody reads: that is an error, and soon noticed."""
    with open("/dev/full", "w") as full:
        done = subprocess.run([build.TOOL, "--bindings", sampler.prog], env=sampler.env(), stdout=full,
                              stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and "standard output" in done.stderr


def test_nothing_is_changed(sampler):
    sampler.adopt()
    before = files.identities(sampler.path)
    rows(sampler)
    assert files.identities(sampler.path) == before


def test_files_that_have_no_bindings(sampler):
    text = sampler.path / "text"
    text.write_text("text\n")
    done = fastprelink("--bindings", text, status=1)
    assert done.stdout == ""
    one_line(done, text)


@pytest.mark.parametrize("other", ["-u", "-y", "--md5", "--fixed", "--aslr", "-R", "-n", "-f", "--reloc-only=0x3000000000",
                                   "--carrier=no"])
def test_with_other_actions(sampler, other):
    done = fastprelink("--bindings", other, sampler.prog, status=2)
    one_line(done, "--bindings")


@pytest.mark.root
def test_root(root):
    """The libraries are those of the root; nothing of it is run."""
    inside = fastprelink("--bindings", "--json", f"--root={root.path}", "/usr/bin/true").stdout
    root.host("/usr/bin/true").chmod(0o644)
    assert fastprelink("--bindings", "--json", f"--root={root.path}", "/usr/bin/true").stdout == inside
    holders = {json.loads(line)["holder"] for line in inside.splitlines()}
    assert holders >= {"/usr/bin/true", "/lib/x86_64-linux-gnu/libc.so.6"}
    root.libc.unlink()
    fastprelink("--bindings", f"--root={root.path}", "/usr/bin/true", status=1)


@pytest.mark.heavy
@pytest.mark.parametrize("name", HEAVY)
def test_programs(name):
    program = f"/usr/bin/{name}"
    if not os.path.exists(program):
        need.missing(program)
    lines, count, disputed = bindings.check(program)
    assert not lines and not disputed and count


# The comparison itself: whatever is wrong, it sees it.


@pytest.fixture
def told(case):
    """What ld.so says of a program, and an equal list to spoil."""
    versioned(case)
    case.library("libb.so", "int f(void); int g(void) { return f(); } int h(void) { return g(); }", ["liba.so"])
    case.program(printing("f() + g() + h()", "int f(void), g(void), h(void);"), ["liba.so", "libb.so"])
    theirs = bindings.ld_so(case.prog, case.env())
    mine, _ = bindings.ours(case.prog, [f"--ld-library-path={case.lib}"])
    assert not bindings.compare(theirs, mine)
    mine.found = [row for row in mine.found if row[0] != bindings.LOADER]
    return theirs, mine


def index_of(mine, symbol, holder="prog"):
    return next(i for i, row in enumerate(mine.found) if row[1] == symbol and os.path.basename(row[0]) == holder)


def spoil(mine, index, **changed):
    holder, symbol, version, provider = mine.found[index]
    row = dict(holder=holder, symbol=symbol, version=version, provider=provider)
    mine.found[index] = tuple({**row, **changed}.values())


@pytest.mark.parametrize("changed", [{"symbol": "h"}, {"version": "V1"}, {"version": None}, {"provider": "/lib/libb.so"},
                                     {"holder": "/lib/liba.so"}], ids=str)
def test_a_wrong_binding_is_seen(told, changed):
    theirs, mine = told
    spoil(mine, index_of(mine, "f"), **changed)
    assert len(bindings.compare(theirs, mine)) == 2


def test_another_definition_of_the_same_name_is_seen(told):
    theirs, mine = told
    right = next(row for row in mine.values if row[1:3] == ("f", "V2"))
    other = elf.symbol(right[0], "old_f")
    assert other != right[3]
    mine.values = mine.values - {right} | {(*right[:3], other)}
    assert len(bindings.compare(theirs, mine)) == 1


def test_a_missing_binding_is_seen(told):
    theirs, mine = told
    del mine.found[index_of(mine, "g")]
    assert len(bindings.compare(theirs, mine)) == 1


def test_a_repeated_binding_is_seen(told):
    theirs, mine = told
    mine.found.append(mine.found[-1])
    assert len(bindings.compare(theirs, mine)) == 1


def test_a_wrong_order_is_seen(told):
    theirs, mine = told
    i, j = index_of(mine, "f"), index_of(mine, "g")
    mine.found[i], mine.found[j] = mine.found[j], mine.found[i]
    assert len(bindings.compare(theirs, mine)) == 2


def test_an_undefined_symbol_is_seen(told):
    theirs, mine = told
    holder, symbol, version, _ = mine.found.pop()
    mine.undefined.append((holder, symbol, version))
    assert len(bindings.compare(theirs, mine)) == 2


def test_another_scope_order_is_seen(case):
    """The tool is asked about one order of preloaded libraries, ld.so about the other."""
    paths = [case.library(f"lib{name}.so", "int f(void) { return 1; }") for name in "ab"]
    case.program(printing("f()", "int f(void);"), ["liba.so"])
    for preload, equal in [(paths, True), (paths[::-1], False)]:
        told, _ = bindings.ours(case.prog, [f"--ld-library-path={case.lib}",
                                            "--ld-preload=" + ":".join(map(str, paths))])
        theirs = bindings.ld_so(case.prog, case.env(LD_PRELOAD=":".join(map(str, preload))))
        assert (not bindings.compare(theirs, told)) == equal


def test_another_version_is_seen(case):
    """The tool is asked about a program that wants V1, ld.so about one that wants V2."""
    versioned(case)
    case.program(printing("f()", "int f(void);"), ["liba.so"])
    told, _ = bindings.ours(case.prog, [f"--ld-library-path={case.lib}"])
    case.program(printing("old()", 'int old(void); __asm__(".symver old,f@V1");'), ["liba.so"])
    assert bindings.compare(bindings.ld_so(case.prog, case.env()), told)
