"""How well a confidence separates right from wrong candidate voxels: AUC and average precision.

Exact and vectorised: one sort of the scores serves all three numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.errors import BenchError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class RankingScores(NamedTuple):
    """Ranking quality over candidate voxels; all values are fractions in 0..1."""

    candidates: int
    candidate_error: float
    auc: float
    ap_success: float
    ap_error: float


def ranking_scores(score: ArrayLike, success: ArrayLike) -> RankingScores:
    """Return AUC, AP_success and AP_error of a confidence (specification: Audit; Tables 6 and 10).

    Parameters
    ----------
    score
        Confidence of each candidate voxel, shape (N,); float32 is enough.
    success
        Whether the hidden ground truth agrees, shape (N,).

    Returns
    -------
    RankingScores
        ``auc``: area under the ROC curve of ``score`` for success, ties counting one half.
        ``ap_success``, ``ap_error``: average precision of ``score`` for success and of ``-score``
        for error, sum over distinct thresholds of (R_n - R_{n-1}) P_n. Their chance levels are
        ``1 - candidate_error`` and ``candidate_error``. ``auc`` is NaN when there is no success or
        no error, the average precision of an empty class is NaN.

    Raises
    ------
    BenchError
        A score is NaN.
    """
    score = np.asarray(score).ravel()
    success = np.asarray(success, dtype=bool).ravel()
    if score.shape != success.shape:
        raise ValueError(f"{score.size} scores for {success.size} voxels")
    if np.isnan(score).any():
        raise BenchError(
            f"{int(np.isnan(score).sum())} of {score.size} confidences are NaN: "
            "the network that made them diverged"
        )
    n = score.size
    n_success = int(success.sum())
    n_error = n - n_success
    nan = float("nan")
    if n == 0:
        return RankingScores(0, nan, nan, nan, nan)

    order = np.argsort(score)[::-1]
    ranked = score[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), n - 1)
    # Cumulated from the most confident voxel down, at the last voxel of every distinct score.
    above = (ends + 1).astype(np.int64)
    success_above = np.cumsum(success[order], dtype=np.int64)[ends]
    error_above = above - success_above
    success_here = np.diff(success_above, prepend=0)
    error_here = np.diff(error_above, prepend=0)
    # The same from the least confident voxel up, this score included.
    error_below = n_error - error_above + error_here
    below = n - above + success_here + error_here

    ap_success = auc = ap_error = nan
    if n_success:
        ap_success = float(np.sum(success_here * (success_above / above))) / n_success
    if n_error:
        ap_error = float(np.sum(error_here * (error_below / below))) / n_error
    if n_success and n_error:
        wins = 2 * int(np.sum(success_here * (n_error - error_above)))
        auc = (wins + int(np.sum(success_here * error_here))) / (2 * n_success * n_error)
    return RankingScores(n, n_error / n, auc, ap_success, ap_error)
