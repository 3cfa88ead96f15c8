"""A training batch and the targets derived from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.relabelling import BACKGROUND


@dataclass(frozen=True, slots=True)
class Batch:
    """Slices as the network sees them, after augmentation, on the device."""

    image_B1HW: Tensor
    """float32 in [0, 1]."""
    lab_BHW: Tensor
    """int64 visible labels 0..K."""
    ps_BHW: Tensor
    """int64 pseudo-labels: 0 none, 1..K an organ, BACKGROUND."""
    flags_BK: Tensor
    """bool, organ k is annotated in the volume this slice comes from."""


def targets(
    lab_BHW: Tensor, ps_BHW: Tensor, flags_BK: Tensor, *, pseudo_negatives: bool = True
) -> tuple[Tensor, Tensor]:
    """Return target y and ambiguity weight w, both bool of shape [B, K, H, W] (SPEC 3.1).

    w is 1 where the organ is annotated, where another organ's label makes it a certain negative,
    and where a pseudo-label decides; 0 is ambiguous and ignored.
    """
    K = flags_BK.shape[1]
    organ_1K11 = torch.arange(1, K + 1, device=lab_BHW.device).view(1, K, 1, 1)
    lab_B1HW, ps_B1HW = lab_BHW.unsqueeze(1), ps_BHW.unsqueeze(1)
    pseudo_BKHW = ps_B1HW == organ_1K11
    y_BKHW = (lab_B1HW == organ_1K11) | pseudo_BKHW
    known_B1HW = (lab_B1HW != 0) | (ps_B1HW == BACKGROUND)
    if pseudo_negatives:
        known_B1HW = known_B1HW | (ps_B1HW != 0)
    w_BKHW = flags_BK[:, :, None, None] | known_B1HW | pseudo_BKHW
    return y_BKHW, w_BKHW
