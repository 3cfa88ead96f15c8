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
_ROUNDING = 1e-12
"""A spread this small relative to the mean is due to rounding."""
_POOLED = 0.25
"""Seeds whose effects have a larger p value are taken as equal."""
DIGITS = 10
"""Significant digits of the largest score that differences are told apart by."""


class Tested(NamedTuple):
    """The outcome of a test of the mean difference a - b.

    Estimate, p value and intervals belong together: the interval of confidence 1 - alpha excludes 0
    exactly where p is below alpha.

    Attributes
    ----------
    n
        Pairs used.
    diff
        Mean difference, in the unit of the values.
    error, df
        Standard error of the mean difference, and degrees of freedom of its t distribution; NaN
        where there is no test.
    statistic
        The test's statistic.
    p
        Two-sided p value.
    note
        Why a number is missing, or that the values are identical; else empty.
    """

    n: int
    diff: float
    error: float
    df: float
    statistic: float
    p: float
    note: str = ""

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return the confidence interval of the mean difference; NaN where there is no test."""
        from scipy.special import stdtrit

        if self.error == 0:
            return self.diff, self.diff
        half = -float(stdtrit(self.df, (1 - level) / 2)) * self.error
        return self.diff - half, self.diff + half


class Effect(NamedTuple):
    """How large a paired difference is, free of units; NaN where undefined.

    Attributes
    ----------
    dz
        Cohen's dz: mean over standard deviation (n - 1) of the differences.
    gz
        dz times Hedges' correction 1 - 3 / (4 (n - 1) - 1).
    rank_biserial
        Matched-pairs rank-biserial correlation, 1 if a is better in all pairs, -1 if b is;
        differences of zero are left out.
    superiority
        Share of pairs in which a is better, ties counting one half.
    """

    dz: float
    gz: float
    rank_biserial: float
    superiority: float


def settled(values: ArrayLike, largest: float) -> NDArray[np.float64]:
    """Round to ten significant digits of the largest score.

    Scores are stored with a few decimals. Their differences differ by rounding errors where they
    are equal, which would break ties; and the same scores in percent and as fractions would have
    different ranks.

    Parameters
    ----------
    values
        Scores, or their means and differences.
    largest
        The largest absolute score.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not math.isfinite(largest) or largest <= 0:
        return numbers
    rounded: NDArray[np.float64] = np.round(numbers, DIGITS - 1 - math.floor(math.log10(largest)))
    return rounded


