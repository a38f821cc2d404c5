"""Fixed libraries hold their words: what they bind to alone.  A program's table has rows for the others, and nothing else."""

import struct
from pathlib import Path

import pytest

from harness import build, elf, files, need
from harness.run import DEBUG, fastprelink, fixed_libraries, run
from test_bindings import printing
from test_cxx import HEADER as CXX_HEADER, LIB_A, LIB_B
from test_format import HEADER, RECORD, RECORD_FIELDS
from test_linking import ANSWER, make
from test_shift import BASE, addresses, occupied, occupier
from test_tls import ANSWER as TLS_ANSWER, LIBRARY as TLS_LIBRARY, PROGRAM as TLS_PROGRAM

pytestmark = pytest.mark.one_placement

ROWS, NO_LAZY = 8, 16
RESIDUAL, IFUNC, ABSOLUTE, FIRST = range(4)
NOW = ["-Wl,-z,now"]


def place(case, status=0):
    """Prelinks with fixed libraries; {name: base} of those in DIR/lib, as the command says."""
    done = case.prelink(options=("-f", "--fixed", "-v"), status=status)
    found = {Path(path): base for path, base in fixed_libraries(done).items()}
    assert set(found) == set(case.shifted()) and all(path.parent == case.lib for path in found), done
    return {path.name: base for path, base in found.items()}


def keep_floating(case, *names):
    """A file with another name is left alone, so these libraries keep their random addresses."""
    for name in names:
        (case.path / ("other-" + name)).hardlink_to(case.lib / name)


def table(case):
    """{name: record}; a record's "rows" are {address in the library: (target code or name, value)}, None without ROWS; its
    "prepared" are the pages that the runtime prepares for writing."""
    data = case.prog.read_bytes()
    offset, size = elf.sections(case.prog)[".fastprelink"]
    data = data[offset:offset + size]
    header = HEADER.unpack_from(data)
    count, objects = header[5], header[8]
    names = ["prog"] + [path.name for path in case.closure()]
    names.insert(header[7], "ld.so")
    found = {}
    for index, name in enumerate(names[:count]):
        record = dict(zip(RECORD_FIELDS, RECORD.unpack_from(data, objects + index * RECORD.size)))
        record["rows"] = None
        if record["flags"] & ROWS:
            rows = record["run_count"]
            array = lambda field, form, number: struct.unpack_from(f"<{number}{form}", data, record[field])
            targets = [names[target] for target in array("target_list", "H", record["target_count"])]
            record["rows"] = {record["base"] + slot: (targets[code - FIRST] if code >= FIRST else code, value)
                              for slot, value, code in zip(array("slots", "I", rows), array("values", "I", rows),
                                                           array("targets", "B", rows))}
        record["prepared"] = prepared_pages(data, header, index)
        found[name] = record
    return found


def prepared_pages(data, header, index):
    """{address of a page: its offset in the file}, as the table DATA says of its object INDEX; no page twice."""
    pages = [(start + page * 4096, file_offset)
             for holder, count, start, file_offset in struct.iter_unpack("<IIQQ", data[header[11]:header[11] + 24 * header[12]])
             for page in range(count) if holder == index]
    assert len(dict(pages)) == len(pages)
    return dict(pages)


