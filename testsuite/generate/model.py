"""Chooses a closure: the libraries, what each defines, refers to and needs, and how it is compiled and linked.

All choices come from the seed, so a seed is one closure.  Definitions have few names, so that most names are
defined several times, and every binding depends on order, scope, visibility, version and binding type."""

import random
from dataclasses import dataclass, field

FUNCTIONS = [f"f{i}" for i in range(8)]
DATA = [f"d{i}" for i in range(5)]
THREAD = [f"t{i}" for i in range(3)]
UNIQUE = [f"u{i}" for i in range(2)]
NOWHERE = ["w0", "w1"]  # nothing defines these
PROGRAM = 99  # the index that the program's values have


@dataclass
class Definition:
    name: str
    kind: str  # function, ifunc, data, bss, thread, unique
    attribute: str = ""  # weak, protected, hidden
    version: str = ""  # "" or the version node
    old: str = ""  # an older version of it, which is not the default


@dataclass
class Object:
    """A library, or the program (its index is PROGRAM)."""

    index: int
    cc: str = "gcc"
    linker: str = "bfd"
    flags: list = field(default_factory=list)
    definitions: dict = field(default_factory=dict)
    references: list = field(default_factory=list)  # names, strong
    weak: list = field(default_factory=list)  # names, weak
    old: list = field(default_factory=list)  # (name, version) of definitions that are not the default
    needs: list = field(default_factory=list)  # indexes, in order
    models: dict = field(default_factory=dict)  # thread-local name: TLS model
    where: str = "lib"  # the directory
    soname: str = ""
    versions: list = field(default_factory=list)  # nodes, oldest first
    built_with: str = "same"  # the build of it that others are linked against: same, versioned, plain
    constructor: bool = False
    local_ifunc: bool = False
    text_relocation: bool = False
    asks_for_relr: bool = False  # the linker does not add the version GLIBC_ABI_DT_RELR, on which ld.so insists
    no_sections: bool = False
    constant: bool = False  # tables that are read-only after relocation
    packed: int = 0  # how far words lie behind an aligned address
    far: int = 0  # an addend
    large: int = 0  # bytes that are zero
    aligned: int = 0  # of thread-local variables
    chain: int = 0  # how deep functions call others

    @property
    def name(self):
        return "prog" if self.index == PROGRAM else f"lib{self.index}.so"

    def visible(self):
        return [name for name, made in self.definitions.items() if made.attribute != "hidden"]


@dataclass
class Closure:
    seed: int
    libraries: list
    program: Object
    pie: bool
    static_pie: bool = False  # there is a program of that kind beside it
    search: str = ""  # "", "rpath", "runpath": how the program finds DIR/other, which has a second build of one library
    second: int = -1  # that library
    same_soname: tuple = ()  # two libraries that have one soname
    cxx: dict = None  # flags of the C++ libraries and the program's part, if there are any


def choose(seed):
    dice = random.Random(seed)
    count = dice.choice([1, 2, 3, 3, 4, 4, 5, 6])
    libraries = [Object(index) for index in range(count)]
    for library in libraries:
        choose_tools(dice, library)
        choose_definitions(dice, library)
    choose_needs(dice, libraries)
    pie = dice.random() < 0.6
    program = Object(PROGRAM)
    closure = Closure(seed, libraries, program, pie, static_pie=dice.random() < 0.05)
    choose_tools(dice, program)
    first = dice.sample(range(count), dice.randint(1, count))
    reached = reach(libraries, first)
    program.needs = first + [index for index in range(count) if index not in reached]
    choose_places(dice, closure)
    choose_program_definitions(dice, closure)
    for one in [*libraries, program]:
        choose_references(dice, closure, one)
        choose_oddities(random.Random(f"{seed} {one.index}"), one)
        settle(closure, one)
    if dice.random() < 0.15:
        closure.cxx = choose_cxx(dice)
    return closure


