"""The noise floor of a table over replicates."""

import math

import numpy as np
import pytest

from bench.stats.noise import noise


def test_two_methods_by_hand():
    # Without the means of methods (65, 67) and of replicates (70.5, 61.5) 0.5 is left of each:
    # s^2 = 4 * 0.25 / 1, its error of a difference of means of two sqrt(2 / 2), t is 12.7062.
    found = noise(np.array([[70.0, 60.0], [71.0, 63.0]]))
    assert found.floor == pytest.approx(12.7062, abs=1e-4)
    assert found[1:] == (2, 2)


def test_what_a_replicate_does_to_all_methods_is_no_noise():
    values_MS = np.array([[50.0, 52.0, 51.0], [60.0, 61.0, 63.0], [55.0, 58.0, 54.0]])
    shifted = values_MS + np.array([0.0, -20.0, 7.0])
    assert noise(shifted).floor == pytest.approx(noise(values_MS).floor)


@pytest.mark.parametrize("shape", [(1, 3), (3, 1), (0, 0)])
def test_one_method_or_replicate_tells_nothing(shape: tuple[int, int]):
    assert math.isnan(noise(np.zeros(shape)).floor)


@pytest.mark.parametrize("replicates", [2, 3])
def test_of_equal_methods_95_in_100_pairs_differ_by_less(replicates: int):
    rng = np.random.default_rng(0)
    within = []
    for _ in range(2000):
        values_MS = rng.normal(60, 5, replicates) + rng.normal(0, 2, (6, replicates))
        a, b, *_ = values_MS.mean(axis=1)
        within.append(abs(a - b) < noise(values_MS).floor)
    assert np.mean(within) == pytest.approx(0.95, abs=0.015)