def check(case, expected, *arguments, env=None, floating=()):
    """A program with fixed libraries: accelerated, equal in every word to a plain start of the originals, lazily and at
    once; displaced and switched off, too; everything undone in the end.  Returns the table."""
    case.adopt()
    preload = occupier(case)
    keep_floating(case, *floating)
    original = files.digests(case.path)
    oracle, fast = case.oracle(*arguments, env=env), None
    oracle.env["FASTPRELINK_DEBUG"] = "1"
    variants = {"plain": {}, "now": {"LD_BIND_NOW": "1"}, "off": {"FASTPRELINK": "0"},
                "displaced": {**preload, "FASTPRELINK": "1"}}
    environment = dict(oracle.env)
    for name, more in variants.items():
        oracle.env = {**environment, **more}
        oracle.snapshot(f"{name}-before")
    plain = case.run(*arguments, env=env)
    assert (plain.stdout, plain.status) == (expected, 0), plain
    bases = place(case)
    assert set(bases) == {path.name for path in case.closure()} - {"libc.so.6", *floating}
    assert case.run_fast(*arguments, env=env) == plain
    biases = addresses(case)
    assert all(biases[name] == 0 for name in bases), biases
    for name, more in variants.items():
        oracle.env = {**environment, **more}
        stderr = oracle.snapshot(f"{name}-after")
        assert ("accelerated" in stderr) == (name in ("plain", "now")), stderr
        oracle.compare(f"{name}-before", f"{name}-after", "now-before" if name == "plain" else None)
    fast = table(case)
    assert all(fast[name]["rows"] is None or name in bases for name in fast)
    for name in bases:
        fastprelink("-y", case.lib / name)
    fastprelink("-u", case.prog, case.libc, *(case.lib / name for name in bases))
    case.runtime.unlink()
    assert files.digests(case.path) == original
    return fast


def own_rows(record):
    """Rows that do not lead to libc."""
    return {where: row for where, row in record["rows"].items() if row[0] != "libc.so.6"}


# Which words need a row

def test_nothing_differs_from_the_library_alone(case):
    case.library("liba.so", "int f(void) { return 4; } int (*at)(void) = f; int g(void) { return at() + f(); }", flags=NOW)
    case.library("libb.so", "int f(void); int (*to)(void) = f; int h(void) { return to() * f(); }", ["liba.so"], NOW)
    case.program(printing("g() * 100 + h()", "int g(void), h(void);"), ["libb.so", "liba.so"])
    found = check(case, "816\n")
    assert [own_rows(found[name]) for name in ("liba.so", "libb.so")] == [{}, {}]


def test_the_program_interposes(case):
    case.library("liba.so", "int f(void) { return 1; } int k(void) { return 7; } int (*at)(void) = f;"
                            "int g(void) { return at() * 10 + f() + k(); }", flags=NOW)
    case.program(printing("g()", "int g(void); int f(void) { return 2; }"), ["liba.so"])
    record = check(case, "29\n")["liba.so"]
    assert {row[0] for row in own_rows(record).values()} == {"prog"} and len(own_rows(record)) == 2


def test_a_library_interposes(case):
    """The row leads to a fixed library, but another one than in the file."""
    case.library("liba.so", "int f(void) { return 1; }")
    case.library("libb.so", "int f(void) { return 2; } int (*at)(void) = f; int g(void) { return at(); }", flags=NOW)
    case.program(printing("g()", "int f(void), g(void);"), ["liba.so", "libb.so"])
    found = check(case, "1\n")
    assert own_rows(found["liba.so"]) == {}
    (row,) = own_rows(found["libb.so"]).values()
    assert row[0] == "liba.so"


def test_copy_relocation(case):
    case.library("liba.so", "int value = 1; int *at = &value; int get(void) { return value; }", flags=NOW)
    case.program(printing("(value = 7, get() + (at == &value))", "extern int value, *at; int get(void);"),
                 ["liba.so"], pie=False)
    record = check(case, "8\n")["liba.so"]
    assert [row[0] for row in own_rows(record).values()] == ["prog"] * 2  # the pointer, and the slot of get


def test_canonical_plt_address(case):
    case.library("liba.so", "int f(void) { return 1; } void *table[] = { f, f };")
    case.program(printing("table[1] == (void *)f", "int f(void); extern void *table[];"), ["liba.so"], pie=False)
    record = check(case, "1\n")["liba.so"]
    assert [row[0] for row in own_rows(record).values()] == ["prog"] * 2


def test_unique_symbols(case):
    source = "template<class T> struct Box {{ static int value; }};\ntemplate<class T> int Box<T>::value = 1;\n" \
             "extern \"C\" int *{name}() {{ return &Box<int>::value; }}"
    case.library("liba.so", source.format(name="in_a"), lang="c++")
    case.library("libb.so", source.format(name="in_b"), lang="c++")
    case.program(printing("in_a() == in_b()", "int *in_a(void), *in_b(void);"), ["liba.so", "libb.so"])
    assert "UNIQUE" in elf.readelf(case.lib / "libb.so", "-sW")
    found = check(case, "1\n")
    rows = {name: [row[0] for row in own_rows(found[name]).values()] for name in ("liba.so", "libb.so")}
    assert sorted(rows.values()) in ([[], ["liba.so"]], [[], ["libb.so"]])


