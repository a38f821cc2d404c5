"""What whole systems have that single programs have not: links that lead elsewhere, programs that share libraries."""

import shutil

import pytest

from harness import build

pytestmark = pytest.mark.root
LIBDIR = "/usr/lib/x86_64-linux-gnu"


@pytest.fixture
def alternatives(root):
    """A root whose libuser.so is an absolute link, as update-alternatives makes them; outside of the root it leads nowhere."""
    base, user, prog = build.sampler()
    for name in ("/opt/chosen", "/etc/alternatives"):
        root.host(name).mkdir(parents=True)
    for path, name in ((base, f"{LIBDIR}/libbase.so"), (user, "/opt/chosen/libuser.so"), (prog, "/usr/bin/prog")):
        shutil.copy(path, root.host(name))
    root.host("/etc/alternatives/libuser.so").symlink_to("/opt/chosen/libuser.so")
    root.host(f"{LIBDIR}/libuser.so").symlink_to("/etc/alternatives/libuser.so")
    root.add()
    return root


@pytest.mark.parametrize("placement", ["--fixed", "--aslr", "--default"])
def test_library_behind_absolute_links(alternatives, placement):
    """The target is rewritten, the links stay, and the words are plain ld.so's."""
    original = alternatives.digests()
    oracle = alternatives.oracle("oracle", "/usr/bin/prog").before()
    alternatives.prelink("/usr/bin/prog", options=["-f", placement])
    oracle.after()
    assert alternatives.host(f"{LIBDIR}/libuser.so").is_symlink()
    address = oracle.addresses()["/lib/x86_64-linux-gnu/libuser.so"]
    assert (address == "0") == (placement != "--aslr")
    alternatives.undo()
    assert alternatives.digests() == original
