"""Overlap and surface metrics of a test case, and the precision and recall of relabelled voxels.

Policy for empty masks (SPEC 8.1), the same for every method and data set:

============== ============ ================ ===== ========= =====
status         ground truth prediction       DSC   HD95      NSD
============== ============ ================ ===== ========= =====
ok             not empty    not empty        value value     value
missed         not empty    empty            0     undefined 0
hallucinated   empty        not empty        0     undefined 0
both_empty     empty        empty            NaN   undefined NaN
============== ============ ================ ===== ========= =====

Undefined is NaN. A mean of HD95 therefore leaves out the very cases a method fails on; read it next
to the number of missed organs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.errors import BenchError
from bench.evaluation.status import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

Box = tuple[slice, ...]

NSD_TOLERANCE_MM = 2.0
HD_PERCENTILE = 95.0


class OrganScores(NamedTuple):
    """Counts and metrics of one organ in one case; DSC and NSD in percent, HD95 in millimetres."""

    tp: int
    n_pred: int
    n_gt: int
    dsc: float
    hd95_mm: float
    nsd: float
    status: Status


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


def organ_scores(
    prediction_XYZ: NDArray[np.uint8],
    truth_XYZ: NDArray[np.uint8],
    organ: int,
    spacing_mm: Sequence[float],
) -> OrganScores:
    """Score one organ of one case.

    Parameters
    ----------
    prediction_XYZ, truth_XYZ
        Label maps of equal shape; organ ``k`` has the value ``k``.
    organ
        Value of the organ, 1 or more.
    spacing_mm
        Voxel size along X, Y, Z.

    Returns
    -------
    OrganScores
        See the module's table for empty masks.

    Raises
    ------
    BenchError
        The two maps differ in shape.
    """
    rows = _scores(prediction_XYZ, truth_XYZ, [organ], spacing_mm)
    return rows[0]


def case_scores(
    prediction_XYZ: NDArray[np.uint8],
    truth_XYZ: NDArray[np.uint8],
    annotated: Sequence[bool],
    organs: Sequence[str],
    spacing_mm: Sequence[float],
) -> list[dict[str, Any]]:
    """Score every annotated organ of one case.

    An organ that is not annotated in this case has no ground truth here, so it is left out rather
    than compared with nothing (SPEC 0.0, item 1).

    Parameters
    ----------
    prediction_XYZ, truth_XYZ
        Label maps of equal shape with values 0..K.
    annotated
        One flag per organ: the ground truth of this case covers it.
    organs
        Names of the K organs; ``organs[k - 1]`` has the value ``k``.
    spacing_mm
        Voxel size along X, Y, Z.

    Returns
    -------
    list of dict
        One row per annotated organ: ``organ`` and the fields of :class:`OrganScores`.

    Raises
    ------
    BenchError
        Maps of different shape, or a label beyond the last organ.
    """
    if len(annotated) != len(organs):
        raise BenchError(f"{len(annotated)} annotation flags for {len(organs)} organs")
    for name, labels_XYZ in (("prediction", prediction_XYZ), ("ground truth", truth_XYZ)):
        largest = int(labels_XYZ.max(initial=0))
        if largest > len(organs):
            raise BenchError(
                f"{name} holds label {largest}, but the data set has {len(organs)} organs: "
                "check that it was made for this data set"
            )
    wanted = [k for k, flag in enumerate(annotated, start=1) if flag]
    scores = _scores(prediction_XYZ, truth_XYZ, wanted, spacing_mm)
    return [{"organ": organs[k - 1]} | row._asdict() for k, row in zip(wanted, scores, strict=True)]


def add_window_scores(
    scores: list[dict[str, Any]],
    prediction_XYZ: NDArray[np.uint8],
    truth_XYZ: NDArray[np.uint8],
    organs: Sequence[str],
    box: Sequence[tuple[int, int]],
) -> None:
    """Add ``coverage`` and ``dsc_inside`` to rows of :func:`case_scores` (SPEC 2.3).

    Parameters
    ----------
    scores
        The rows, changed in place.
    prediction_XYZ, truth_XYZ, organs
        As there.
    box
        First and last plus one voxel along X, Y and Z of what the network saw.
    """
    inside = tuple(slice(*ends) for ends in box)
    for row in scores:
        k = organs.index(row["organ"]) + 1
        true_XYZ, predicted_XYZ = truth_XYZ[inside] == k, prediction_XYZ[inside] == k
        n_true, n_predicted = int(true_XYZ.sum()), int(predicted_XYZ.sum())
        row["coverage"] = 100 * _ratio(n_true, row["n_gt"])
        row["dsc_inside"] = dice_percent(int((true_XYZ & predicted_XYZ).sum()), n_predicted, n_true)


def dice_percent(tp: int, n_pred: int, n_gt: int) -> float:
    """Return DSC = 2 TP / (predicted + true) in percent; NaN if both are empty (SPEC 8.1)."""
    return 200.0 * tp / (n_pred + n_gt) if n_pred + n_gt else float("nan")


def mask_status(n_pred: int, n_gt: int) -> Status:
    """Return which of the two masks are empty."""
    if n_gt:
        return "ok" if n_pred else "missed"
    return "hallucinated" if n_pred else "both_empty"


def relabel_audit(added: Sequence[int], tp: Sequence[int], gt_missing: int) -> list[RelabelRound]:
    """Return precision and recall of the relabelled voxels, per round and cumulated (SPEC 8.4).

    Both are incremental: round ``t`` looks only at the voxels newly added in it. The denominator of
    the recall is the organ's true voxels in the volumes where it is not labelled.

    Parameters
    ----------
    added
        Voxels newly added in each round, summed over the volumes.
    tp
        How many of them are right.
    gt_missing
        True voxels of the organ in the volumes where it is not labelled.

    Returns
    -------
    list of RelabelRound
        One per round; a ratio with denominator 0 is NaN.
    """
    rounds: list[RelabelRound] = []
    added_cum = tp_cum = 0
    for new, right in zip(added, tp, strict=True):
        added_cum += new
        tp_cum += right
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


def _scores(
    prediction_XYZ: NDArray[np.uint8],
    truth_XYZ: NDArray[np.uint8],
    organs: Sequence[int],
    spacing_mm: Sequence[float],
) -> list[OrganScores]:
    if prediction_XYZ.shape != truth_XYZ.shape:
        raise BenchError(
            f"prediction has shape {prediction_XYZ.shape}, ground truth {truth_XYZ.shape}: "
            "write the prediction on the grid of the image"
        )
    joint = _joint_counts(prediction_XYZ, truth_XYZ)
    boxes_pred, boxes_gt = _boxes(prediction_XYZ), _boxes(truth_XYZ)
    rows = []
    for k in organs:
        tp, n_pred, n_gt = int(joint[k, k]), int(joint[:, k].sum()), int(joint[k].sum())
        status = mask_status(n_pred, n_gt)
        hd95_mm = float("nan")
        nsd = float("nan") if status == "both_empty" else 0.0
        if status == "ok":
            box = _union(boxes_pred[k], boxes_gt[k])
            hd95_mm, nsd = _surface_scores(
                prediction_XYZ[box] == k, truth_XYZ[box] == k, spacing_mm
            )
        rows.append(
            OrganScores(tp, n_pred, n_gt, dice_percent(tp, n_pred, n_gt), hd95_mm, nsd, status)
        )
    return rows


def _joint_counts(
    prediction_XYZ: NDArray[np.uint8], truth_XYZ: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Count voxels per (true label, predicted label); (0, 0) is left at zero, nothing needs it."""
    foreground = (prediction_XYZ | truth_XYZ) != 0
    code = truth_XYZ[foreground].astype(np.uint16) << 8 | prediction_XYZ[foreground]
    return np.bincount(code, minlength=1 << 16).reshape(256, 256)