def test_ifuncs(case):
    """Those of libc are called for the table, those of others left to ld.so: no file holds a result."""
    case.library("liba.so", "#include <string.h>\nstatic int one(void) { return 1; }\nstatic void *pick(void) { return one; }\n"
                            "int f(void) __attribute__((ifunc(\"pick\")));\nint (*at)(void) = f;\n"
                            "unsigned long (*length)(const char *) = strlen;\n"
                            "int g(void) { return at() * 10 + f() + (int)length(\"abc\"); }", flags=NOW)
    case.program(printing("g()", "int g(void);"), ["liba.so"])
    record = check(case, "14\n")["liba.so"]
    assert record["residual_count"] >= 2
    assert [row[0] for row in own_rows(record).values()] == [IFUNC]


def test_protected_and_hidden_symbols(case):
    case.library("liba.so", '#define V(kind) __attribute__((visibility(kind)))\nV("protected") int f(void) { return 1; }\n'
                            'V("hidden") int h(void) { return 3; }\nint (*at)(void) = f, (*to)(void) = h;\n'
                            "int g(void) { return at() * 100 + f() * 10 + to(); }", flags=NOW)
    case.program(printing("g()", "int g(void); int f(void) { return 2; } int h(void) { return 2; }"), ["liba.so"])
    assert own_rows(check(case, "113\n")["liba.so"]) == {}


def test_weak_references(case):
    """One that nothing defines, and one that only the program defines."""
    case.library("liba.so", "__attribute__((weak)) int nobody(void), program(void);\n"
                            "int (*const volatile at[])(void) = { nobody, program };\n"
                            "int g(void) { return (at[0] != 0) * 10 + (at[1] ? at[1]() : 0); }")
    case.program(printing("g()", "int g(void); int program(void) { return 5; }"), ["liba.so"])
    record = check(case, "5\n")["liba.so"]
    assert [row[0] for row in own_rows(record).values()] == ["prog"]


def test_absolute_symbols(case):
    case.library("liba.so", '.globl absolute\n.set absolute, 0x1234\n.data\n.balign 8\n.globl words\n.type words,@object\n'
                            'words: .quad absolute, words\n.size words, 16\n.section .note.GNU-stack,"",@progbits\n',
                 lang="asm")
    case.library("libb.so", "extern char absolute[]; char *at = absolute + 4;", ["liba.so"])
    case.program(printing("(int)(long)at * 2 + (words[1] == (long)words) + (int)words[0]",
                          "extern char *at; extern long words[];"), ["libb.so", "liba.so"], flags=["-fPIC"])
    found = check(case, f"{0x1238 * 2 + 1 + 0x1234}\n")
    assert own_rows(found["liba.so"]) == own_rows(found["libb.so"]) == {}


def test_addends(case):
    case.library("liba.so", "int table[5] = { 0, 1, 2, 3, 4 }; int *own = &table[1];")
    case.library("libb.so", "extern int table[]; int *third = &table[3], *before = &table[-2];", ["liba.so"])
    case.program(printing("*third * 100 + before[4] * 10 + *own", "extern int *third, *before, *own;"),
                 ["libb.so", "liba.so"])
    found = check(case, "321\n")
    assert own_rows(found["libb.so"]) == {}
    case.program(printing("table[0] + *third * 100 + before[4] * 10 + *own",
                          "extern int table[5], *third, *before, *own;"), ["libb.so", "liba.so"], pie=False)
    found = check(case, "321\n")
    assert len(own_rows(found["liba.so"])) == 1 and len(own_rows(found["libb.so"])) == 2


