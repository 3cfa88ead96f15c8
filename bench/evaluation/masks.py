"""Predicted and true mask of an organ, and quantities that several metrics share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import BenchError
from bench.evaluation.metrics import NAN, Metric
from bench.evaluation.status import Status, mask_status
from bench.evaluation.surfaces import surface_distances
from bench.labels import VOID

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class OrganMasks:
    """One organ in one case: counts over the whole image, masks cropped to the organ.

    Shapes are [X, Y, Z]; ``spacing_mm`` is the voxel size along these axes, NaN if it is unknown.
    ``axes_mm``, 3 x 3, has the steps of one voxel in its columns where the axes are not at right
    angles.
    """

    tp: int
    n_pred: int
    n_gt: int
    prediction_XYZ: NDArray[np.bool_]
    truth_XYZ: NDArray[np.bool_]
    spacing_mm: Sequence[float]
    axes_mm: NDArray[np.float64] | None = None

    @property
    def status(self) -> Status:
        """Which of the two masks are empty."""
        return mask_status(self.n_pred, self.n_gt)

    @property
    def spacing_known(self) -> bool:
        """Whether distances can be measured."""
        return bool(np.isfinite(self.spacing_mm).all())

    @cached_property
    def surface_distances_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Distance of every predicted surface voxel to the true surface, and the reverse.

        Computed once for all metrics that need it.

        Raises
        ------
        BenchError
            The voxel size is unknown; metrics that say so (``needs_spacing``) are not asked.
        """
        if not self.spacing_known:
            raise BenchError(
                "a metric measures distances in a scan of unknown voxel size; set needs_spacing ="
                " True in its class"
            )
        axes_mm = np.diag(self.spacing_mm) if self.axes_mm is None else self.axes_mm
        to_truth, to_prediction = surface_distances(self.prediction_XYZ, self.truth_XYZ, axes_mm)
        return _single(to_truth), _single(to_prediction)


def _single(distances_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return distances to single precision: five voxels of 0.4 mm are 2 mm, wherever they lie."""
    return distances_mm.astype(np.float32).astype(np.float64)


def without_void(
    prediction_XYZ: NDArray[np.uint8], truth_XYZ: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return both label maps as background where the truth says nothing (VOID)."""
    if truth_XYZ.max(initial=0) < VOID:
        return prediction_XYZ, truth_XYZ
    said_XYZ = truth_XYZ != VOID
    return prediction_XYZ * said_XYZ, truth_XYZ * said_XYZ


def scores(masks: OrganMasks, metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Return the value of every metric, by name."""

    def value(metric: Metric) -> float:
        # Also where a mask is empty: its scan would count only where a method fails.
        if metric.needs_spacing and not masks.spacing_known:
            return NAN
        if masks.status == "ok":
            return metric.compute(masks)
        return NAN if masks.status == "both_empty" else getattr(metric, masks.status)

    return {name: value(metric) for name, metric in metrics.items()}