def _boxes(labels_XYZ: NDArray[np.uint8]) -> dict[int, Box]:
    from scipy import ndimage

    return {
        k: box for k, box in enumerate(ndimage.find_objects(labels_XYZ), start=1) if box is not None
    }


def _union(a: Box, b: Box) -> Box:
    return tuple(
        slice(min(i.start, j.start), max(i.stop, j.stop)) for i, j in zip(a, b, strict=True)
    )


def _surface_scores(
    prediction_XYZ: NDArray[np.bool_], truth_XYZ: NDArray[np.bool_], spacing_mm: Sequence[float]
) -> tuple[float, float]:
    """Return HD95 in millimetres and NSD in percent of two masks that are not empty.

    Surfaces are the mask's border voxels (those at the edge of the image included), each counting
    the same; HD95 is the larger of the two directed 95th percentiles.
    """
    import warnings

    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_dice import compute_surface_dice

    pred, truth = (
        torch.from_numpy(np.ascontiguousarray(mask))[None, None]
        for mask in (prediction_XYZ, truth_XYZ)
    )
    spacing = [float(size) for size in spacing_mm]
    with warnings.catch_warnings():
        # MONAI 1.5 and 1.6 warn about an argument that they pass to themselves.
        warnings.filterwarnings("ignore", "(?s).*always_return_as_numpy", FutureWarning)
        hd95 = compute_hausdorff_distance(
            pred, truth, include_background=True, percentile=HD_PERCENTILE, spacing=spacing
        )
        nsd = compute_surface_dice(
            pred, truth, [NSD_TOLERANCE_MM], include_background=True, spacing=spacing
        )
    return float(hd95.item()), 100.0 * float(nsd.item())


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
