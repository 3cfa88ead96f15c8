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


def seen_through(maps_BCHW: Tensor, theta_23: Tensor) -> Tensor:
    """Return maps resampled by one affine, linear, 0 outside."""
    theta_B23 = theta_23.to(maps_BCHW.device).expand(len(maps_BCHW), 2, 3)
    grid = functional.affine_grid(theta_B23, list(maps_BCHW.shape), align_corners=False)
    return functional.grid_sample(maps_BCHW, grid, mode="bilinear", align_corners=False)


def inverse(theta_23: Tensor) -> Tensor:
    """Return the affine that undoes one without a shift."""
    return torch.cat([torch.linalg.inv(theta_23[:, :2]), theta_23[:, 2:]], dim=1)


def mean_logits(
    logits_of: Callable[[Tensor], Tensor], image_BCHW: Tensor, affines: Affines
) -> Tensor:
    """Return the logits of the mean probability of several views, shape [B, K, H, W].

    Parameters
    ----------
    logits_of
        The logits of images of this shape.
    image_BCHW
        Slices, as the network sees them.
    affines
        The views. A voxel at the edge lies outside of some of them, which it is no mean of.
    """
    height, width = image_BCHW.shape[-2:]
    first, *others = torch.from_numpy(affines((height, width)))
    assert torch.equal(first, torch.eye(2, 3)), "the first view is the image itself"
    sum_BKHW = logits_of(image_BCHW).sigmoid()
    seen_B1HW = torch.ones_like(sum_BKHW[:, :1])
    for theta_23 in others:
        found_BKHW = logits_of(seen_through(image_BCHW, theta_23)).sigmoid()
        known_BCHW = torch.cat([found_BKHW, torch.ones_like(found_BKHW[:, :1])], dim=1)
        back_BCHW = seen_through(known_BCHW, inverse(theta_23))
        sum_BKHW += back_BCHW[:, :-1]
        seen_B1HW = seen_B1HW + back_BCHW[:, -1:]
    return (sum_BKHW / seen_B1HW).logit(eps=torch.finfo(torch.float32).eps)
