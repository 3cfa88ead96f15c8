"""Entropy minimisation: confident predictions where the target is unknown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field
from typing_extensions import override

from bench.api import Loss, Method, Range, Recipe, Train, TrainingProgress

from ._consistency import ramp

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api import Batch, FeatureNet, SharedLoss, Stream


class EntropyMin(Method, Loss):
    """Adds to the loss the entropy of predictions of unknown target, as a share of ln 2."""

    title: ClassVar[str] = "Entropy min."
    colour: ClassVar[str] = "#9A9A9A"
    order: ClassVar[int] = 55
    citation: ClassVar[str] = "Grandvalet & Bengio, NeurIPS 2004; Vu et al., CVPR 2019"
    departs: ClassVar[str] = "half of a batch from incomplete volumes"

    label: ClassVar[str] = "entropy"
    streams: ClassVar[tuple[Stream, ...]] = ("supervised", "incomplete")
    version: ClassVar[int] = 3

    weight: Annotated[float, Range(0.001, 1, log=True)] = Field(default=0.1, gt=0)
    """Weight of the entropy at the end of training; it rises as that of `mean_teacher`, and is
    relative to a mean cross-entropy."""

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        yield recipe.segmenter(self, budget="long")

    @override
    def loss(
        self, net: FeatureNet, batch: Batch, progress: TrainingProgress, shared: SharedLoss
    ) -> Mapping[str, Tensor]:
        from bench.api import binary_entropy, masked_mean, targets, unknown

        y_BKHW, w_BKHW = targets(batch.lab_BHW, batch.ps_BHW, batch.flags_BK)
        logits_BKHW = net(batch.image_BCHW)
        supervised = shared(logits_BKHW, y_BKHW, w_BKHW)
        unknown_BKHW = unknown(batch.lab_BHW, w_BKHW)
        entropy = masked_mean(binary_entropy(logits_BKHW), unknown_BKHW)
        weight = self.weight * shared.scale
        return {
            "loss": supervised + weight * ramp(progress.share) * entropy,
            "supervised": supervised,
            "entropy": entropy,
        }
