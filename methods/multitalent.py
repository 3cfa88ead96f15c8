"""MultiTalent: cross-entropy and Dice of the organs that are annotated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bench.api import Loss, Method, Recipe, Train, TrainingProgress

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api import Batch, FeatureNet, SharedLoss, Stream


class Multitalent(Method, Loss):
    """Binary cross-entropy and Dice, summed over the annotated organs of a batch.

    Where an organ is not annotated, the voxels of other annotated organs are certain negatives:
    they enter the cross-entropy, as Dice needs whole organs.
    """

    title: ClassVar[str] = "MultiTalent"
    colour: ClassVar[str] = "#A6761D"
    order: ClassVar[int] = 62
    citation: ClassVar[str] = "Ulrich et al., MICCAI 2023"
    departs: ClassVar[str] = "Dice of the batch beside the binary cross-entropy, as published"

    label: ClassVar[str] = "multitalent"
    streams: ClassVar[tuple[Stream, ...]] = ("supervised",)

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        yield recipe.segmenter(self)

    @override
    def loss(
        self, net: FeatureNet, batch: Batch, progress: TrainingProgress, shared: SharedLoss
    ) -> Mapping[str, Tensor]:
        from bench.api import annotated, masked_bce, targets

        y_BKHW, w_BKHW = targets(batch.lab_BHW, batch.ps_BHW, batch.flags_BK)
        logits_BKHW = net(batch.image_BCHW).float()
        # A mean over voxels, summed over the volumes and organs of a batch.
        cross_entropy = masked_bce(logits_BKHW, y_BKHW, w_BKHW) * batch.flags_BK.numel()
        whole_BKHW = annotated(batch.lab_BHW, batch.flags_BK)
        overlap = batch_dice(logits_BKHW.sigmoid(), y_BKHW, whole_BKHW).sum()
        return {
            "loss": cross_entropy - overlap,
            "cross_entropy": cross_entropy,
            "dice": overlap,
        }


def batch_dice(prob_BKHW: Tensor, y_BKHW: Tensor, known_BKHW: Tensor) -> Tensor:
    """Return the soft Dice of each organ over the known voxels of a batch, shape [K]; 0 if none."""
    from bench.api import soft_counts

    overlap_K, predicted_K, true_K = soft_counts(prob_BKHW, y_BKHW, known_BKHW)
    return 2 * overlap_K / (predicted_K + true_K).clamp(min=1e-7)
