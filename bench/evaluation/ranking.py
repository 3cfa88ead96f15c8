"""How well a confidence separates right from wrong candidate voxels: AUC and average precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.errors import DivergedError

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
    DivergedError
        A score is NaN.
    """
    score = np.asarray(score).ravel()
    success = np.asarray(success, dtype=bool).ravel()
    if score.shape != success.shape:
        raise ValueError(f"{score.size} scores for {success.size} voxels")
    if np.isnan(score).any():
        raise DivergedError(
            f"{int(np.isnan(score).sum())} of {score.size} confidences are NaN: "
            "the network that made them diverged"
        )
    from sklearn.metrics import average_precision_score, roc_auc_score

    n, n_error = score.size, int((~success).sum())
    auc = ap_success = ap_error = float("nan")
    if n_error < n:
        ap_success = float(average_precision_score(success, score))
    if n_error:
        ap_error = float(average_precision_score(~success, -score))
    if 0 < n_error < n:
        auc = float(roc_auc_score(success, score))
    return RankingScores(n, n_error / n if n else float("nan"), auc, ap_success, ap_error)
