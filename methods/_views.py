"""Shared by methods that train on changed views of an image, or boxes of it, on the device.

Strong views after Yang et al., CVPR 2023 (UniMatch), whose medical code changes brightness and
contrast, blurs, and pastes a box of another image. No draw is read back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

JITTER, BLUR, PASTE = 0.8, 0.5, 0.5
"""Probabilities of a change of grey values, of a blur and of a pasted box."""
STRENGTH = 0.5
"""Brightness and contrast change by a factor within 1 - STRENGTH to 1 + STRENGTH."""
SIGMA = (0.1, 2.0)
"""Standard deviation of the blur in pixels."""
AREA, RATIO = (0.02, 0.4), (0.3, 1 / 0.3)
"""Share of the image that a pasted box covers, and its height over its width."""


class View(NamedTuple):
    """A strong view of a batch of images."""

    image_BCHW: Tensor
    box_B1HW: Tensor
    """bool, the voxels that come from the image before."""

    def moved(self, maps_BKHW: Tensor) -> Tensor:
        """Return maps of the original images as those of the view: with the boxes of others."""
        return torch.where(self.box_B1HW, maps_BKHW.roll(1, 0), maps_BKHW)


def strong_view(image_BCHW: Tensor) -> View:
    """Return the images, values in [0, 1], with other grey values, blurred, with pasted boxes."""
    seen_BCHW = _sometimes(BLUR, blurred, _sometimes(JITTER, jittered, image_BCHW))
    box_B1HW = boxes(image_BCHW)
    return View(torch.where(box_B1HW, seen_BCHW.roll(1, 0), seen_BCHW), box_B1HW)


def jittered(image_BCHW: Tensor) -> Tensor:
    """Return the images with another brightness, then another contrast, in [0, 1]."""
    dims = tuple(range(1, image_BCHW.ndim))
    bright_BCHW = (image_BCHW * _uniform(image_BCHW, 1 - STRENGTH, 1 + STRENGTH)).clamp(0, 1)
    mean_B111 = bright_BCHW.mean(dim=dims, keepdim=True)
    contrast_B111 = _uniform(image_BCHW, 1 - STRENGTH, 1 + STRENGTH)
    return (mean_B111 + contrast_B111 * (bright_BCHW - mean_B111)).clamp(0, 1)


def blurred(image_BCHW: Tensor) -> Tensor:
    """Return the images, each under a Gaussian of a width of its own, along every axis."""
    B, C = image_BCHW.shape[:2]
    n_axes = image_BCHW.ndim - 2
    reach = round(3 * SIGMA[1])
    offsets_N = torch.arange(-reach, reach + 1, device=image_BCHW.device)
    sigma_B1 = _uniform(image_BCHW, *SIGMA).flatten(1)
    kernel_BN = (-(offsets_N**2) / (2 * sigma_B1**2)).exp()
    kernel_BN = (kernel_BN / kernel_BN.sum(dim=1, keepdim=True)).repeat_interleave(C, dim=0)
    convolve = functional.conv3d if n_axes == 3 else functional.conv2d
    found = image_BCHW.flatten(0, 1)[None]
    for axis in range(n_axes):
        shape = [1] * n_axes
        shape[axis] = -1
        padding = [0, 0] * n_axes
        padding[2 * (n_axes - 1 - axis)] = padding[2 * (n_axes - 1 - axis) + 1] = reach
        found = functional.pad(found, padding, mode="replicate")
        found = convolve(found, kernel_BN.reshape(B * C, 1, *shape), groups=B * C)
    return found.view_as(image_BCHW)


def boxes(image_BCHW: Tensor) -> Tensor:
    """Return a random box in some of the images, bool [B, 1, H, W]; in 3D through all slices."""
    H, W = image_BCHW.shape[-2:]
    area_B111 = _uniform(image_BCHW, *AREA) * H * W
    ratio_B111 = _uniform(image_BCHW, RATIO[0], RATIO[1])
    inside = _uniform(image_BCHW, 0, 1) < PASTE
    for axis, length, side_B111 in (
        (-2, H, (area_B111 * ratio_B111).sqrt()),
        (-1, W, (area_B111 / ratio_B111).sqrt()),
    ):
        side_B111 = side_B111.clamp(max=length)
        start_B111 = _uniform(image_BCHW, 0, 1) * (length - side_B111)
        inside = inside & _between(image_BCHW, axis, start_B111, side_B111)
    return inside.expand(-1, -1, *image_BCHW.shape[2:])


def boxes_of_share(image_BCHW: Tensor, share: float) -> Tensor:
    """Return a random box in each image, of ``share`` of every side; bool [B, 1, H, W]."""
    inside = torch.ones((), dtype=torch.bool, device=image_BCHW.device)
    for axis, length in enumerate(image_BCHW.shape[2:], start=2):
        side = round(share * length)
        start_B111 = (_uniform(image_BCHW, 0, 1) * (length - side + 1)).floor()
        inside = inside & _between(image_BCHW, axis, start_B111, side)
    return inside


def _sometimes(share: float, change: Callable[[Tensor], Tensor], image_BCHW: Tensor) -> Tensor:
    """Change some of the images: each with a probability."""
    return torch.where(_uniform(image_BCHW, 0, 1) < share, change(image_BCHW), image_BCHW)


def _between(image_BCHW: Tensor, axis: int, start_B111: Tensor, side: Tensor | int) -> Tensor:
    """Return which places along an axis lie within a side from its start, of each image."""
    shape = [1] * image_BCHW.ndim
    shape[axis] = image_BCHW.shape[axis]
    at = torch.arange(image_BCHW.shape[axis], device=image_BCHW.device).view(shape)
    return (at >= start_B111) & (at < start_B111 + side)


def _uniform(image_BCHW: Tensor, low: float, high: float) -> Tensor:
    """Return a random number per image, shape [B, 1, 1, 1]."""
    shape = (len(image_BCHW), *(1,) * (image_BCHW.ndim - 1))
    return low + (high - low) * torch.rand(shape, device=image_BCHW.device)
