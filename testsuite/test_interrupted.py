"""A run that is killed: every file is old or new, and the next run continues."""

import random
import shutil
import signal
import subprocess
import time

import pytest

from harness import build, files
from harness.run import fixed_libraries, placed


def start(case):
    return subprocess.Popen([build.TOOL, *placed(["-f"]), *case.places(), f"--runtime-source={build.RUNTIME}",
                             case.prog], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


@pytest.fixture
def states(sampler):
    """The digests of every file before, and after an undisturbed run; and how long that takes."""
    before = files.digests(sampler.bin, sampler.lib)
    begin = time.monotonic()
    assert start(sampler).wait() == 0
    seconds = time.monotonic() - begin
    after = files.digests(sampler.bin, sampler.lib)
    sampler.undo()
    sampler.runtime.unlink()
    return before, after, seconds


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
def test_killed_at_any_time(sampler, states, number):
    before, after, seconds = states
    generator = random.Random(1)
    for _ in range(12):
        process = start(sampler)
        time.sleep(generator.random() * seconds)
        process.send_signal(number)
        process.wait()
        found = files.digests(sampler.bin, sampler.lib)
        assert all(found[path] in (before[path], after[path]) for path in before)
        assert number == signal.SIGKILL or found.keys() == before.keys()
        assert sampler.run().stdout.startswith("sum 146")
        sampler.prelink()
        sampler.run_fast()
        assert {path: files.digest(path) for path in before} == after
        sampler.undo()
        sampler.runtime.unlink(missing_ok=True)


def test_left_files_take_no_address(sampler):
    """A killed run may leave the library that it was writing; the next run gives the addresses that it would have given."""
    bases = fixed_libraries(sampler.prelink(options=["-f", "--fixed", "-v"]))
    left = shutil.copy2(sampler.lib / "libbase.so", sampler.path / "left")
    sampler.undo()
    shutil.copy2(left, sampler.lib / ".#fastprelink.abcdef")
    assert bases and fixed_libraries(sampler.prelink(options=["-f", "--fixed", "-v"])) == bases


def test_two_runs_at_once(sampler, states):
    before, after, _ = states
    for _ in range(5):
        processes = [start(sampler), start(sampler)]
        for process in processes:
            assert process.wait() in (0, 1)
        found = files.digests(sampler.bin, sampler.lib)
        assert found.keys() == before.keys()
        sampler.prelink()
        assert files.digests(sampler.bin, sampler.lib) == after
        sampler.undo()
        sampler.runtime.unlink(missing_ok=True)
