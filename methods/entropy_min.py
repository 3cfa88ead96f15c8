"""Entropy minimisation: confident predictions where the target is unknown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bench.api import (
    Method,
    Objective,
    ObjectiveSpec,
    OneNetwork,
    Recipe,
    Setting,
    Train,
    TrainingProgress,
)

from ._teacher import ramp

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api import Batch, Stream


class EntropyMin(Method):
    """The entropy of every bit of unknown target, as a share of ln 2, joins the loss."""

    citation: ClassVar[str] = "Grandvalet & Bengio, NeurIPS 2004; Vu et al., CVPR 2019"
    departs: ClassVar[str] = "half of a batch from incomplete volumes"

    weight: float = Field(default=0.1, gt=0)
    """Of the entropy at the end of training; it rises as that of `mean_teacher`."""

    def plan(self, recipe: Recipe) -> Iterator[Train]:
        """Yield one model, trained for the total number of steps of the default `inerrant`."""
        yield recipe.segmenter(Certainty(weight=self.weight), budget="long")


class Certainty(ObjectiveSpec):
    """The objective of :class:`EntropyMin`."""

    streams: ClassVar[tuple[Stream, ...]] = ("supervised", "incomplete")

    weight: float

    @property
    def label(self) -> str:
        """The word ``entropy``."""
        return "entropy"

    def build(self, setting: Setting) -> Objective:
        """Return the objective around a segmentation network."""
        return _CertaintyObjective(self, setting)


class _CertaintyObjective(OneNetwork):
    def __init__(self, spec: Certainty, setting: Setting) -> None:
        super().__init__(setting)
        self._weight = spec.weight

    def loss(self, batch: Batch, progress: TrainingProgress) -> Mapping[str, Tensor]:
        from bench.api import masked_bce, masked_mean, targets
        from bench.training.losses import bit_entropy

        y_BKHW, w_BKHW = targets(batch.lab_BHW, batch.ps_BHW, batch.flags_BK)
        logits_BKHW = self.segmenter(batch.image_BCHW)
        supervised = masked_bce(logits_BKHW, y_BKHW, w_BKHW)
        entropy = masked_mean(bit_entropy(logits_BKHW), ~w_BKHW)
        return {
            "loss": supervised + self._weight * ramp(progress.share) * entropy,
            "supervised": supervised,
            "entropy": entropy,
        }
