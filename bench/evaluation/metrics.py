"""The metrics of a test case: what each is called, which values it takes, how it is computed.

One entry of :data:`METRICS` is all there is to a metric: columns of the results table, what they
may hold, options and notes of reports follow from it. Nothing heavy is imported here.

Where a mask is empty a metric has the value of the table below, whatever the method or data set.
``nan`` is undefined: left out of means, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator

from bench.errors import unknown_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.evaluation.masks import OrganMasks

NAN = float("nan")
NSD_TOLERANCE_MM = 2.0


@dataclass(frozen=True)
class Metric:
    """A number per organ and test case."""

    name: str
    """What tables call it."""
    unit: str
    best: Literal["high", "low"]
    """Whether higher or lower is better."""
    high: float | None
    """Largest value, if there is one; the smallest is 0."""
    missed: float
    """Its value where the organ is there and nothing is predicted."""
    hallucinated: float
    """Its value where the organ is not there and something is predicted."""
    compute: Callable[[OrganMasks], float]
    """Its value where neither mask is empty. Where both are, it is undefined."""
    definition: str
    """One sentence for the documentation."""

    @property
    def zero_is_failure(self) -> bool:
        """Whether 0 is the worst value."""
        return self.best == "high"


def dice_percent(tp: int, n_pred: int, n_gt: int) -> float:
    """Return DSC = 2 TP / (predicted + true) in percent; NaN if both are empty."""
    return 200.0 * tp / (n_pred + n_gt) if n_pred + n_gt else NAN


def _percentile_95(distances_mm: NDArray[np.float64]) -> float:
    import numpy as np

    return float(np.percentile(distances_mm, 95))


def _surface_dice(masks: OrganMasks) -> float:
    near = sum(int((d <= NSD_TOLERANCE_MM).sum()) for d in masks.surface_distances_mm)
    return 100.0 * near / sum(map(len, masks.surface_distances_mm))


def _average_distance(masks: OrganMasks) -> float:
    total = sum(float(d.sum()) for d in masks.surface_distances_mm)
    return total / sum(map(len, masks.surface_distances_mm))


METRICS: dict[str, Metric] = {
    "dsc": Metric(
        "DSC", "%", "high", 100.0, missed=0.0, hallucinated=0.0,
        compute=lambda m: dice_percent(m.tp, m.n_pred, m.n_gt),
        definition="Dice similarity coefficient, 2 TP / (predicted + true voxels)",
    ),
    "hd95_mm": Metric(
        "HD95", "mm", "low", None, missed=NAN, hallucinated=NAN,
        compute=lambda m: max(map(_percentile_95, m.surface_distances_mm)),
        definition="95th percentile Hausdorff distance, the larger of both directions",
    ),
    "nsd": Metric(
        "NSD at 2 mm", "%", "high", 100.0, missed=0.0, hallucinated=0.0,
        compute=_surface_dice,
        definition="normalised surface Dice: share of both surfaces within 2 mm of the other one",
    ),
    "assd_mm": Metric(
        "ASSD", "mm", "low", None, missed=NAN, hallucinated=NAN,
        compute=_average_distance,
        definition="average symmetric surface distance, over the surface voxels of both masks",
    ),
    "rve": Metric(
        "Relative volume error", "%", "low", None, missed=100.0, hallucinated=NAN,
        compute=lambda m: 100.0 * abs(m.n_pred - m.n_gt) / m.n_gt,
        definition="size of the error in volume, |predicted - true| / true voxels",
    ),
    "sensitivity": Metric(
        "Sensitivity", "%", "high", 100.0, missed=0.0, hallucinated=NAN,
        compute=lambda m: 100.0 * m.tp / m.n_gt,
        definition="share of the true voxels that are predicted (recall), TP / true voxels",
    ),
    "precision": Metric(
        "Precision", "%", "high", 100.0, missed=NAN, hallucinated=0.0,
        compute=lambda m: 100.0 * m.tp / m.n_pred,
        definition="share of the predicted voxels that are right, TP / predicted voxels",
    ),
}  # fmt: skip
"""Column of the results table -> metric. Surfaces are the border voxels of a mask, those at the
edge of the image included, each counting the same."""


def known(name: str) -> str:
    """Return ``name`` if there is such a metric; raise BenchError with a suggestion otherwise."""
    if name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    return name


MetricName = Annotated[str, AfterValidator(known)]
"""Name of a metric, as an option."""


def empty_masks(metric: Metric) -> str:
    """Return the rule for empty masks as a sentence for the notes of a report."""
    values = (metric.missed, metric.hallucinated)
    if all(value != value for value in values):
        return (
            f"Empty masks: {metric.name} is undefined (NaN, left out and counted) where the "
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
