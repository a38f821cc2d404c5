"""Wrong bindings on purpose: the tool sees a library whose symbol table is wrong, the program runs with the right one.

Neither the build id nor the dynamic section says that they differ, so the program starts accelerated, with the wrong words."""

import struct
from dataclasses import dataclass

from harness import elf

SYMBOL = struct.Struct("<IBBHQQ")
HIDDEN = 2


@dataclass
class Symbol:
    path: object
    index: int
    fields: list  # name, info, other, section, value, size

    def write(self):
        offset, _ = elf.sections(self.path)[".dynsym"]
        elf.patch(self.path, offset + self.index * SYMBOL.size, SYMBOL.pack(*self.fields))


def symbols(path, name):
    """The dynamic symbols NAME, in the order of the table."""
    rows = [line.split() for line in elf.readelf(path, "--dyn-syms", "-W").splitlines()]
    indexes = [int(row[0][:-1]) for row in rows if len(row) > 7 and row[7].split("@")[0] == name]
    offset, _ = elf.sections(path)[".dynsym"]
    data = path.read_bytes()
    assert indexes, name
    return [Symbol(path, index, list(SYMBOL.unpack_from(data, offset + index * SYMBOL.size))) for index in indexes]


def hide(path, name, hidden=True):
    symbol, = symbols(path, name)
    symbol.fields[2] = HIDDEN if hidden else 0
    symbol.write()


def neighbour(path):
    """`one` and `two` change places: off by one symbol."""
    (one,), (two,) = symbols(path, "one"), symbols(path, "two")
    one.fields[4], two.fields[4] = two.fields[4], one.fields[4]
    one.write(), two.write()
    return lambda: neighbour(path)


def version(path):
    """The two versions of `versioned` change places."""
    first, second = (symbol.index for symbol in symbols(path, "versioned"))
    offset, _ = elf.sections(path)[".gnu.version"]
    data = path.read_bytes()
    for index, other in ((first, second), (second, first)):
        elf.patch(path, offset + 2 * index, data[offset + 2 * other:offset + 2 * other + 2])
    return lambda: version(path)


def scope(path):
    """`secret` is hidden, and seems not to be."""
    hide(path, "secret", False)
    return lambda: hide(path, "secret")


def order(path):
    """`first` is defined here and in a later library, whose definition seems to be the first."""
    symbol, = symbols(path, "first")
    section, value = symbol.fields[3:5]
    before = symbols(path, "one")[0].fields[4]
    symbol.fields[3:5] = 0, 0
    symbol.write()

    def restore():
        again, = symbols(path, "first")
        again.fields[3:5] = section, value + symbols(path, "one")[0].fields[4] - before
        again.write()
    return restore


FAULTS = {"neighbour": neighbour, "version": version, "scope": scope, "order": order, "none": lambda path: lambda: None}

LIBRARY_A = """
int one(void) { return 1; }
int two(void) { return 2; }
int older(void) { return 3; } int newer(void) { return 4; }
__asm__(".symver older,versioned@V1"); __asm__(".symver newer,versioned@@V2");
int secret(void) { return 5; }
int first(void) { return 6; }
"""
SCRIPT = "V1 { global: versioned; }; V2 { global: versioned; } V1;\n"
LIBRARY_B = "int secret(void) { return 7; } int first(void) { return 8; }"
USER = """
int one(void), two(void), versioned(void), old(void), secret(void), first(void);
__asm__(".symver old,versioned@V1");
int (*table[])(void) = { one, two, versioned, old, secret, first };
"""
PROGRAM = """
#include <stdio.h>
extern int (*table[])(void);
int main(void) { for (int i = 0; i < 6; i++) printf("%d", table[i]()); puts(""); return 0; }
"""
RIGHT = "124376\n"
WRONG = {"neighbour": "214376\n", "version": "123476\n", "scope": "124356\n", "order": "124378\n", "none": RIGHT}


def closure(case, natural=True):
    """Makes the program and its libraries in CASE; returns the library that faults are planted in.  NATURAL: the library
    whose words become wrong finds their symbols when it is loaded alone; otherwise it is linked to a library that has
    other definitions then, and each is a conflict."""
    script = case.path / "script.map"
    script.write_text(SCRIPT)
    versions = f"-Wl,--version-script={script}"
    library = case.library("liba.so", LIBRARY_A, flags=["-Wl,-z,now", versions])
    hide(library, "secret")
    case.library("libb.so", LIBRARY_B)
    if natural:
        case.library("libuser.so", USER, ["liba.so", "libb.so"], ["-Wl,-z,now"])
    else:
        case.library("libalone.so", LIBRARY_A, flags=[versions])
        case.library("libuser.so", USER, ["libalone.so"], ["-Wl,-z,now"])
    case.program(PROGRAM, ["liba.so", "libb.so", "libuser.so"])
    case.adopt()
    return library