def test_two_relocations_of_one_word(case):
    """The last one counts; words of such a library are filled like those of a floating one."""
    case.library("liba.so", '.globl f,g,h,word\n.type f,@object\n.type g,@object\n.type h,@object\n.type word,@object\n'
                            '.data\n.balign 8\nf: .quad 1\ng: .quad 2\nh: .quad 3\nword: .quad 0\n.reloc word, R_X86_64_64, f\n'
                            '.reloc word, R_X86_64_64, g\n.size word, 8\n.size f, 8\n.size g, 8\n.size h, 8\n'
                            '.section .note.GNU-stack,"",@progbits\n', lang="asm")
    case.library("libb.so", "extern long h; long *at = &h;", ["liba.so"])
    where = elf.symbol(case.lib / "liba.so", "word")
    assert [row[0] for row in elf.relocations(case.lib / "liba.so")].count(where) == 2
    case.program(printing("(int)*word", "extern long *word;"), ["libb.so", "liba.so"])
    expected = case.run().stdout
    found = check(case, expected)
    assert found["liba.so"]["rows"] is None and own_rows(found["libb.so"]) == {}


def test_references_to_floating_libraries(case):
    case.library("liba.so", "int f(void) { return 3; } int g(void) { return 4; }")
    case.library("libb.so", "int f(void), g(void); int (*at[])(void) = { f, g }; int h(void) { return at[0]() * at[1](); }",
                 ["liba.so"])
    case.program(printing("h()", "int h(void);"), ["libb.so", "liba.so"])
    found = check(case, "12\n", floating=["liba.so"])
    assert found["liba.so"]["rows"] is None
    assert [row[0] for row in own_rows(found["libb.so"]).values()] == ["liba.so"] * 2


# Slots that are bound lazily

CONSTRUCTED = "__attribute__((constructor)) static void start(void) { called = f(); }"
CALLING = "int f(void); int called; int g(void) { return called * 10 + f(); }"


def slot_row(case, name, symbol):
    return table(case)[name]["rows"].get(elf.slot(case.lib / name, symbol))


@pytest.mark.parametrize("constructors", [True, False])
def test_lazy_slots_are_bound_where_constructors_run(case, constructors):
    """Without code that runs at start, the page of the slots may stay as it is in the file."""
    case.library("liba.so", "int f(void) { return 4; }")
    case.library("libb.so", CALLING + CONSTRUCTED * constructors, ["liba.so"])
    case.program(printing("g()", "int g(void);"), ["libb.so", "liba.so"])
    check(case, f"{44 if constructors else 4}\n")
    place(case)
    f = elf.symbol(case.lib / "liba.so", "f") - table(case)["liba.so"]["base"]
    assert slot_row(case, "libb.so", "f") == (("liba.so", f) if constructors else None)


def test_a_lazy_slot_that_the_program_interposes(case):
    case.library("liba.so", "int f(void) { return 4; }")
    case.library("libb.so", CALLING + CONSTRUCTED, ["liba.so"])
    case.program(printing("g()", "int g(void); int f(void) { return 7; }"), ["libb.so", "liba.so"], ["-rdynamic"])
    check(case, "77\n")
    place(case)
    assert slot_row(case, "libb.so", "f")[0] == "prog"


def test_an_undefined_function_is_reported_when_called(case):
    case.library("libb.so", "int f(void), absent(void); int called; int g(int call) { return call ? absent() : called; }"
                 "int f(void) { return 5; }" + CONSTRUCTED)
    case.program(printing("g(argc > 1)", "int g(int);").replace("main(void)", "main(int argc, char **argv)"), ["libb.so"])
    case.adopt()
    scenario = [case.run(), case.run("call"), case.run(env={"LD_BIND_NOW": "1"})]
    assert scenario[0].stdout == "5\n" and all(done.status == 127 and "absent" in done.stderr for done in scenario[1:])
    place(case)
    assert slot_row(case, "libb.so", "absent") is None and slot_row(case, "libb.so", "f")
    assert [case.run_fast(), case.run("call"), case.run(env={"LD_BIND_NOW": "1"})] == scenario