def choose_tools(dice, one):
    """Compiler, linker and flags; only combinations that exist."""
    program = one.index == PROGRAM
    one.cc = dice.choice(["gcc", "gcc", "clang"])
    one.linker = dice.choice(["bfd", "bfd", "gold", "lld", "mold"])
    flags = [f"-fuse-ld={one.linker}", "-O0", f"-Wl,--hash-style={dice.choice(['gnu', 'sysv', 'both'])}",
             dice.choice(["-Wl,-z,now", "-Wl,-z,lazy"])]
    if one.linker in ("bfd", "lld") and dice.random() < 0.2:
        flags += ["-fcf-protection", "-Wl,-z,ibtplt" if one.linker == "bfd" else "-Wl,-z,force-ibt"]
    packed = dice.random() < 0.25
    if packed and one.linker == "bfd":
        flags.append("-Wl,-z,pack-relative-relocs")
    elif packed and one.linker != "gold" and not program:
        flags.append("-Wl,--pack-dyn-relocs=relr")
        one.asks_for_relr = True
    if not program and dice.random() < 0.25:
        flags.append(dice.choice(["-Wl,-Bsymbolic", "-Wl,-Bsymbolic-functions"]))
    if one.linker in ("bfd", "gold") and dice.random() < 0.15:
        flags.append("-Wl,--spare-dynamic-tags=1")  # the one that ends the section
    if dice.random() < 0.1:
        flags += ["-Wl,-z,max-page-size=2097152", *(["-Wl,-z,noseparate-code"] if one.linker != "gold" else [])]
    if dice.random() < 0.1:
        flags.append("-Wl,-z,norelro")
    if dice.random() < 0.3:
        flags.append("-s")
    if dice.random() < 0.3:
        flags.append(dice.choice(["-Wl,--build-id=sha1", "-Wl,--build-id=none"]))
    if dice.random() < 0.3:
        flags.append("-fno-plt")
    if program and dice.random() < 0.4:
        flags.append("-Wl,--export-dynamic")
    if one.cc == "gcc" and dice.random() < 0.4:
        flags.append("-mtls-dialect=gnu2")
    one.flags = flags
    one.constructor = dice.random() < 0.4
    one.local_ifunc = dice.random() < 0.25
    one.no_sections = dice.random() < 0.1
    one.chain = dice.choice([0, 1, 2])
    one.text_relocation = dice.random() < 0.06
    if one.text_relocation:
        one.flags.append("-Wl,-z,notext")


def choose_oddities(dice, one):
    """What is rare, or matters to the layout only."""
    def flag(share, *flags):
        if dice.random() < share:
            one.flags += flags

    if dice.random() < 0.3:
        one.flags[one.flags.index("-O0")] = "-O2"
    if one.linker == "bfd":
        flag(0.1, "-Wl,-z,nocombreloc")
    if one.linker == "lld":
        flag(0.2, dice.choice(["-Wl,--no-rosegment", "-Wl,-z,separate-loadable-segments"]))
    if "-s" not in one.flags:
        flag(0.1, "-Wl,--emit-relocs")
    if one.index == PROGRAM and one.cc == "gcc":
        flag(0.15, "-mno-direct-extern-access")
    if one.index != PROGRAM:
        flag(0.1, f"-Wl,-z,{dice.choice(['nodelete', 'initfirst'])}")
    one.constant = dice.random() < 0.4
    one.packed = dice.choice([0, 0, 0, 0, 1, 2, 4])
    one.far = dice.choice([0, 0, 0, 0x7FFFFFFF, -0x7FFFFFFF, 0x123456789AB])  # nothing is mapped there
    one.large = dice.choice([0, 0, 0, 0, 5000, 70000, 300000])
    one.aligned = dice.choice([0, 0, 0, 32, 256])


def choose_definitions(dice, library):
    names = dice.sample(FUNCTIONS, dice.randint(1, 6)) + dice.sample(DATA, dice.randint(0, 4))
    names += dice.sample(THREAD, dice.choice([0, 0, 1, 2])) + dice.sample(UNIQUE, dice.choice([0, 0, 1, 2]))
    versioned = dice.random() < 0.35
    if versioned:
        library.versions = [f"L{library.index}_{number}" for number in range(1, dice.choice([2, 3]) + 1)]
        if dice.random() < 0.3:
            library.built_with = "plain"
    elif dice.random() < 0.15 and library.linker != "gold":  # which names a version in every library
        library.built_with = "versioned"
        library.versions = [f"L{library.index}_1"]
    for name in names:
        kind = {"f": "function", "d": "data", "t": "thread", "u": "unique"}[name[0]]
        if kind == "function" and dice.random() < 0.2:
            kind = "ifunc"
        if kind == "data" and dice.random() < 0.2:
            kind = "bss"
        made = Definition(name, kind)
        if kind != "unique":
            made.attribute = dice.choice(["", "", "", "", "weak", "protected" if name[0] in "fd" else "", "hidden"])
        if kind == "ifunc" and made.attribute == "weak":
            made.attribute = ""
        if library.versions and made.attribute != "hidden" and dice.random() < 0.8:
            made.version = dice.choice(library.versions)
            if kind == "function" and not made.attribute and dice.random() < 0.4 and made.version != library.versions[0]:
                made.old = library.versions[0]
        library.definitions[name] = made


def choose_needs(dice, libraries):
    """Mostly a library needs later ones; sometimes an earlier one too, which makes a cycle."""
    count = len(libraries)
    for library in libraries:
        later = [index for index in range(library.index + 1, count) if dice.random() < 0.5]
        dice.shuffle(later)
        library.needs = later
        if library.index and dice.random() < 0.12:
            library.needs.append(dice.randrange(library.index))


def reach(libraries, first):
    found, waiting = set(), list(first)
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting += libraries[index].needs
    return found


