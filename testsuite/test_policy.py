"""What is left as it is."""

import pytest

from harness import files


@pytest.mark.parametrize("checksum", [".{}.hmac", "{}.hmac", "{}.chk"])
@pytest.mark.parametrize("which", ["prog", "libc"])
def test_file_with_a_checksum_beside_it(sampler, which, checksum):
    """Neither a program nor the carrier changes when something nearby knows its contents; the other does not either."""
    target = getattr(sampler, which)
    target.with_name(checksum.format(target.name)).write_text("0123")
    before = files.digests(sampler.path)
    done = sampler.prelink(status=1)
    assert "checks its own contents" in done.stderr and checksum.format(target.name) in done.stderr
    after = files.digests(sampler.path)
    after.pop("rt", None)
    assert after == before


def test_checksum_of_nss(sampler):
    """NSS names the checksum of libfoo.so libfoo.chk."""
    library = sampler.prog.rename(sampler.prog.with_name("prog.so"))
    library.with_name("prog.chk").write_text("0123")
    assert "checks its own contents" in sampler.prelink(library, status=1).stderr