@pytest.mark.parametrize("binding", [{}, {"LD_BIND_NOW": "1"}], ids=["lazy", "now"])
def test_a_preload_interposes_on_a_lazy_slot(case, binding):
    """At its address and elsewhere."""
    case.library("liba.so", "int f(void) { return 4; }")
    case.library("libb.so", CALLING + CONSTRUCTED, ["liba.so"])
    case.program(printing("g()", "int g(void);"), ["libb.so", "liba.so"])
    case.library("libp.so", "int f(void) { return 9; }", where="preloaded")
    case.adopt()
    preload = str(case.path / "preloaded" / "libp.so")
    occupying = occupier(case)["LD_PRELOAD"]
    place(case)
    assert case.run_fast(env=binding).stdout == "44\n"
    for preloads in (preload, f"{preload}:{occupying}"):
        done = case.run(env={**DEBUG, **binding, "LD_PRELOAD": preloads})
        assert done.stdout == "99\n" and done.declined in (8, 9), done


def test_a_library_opened_later_does_not_interpose_on_a_lazy_slot(case):
    """Plain ld.so finds the first definition too: what is opened later stands behind it."""
    case.library("liba.so", "int f(void) { return 4; }")
    case.library("libb.so", CALLING + CONSTRUCTED.replace("f()", "0"), ["liba.so"])
    case.library("libp.so", "int f(void) { return 9; }")
    case.program(printing("open_it() + g()", "#include <dlfcn.h>\nint g(void); static int open_it(void) "
                          "{ return dlopen(\"libp.so\", RTLD_NOW | RTLD_GLOBAL) ? 100 : 0; }"), ["libb.so", "liba.so"])
    case.adopt()
    assert case.run().stdout == "104\n"
    place(case)
    assert slot_row(case, "libb.so", "f")[0] == "liba.so"
    assert case.run_fast().stdout == "104\n"


# Every kind of library

@pytest.mark.parametrize("flags", [[], NOW, ["-Wl,-z,pack-relative-relocs"], ["-Wl,-Bsymbolic"], ["-fno-plt"]],
                         ids=["lazy", "now", "relr", "symbolic", "no-plt"])
@pytest.mark.parametrize("pie", [True, False], ids=["pie", "no-pie"])
def test_flags(case, flags, pie):
    make(case, flags, pie=pie)
    case.adopt()
    found = check(case, case.run().stdout)
    lazy = found["libuser.so"]["flags"] & NO_LAZY
    assert lazy == NO_LAZY


@pytest.mark.parametrize("options", [[], NOW], ids=["lazy", "now"])
@pytest.mark.parametrize("linker", ["bfd", "gold", "lld", "mold"])
def test_linkers(case, linker, options):
    """lld leaves one spare DT_NULL: the stamps take the places of other entries."""
    need.tool({"lld": "ld.lld", "mold": "mold"}.get(linker, f"ld.{linker}"))
    make(case, [f"-fuse-ld={linker}", *options], "clang")
    check(case, ANSWER)


@pytest.mark.parametrize("linker", ["gold", "lld", "mold"])
def test_tools_read_what_they_read_before(case, linker):
    need.tool({"lld": "ld.lld", "mold": "mold"}.get(linker, f"ld.{linker}"))
    make(case, [f"-fuse-ld={linker}"], "clang")
    case.adopt()
    path = case.lib / "libuser.so"

    def texts():
        done = [run([need.tool("ldconfig"), "-n", "-N", "-v", case.lib]).stdout,
                run([need.tool("objdump"), "-p", path]).stdout.partition("Version References")[2],
                run([need.tool("ldd"), "-v", path], env=case.env()).stdout.partition("Version information")[2]]
        for tool in ("readelf", "eu-readelf"):
            done.append([line.split("'")[0].split() for line in run([need.tool(tool), "-VW" if tool == "readelf" else "-V",
                                                                     path]).stdout.splitlines() if "0x" not in line])
        assert all(done)
        return done
    plain = texts()
    place(case)
    assert texts() == plain
    for tool in ("readelf", "eu-readelf"):
        done = run([need.tool(tool), "-d", path])
        assert done.status == 0 and not done.stderr and "PRELINKED" in done.stdout and "CHECKSUM" in done.stdout


