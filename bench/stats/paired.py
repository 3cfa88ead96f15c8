"""Paired tests and effect sizes.

Pairs with a missing value are left out; ``n`` is the number of pairs used. Where a library returns
infinities or warns (no variance, a single pair), the result is NaN with a note.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

NAN = float("nan")
LEVEL = 0.95
WILCOXON_LEAST = 6
"""With fewer pairs a two-sided signed-rank test cannot reach p < 0.05."""
_ROUNDING = 1e-12
"""A spread this small relative to the mean is due to rounding."""


class Tested(NamedTuple):
    """The outcome of a test of the difference a - b.

    Attributes
    ----------
    n
        Pairs used.
    diff
        Mean difference, in the unit of the values.
    statistic
        The test's statistic.
    p
        Two-sided p value.
    low, high
        95 % confidence interval of the mean difference; NaN if the test has none.
    note
        Why a number is missing, or that the values are identical; else empty.
    """

    n: int
    diff: float
    statistic: float
    p: float
    low: float
    high: float
    note: str = ""


class Effect(NamedTuple):
    """How large a paired difference is, free of units; NaN where undefined.

    Attributes
    ----------
    dz
        Cohen's dz: mean over standard deviation (n - 1) of the differences.
    gz
        dz times Hedges' correction 1 - 3 / (4 (n - 1) - 1).
    rank_biserial
        Matched-pairs rank-biserial correlation, -1..1; differences of zero are left out.
    superiority
        Share of pairs in which a is larger, ties counting one half.
    """

    dz: float
    gz: float
    rank_biserial: float
    superiority: float


def differences(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return a - b of the pairs that are complete."""
    diff = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    return diff[~np.isnan(diff)]


def paired_t(a: ArrayLike, b: ArrayLike) -> Tested:
    """Return the paired t-test over folds, as the paper did (specification: Statistics).

    Folds share most of their training data, so it finds too many differences: see
    :func:`corrected_t`.
    """
    from scipy import stats

    diff = differences(a, b)
    if (odd := _degenerate(diff)) is not None:
        return odd
    found = stats.ttest_1samp(diff, 0.0)
    interval = found.confidence_interval(LEVEL)
    return Tested(
        diff.size,
        float(diff.mean()),
        float(found.statistic),
        float(found.pvalue),
        float(interval.low),
        float(interval.high),
    )


def corrected_t(a: ArrayLike, b: ArrayLike, test_to_train: float) -> Tested:
    """Return the corrected resampled t-test (Nadeau and Bengio 2003; specification: Statistics).

    The variance of the mean is ``(1/n + n_test/n_train) s²``, which allows for folds that share
    training data; derived for random subsampling and conservative for cross-validation.

    Parameters
    ----------
    a, b
        One value per fold (or per seed and fold), in the same order.
    test_to_train
        Test cases over training cases of a fold: ``1 / (k - 1)`` in k-fold cross-validation.
    """
    from scipy import stats

    diff = differences(a, b)
    if (odd := _degenerate(diff)) is not None:
        return odd
    n, mean = diff.size, float(diff.mean())
    error = math.sqrt((1 / n + test_to_train) * float(diff.var(ddof=1)))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * error
    p = 2 * float(stats.t.sf(abs(mean / error), n - 1))
    return Tested(n, mean, mean / error, p, mean - half, mean + half)


def wilcoxon(a: ArrayLike, b: ArrayLike) -> Tested:
    """Return the signed-rank test with Pratt's treatment of zeros; NaN below six pairs."""
    from scipy import stats

    diff = differences(a, b)
    mean = float(diff.mean()) if diff.size else NAN
    if diff.size < WILCOXON_LEAST:
        note = f"n too small for a signed-rank test: {diff.size} < {WILCOXON_LEAST}"
        return Tested(diff.size, mean, NAN, NAN, NAN, NAN, note)
    if not diff.any():
        return Tested(diff.size, 0.0, 0.0, 1.0, NAN, NAN, "identical")
    found = stats.wilcoxon(diff, zero_method="pratt", method="auto")
    return Tested(diff.size, mean, float(found.statistic), float(found.pvalue), NAN, NAN)


def effect(a: ArrayLike, b: ArrayLike) -> Effect:
    """Return effect sizes of the paired difference a - b (specification: Statistics)."""
    from scipy import stats

    diff = differences(a, b)
    n = diff.size
    if not n:
        return Effect(NAN, NAN, NAN, NAN)
    superiority = float((diff > 0).mean() + (diff == 0).mean() / 2)
    moved = diff[diff != 0]
    ranks = stats.rankdata(np.abs(moved))
    rank_biserial = float((ranks * np.sign(moved)).sum() / ranks.sum()) if moved.size else 0.0
    if _degenerate(diff) is not None:
        return Effect(0.0 if not moved.size else NAN, NAN, rank_biserial, superiority)
    dz = float(diff.mean() / diff.std(ddof=1))
    hedges = 1 - 3 / (4 * (n - 1) - 1)
    return Effect(dz, dz * hedges, rank_biserial, superiority)


def needed_correlation(
    diff: float, std_a: float, std_b: float, n: int, test_to_train: float = 0.0
) -> float:
    """Return the least correlation of paired fold values at which a difference has p < 0.05.

    Publications print means and standard deviations, which leave the pairing open. With
    correlation r the differences have the variance ``a² + b² - 2 r a b``.

    Parameters
    ----------
    diff
        Difference of the means.
    std_a, std_b
        Standard deviations (n - 1) over folds.
    n
        Folds.
    test_to_train
        As in :func:`corrected_t`; 0 for the plain paired t-test.

    Returns
    -------
    float
        Below -1: significant at any correlation. Above 1: not significant even at correlation 1.
    """
    from scipy import stats

    critical = float(stats.t.ppf((1 + LEVEL) / 2, n - 1))
    variance = diff**2 / (critical**2 * (1 / n + test_to_train))
    return (std_a**2 + std_b**2 - variance) / (2 * std_a * std_b)


def _degenerate(diff: NDArray[np.float64]) -> Tested | None:
    """Return the result for differences without a valid t-test, None for all others."""
    n = diff.size
    mean = float(diff.mean()) if n else NAN
    if n < 2:
        return Tested(n, mean, NAN, NAN, NAN, NAN, "n too small")
    if not diff.any():
        return Tested(n, 0.0, 0.0, 1.0, 0.0, 0.0, "identical")
    if float(diff.std(ddof=1)) <= _ROUNDING * abs(mean):
        return Tested(n, mean, NAN, NAN, NAN, NAN, "zero variance")
    return None
