"""Closures that a seed chooses (generate/): everything that a prelinked program does is what it does plain."""

import os

import pytest

from generate import features, life, model

pytestmark = pytest.mark.one_placement  # says itself which

FIRST, LAST = map(int, os.environ.get("FASTPRELINK_SEEDS", "0-99").split("-"))


@pytest.mark.parametrize("seed", range(FIRST, LAST + 1))
def test_closure(case, seed, record_property):
    closure = model.choose(seed)
    try:
        left = life.live(case, closure)
    except AssertionError as error:
        again = f"FASTPRELINK_SEEDS={seed}-{seed} python3 -m pytest testsuite/test_generated.py -k test_closure"
        raise AssertionError(f"{error}\nto repeat it: {again}") from error
    record_property("libraries", len(closure.libraries))
    for reason, count in left.items():
        record_property("left alone: " + reason, count)


@pytest.mark.parametrize("name", features.FEATURES)
def test_the_first_hundred_have(name):
    assert any(features.FEATURES[name](model.choose(seed)) for seed in range(100))


def test_static_pie_is_refused(case):
    case.program("int main(void) { return 0; }", flags=["-static-pie"])
    done = case.prelink(options=("-f", "--json", "--aslr"), status=None)
    assert '"reason":"static"' in done.stdout, done
