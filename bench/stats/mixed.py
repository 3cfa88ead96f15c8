"""A mixed model of the differences of two methods: trained models and seeds are random effects.

It weighs folds by what they hold, and is meant for data with gaps and several seeds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .paired import NAN, Tested, differences, tested

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class Runs(NamedTuple):
    """What REML needs of the differences: J runs of N differences together.

    Attributes
    ----------
    means, sizes
        Mean difference and number of differences of each run; shape (J,).
    same_seed
        1 where two runs are of one seed, else 0; shape (J, J).
    within
        Sum of squares within runs.
    """

    means: NDArray[np.float64]
    sizes: NDArray[np.int64]
    same_seed: NDArray[np.float64]
    within: float


class Fit(NamedTuple):
    """A fitted model.

    Attributes
    ----------
    mean, error
        Estimate by generalised least squares, and its standard error.
    of_seeds
        Variance of the random effect of seeds.
    """

    mean: float
    error: float
    of_seeds: float


class _Solved(NamedTuple):
    """The model at given ratios of its variances.

    Attributes
    ----------
    variance, inverse
        Of the run means, in units of the variance of patients; shape (J, J).
    weights, pulls
        Rows of the inverse summed, and times the residuals of the run means; shape (J,).
    mean, precision, scale
        Estimate, its precision in the same units, and the variance of patients.
    """

    variance: NDArray[np.float64]
    inverse: NDArray[np.float64]
    weights: NDArray[np.float64]
    pulls: NDArray[np.float64]
    mean: float
    precision: float
    scale: float


def mixed_model(diff: ArrayLike, fold: ArrayLike, seed: ArrayLike, test_to_train: float) -> Tested:
    """Fit ``difference ~ 1 + (1 | seed) + (1 | seed:fold)`` by REML and test the mean.

    A trained model is a random effect: training again gives another one. The variance of the mean
    is enlarged as in :func:`bench.stats.paired.corrected_t`, with which it agrees on complete data
    where folds differ by more than chance. Degrees of freedom after Satterthwaite: those of seeds
    as far as seeds differ, else those of runs.

    Parameters
    ----------
    diff
        Differences a - b, one per patient and run, NaN where missing.
    fold, seed
        Whole numbers: the run of each.
    test_to_train
        Test patients over training patients of a fold.

    Returns
    -------
    Tested
        ``n`` counts runs.
    """
    values, folds, seeds = (np.asarray(x) for x in (diff, fold, seed))
    known = ~np.isnan(values)
    values, folds, seeds = values[known], folds[known], seeds[known]
    mean = float(values.mean()) if values.size else NAN
    names, run = np.unique(np.stack([seeds, folds]), axis=1, return_inverse=True)
    n_runs, n_seeds = names.shape[1], len(np.unique(seeds))
    if n_runs < 2:
        return Tested(n_runs, mean, NAN, NAN, NAN, NAN, "n too small")
    if not differences(values, np.zeros_like(values)).any():
        return Tested(n_runs, 0.0, 0.0, n_runs - 1, 0.0, 1.0, "identical")
    sizes = np.bincount(run)
    means = np.bincount(run, values) / sizes
    within = float(((values - means[run]) ** 2).sum())
    if within <= 1e-12 * float((values**2).sum()):
        return Tested(n_runs, mean, NAN, NAN, NAN, NAN, "no variance within runs")
    same = (names[0][:, None] == names[0]).astype(np.float64)
    found = reml(Runs(means, sizes, same, within))
    variance, df = found.error**2, n_runs - 1.0
    between = min(found.of_seeds / n_seeds, variance)
    if between > 0:
        rest = (variance - between) ** 2 / max(n_runs - n_seeds, 1)
        df = variance**2 / (between**2 / (n_seeds - 1) + rest)
    error = math.sqrt(variance * (1 + n_runs * test_to_train))
    return tested(n_runs, found.mean, error, df)


def reml(runs: Runs) -> Fit:
    """Return the estimates of largest restricted likelihood.

    The model depends on a handful of run means and one sum of squares, so that this takes
    milliseconds where a general fit over all patients takes seconds for every pair of methods.
    """
    from scipy.optimize import minimize

    n_runs, total = runs.sizes.size, int(runs.sizes.sum())
    several = bool(0 < runs.same_seed.sum() < n_runs**2) and bool(runs.same_seed.sum() > n_runs)
    effects = np.stack([np.eye(n_runs), runs.same_seed][: 1 + several])

    def solved(ratios: NDArray[np.float64]) -> _Solved:
        variance = np.diag(1 / runs.sizes) + np.tensordot(ratios, effects, 1)
        inverse: NDArray[np.float64] = np.linalg.inv(variance)
        weights: NDArray[np.float64] = inverse.sum(axis=1)
        precision = float(weights.sum())
        mean = float(weights @ runs.means) / precision
        pulls = inverse @ (runs.means - mean)
        squares = runs.within + float(pulls @ (runs.means - mean))
        return _Solved(variance, inverse, weights, pulls, mean, precision, squares / (total - 1))

    def deviance(ratios: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the deviance and its gradient, without which the last digits depend on the CPU."""
        found = solved(ratios)
        value = (total - 1) * math.log(found.scale) + math.log(found.precision)
        value += float(np.linalg.slogdet(found.variance)[1])
        gradient = [
            float((found.inverse * effect).sum())
            - float(found.pulls @ effect @ found.pulls) / found.scale
            - float(found.weights @ effect @ found.weights) / found.precision
            for effect in effects
        ]
        return value, np.array(gradient)

    start = np.full(len(effects), float(runs.means.var()) * total / runs.within)
    best = minimize(
        deviance,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * start.size,
        options={"ftol": 0, "gtol": 1e-10},
    ).x
    *_, mean, precision, scale = solved(best)
    of_seeds = float(best[1]) * scale if several else 0.0
    return Fit(mean, math.sqrt(scale / precision), of_seeds)
