"""Ranking stability under resampling of patients, and ranks across data sets."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .paired import NAN, settled

if TYPE_CHECKING:
    from numpy.typing import NDArray

BOOTSTRAPS = 1000
BATCH = 100
"""Samples that are in memory at a time."""


class Stability(NamedTuple):
    """Stability of a ranking of M methods under resampling of test patients.

    Attributes
    ----------
    ranks
        Rank of each method on all patients, 1 the best, ties sharing the smaller one; shape (M,).
    shares
        Share of the bootstrap samples in which a method has rank 1, 2, ...; shape (M, M).
    tau
        Mean Kendall tau-b between the full ranking and that of the samples; NaN if all tie.
    """

    ranks: NDArray[np.int64]
    shares: NDArray[np.float64]
    tau: float


class Friedman(NamedTuple):
    """Ranks across blocks, descriptive only: blocks share patients and are not independent.

    Attributes
    ----------
    mean_ranks
        Mean rank of each method, 1 the best; shape (M,).
    statistic, p
        Friedman's test; NaN for fewer than three methods or identical blocks.
    critical_difference
        Nemenyi's critical difference: mean ranks closer than this do not differ at the 5 % level.
    blocks
        Complete blocks used.
    """

    mean_ranks: NDArray[np.float64]
    statistic: float
    p: float
    critical_difference: float
    blocks: int


def rank(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return ranks along the last axis, 1 for the largest value; ties share the smaller rank."""
    ranks = np.ones(values.shape, np.int64)
    for other in np.moveaxis(values, -1, 0):
        ranks += other[..., None] > values
    return ranks


def bootstrap_ranks(
    values_PM: NDArray[np.float64], seed: int = 0, n_resamples: int = BOOTSTRAPS
) -> Stability:
    """Rank methods by their mean over patients, on bootstrap samples of the patients.

    Parameters
    ----------
    values_PM
        Larger is better; patients in rows, methods in columns. NaN is left out of a mean; a method
        without any value in a sample is last there.
    seed
        Of the resampling.
    n_resamples
        Bootstrap samples.
    """
    n_patients, n_methods = values_PM.shape
    rng = np.random.default_rng(seed)
    full = rank(_means(np.ones((1, n_patients)), values_PM))[0]
    even = np.full(n_patients, 1 / n_patients)
    sizes = [min(BATCH, n_resamples - done) for done in range(0, n_resamples, BATCH)]
    ranks_BM = np.concatenate(
        [rank(_means(rng.multinomial(n_patients, even, size), values_PM)) for size in sizes]
    )
    shares = np.stack([(ranks_BM == r).mean(axis=0) for r in range(1, n_methods + 1)], 1)
    if np.ptp(full) == 0:
        return Stability(full, shares, NAN)
    patterns, counts = np.unique(ranks_BM, axis=0, return_counts=True)
    taus = np.array([kendall_tau(full, pattern) for pattern in patterns])
    known = ~np.isnan(taus)
    tau = float(np.average(taus[known], weights=counts[known])) if known.any() else NAN
    return Stability(full, shares, tau)


def kendall_tau(a: NDArray[np.int64], b: NDArray[np.int64]) -> float:
    """Return Kendall's tau-b of two rankings of the same methods; NaN where either ties all."""
    first, second = np.triu_indices(a.size, 1)
    of_a, of_b = np.sign(a[first] - a[second]), np.sign(b[first] - b[second])
    untied_a, untied_b = np.count_nonzero(of_a), np.count_nonzero(of_b)
    if not untied_a or not untied_b:
        return NAN
    tau = int(of_a @ of_b) / math.sqrt(untied_a) / math.sqrt(untied_b)
    return min(1.0, max(-1.0, tau))


def friedman(values_BM: NDArray[np.float64]) -> Friedman:
    """Compare ranks of M methods over complete blocks (data set and label fraction).

    Parameters
    ----------
    values_BM
        Larger is better; blocks in rows, methods in columns.
    """
    from scipy.special import chdtrc  # scipy.stats takes longer to import than a board to build

    complete = values_BM[~np.isnan(values_BM).any(axis=1)]
    n_blocks, n_methods = complete.shape
    if n_methods < 2 or not n_blocks:
        return Friedman(np.full(n_methods, NAN), NAN, NAN, NAN, n_blocks)
    smallest, largest = rank(complete), n_methods + 1 - rank(-complete)  # that ties could share
    ranks_BM = (smallest + largest) / 2
    mean_ranks, middle = ranks_BM.mean(axis=0), (n_methods + 1) / 2
    q = range_of_normals(n_methods) / math.sqrt(2)
    critical = q * math.sqrt(n_methods * (n_methods + 1) / (6 * n_blocks))
    statistic = p = NAN
    if n_methods >= 3 and n_blocks >= 2 and (np.ptp(complete, axis=1) > 0).any():
        between = n_blocks**2 * float(((mean_ranks - middle) ** 2).sum())
        statistic = (n_methods - 1) * between / float(((ranks_BM - middle) ** 2).sum())
        p = float(chdtrc(n_methods - 1, statistic))
    return Friedman(mean_ranks, statistic, p, critical, n_blocks)


@cache
def range_of_normals(count: int, share: float = 0.95) -> float:
    """Return a quantile of the range of standard normal values: the studentized range.

    The range is below q with probability ``n E[(Phi(z) - Phi(z - q))^(n - 1)]``, z the largest.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr

    z = np.linspace(-9, 9, 361)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])

    def below(q: float) -> float:
        return count * float(density @ (ndtr(z) - ndtr(z - q)) ** (count - 1))

    return float(brentq(lambda q: below(q) - share, 0, 18))


def _means(
    weights_BP: NDArray[np.float64] | NDArray[np.int64], values_PM: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return weighted means of every sample and method; -inf where a method has no value.

    Rounded as scores are: the sums of equal columns differ in their last bits.
    """
    known_PM = ~np.isnan(values_PM)
    totals = weights_BP @ np.where(known_PM, values_PM, 0.0)
    counts = weights_BP @ known_PM.astype(np.float64)
    means: NDArray[np.float64] = np.divide(
        totals, counts, out=np.full_like(totals, -np.inf), where=counts > 0
    )
    return settled(means, float(np.abs(values_PM[known_PM]).max(initial=0)))