def differences(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return a - b of the pairs that are complete, free of rounding errors (:func:`settled`)."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    diff = first - second
    known = ~np.isnan(diff)
    largest = max((float(np.abs(x[known]).max(initial=0)) for x in (first, second)), default=0.0)
    return settled(diff[known], largest)


def paired_t(a: ArrayLike, b: ArrayLike) -> Tested:
    """Return the paired t-test: over independent pairs such as patients, it holds its level.

    Over folds, as the paper used it, it does not: they share most of their training data and it
    finds too many differences; see :func:`corrected_t`.
    """
    return corrected_t(a, b, 0.0)


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
    diff = differences(a, b)
    if (odd := _degenerate(diff)) is not None:
        return odd
    error = math.sqrt((1 / diff.size + test_to_train) * float(diff.var(ddof=1)))
    return tested(diff.size, float(diff.mean()), error, diff.size - 1)


def crossed_t(diff_PS: ArrayLike) -> Tested:
    """Return the test of a mean difference over P patients and S seeds, both random.

    Every model is trained with several seeds and tested on the same patients, as readers read the
    same cases in a reading study. Where seeds differ by more than chance (F test, p up to 0.25;
    Bancroft 1964), the variance of the mean is ``(MS_P + MS_S - MS_PS) / (P S)`` with the S - 1
    degrees of freedom of the seeds; else seeds are averaged and it is the paired t-test over
    patients. (Degrees of freedom after Satterthwaite find too much with two or three seeds.)

    Parameters
    ----------
    diff_PS
        Differences a - b, patients in rows, seeds in columns; a patient that lacks one is left out.
    """
    from scipy.special import fdtrc

    values = np.asarray(diff_PS, dtype=np.float64)
    values = values[~np.isnan(values).any(axis=1)]
    n_patients, n_seeds = values.shape
    of_patients = values.mean(axis=1)
    simple = paired_t(of_patients, np.zeros(n_patients))
    if n_seeds < 2 or math.isnan(simple.p) or simple.error == 0:
        return simple
    mean, of_seeds = float(values.mean()), values.mean(axis=0)
    ms_patients = n_seeds * float(of_patients.var(ddof=1))
    ms_seeds = n_patients * float(of_seeds.var(ddof=1))
    rest = values - of_patients[:, None] - of_seeds + mean
    freedom = (n_patients - 1) * (n_seeds - 1)
    ms_rest = float((rest**2).sum()) / freedom
    if ms_seeds <= ms_rest or fdtrc(n_seeds - 1, freedom, ms_seeds / ms_rest) > _POOLED:
        return simple
    error = math.sqrt((ms_patients + ms_seeds - ms_rest) / values.size)
    return tested(n_patients, mean, error, n_seeds - 1)


def tested(n: int, mean: float, error: float, df: float) -> Tested:
    """Return the t-test of a mean with a standard error that is not zero."""
    from scipy.special import stdtr  # scipy.stats takes longer to import than a report to build

    statistic = mean / error
    return Tested(n, mean, error, df, statistic, 2 * float(stdtr(df, -abs(statistic))))


def effect(a: ArrayLike, b: ArrayLike, *, higher_is_better: bool = True) -> Effect:
    """Return effect sizes of the paired difference a - b (specification: Statistics)."""
    diff = differences(a, b)
    n = diff.size
    if not n:
        return Effect(NAN, NAN, NAN, NAN)
    better = diff if higher_is_better else -diff
    superiority = float((better > 0).mean() + (better == 0).mean() / 2)
    moved = better[better != 0]
    ranks = signed_by_rank(moved)
    rank_biserial = float(ranks.sum() / np.abs(ranks).sum()) if moved.size else 0.0
    if _degenerate(diff) is not None:
        return Effect(0.0 if not moved.size else NAN, NAN, rank_biserial, superiority)
    dz = float(diff.mean() / diff.std(ddof=1))
    hedges = 1 - 3 / (4 * (n - 1) - 1)
    return Effect(dz, dz * hedges, rank_biserial, superiority)


def signed_by_rank(values: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the rank of each absolute value, the mean of tied ones, with the sign of the value."""
    size = np.abs(values)
    ordered = np.sort(size, kind="stable")  # sorted values are two sorted runs: no work
    last, first = (np.searchsorted(ordered, size, side) for side in ("right", "left"))
    signed: NDArray[np.float64] = np.sign(values) * (first + last + 1) / 2
    return signed


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
    from scipy.special import stdtrit

    critical = float(stdtrit(n - 1, (1 + LEVEL) / 2))
    variance = diff**2 / (critical**2 * (1 / n + test_to_train))
    return (std_a**2 + std_b**2 - variance) / (2 * std_a * std_b)


def _degenerate(diff: NDArray[np.float64]) -> Tested | None:
    """Return the result for differences without a valid t-test, None for all others."""
    n = diff.size
    mean = float(diff.mean()) if n else NAN
    if n < 2:
        return Tested(n, mean, NAN, NAN, NAN, NAN, "n too small")
    if not diff.any():
        return Tested(n, 0.0, 0.0, n - 1, 0.0, 1.0, "identical")
    if float(diff.std(ddof=1)) <= _ROUNDING * abs(mean):
        return Tested(n, mean, NAN, NAN, NAN, NAN, "zero variance")
    return None
