"""Bootstrap intervals of a mean difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .paired import LEVEL, NAN

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

RESAMPLES = 9999


class Interval(NamedTuple):
    """A 95 % interval; NaN and a note where it does not exist."""

    low: float
    high: float
    note: str = ""


def bca(diff: ArrayLike, seed: int = 0, n_resamples: int = RESAMPLES) -> Interval:
    """Return the bias-corrected and accelerated interval of the mean over patients.

    Conditional on the trained models: variation between trainings is not included.

    Parameters
    ----------
    diff
        One difference per patient, without NaN.
    seed
        Of the resampling; equal seeds give equal intervals.
    n_resamples
        Bootstrap samples.
    """
    from scipy import stats

    values = np.asarray(diff, dtype=np.float64)
    if values.size < 2:
        return Interval(NAN, NAN, "n too small")
    if np.ptp(values) == 0:
        return Interval(float(values[0]), float(values[0]), "zero variance")
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=n_resamples,
        confidence_level=LEVEL,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def two_level(
    diff: ArrayLike, fold: ArrayLike, seed: int = 0, n_resamples: int = RESAMPLES
) -> Interval:
    """Return the percentile interval over folds and the patients in them.

    Folds are resampled, then patients within each sampled fold, so that the variation between
    trained models is included. The statistic is the mean over folds of the means over patients.

    Parameters
    ----------
    diff
        One difference per patient, without NaN.
    fold
        The fold of each patient.
    seed
        Of the resampling.
    n_resamples
        Bootstrap samples.
    """
    values = np.asarray(diff, dtype=np.float64)
    _, members = np.unique(np.asarray(fold), return_inverse=True)
    n_folds = int(members.max()) + 1 if members.size else 0
    if n_folds < 2:
        return Interval(NAN, NAN, "one fold")
    rng = np.random.default_rng(seed)
    sampled = rng.integers(n_folds, size=(n_resamples, n_folds))
    means = np.empty(sampled.shape)
    for index in range(n_folds):
        means[sampled == index] = _resampled_means(
            values[members == index], int((sampled == index).sum()), rng
        )
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means.mean(axis=1), [tail, 1 - tail])
    return Interval(float(low), float(high))


def _resampled_means(
    values: NDArray[np.float64], count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    means: NDArray[np.float64] = values[rng.integers(values.size, size=(count, values.size))].mean(
        axis=1
    )
    return means
