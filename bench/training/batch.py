"""A training batch and the targets derived from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.labels import BACKGROUND, VOID


@dataclass(frozen=True, slots=True)
class Batch:
    """Slices or 3D patches as the network sees them, after augmentation, on the device."""

    image_BCHW: Tensor
    """float32 in [0, 1]."""
    lab_BHW: Tensor
    """int64 visible labels 0..K, or VOID where nobody says what a voxel is."""
    ps_BHW: Tensor
    """int64 pseudo-labels: 0 none, 1..K an organ, BACKGROUND."""
    flags_BK: Tensor
    """bool, organ k is annotated in the volume this slice comes from, or has a pseudo-label of the
    whole of it."""


def targets(
    lab_BHW: Tensor, ps_BHW: Tensor, flags_BK: Tensor, *, pseudo_negatives: bool = True
) -> tuple[Tensor, Tensor]:
    """Return target y and ambiguity weight w, both bool of shape [B, K, H, W].

    w is 1 where the target is known: the organ is annotated, another organ's label makes it a
    certain negative, or there is a pseudo-label. Where w is 0 the target is ambiguous and ignored,
    as in VOID voxels without a pseudo-label, whatever the flags.
    """
    K = flags_BK.shape[1]
    pseudo_BKHW = organ_masks(ps_BHW, K)
    y_BKHW = organ_masks(lab_BHW, K) | pseudo_BKHW
    known_BHW = ((lab_BHW != 0) & (lab_BHW != VOID)) | (ps_BHW == BACKGROUND)
    if pseudo_negatives:
        known_BHW = known_BHW | (ps_BHW != 0)
    w_BKHW = annotated(lab_BHW, flags_BK) | known_BHW.unsqueeze(1) | pseudo_BKHW
    return y_BKHW, w_BKHW


def annotated(lab_BHW: Tensor, flags_BK: Tensor) -> Tensor:
    """Return where the visible labels say of an organ that it is there, or not: [B, K, H, W]."""
    said_B1HW = (lab_BHW != VOID).unsqueeze(1)
    return per_voxel(flags_BK, said_B1HW) & said_B1HW


def unknown(lab_BHW: Tensor, w_BKHW: Tensor) -> Tensor:
    """Return where a method may learn from its own predictions: [B, K, H, W].

    The target is ambiguous there, w is 0, and it is no VOID voxel, from which nothing learns.
    """
    return ~w_BKHW & (lab_BHW != VOID).unsqueeze(1)


def organ_masks(label_BHW: Tensor, n_organs: int) -> Tensor:
    """Return one bool map per organ 1..K of a label map, shape [B, K, H, W]."""
    label_B1HW = label_BHW.unsqueeze(1)
    numbers_1K = torch.arange(1, n_organs + 1, device=label_BHW.device).unsqueeze(0)
    return label_B1HW == per_voxel(numbers_1K, label_B1HW)


def per_voxel(x_BK: Tensor, maps_BCHW: Tensor) -> Tensor:
    """Return values per volume and organ with as many axes of length 1 as the maps have."""
    return x_BK[(..., *(None,) * (maps_BCHW.ndim - 2))]
