"""Precision and recall of relabelled voxels, round by round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class RelabelRound(NamedTuple):
    """Quality of the voxels of one organ added in one relabelling round; ratios are fractions."""

    added: int
    added_cum: int
    tp: int
    gt_missing: int
    precision: float
    recall: float
    precision_cum: float
    recall_cum: float


def relabel_audit(
    added: Sequence[int], tp: Sequence[int], gt_missing: int, afresh: Sequence[bool]
) -> list[RelabelRound]:
    """Return precision and recall of the relabelled voxels, per round and cumulated.

    The first are incremental: round ``t`` looks only at the voxels newly added in it. The
    denominator of the recall is the organ's true voxels in the volumes where it is not labelled.

    Parameters
    ----------
    added
        Voxels newly added in each round, summed over the volumes.
    tp
        How many of them are right.
    gt_missing
        True voxels of the organ in the volumes where it is not labelled.
    afresh
        Whether the labels of a round replace those before, so that it cumulates nothing.

    Returns
    -------
    list of RelabelRound
        One per round; a ratio with denominator 0 is NaN.
    """
    rounds: list[RelabelRound] = []
    added_cum = tp_cum = 0
    for new, right, alone in zip(added, tp, afresh, strict=True):
        added_cum = new if alone else added_cum + new
        tp_cum = right if alone else tp_cum + right
        rounds.append(
            RelabelRound(
                added=new,
                added_cum=added_cum,
                tp=right,
                gt_missing=gt_missing,
                precision=_ratio(right, new),
                recall=_ratio(right, gt_missing),
                precision_cum=_ratio(tp_cum, added_cum),
                recall_cum=_ratio(tp_cum, gt_missing),
            )
        )
    return rounds


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
