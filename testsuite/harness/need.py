"""What a test needs of the machine.  FASTPRELINK_STRICT=1 (CI): a missing tool is a failure, not a skip."""

import ctypes
import functools
import os
import shutil

import pytest

PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
STRICT = os.environ.get("FASTPRELINK_STRICT") == "1"
CLONE_NEWNS = 0x20000


def missing(what):
    if STRICT:
        pytest.fail(f"{what} is needed (FASTPRELINK_STRICT=1)")
    pytest.skip(f"no {what}")


def tool(name):
    """The path of the program NAME."""
    return shutil.which(name, path=PATH) or missing(name)


@functools.cache
def private_mounts():
    """Gives this process mounts of its own, which vanish with it; whether that was possible (root only)."""
    libc = ctypes.CDLL(None, use_errno=True)
    ms_rec, ms_private = 0x4000, 0x40000
    return (os.geteuid() == 0 and libc.unshare(CLONE_NEWNS) == 0
            and libc.mount(None, b"/", None, ms_rec | ms_private, None) == 0)