def choose_places(dice, closure):
    """Directories and the paths that lead there; two libraries of one soname."""
    libraries = closure.libraries
    if dice.random() < 0.25:
        moved = dice.choice(libraries)
        moved.where = "lib/inner"
        kind = dice.choice(["--enable-new-dtags", "--disable-new-dtags"])
        for one in [*libraries, closure.program]:
            origin = "$ORIGIN/../lib/inner" if one.index == PROGRAM else "$ORIGIN" if one is moved else "${ORIGIN}/inner"
            if moved.index in one.needs:
                one.flags += [f"-Wl,{kind}", f"-Wl,-rpath,{origin}"]
    elif dice.random() < 0.3:
        closure.search = dice.choice(["rpath", "runpath"])
        closure.second = dice.randrange(len(libraries))
        kind = "--disable-new-dtags" if closure.search == "rpath" else "--enable-new-dtags"
        closure.program.flags += [f"-Wl,{kind}", "-Wl,-rpath,$ORIGIN/../other"]
    elif len(libraries) > 1 and dice.random() < 0.15:
        closure.same_soname = tuple(dice.sample(range(len(libraries)), 2))


def defined(closure, indexes):
    """{name: [libraries that have it visible]}"""
    found = {}
    for index in indexes:
        for name in closure.libraries[index].visible():
            found.setdefault(name, []).append(index)
    return found


def choose_program_definitions(dice, closure):
    """The program interposes some of what libraries define."""
    names = FUNCTIONS + DATA
    for name in dice.sample(names, dice.choice([0, 1, 2, 4])):
        kind = "function" if name[0] == "f" else dice.choice(["data", "data", "bss"])
        closure.program.definitions[name] = Definition(name, kind, dice.choice(["", "", "weak"]))
    if dice.random() < 0.3:
        closure.program.definitions["t0"] = Definition("t0", "thread")


def choose_references(dice, closure, one):
    """Strong references are to what is defined somewhere; the program's, in the libraries it is linked with."""
    program = one.index == PROGRAM
    indexes = one.needs if program else range(len(closure.libraries))
    found = defined(closure, indexes)
    if not program:
        for name, made in closure.program.definitions.items():
            if "-Wl,--export-dynamic" in closure.program.flags and made.attribute != "hidden":
                found.setdefault(name, [])
    for name, where in sorted(found.items()):
        if name in one.definitions or dice.random() < 0.45:
            continue
        kinds = {closure.libraries[index].definitions[name].attribute for index in where}
        if program and "protected" in kinds and (one.linker in ("bfd", "lld") or name[0] == "d"):  # linkers refuse to copy it
            continue
        one.references.append(name)
        if name[0] == "t":
            one.models[name] = dice.choice(["", "", "global-dynamic", "initial-exec"])
    one.references += [name for name, made in one.definitions.items() if not made.version]
    for name, made in one.definitions.items():
        if made.kind == "thread":
            local = ["local-exec"] if program else ["local-dynamic"] if made.attribute == "hidden" else []
            one.models[name] = dice.choice(["", "", "initial-exec", *local])
    names = [name for name in FUNCTIONS + DATA + NOWHERE
             if name not in one.references and name not in one.definitions and (not program or name in NOWHERE)]
    one.weak = dice.sample(names, min(len(names), dice.choice([0, 1, 2])))
    for index in one.needs:
        library = closure.libraries[index]
        if library.built_with == "same" and index != closure.second and index not in closure.same_soname:
            one.old += [(made.name, made.old) for made in library.definitions.values() if made.old and dice.random() < 0.5
                        and all(made.name != name for name, _ in one.old)]


def settle(closure, one):
    """Leaves out what does not link, or does not work in plain starts.

    gold puts the slots of IRELATIVE relocations before the TLS descriptors, but its code looks for the descriptors where they
    would be without those slots: instead of a descriptor's function it calls the IFUNC, with whatever is in the registers.  What is
    read as a thread-local variable is then random, and so is how often functions call each other; half of the starts
    overflow the stack.

    mold fails an assertion with some programs that are not position-independent and keep their relocations."""
    ifuncs = one.local_ifunc or any(made.kind == "ifunc" for made in one.definitions.values())
    if one.linker == "gold" and ifuncs and "-mtls-dialect=gnu2" in one.flags:
        one.flags.remove("-mtls-dialect=gnu2")
    if one.linker == "mold" and one.index == PROGRAM and not closure.pie and "-Wl,--emit-relocs" in one.flags:
        one.flags.remove("-Wl,--emit-relocs")


def choose_cxx(dice):
    tools = [("g++", "bfd"), ("g++", "gold"), ("clang++", "lld"), ("g++", "mold"), ("clang++", "bfd")]
    chosen = {}
    for name in ("libxa.so", "libxb.so"):
        cc, linker = dice.choice(tools)
        chosen[name] = cc, [f"-fuse-ld={linker}", "-O0", dice.choice(["-Wl,-z,now", "-Wl,-z,lazy"]),
                            dice.choice(["-Wl,--hash-style=gnu", "-Wl,--hash-style=sysv"])]
    return chosen
