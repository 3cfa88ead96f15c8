"""Losses of masked training and of the confidence network."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from bench.nets.inference import decide
from bench.training.batch import organ_masks

Norm = Literal["mean_all", "mean_valid", "sum"]
TINY = 1e-5
ConfidenceVoxels = Literal["all_known", "predicted_positive"]


def masked_bce(
    logits_BKHW: Tensor, y_BKHW: Tensor, w_BKHW: Tensor, norm: Norm = "mean_all"
) -> Tensor:
    """Return the binary cross-entropy over the voxels and organs with w=1, in float32.

    Parameters
    ----------
    logits_BKHW
        Network output before the sigmoid, any precision.
    y_BKHW, w_BKHW
        Target and ambiguity weight, bool or float (:func:`bench.training.batch.targets`).
    norm
        ``mean_all`` divides by B*K*H*W, Eq. 2 of Petit et al. 2021 times a constant; ``mean_valid``
        by the number of w=1; ``sum`` is Eq. 2 literally. A batch without any w=1 gives 0.
    """
    loss_BKHW = functional.binary_cross_entropy_with_logits(
        logits_BKHW.float(), y_BKHW.float(), reduction="none"
    )
    total = (loss_BKHW * w_BKHW).sum()
    if norm == "mean_all":
        return total / loss_BKHW.numel()
    if norm == "mean_valid":
        return total / w_BKHW.sum().clamp(min=1)
    return total


def balanced_loss(
    logits_BKHW: Tensor,
    y_BKHW: Tensor,
    w_BKHW: Tensor,
    *,
    focus: float,
    positives: float,
    floor: float,
    dice: float,
) -> Tensor:
    """Return a loss in which an organ counts whatever its size, in float32.

    A focal cross-entropy (Lin et al., ICCV 2017) keeps rare organs alive where their probability is
    near 0 and Dice has no gradient; Dice shapes them. Both are sums over the whole batch where w=1.

    Parameters
    ----------
    logits_BKHW
        Network output before the sigmoid, any precision.
    y_BKHW, w_BKHW
        Target and ambiguity weight, bool or float (:func:`bench.training.batch.targets`).
    focus, positives
        Exponent of the focal term, and its weight where y=1; where y=0 it is 1 - ``positives``.
    floor
        The focal term of an organ is divided by its voxels in the batch, at least by this share of
        all voxels of the batch; then averaged over all organs.
    dice
        Weight of 1 - Dice, averaged over the organs that show in the batch.
    """
    # The layout of the targets: elementwise kernels are slow where two layouts meet.
    logits_BKHW = logits_BKHW.float().contiguous()
    y_BKHW, w_BKHW = y_BKHW.float(), w_BKHW.float()
    against_BKHW = logits_BKHW * (1 - 2 * y_BKHW)
    wrong_BKHW = against_BKHW.sigmoid()
    weight_BKHW = w_BKHW * torch.where(y_BKHW > 0, positives, 1 - positives)
    focal_K = _over_batch(functional.softplus(against_BKHW) * wrong_BKHW**focus * weight_BKHW)
    missed_K, wrong_K, true_K = soft_counts(wrong_BKHW, y_BKHW, w_BKHW)
    focal = (focal_K / true_K.clamp(min=floor * logits_BKHW[:, 0].numel())).mean()
    overlap_K, extra_K = true_K - missed_K, wrong_K - missed_K
    error_K = 1 - (2 * overlap_K + TINY) / (overlap_K + extra_K + true_K + TINY)
    return focal + dice * masked_mean(error_K, true_K > 0)


def soft_counts(prob_BKHW: Tensor, y_BKHW: Tensor, w_BKHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return overlap, predicted and true voxels of each organ over a batch where w=1, shape [K]."""
    seen_BKHW = y_BKHW * w_BKHW
    counted = (prob_BKHW * seen_BKHW, prob_BKHW * w_BKHW, seen_BKHW)
    overlap_K, predicted_K, true_K = map(_over_batch, counted)
    return overlap_K, predicted_K, true_K


def _over_batch(maps_BKHW: Tensor) -> Tensor:
    return maps_BKHW.sum(dim=(0, *range(2, maps_BKHW.ndim)))


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of ``values`` where ``mask`` holds; 0 where it holds nowhere."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def binary_entropy(logits: Tensor) -> Tensor:
    """Return the entropy of independent binary predictions as a share of ln 2, in float32."""
    z = logits.float()
    return (functional.softplus(z) - z * z.sigmoid()) / math.log(2.0)


def true_class_probability(logits_BKHW: Tensor, y_BKHW: Tensor) -> Tensor:
    """Return the true-class probability (TCP) per voxel and organ: p where y=1, 1-p where y=0.

    Corbière et al., NeurIPS 2019. Float32 without gradient, from the logits of the frozen
    segmentation network.
    """
    prob_BKHW = logits_BKHW.detach().float().sigmoid()
    return torch.where(y_BKHW.bool(), prob_BKHW, 1 - prob_BKHW)


def confidence_loss(
    confidence_logits_BKHW: Tensor,
    logits_BKHW: Tensor,
    y_BKHW: Tensor,
    w_BKHW: Tensor,
    *,
    voxels: ConfidenceVoxels = "all_known",
    error_weight: float = 1.0,
) -> Tensor:
    """Return the mean squared error of the confidence where the target is known, in float32.

    Parameters
    ----------
    confidence_logits_BKHW
        Output of the confidence network before the sigmoid.
    logits_BKHW
        Output of the frozen segmentation network; no gradient flows into it.
    y_BKHW, w_BKHW
        Target and ambiguity weight from true labels only: the confidence network must not learn to
        trust its own pseudo-labels.
    voxels
        ``all_known``: every voxel and organ with w=1. ``predicted_positive``: of those, the ones
        that the decision rule predicts as positive, which is the population relabelling ranks.
    error_weight
        Factor on the loss where the segmentation network is wrong.
    """
    target_BKHW = true_class_probability(logits_BKHW, y_BKHW)
    known_BKHW = w_BKHW.bool()
    if voxels == "predicted_positive":
        known_BKHW = known_BKHW & organ_masks(decide(logits_BKHW), logits_BKHW.shape[1])
    error_BKHW = (confidence_logits_BKHW.float().sigmoid() - target_BKHW).square()
    if error_weight != 1.0:
        wrong_BKHW = (logits_BKHW >= 0) != y_BKHW.bool()
        error_BKHW = torch.where(wrong_BKHW, error_BKHW * error_weight, error_BKHW)
    return masked_mean(error_BKHW, known_BKHW)
