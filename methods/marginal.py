"""Marginal and exclusion loss: unannotated organs are merged into the background class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field
from typing_extensions import override

from bench.api import Added, Loss, Method, Range, Recipe, Train, TrainingProgress

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api import Batch, FeatureNet, SharedLoss, Stream


class Marginal(Method, Loss):
    """Softmax in which a volume's unannotated organs merge with its background.

    Cross-entropy and Dice of the merged probabilities, and a penalty on organs where they are
    impossible. The background's logit is fixed at 0, so that the largest probability and the
    decision rule of all methods (an organ whose logit is the largest and at least 0) give the same
    label.
    """

    title: ClassVar[str] = "Marginal loss"
    colour: ClassVar[str] = "#F0E442"
    order: ClassVar[int] = 60
    citation: ClassVar[str] = "Shi et al., Medical Image Analysis 2021"
    departs: ClassVar[str] = (
        "softmax, cross-entropy and Dice in place of a binary cross-entropy, as published"
    )

    label: ClassVar[str] = "marginal"
    streams: ClassVar[tuple[Stream, ...]] = ("supervised",)
    version: ClassVar[int] = 2

    exclusion: Annotated[float, Range(0.1, 10, log=True)] = Field(default=2.0, ge=0)
    """Weight of the overlap with regions where the organ is impossible."""
    dice: Annotated[bool, Added()] = True
    """Without it and with ``exclusion=0``: the target-adaptive loss of Fang & Yan, TMI 2020."""

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        yield recipe.segmenter(self)

    @override
    def loss(
        self, net: FeatureNet, batch: Batch, progress: TrainingProgress, shared: SharedLoss
    ) -> Mapping[str, Tensor]:
        logits_BKHW = net(batch.image_BCHW).float()
        log_BCHW = merged_log_probs(logits_BKHW, batch.flags_BK)
        cross_entropy = marginal_cross_entropy(log_BCHW, batch.lab_BHW)
        dice = 1.0 - marginal_dice(log_BCHW.exp(), batch.lab_BHW, batch.flags_BK)
        exclusion = excluded_overlap(logits_BKHW, batch.lab_BHW, batch.flags_BK)
        return {
            "loss": cross_entropy + self.dice * dice + self.exclusion * exclusion,
            "cross_entropy": cross_entropy,
            "dice": dice,
            "exclusion": exclusion,
        }


def _log_probs(logits_BKHW: Tensor) -> Tensor:
    """Return log-probabilities of background and organs, shape [B, 1 + K, H, W]."""
    from torch.nn.functional import log_softmax, pad

    return log_softmax(pad(logits_BKHW, (0, 0) * (logits_BKHW.ndim - 2) + (1, 0)), dim=1)


def merged_log_probs(logits_BKHW: Tensor, flags_BK: Tensor) -> Tensor:
    """Return log-probabilities in which unannotated organs are part of the background.

    Probabilities are merged, not logits: a logsumexp. Organs that are not annotated keep a
    channel of their own, which is never a target.
    """
    from torch import cat
    from torch.nn.functional import pad

    from bench.api import per_voxel

    log_BCHW = _log_probs(logits_BKHW)
    annotated_BC11 = per_voxel(pad(flags_BK, (1, 0), value=False), log_BCHW)
    background_B1HW = log_BCHW.masked_fill(annotated_BC11, -float("inf")).logsumexp(1, keepdim=True)
    return cat([background_B1HW, log_BCHW[:, 1:]], dim=1)


def marginal_cross_entropy(log_BCHW: Tensor, lab_BHW: Tensor) -> Tensor:
    """Return the mean cross-entropy over the voxels whose class is not unknown (VOID)."""
    from bench.api import VOID

    void_B1HW = (lab_BHW == VOID).unsqueeze(1)
    said_B1HW = log_BCHW.gather(1, lab_BHW.unsqueeze(1).masked_fill(void_B1HW, 0))
    n = void_B1HW.numel()
    share = (n - void_B1HW.sum()).clamp(min=1) / n
    return -said_B1HW.masked_fill(void_B1HW, 0.0).mean() / share


def marginal_dice(prob_BCHW: Tensor, lab_BHW: Tensor, flags_BK: Tensor) -> Tensor:
    """Return the mean soft Dice over background and organs, each over volumes where it is known.

    Sums run over the whole batch, with a smoothing term of 1e-5, as in the framework of the
    publication. With sums per slice, or a smoothing term of 1, an organ that is absent from most
    slices would be pushed to 0 before it is learnt.
    """
    import torch
    from torch.nn.functional import pad

    from bench.api import VOID, masked_mean, organ_masks, per_voxel

    tiny = 1e-5
    organs_BKHW = organ_masks(lab_BHW, prob_BCHW.shape[1] - 1)
    y_BCHW = torch.cat([(lab_BHW == 0).unsqueeze(1), organs_BKHW], dim=1)
    known_BC = pad(flags_BK, (1, 0), value=True)
    known_BCHW = per_voxel(known_BC, prob_BCHW) & (lab_BHW != VOID).unsqueeze(1)
    everything = (0, *range(2, prob_BCHW.ndim))
    overlap_C = (prob_BCHW * (y_BCHW & known_BCHW)).sum(dim=everything)
    size_C = ((prob_BCHW + y_BCHW) * known_BCHW).sum(dim=everything)
    return masked_mean((2 * overlap_C + tiny) / (size_C + tiny), known_BC.any(dim=0))


def excluded_overlap(logits_BKHW: Tensor, lab_BHW: Tensor, flags_BK: Tensor) -> Tensor:
    """Return the soft Dice of each organ with the region where it is impossible, averaged.

    For an annotated organ that is everything outside its label, for another one the voxels of the
    annotated organs. VOID voxels are left out.
    """
    import torch

    from bench.api import VOID, organ_masks, per_voxel

    organs_BKHW = organ_masks(lab_BHW, logits_BKHW.shape[1])
    labelled_B1HW = (lab_BHW != 0).unsqueeze(1)
    annotated_BKHW = per_voxel(flags_BK, logits_BKHW)
    said_B1HW = (lab_BHW != VOID).unsqueeze(1)
    impossible_BKHW = torch.where(annotated_BKHW, ~organs_BKHW, labelled_B1HW) & said_B1HW
    voxels = tuple(range(2, logits_BKHW.ndim))
    prob_BKHW = _log_probs(logits_BKHW)[:, 1:].exp() * said_B1HW
    overlap_BK = (prob_BKHW * impossible_BKHW).sum(dim=voxels)
    size_BK = prob_BKHW.sum(dim=voxels) + impossible_BKHW.sum(dim=voxels)
    return (2 * overlap_BK / (size_BK + 1.0)).mean()