@pytest.mark.parametrize("dialect", ["gnu", "gnu2"])
def test_thread_local_storage(case, dialect):
    model = '__attribute__((tls_model("global-dynamic")))'
    case.library("liba.so", TLS_LIBRARY.format(model=model), flags=[f"-mtls-dialect={dialect}"])
    case.program(TLS_PROGRAM, ["liba.so"])
    check(case, TLS_ANSWER)


def test_cxx(case):
    body = """
    for (int i = 1; i < 4; i++)
        try { fail(i); }
        catch (const Problem &p) { std::printf("Problem %s\\n", p.what()); }
        catch (const std::exception &e) { std::printf("exception %s\\n", e.what()); }
        catch (int number) { std::printf("int %d\\n", number); }
    std::printf("%d %d\\n", dynamic_cast<Right *>(make(2))->more, typeid(*make(2)) == typeid(Both));"""
    case.library("liba.so", LIB_A, lang="c++")
    case.library("libb.so", LIB_B, ["liba.so"], lang="c++")
    case.program(CXX_HEADER + "int in_a(), in_b();\nint main() {" + body + "}", ["libb.so", "liba.so"], lang="c++")
    found = check(case, "Problem p\nexception r\nint 3\n2 1\n")
    assert found["libstdc++.so.6"]["flags"] & ROWS


# At start

def test_one_displaced_library_declines(case):
    """Something else has the address of a fixed library: the start is ld.so's."""
    make(case)
    case.adopt()
    bases = place(case)
    assert len(bases) == 2
    for binding in ({}, {"LD_BIND_NOW": "1"}):
        case.run_fast(env=binding)
        for name, base in bases.items():
            done = case.run(env={**DEBUG, **binding}, prefix=occupied(base))
            assert done.stdout == ANSWER and done.declined == 12 and name in done.notes[0], done


def test_a_library_with_other_words_is_another_library(sampler):
    """Same contents, same address, same build id, but other bindings in its words: old tables must not be used."""
    bases = place(sampler)
    sampler.run_fast()
    user = sampler.lib / "libuser.so"
    held = user.read_bytes()
    fastprelink("-r", hex(bases["libuser.so"]), user)
    assert user.read_bytes() != held
    oracle = sampler.oracle()
    oracle.env["FASTPRELINK"] = "1"
    assert oracle.addresses()[str(user)] == "0"
    done = sampler.run(env=DEBUG)
    assert done.stdout == ANSWER and done.declined == 9 and "libuser.so" in done.notes[0], done
    assert place(sampler) == bases and user.read_bytes() == held
    assert sampler.run_fast().stdout == ANSWER


def test_the_same_bindings_give_the_same_bytes(sampler):
    """Also when the libraries that they lead to are fixed on disk already."""
    bases = place(sampler)
    first = files.digests(sampler.lib)
    for undone in ([name] for name in bases), [list(bases)]:
        for names in undone:
            fastprelink("-u", *(sampler.lib / name for name in names))
            assert files.digests(sampler.lib) != first
            assert place(sampler) == bases
            assert files.digests(sampler.lib) == first


def test_a_second_run_changes_nothing(sampler):
    place(sampler)
    before = files.identities(sampler.path)
    assert "1 unchanged" in sampler.prelink(options=("-f", "--fixed")).stdout
    assert files.identities(sampler.path) == before


def test_libraries_opened_later(sampler):
    """A fixed library is an ordinary one for dlopen."""
    sampler.program('#include <dlfcn.h>\n#include <stdio.h>\nint main(void) { void *user = dlopen("libuser.so", RTLD_NOW);\n'
                    'printf("%d\\n", ((int (*)(int))dlsym(user, "total"))(3)); return 0; }')
    plain = sampler.run()
    sampler.program(build.CASES / "sampler.c", ["libuser.so", "libbase.so"], name="other")
    prog, sampler.prog = sampler.prog, sampler.bin / "other"
    assert {"libuser.so", "libbase.so"} <= place(sampler).keys()
    sampler.prog = prog
    assert plain.status == 0 and sampler.run() == plain
