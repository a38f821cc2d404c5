"""Fixed libraries in programs that were not prelinked: linked, interposed, opened, audited."""

import pytest

from harness.run import DEBUG, REQUIRE
from test_fallback import BINDING, LINKED, NOW, compare, fix
from test_loading import HEAD
from test_shift import occupier

pytestmark = pytest.mark.one_placement  # says itself which


# Programs that were not prelinked

LIBRARY = """
int data = 1, *data_at = &data;
char bulk[9]; char *words[40] = { [0 ... 39] = bulk };
int inner(void) { return 10; }
int (*inner_at)(void) = inner;
int outer(void) { return inner() + inner_at() + *data_at + data; }
"""
INTERPOSER = "int data = 100; int inner(void) { return 1000; }"
CALLER = '#include <stdio.h>\nint outer(void); int main(void) { for (int i = 0; i < 2; i++) printf("%d\\n", outer()); return 0; }'


@pytest.fixture
def unrelated(sampler):
    """Fixed libraries (liba.so and what a program over it needs) in a directory with a program that is not prelinked."""
    def make(source, libs=("liba.so",), flags=(), **options):
        sampler.library("liba.so", LIBRARY, flags=flags)
        sampler.library("libo.so", "int outer(void); int twice(void) { return 2 * outer(); } char *there[40] = { [0 ... 39] = (char *)&there };",
                        ["liba.so"], flags)
        sampler.library("libp.so", INTERPOSER)
        sampler.program(CALLER, ["libo.so", "liba.so"], name="fixes")
        sampler.program(source, libs, flags, name="other", **options)
        sampler.adopt(sampler.bin / "other", sampler.bin / "fixes")
        return sampler
    return make


def as_plain(case, env=None, expected=None, **options):
    """What `other` does with fixed libraries is what it does with plain ones; DIR in values of ENV is the directory."""
    def scenario(directory):
        values = {key: value.replace("DIR", str(directory.path)) for key, value in (env or {}).items()}
        return directory.run(program=directory.bin / "other", env={**REQUIRE, **values}, **options)
    done = compare(case, scenario, case.bin / "fixes")
    assert done.status == 0 and done.stdout and (expected is None or done.stdout == expected), done
    return done


@LINKED
@BINDING
@pytest.mark.parametrize("pie", [True, False], ids=["pie", "no-pie"])
def test_another_program_links_them(unrelated, flags, binding, pie):
    as_plain(unrelated(CALLER, flags=flags, pie=pie), binding, "22\n22\n")


@LINKED
@BINDING
def test_interposed_functions_and_data(unrelated, flags, binding):
    """By a preload, in lazily bound libraries and others."""
    as_plain(unrelated(CALLER, flags=flags), {"LD_PRELOAD": "DIR/lib/libp.so", **binding}, "2200\n2200\n")


@LINKED
@BINDING
def test_the_prelinked_program_is_interposed(unrelated, flags, binding):
    case = unrelated(CALLER, flags=flags)
    env = {"LD_PRELOAD": "DIR/lib/libp.so", **binding}

    def scenario(directory):
        values = {key: value.replace("DIR", str(directory.path)) for key, value in env.items()}
        return directory.run(program=directory.bin / "fixes", env=values)
    assert compare(case, scenario, case.bin / "fixes").stdout == "2200\n2200\n"


@LINKED
def test_the_program_interposes(unrelated, flags):
    as_plain(unrelated(CALLER + INTERPOSER, flags=flags), expected="2200\n2200\n")


@LINKED
def test_a_copy_relocation(unrelated, flags):
    source = '#include <stdio.h>\nint outer(void), inner(void); extern int data, *data_at, (*inner_at)(void); int main(void)' \
             '{ data = 5; printf("%d %d %d\\n", outer(), data_at == &data, inner_at == inner); return 0; }'
    as_plain(unrelated(source, flags=flags, pie=False), expected="30 1 1\n")


@BINDING
def test_another_build_by_library_path(unrelated, binding):
    case = unrelated(CALLER)
    case.library("liba.so", LIBRARY.replace("return 10", "return 20"), where="newer")
    as_plain(case, {"LD_LIBRARY_PATH": "DIR/newer:DIR/lib", **binding}, "42\n42\n")


@BINDING
def test_the_prelinked_program_gets_another_build(unrelated, binding):
    case = unrelated(CALLER)
    case.library("liba.so", LIBRARY.replace("return 10", "return 20"), where="newer")
    fix(case, case.bin / "fixes")
    done = case.run(program=case.bin / "fixes", env={**DEBUG, "LD_LIBRARY_PATH": f"{case.path}/newer:{case.lib}", **binding})
    assert done.stdout == "42\n42\n" and done.declined in (9, 12)


def test_displaced_in_another_program(unrelated):
    """Lazily bound, with everything elsewhere."""
    case = unrelated(CALLER)
    preload = occupier(case)
    for more in ({}, NOW):
        fast = case.run(program=case.bin / "other", env={**preload, **more})
        assert fast.stdout == "22\n22\n"
    fix(case, case.bin / "fixes")
    for more in ({}, NOW):
        assert case.run(program=case.bin / "other", env={**preload, **more}) == fast


