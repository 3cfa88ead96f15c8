"""Score the label map predicted for a test case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import BenchError
from bench.evaluation.masks import OrganMasks, scores
from bench.evaluation.metrics import NAN, Metric, dice_percent

if TYPE_CHECKING:
    from numpy.typing import NDArray

Box = tuple[slice, ...]
NOWHERE: Box = (slice(0),)
"""Box of an organ that neither map holds."""


def case_scores(
    prediction_XYZ: NDArray[np.uint8],
    truth_XYZ: NDArray[np.uint8],
    annotated: Sequence[bool],
    organs: Sequence[str],
    spacing_mm: Sequence[float],
    metrics: Mapping[str, Metric],
    axes_mm: NDArray[np.float64] | None = None,
) -> list[dict[str, Any]]:
    """Score every annotated organ of one case.

    An organ that is not annotated in this case has no ground truth here, so it is left out rather
    than scored against an empty mask.

    Parameters
    ----------
    prediction_XYZ, truth_XYZ
        Label maps of equal shape with values 0..K.
    annotated
        One flag per organ: the ground truth of this case covers it.
    organs
        Names of the K organs; ``organs[k - 1]`` has the value ``k``.
    spacing_mm
        Voxel size along X, Y, Z; NaN if it is unknown.
    metrics
        Metrics by name.
    axes_mm
        Steps of one voxel along X, Y and Z, the columns of a 3 x 3 matrix, if they are not at right
        angles.

    Returns
    -------
    list of dict
        One row per annotated organ: ``organ``, ``tp``, ``n_pred``, ``n_gt`` (voxels), ``status``,
        ``spacing_known`` and every metric.

    Raises
    ------
    BenchError
        Maps of different shape, or a label beyond the last organ.
    """
    if prediction_XYZ.shape != truth_XYZ.shape:
        raise BenchError(
            f"prediction has shape {prediction_XYZ.shape}, ground truth {truth_XYZ.shape}: "
            "write the prediction on the grid of the image"
        )
    if len(annotated) != len(organs):
        raise BenchError(f"{len(annotated)} annotation flags for {len(organs)} organs")
    for name, labels_XYZ in (("prediction", prediction_XYZ), ("ground truth", truth_XYZ)):
        largest = int(labels_XYZ.max(initial=0))
        if largest > len(organs):
            raise BenchError(
                f"{name} holds label {largest}, but the data set has {len(organs)} organs: "
                "check that it was made for this data set"
            )
    inside = _foreground_box(prediction_XYZ, truth_XYZ)
    # Files keep X together, arrays Z: scattered reads would take most of the time.
    prediction_XYZ = np.ascontiguousarray(prediction_XYZ[inside])
    truth_XYZ = np.ascontiguousarray(truth_XYZ[inside])
    boxes = _boxes(len(organs), prediction_XYZ, truth_XYZ)
    rows: list[dict[str, Any]] = []
    for k, (organ, flag) in enumerate(zip(organs, annotated, strict=True), start=1):
        if flag:
            box = boxes.get(k, NOWHERE)
            predicted, true = prediction_XYZ[box] == k, truth_XYZ[box] == k
            tp, n_pred, n_gt = (int(m.sum()) for m in (predicted & true, predicted, true))
            masks = OrganMasks(tp, n_pred, n_gt, predicted, true, spacing_mm, axes_mm)
            counts = {"tp": tp, "n_pred": n_pred, "n_gt": n_gt, "status": masks.status}
            known = {"spacing_known": masks.spacing_known}
            rows.append({"organ": organ} | counts | known | scores(masks, metrics))
    return rows


def add_window_scores(
    scores: list[dict[str, Any]],
    prediction_XYZ: NDArray[np.uint8],
    truth_XYZ: NDArray[np.uint8],
    organs: Sequence[str],
    box: Sequence[tuple[int, int]],
) -> None:
    """Add ``coverage`` and ``dsc_inside`` to rows of :func:`case_scores`.

    Parameters
    ----------
    scores
        The rows, changed in place.
    prediction_XYZ, truth_XYZ, organs
        As there.
    box
        First and last plus one voxel along X, Y and Z of the region that the network saw.
    """
    inside = tuple(slice(*ends) for ends in box)
    for row in scores:
        k = organs.index(row["organ"]) + 1
        true_XYZ, predicted_XYZ = truth_XYZ[inside] == k, prediction_XYZ[inside] == k
        n_true, n_predicted = int(true_XYZ.sum()), int(predicted_XYZ.sum())
        row["coverage"] = 100 * n_true / row["n_gt"] if row["n_gt"] else NAN
        row["dsc_inside"] = dice_percent(int((true_XYZ & predicted_XYZ).sum()), n_predicted, n_true)


def _foreground_box(*maps_XYZ: NDArray[np.uint8]) -> Box:
    """Return the smallest box around everything that is not background in any of the maps."""

    def span(axis: int) -> slice:
        others = tuple(other for other in range(3) if other != axis)
        held = np.flatnonzero(np.any([labels.any(axis=others) for labels in maps_XYZ], axis=0))
        return slice(held[0], held[-1] + 1) if len(held) else slice(0)

    return tuple(map(span, range(3)))


def _boxes(n_organs: int, *maps_XYZ: NDArray[np.uint8]) -> dict[int, Box]:
    """Return the smallest box around each organ in all of the label maps together."""
    from scipy import ndimage

    boxes: dict[int, Box] = {}
    for labels_XYZ in maps_XYZ:
        for k, box in enumerate(ndimage.find_objects(labels_XYZ, n_organs), start=1):
            if box is not None:
                boxes[k] = _union(boxes.get(k, box), box)
    return boxes


def _union(a: Box, b: Box) -> Box:
    return tuple(
        slice(min(i.start, j.start), max(i.stop, j.stop)) for i, j in zip(a, b, strict=True)
    )
