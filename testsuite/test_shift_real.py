"""Libraries of the distribution, shifted with -r."""

import shutil
from pathlib import Path

import pytest

from harness import files, need
from harness.run import fastprelink, run
from test_shift import SYSTEM, addresses, libraries, occupier, shift

pytestmark = pytest.mark.one_placement


# Libraries of the distribution

REAL = ["libstdc++.so.6", "libssl.so.3", "libcrypto.so.3", "libicui18n.so.72", "libicuuc.so.72", "libgtk-3.so.0",
        "libQt5Gui.so.5", "libQt5Widgets.so.5", "libpython3.11.so.1.0", "libm.so.6", "libgcc_s.so.1", "libz.so.1",
        "libpthread.so.0", "libX11.so.6", "libXdmcp.so.6", "libgmp.so.10", "libglib-2.0.so.0", "libsqlite3.so.0"]


@pytest.mark.parametrize("name", REAL)
def test_real_library(case, name):
    """Opened, wherever it is; undone; little is added; nobody finds a fault."""
    if not Path(SYSTEM, name).exists():
        need.missing(name)
    path = case.lib / name
    shutil.copy2(SYSTEM + name, path, follow_symlinks=True)
    original, size = files.digest(path), path.stat().st_size
    lint = [need.tool("eu-elflint"), "--gnu-ld", path]
    before = run(lint).stdout
    case.program('#include <dlfcn.h>\n#include <link.h>\n#include <stdio.h>\nint main(int c, char **v)\n'
                 '{ struct link_map *m = dlopen(v[1], *v[2] == \'n\' ? RTLD_NOW : RTLD_LAZY);\n'
                 '  if (!m) puts(dlerror()); else printf("%d\\n", m->l_addr == 0); return 0; }')
    shift(path)
    preload = occupier(case)
    for mode in ("now", "lazy"):
        assert case.run(path, mode).stdout == "1\n"
        assert case.run(path, mode, env=preload).stdout == "0\n"
    assert run(lint).stdout == before
    assert path.stat().st_size - size <= size // 100 + 5500
    fastprelink("-u", path)
    assert files.digest(path) == original


def real_closure(case, program, *arguments, path=()):
    shutil.copy2(program, case.prog)
    case.extra_env["LD_LIBRARY_PATH"] = ":".join(map(str, [case.lib, *path]))
    home = case.path.with_name("home")  # inkscape complains where it has none, with the time
    home.mkdir()
    case.extra_env["HOME"] = str(home)
    case.adopt()
    plain = case.run(*arguments)
    assert plain.status == 0 and plain.stdout, plain
    paths = libraries(case)
    original, size = files.digests(case.lib), sum(path.stat().st_size for path in paths)
    done = shift(*paths, status=None)
    skipped = done.stderr.count("keeps its random address")
    assert skipped == done.stderr.count("\n")
    biases = addresses(case)
    assert sum(biases[path.name] == 0 for path in paths) == len(paths) - skipped > 10
    preload = occupier(case)
    for env in ({}, {"LD_BIND_NOW": "1"}, preload, {**preload, "LD_BIND_NOW": "1"}):
        assert case.run(*arguments, env=env) == plain
    assert sum(path.stat().st_size for path in paths) - size < size * 3 // 100
    fastprelink("-u", *[path for path in paths if files.digest(path) != original[str(path)]])
    assert files.digests(case.lib) == original


@pytest.mark.heavy
def test_clang(case):
    real_closure(case, "/usr/bin/clang-14", "--version")


@pytest.mark.heavy
def test_inkscape(case):
    real_closure(case, "/usr/bin/inkscape", "--version", path=[SYSTEM + "inkscape"])