OPEN = """
static int use(void *handle)
{
    if (!handle) { puts(dlerror()); return 0; }
    int (*twice)(void) = dlsym(handle, "twice"), (*inner)(void) = dlsym(handle, "inner");
    int *data = dlsym(handle, "data");
    *data += 1;
    return twice() * 10 + inner();
}
int data = 500; int inner(void) { return 3; }
int main(void) { %s return 0; }"""
OPENING = {
    "local": 'printf("%d\\n", use(dlopen("libo.so", RTLD_LAZY | RTLD_LOCAL)));',
    "now": 'printf("%d\\n", use(dlopen("libo.so", RTLD_NOW)));',
    "global": 'printf("%d\\n", use(dlopen("libo.so", RTLD_LAZY | RTLD_GLOBAL)));',
    "deepbind": 'printf("%d\\n", use(dlopen("libo.so", RTLD_LAZY | RTLD_DEEPBIND)));',
    "deepbind-now": 'printf("%d\\n", use(dlopen("libo.so", RTLD_NOW | RTLD_DEEPBIND)));',
    "namespace": 'printf("%d\\n", use(dlmopen(LM_ID_NEWLM, "libo.so", RTLD_LAZY)));',
    "two-namespaces": 'void *a = dlmopen(LM_ID_NEWLM, "libo.so", RTLD_NOW), *b = dlmopen(LM_ID_NEWLM, "libo.so", RTLD_LAZY),'
                      '*c = dlopen("libo.so", RTLD_LAZY); printf("%d %d %d %d\\n", use(a), use(b), use(c), use(a));',
    "again": 'for (int i = 0; i < 20; i++) { void *h = dlopen("libo.so", i % 2 ? RTLD_NOW : RTLD_LAZY); printf("%d ", use(h));'
             'printf("%d ", dlclose(h)); printf("%d\\n", dlopen("libo.so", RTLD_NOLOAD | RTLD_LAZY) == 0); }',
    "again-occupied": 'void *h = dlopen("libo.so", RTLD_LAZY); int before = use(h); dlclose(h); void *room = mmap((void *)0x3000000000,'
                      '1 << 26, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);'
                      'printf("%d %d %d\\n", before, room == (void *)0x3000000000, use(dlopen("libo.so", RTLD_LAZY)));',
    "next": 'void *h = dlopen("libo.so", RTLD_NOW | RTLD_GLOBAL); Dl_info info; dladdr(dlsym(h, "outer"), &info);'
            'printf("%s %d\\n", strrchr(info.dli_fname, 47), dlsym(RTLD_NEXT, "outer") == dlsym(h, "outer"));',
}


@LINKED
@pytest.mark.parametrize("exported", [False, True], ids=["plain", "exporting"])
@pytest.mark.parametrize("how", OPENING)
def test_another_program_opens_them(unrelated, how, flags, exported):
    """With -rdynamic the program itself interposes."""
    source = HEAD + "#include <sys/mman.h>\n" + OPEN % OPENING[how]
    as_plain(unrelated(source, [], [*flags, *(["-rdynamic"] if exported else [])]))


@LINKED
def test_a_prelinked_program_opens_what_is_fixed(case, flags):
    """Also what it has already, in another namespace, where the base is occupied by itself."""
    case.library("liba.so", LIBRARY, flags=flags)
    case.library("libo.so", "int outer(void); int twice(void) { return 2 * outer(); }", ["liba.so"], flags)
    case.program(CALLER, ["libo.so", "liba.so"], name="fixes")
    source = HEAD + "int outer(void); int *sum = 0;\nint main(void) { void *a = dlopen(\"libo.so\", RTLD_NOW | RTLD_LOCAL)," \
        '*b = dlmopen(LM_ID_NEWLM, "libo.so", RTLD_LAZY); printf("%d %d %d\\n", ((int (*)(void))dlsym(a, "twice"))(),' \
        '((int (*)(void))dlsym(b, "twice"))(), dlsym(a, "twice") == dlsym(b, "twice")); return outer() != 22; }'
    case.program(source, ["liba.so"], flags)
    case.adopt(case.prog, case.bin / "fixes")
    plain = case.run()
    assert plain.stdout == "44 44 0\n" and plain.status == 0
    fix(case, case.prog, case.bin / "fixes")
    assert case.run_fast() == plain


def test_a_library_that_is_preloaded(unrelated):
    """A fixed library is an ordinary one for LD_PRELOAD, before the program's own."""
    as_plain(unrelated(CALLER), {"LD_PRELOAD": "DIR/lib/libo.so DIR/lib/libbase.so"}, "22\n22\n")


def test_audited(unrelated):
    case = unrelated(CALLER)
    case.library("libaudit.so", "#define _GNU_SOURCE\n#include <link.h>\nunsigned la_version(unsigned v) { return LAV_CURRENT; }"
                 "unsigned la_objopen(struct link_map *m, Lmid_t i, uintptr_t *c) { return LA_FLG_BINDTO | LA_FLG_BINDFROM; }",
                 where="audit")
    as_plain(case, {"LD_AUDIT": "DIR/audit/libaudit.so"}, "22\n22\n")
