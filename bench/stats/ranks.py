"""Signed ranks: the test, and the estimate and interval that belong to it.

All three are of one statistic, T = sum of sign(d) rank(abs(d)) with mid-ranks for ties and with
zeros ranked but without a sign (Pratt 1959). The estimate is the shift that brings T to 0 (Hodges
and Lehmann 1963), the interval holds the shifts that the test does not reject.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .paired import DIGITS, LEVEL, NAN, Tested, corrected_t, signed_by_rank

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LEAST = 6
"""With fewer pairs a two-sided signed-rank test cannot reach p < 0.05."""
_EXACT = 25
"""Up to so many pairs the distribution of T is enumerated, ties included; then it is normal."""


class SignedRanks(NamedTuple):
    """The signed-rank test of differences, with the estimate and interval that belong to it.

    Attributes
    ----------
    n
        Differences.
    shift, low, high
        Hodges-Lehmann estimate and its interval, in the unit of the differences.
    statistic, p
        T, and its two-sided p value given the tied ranks.
    note
        Why a number is missing; else empty.
    """

    n: int
    shift: float
    low: float
    high: float
    statistic: float
    p: float
    note: str = ""

    @property
    def diff(self) -> float:
        """The estimate, by the name that it has in other tests."""
        return self.shift


def signed_ranks(diff: ArrayLike, *, interval: bool = True, level: float = LEVEL) -> SignedRanks:
    """Return the signed-rank test; NaN below six differences.

    Parameters
    ----------
    diff
        Differences without NaN, equal where they are equal (:func:`bench.stats.paired.settled`).
    interval
        Whether to look for estimate and interval too, which takes longer.
    level
        Confidence of the interval. Where so few differences reject no shift at it, there is none.
    """
    values = np.sort(np.asarray(diff, dtype=np.float64))
    n = values.size
    if n < LEAST:
        note = f"n too small for signed ranks: {n} < {LEAST}"
        return SignedRanks(n, NAN, NAN, NAN, NAN, NAN, note)
    if not values.any():
        return SignedRanks(n, 0.0, 0.0, 0.0, 0.0, 1.0, "identical")
    steps, step = _lattice(values)
    statistic, p = _tested(2 * steps)
    if not interval:
        return SignedRanks(n, NAN, NAN, NAN, statistic, p)
    least, most = 2 * int(steps[0]), 2 * int(steps[-1])
    half = n * (n + 1) / 4
    middle = (
        _first(lambda s: _above(steps, s) <= half, least - 1, most)
        + _first(lambda s: _above(steps, s) < half, least - 1, most)
    ) / 2
    shift = middle * step / 2
    inside = math.floor(middle)
    if _tested(2 * steps - inside)[1] < 1 - level:
        note = "too many equal values for an interval of signed ranks"
        return SignedRanks(n, shift, NAN, NAN, statistic, p, note)
    if _tested(2 * steps - least + 1)[1] >= 1 - level:  # all of one sign
        note = f"n too small for an interval of {100 * level:.4g} %"
        return SignedRanks(n, shift, NAN, NAN, statistic, p, note)
    low = _first(lambda s: _tested(2 * steps - s)[1] >= 1 - level, least - 1, inside)
    high = _first(lambda s: _tested(2 * steps - s)[1] < 1 - level, inside, most + 1) - 1
    return SignedRanks(n, shift, low * step / 2, high * step / 2, statistic, p)


def ranks_over_folds(diff: ArrayLike, fold: ArrayLike, test_to_train: float) -> Tested:
    """Return the test of signed ranks where the patients of a fold share a trained model.

    The signed ranks of all patients, divided by the largest, are averaged in each fold, and the
    averages tested by the corrected resampled t (:func:`bench.stats.paired.corrected_t`). The
    signed-rank test takes patients as independent, which those of a fold are not.

    Parameters
    ----------
    diff
        Differences without NaN, one per patient and run.
    fold
        The run, seed and fold, of each.
    test_to_train
        Test patients over training patients of a fold.
    """
    values = np.asarray(diff, dtype=np.float64)
    if not values.size:
        return corrected_t([], [], test_to_train)
    ranks = signed_by_rank(values) / values.size
    _, run = np.unique(np.asarray(fold), return_inverse=True)
    means = np.bincount(run, ranks) / np.bincount(run)
    return corrected_t(means, np.zeros_like(means), test_to_train)


def _lattice(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], float]:
    """Return sorted values as multiples of the largest common step, and the step."""
    finest = 10.0 ** (math.floor(math.log10(float(np.abs(values).max()))) - DIGITS)
    whole = np.rint(values / finest).astype(np.int64)
    common = max(int(np.gcd.reduce(whole)), 1)
    return whole // common, finest * common


def _tested(values: NDArray[np.int64]) -> tuple[float, float]:
    """Return T of whole numbers and its two-sided p value."""
    signed = signed_by_rank(values)
    statistic, moved = float(signed.sum()), np.abs(signed[signed != 0])
    if not moved.size:
        return 0.0, 1.0
    if moved.size > _EXACT:
        from scipy.special import ndtr

        return statistic, 2 * float(ndtr(-abs(statistic) / math.sqrt(float((moved**2).sum()))))
    doubled = np.rint(2 * moved).astype(np.int64)  # mid-ranks are halves
    reached, most = (int(doubled.sum()) + round(2 * abs(statistic))) // 2, int(doubled.sum())
    chance = np.zeros(most + 1)  # of every sum of the ranks with a plus, doubled
    chance[0] = 1.0
    for rank in doubled:
        chance[rank:] = (chance[rank:] + chance[: chance.size - rank]) / 2
        chance[:rank] /= 2
    return statistic, min(1.0, 2 * float(chance[reached:].sum()))


def _above(steps: NDArray[np.int64], total: int) -> int:
    """Return how many sums of two sorted numbers, each with itself too, are above a total."""
    ordered = steps.size**2 - int(np.searchsorted(steps, total - steps, "right").sum())
    return (ordered + int((2 * steps > total).sum())) // 2


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Return the least number above ``low``, up to ``high``, for which an increasing rule holds."""
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high
