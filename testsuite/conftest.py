"""Fixtures of the whole suite; what they give is in harness/."""

import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("harness.run", "harness.private", "harness.root", "oracle")

from harness import build, debian, need, package  # noqa: E402
from harness.debian import DebianRoot  # noqa: E402
from harness.private import PrivateDir  # noqa: E402
from harness.root import Root  # noqa: E402
from harness.run import run  # noqa: E402

# Only for make check-package.
collect_ignore = [] if os.environ.get("FASTPRELINK_LONG") == "1" else ["test_long_package.py"]


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory):
    """One directory for compiled cases, which the workers of pytest-xdist share."""
    base = tmp_path_factory.getbasetemp()
    build.cache = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled"
    build.cache.mkdir(exist_ok=True)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """With pytest -n: tests that share a sandbox root go to one worker."""
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "loadgroup"
    if hasattr(config, "workerinput"):  # workers know only the command line
        config.option.loadgroup = True


@pytest.fixture(scope="session", autouse=True)
def system_is_read_only():
    """As root: whatever goes wrong, nothing is written to the system's own programs and libraries."""
    if need.private_mounts():
        for command in (["mount", "--bind", "/usr", "/usr"], ["mount", "-o", "remount,bind,ro", "/usr"]):
            assert run(command).status == 0


def pytest_runtest_setup(item):
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")
    if item.get_closest_marker("user") and os.geteuid() == 0 and not shutil.which("setpriv"):
        need.missing("setpriv")


@pytest.fixture
def case(tmp_path):
    """An empty private directory for one program and its libraries."""
    yield PrivateDir(tmp_path / "case")
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def sampler(case):
    """The program that uses a bit of everything, with its libraries and libc, not prelinked yet."""
    case.library("libbase.so", build.CASES / "base.c")
    case.library("libuser.so", build.CASES / "user.c", ["libbase.so"])
    case.program(build.CASES / "sampler.c", ["libuser.so", "libbase.so"])
    case.adopt()
    return case


@pytest.fixture
def root(tmp_path):
    """A small sandbox root with a shell; removed and unmounted afterwards."""
    with Root(tmp_path / "root") as made:
        yield made
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture(scope="session")
def debian_base(tmp_path_factory):
    """A root made by debootstrap; tests work in roots that lie over it."""
    return debian.make_base(tmp_path_factory.mktemp("debian") / "base")


@pytest.fixture(scope="session")
def deb():
    """The project's own package.  It is built by an ordinary user, from whom pytest keeps its directories."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield package.make_deb(Path(directory))


@pytest.fixture
def plain_debian(debian_base):
    """A Debian root without fastprelink."""
    with DebianRoot(debian_base.with_name("root"), debian_base) as made:
        made.set()
        yield made


@pytest.fixture
def prelinked_debian(plain_debian, deb):
    """A Debian root in which the package was installed."""
    plain_debian.install(deb)
    return plain_debian


def pytest_terminal_summary(terminalreporter):
    """What tests recorded, added up: how much was generated, and what was left alone for which reason."""
    sums = Counter()
    for report in terminalreporter.stats.get("passed", []):
        for name, number in report.user_properties:
            sums[name] += number
    if sums:
        terminalreporter.section("recorded")
    for name, number in sorted(sums.items()):
        terminalreporter.line(f"{number:8} {name}")
