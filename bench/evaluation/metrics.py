"""The metrics of a test case: names, ranges, computation.

A metric is one entry of :data:`METRICS`, or one plug-in. Columns of the results table, their
ranges, options and notes of reports follow from it. Nothing heavy is imported here.

Where a mask is empty a metric has the value it declares, for every method and data set. ``nan`` is
undefined: such cases are left out of means and counted.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator
from typing_extensions import override

from bench.errors import unknown_name
from bench.plugins import registry
from bench.stage import Part

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.evaluation.masks import OrganMasks

NAN = float("nan")
NSD_TOLERANCE_MM = 2.0


class Metric(Part, abc.ABC):
    """A number per organ and test case.

    The first line of a subclass's docstring is its definition in tables and documentation.
    """

    title: ClassVar[str]
    """Its name in tables."""
    unit: ClassVar[str]
    best: ClassVar[Literal["high", "low"]]
    """Whether higher or lower is better."""
    high: ClassVar[float | None] = None
    """Largest value, if there is one; the smallest is 0."""
    missed: ClassVar[float]
    """Its value where the organ is present and nothing is predicted."""
    needs_spacing: ClassVar[bool] = False
    """Whether it needs the size of a voxel; NaN, then, for scans that are known to have lost it."""
    hallucinated: ClassVar[float]
    """Its value where the organ is absent and something is predicted (a false-positive organ)."""

    @abc.abstractmethod
    def compute(self, masks: OrganMasks) -> float:
        """Return its value where neither mask is empty. Where both are, it is undefined."""

    @classmethod
    def definition(cls) -> str:
        """Return the first line of the docstring, without its full stop."""
        return (cls.__doc__ or "").strip().split("\n")[0].rstrip(".")

    @property
    def zero_is_failure(self) -> bool:
        """Whether 0 is the worst value."""
        return self.best == "high"


def dice_percent(tp: int, n_pred: int, n_gt: int) -> float:
    """Return DSC = 2 TP / (predicted + true) in percent; NaN if both are empty."""
    return 200.0 * tp / (n_pred + n_gt) if n_pred + n_gt else NAN


class Dice(Metric):
    """Dice similarity coefficient, 2 TP / (predicted + true voxels)."""

    title = "DSC"
    unit = "%"
    best = "high"
    high = 100.0
    missed = 0.0
    hallucinated = 0.0

    @override
    def compute(self, masks: OrganMasks) -> float:
        return dice_percent(masks.tp, masks.n_pred, masks.n_gt)


class Hausdorff95(Metric):
    """95th percentile Hausdorff distance, the larger of both directions."""

    title = "HD95"
    needs_spacing = True
    unit = "mm"
    best = "low"
    missed = NAN
    hallucinated = NAN

    @override
    def compute(self, masks: OrganMasks) -> float:
        return max(map(_percentile_95, masks.surface_distances_mm))


class SurfaceDice(Metric):
    """Normalised surface Dice: share of both surfaces within 2 mm of the other one."""

    title = "NSD at 2 mm"
    needs_spacing = True
    unit = "%"
    best = "high"
    high = 100.0
    missed = 0.0
    hallucinated = 0.0

    @override
    def compute(self, masks: OrganMasks) -> float:
        near = sum(int((d <= NSD_TOLERANCE_MM).sum()) for d in masks.surface_distances_mm)
        return 100.0 * near / sum(map(len, masks.surface_distances_mm))


class AverageSurfaceDistance(Metric):
    """Average symmetric surface distance, over the surface voxels of both masks."""

    title = "ASSD"
    needs_spacing = True
    unit = "mm"
    best = "low"
    missed = NAN
    hallucinated = NAN

    @override
    def compute(self, masks: OrganMasks) -> float:
        total = sum(float(d.sum()) for d in masks.surface_distances_mm)
        return total / sum(map(len, masks.surface_distances_mm))


class RelativeVolumeError(Metric):
    """Size of the error in volume, abs(predicted - true) / true voxels."""

    title = "Relative volume error"
    unit = "%"
    best = "low"
    missed = 100.0
    hallucinated = NAN

    @override
    def compute(self, masks: OrganMasks) -> float:
        return 100.0 * abs(masks.n_pred - masks.n_gt) / masks.n_gt


class Sensitivity(Metric):
    """Share of the true voxels that are predicted (recall), TP / true voxels."""

    title = "Sensitivity"
    unit = "%"
    best = "high"
    high = 100.0
    missed = 0.0
    hallucinated = NAN

    @override
    def compute(self, masks: OrganMasks) -> float:
        return 100.0 * masks.tp / masks.n_gt


class Precision(Metric):
    """Share of the predicted voxels that are right, TP / predicted voxels."""

    title = "Precision"
    unit = "%"
    best = "high"
    high = 100.0
    missed = NAN
    hallucinated = 0.0

    @override
    def compute(self, masks: OrganMasks) -> float:
        return 100.0 * masks.tp / masks.n_pred


METRICS: dict[str, Metric] = {
    "dsc": Dice(),
    "hd95_mm": Hausdorff95(),
    "nsd": SurfaceDice(),
    "assd_mm": AverageSurfaceDistance(),
    "rve": RelativeVolumeError(),
    "sensitivity": Sensitivity(),
    "precision": Precision(),
}
"""Column of the results table -> metric of the package. A surface is the border voxels of a mask,
those at the edge of the image included, each counting the same."""


def plugged() -> dict[str, Metric]:
    """Return the metrics of plug-ins by name."""
    names = registry.outside("metrics", taken=METRICS)
    return {name: registry.load("metrics", name, Metric)() for name in names}  # type: ignore[type-abstract]


def every() -> dict[str, Metric]:
    """Return all metrics by name, those of the package first."""
    return METRICS | plugged()


def find(name: str) -> Metric:
    """Return a metric by its name; raise BenchError with a suggestion if there is none."""
    metrics = every()
    if name not in metrics:
        raise unknown_name("metric", name, metrics)
    return metrics[name]


def _known(name: str) -> str:
    find(name)
    return name


MetricName = Annotated[str, AfterValidator(_known)]
"""Name of a metric, as an option."""


def empty_masks(metric: Metric) -> str:
    """Return the rule for empty masks as a sentence for the notes of a report."""
    values = (metric.missed, metric.hallucinated)
    if all(value != value for value in values):
        return (
            f"Empty masks: {metric.title} is undefined (NaN, left out and counted) where the "
            "prediction or the ground truth is empty. Predicting nothing therefore costs nothing "
            "here: read it next to the DSC."
        )
    start = "Only annotated organs are evaluated. Empty masks: "
    if values == (0.0, 0.0):
        return f"{start}both empty is NaN, left out and counted; one of them empty is 0."
    missed, hallucinated = _shown(values)
    return (
        f"{start}nothing predicted is {missed}; predicted where nothing is, {hallucinated}; both "
        "empty is NaN. NaN is left out and counted."
    )


def _shown(values: Iterable[float]) -> list[str]:
    return ["NaN" if value != value else f"{value:g}" for value in values]


def _percentile_95(distances_mm: NDArray[np.float64]) -> float:
    import numpy as np

    return float(np.percentile(distances_mm, 95))
