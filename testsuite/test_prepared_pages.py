"""The pages of fixed libraries that the runtime prepares in one go: those that are written at start, and no other."""

import pytest

from harness import elf
from test_bindings import printing
from test_fixed import CALLING, CONSTRUCTED, NOW, check, keep_floating, place, table
from test_format import BIND_NOW, NO_ENTRY, Object
from test_seccomp import filtered  # noqa: F401  (a fixture)

pytestmark = pytest.mark.one_placement

NOT_REPLACEABLE = 2**64 - 1
DT_PLTGOT = 3
# Every second page has a word that leads to libc, which is never fixed: more pages than the runtime leaves alone (MIN_TOTAL).
PAGES = 150
SPARSE = f"#include <stdlib.h>\n__attribute__((aligned(4096))) void *sparse[{PAGES}][1024] = {{ [0 ... {PAGES - 1}] = {{ free }} }};\n"
USING = "extern void *sparse[][1024]; int main(void) { return !sparse[0][0]; }"
# Prints how many kilobytes of the library are private copies when main begins.
PRIVATE = '''
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
extern void *sparse[][1024];
int main(void)
{
	char line[512];
	unsigned long from, to, at = (unsigned long)sparse, kilobytes = 0;
	int inside = 0;
	FILE *maps = fopen("/proc/self/smaps", "r");
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = at >= from && at < to;
		else if (inside && strncmp(line, "Anonymous:", 10) == 0)
			kilobytes += strtoul(line + 10, NULL, 10);
	printf("%lu %d\\n", kilobytes, sparse[7][0] == (void *)free);
	return 0;
}
'''


def page(address):
    return address & -4096


def written(case, name, record):
    """The pages of the fixed library NAME that the runtime or ld.so writes at start, found in the file and its record."""
    library = Object(case.lib / name)
    data = case.prog.read_bytes()
    residual = elf.sections(case.prog)[".fastprelink"][0] + record["residual"]
    left = [int.from_bytes(data[at:at + 8], "little") for at in range(residual, residual + 24 * record["residual_count"], 24)]
    entries = [record[field + "_entry"] for field in ("rela", "relasz", "relacount", "pltrelsz", "relrsz")]
    cut = [record["dynamic"] + 16 * entry for entry in entries if entry != NO_ENTRY]
    lazy = not record["flags"] & BIND_NOW and record["jmprel_count"]
    got = dict(library.dynamic)[DT_PLTGOT] if lazy else None
    return {page(address) for address in [*record["rows"], *left, *cut, *([got + 8, got + 16] if lazy else [])]}


def check_prepared(case):
    bases, found = place(case), table(case)
    for name in bases:
        assert set(found[name]["prepared"]) == written(case, name, found[name]), name
        assert set(found[name]["prepared"].values()) == {NOT_REPLACEABLE}
    return found


@pytest.mark.parametrize("flags", [NOW, ["-Wl,-z,lazy"]], ids=["now", "lazy"])
def test_pages_with_rows(case, flags):
    case.library("liba.so", SPARSE, flags=flags)
    case.program(USING, ["liba.so"], flags=["-fPIC"])
    prepared = check_prepared(case)["liba.so"]["prepared"]
    sparse = elf.symbol(case.lib / "liba.so", "sparse")
    assert {sparse + number * 8192 for number in range(PAGES)} <= set(prepared)
    assert not {sparse + number * 8192 + 4096 for number in range(PAGES)} & set(prepared)


def test_pages_that_ld_so_writes(case):
    """Words of thread-local storage are left to it, and it prepares the GOT of what is bound lazily."""
    case.library("liba.so", "int f(void) { return 4; } __thread int own; int *get(void) { return &own; }")
    case.library("libb.so", CALLING + CONSTRUCTED, ["liba.so"])
    case.program("int g(void), *get(void); int main(void) { return g() + *get() != 44; }", ["libb.so", "liba.so"])
    found = check_prepared(case)
    assert found["liba.so"]["residual_count"] and found["libb.so"]["jmprel_count"]


def test_a_floating_library_is_prepared_in_ranges(case):
    """With the single pages between, and without those of the dynamic section."""
    case.library("liba.so", SPARSE, flags=NOW)
    case.program(USING, ["liba.so"], flags=["-fPIC"])
    case.adopt()
    keep_floating(case, "liba.so")
    place(case)
    record, sparse = table(case)["liba.so"], elf.symbol(case.lib / "liba.so", "sparse")
    assert {sparse + number * 4096 for number in range(2 * PAGES - 1)} <= set(record["prepared"])
    assert page(record["dynamic"]) not in record["prepared"]


def test_every_word_is_right(case):
    case.library("liba.so", SPARSE, flags=NOW)
    case.program(printing("sparse[7][0] == (void *)free", "#include <stdlib.h>\nextern void *sparse[][1024];"), ["liba.so"],
                 flags=["-fPIC"])
    check(case, "1\n")


def test_nothing_else_becomes_private(case, filtered):  # noqa: F811
    """As much as where a filter keeps the runtime from preparing anything."""
    case.library("liba.so", SPARSE, flags=NOW)
    case.program(PRIVATE, ["liba.so"], flags=["-fPIC"])
    case.adopt()
    place(case)
    prepared, alone = (case.run(prefix=prefix, env={"FASTPRELINK": "require"}) for prefix in ([], [filtered]))
    assert prepared.status == 0 and prepared == alone
    assert PAGES * 4 <= int(prepared.stdout.split()[0]) < 2 * PAGES * 4
