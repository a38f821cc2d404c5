"""The project's own packages, made from the build that is tested."""

import os
import shutil
from pathlib import Path

from harness import build, need
from harness.run import run

NOBODY = 65534


def make_distribution(directory):
    """What make dist makes, in DIRECTORY."""
    done = run(["make", "-s", "-C", build.BUILD, "dist"])
    assert done.status == 0, done
    version = run([build.TOOL, "--version"]).stdout.split()[1]
    return Path(shutil.copy(build.BUILD / f"fastprelink-{version}.tar.xz", directory))


def make_deb(directory, epoch=1_700_000_000):
    """Builds the package from a distribution, as an ordinary user, in DIRECTORY, which all can reach."""
    for tool in ("dpkg-buildpackage", "dh"):
        need.tool(tool)
    tarball = make_distribution(directory)
    version = tarball.name.removeprefix("fastprelink-").removesuffix(".tar.xz")
    output = directory / "output"
    output.mkdir()
    os.chown(output, NOBODY, NOBODY)
    done = run([need.tool("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                build.TESTSUITE.parent / "contrib/make-deb", tarball, version, output],
               env={"SOURCE_DATE_EPOCH": str(epoch), "HOME": str(output)}, timeout=600)
    assert done.status == 0, done
    return Path(done.stdout.strip())
