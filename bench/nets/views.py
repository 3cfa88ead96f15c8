"""Views of a batch: turned and zoomed in the plane of its slices, and maps of them turned back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Affines: TypeAlias = Callable[[tuple[int, int]], NDArray[np.float32]]
"""Rows and columns of an image to one affine per view in normalised coordinates, the identity
first, shape [V, 2, 3]."""


SLICES_AT_ONCE = 16
"""Of which maps are brought back together."""


def seen_through(maps_BCHW: Tensor, theta_23: Tensor) -> Tensor:
    """Return maps resampled by one affine, linear, 0 outside."""
    theta_123 = theta_23.to(maps_BCHW.device)[None]
    grid_1HW2 = functional.affine_grid(theta_123, [1, *maps_BCHW.shape[1:]], align_corners=False)
    grid_BHW2 = grid_1HW2.expand(len(maps_BCHW), -1, -1, -1)
    return functional.grid_sample(maps_BCHW, grid_BHW2, mode="bilinear", align_corners=False)


def inverse(theta_23: Tensor) -> Tensor:
    """Return the affine that undoes one without a shift."""
    return torch.cat([torch.linalg.inv(theta_23[:, :2]), theta_23[:, 2:]], dim=1)


def mean_logits(
    logits_of: Callable[[Tensor], Tensor],
    image_BCHW: Tensor,
    affines: Affines,
    window_11HW: Tensor,
) -> Tensor:
    """Return the logits of the mean probability of several views, shape [B, K, H, W].

    Parameters
    ----------
    logits_of
        The logits of images of this shape.
    image_BCHW
        Slices, as the network sees them.
    affines
        The views.
    window_11HW
        1 where the network sees its input, 0 beyond. A voxel that a view does not show, or shows
        beyond that, is no part of its mean; beyond it in the image itself nothing changes.
    """
    height, width = image_BCHW.shape[-2:]
    first_BKHW = logits_of(image_BCHW)
    window_11HW = window_11HW.to(first_BKHW.device)
    sum_BKHW, seen_11HW = first_BKHW.sigmoid(), window_11HW
    for theta_23 in torch.from_numpy(affines((height, width)))[1:]:
        found_BKHW = logits_of(seen_through(image_BCHW, theta_23))
        back_23 = inverse(theta_23)
        seen_11HW = seen_11HW + seen_through(window_11HW, back_23)
        for start in range(0, len(found_BKHW), SLICES_AT_ONCE):  # a volume is large
            rows = slice(start, start + SLICES_AT_ONCE)
            sum_BKHW[rows] += seen_through(found_BKHW[rows].sigmoid() * window_11HW, back_23)
        del found_BKHW
    mean_BKHW = sum_BKHW.div_(seen_11HW.clamp(min=1))
    return torch.where(
        window_11HW > 0, mean_BKHW.logit(eps=torch.finfo(torch.float32).eps), first_BKHW
    )
