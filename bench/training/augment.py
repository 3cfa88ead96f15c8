"""Augmentation: a random affine and a random change of intensity per slice or patch, on the device.

Resampled once. No flips: left and right kidney are different organs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from bench.params import Added, Params

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Augmentation(Params):
    """Ranges of what is random, the same for every method."""

    shift: float = Field(default=0.1, ge=0, le=1)
    """Translation, up to this share of the side."""
    rotation_deg: float = Field(default=15.0, ge=0, le=180)
    zoom: float = Field(default=0.1, ge=0, lt=1)
    contrast: Annotated[float, Added()] = Field(default=0.0, ge=0, lt=1)
    """Distances from an image's mean times 1, up to this more or less."""
    brightness: Annotated[float, Added()] = Field(default=0.0, ge=0, le=1)
    """Values higher or lower, up to this share of their range."""
    gamma: Annotated[float, Added()] = Field(default=1.0, ge=1, le=10)
    """Values in [0, 1] to a power between the inverse of this and this."""

    def sample(
        self, rng: np.random.Generator, n: int, grid: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Return ``n`` affines from output to input in normalised coordinates, shape [n, 2, 3]."""
        angle = np.deg2rad(rng.uniform(-self.rotation_deg, self.rotation_deg, n))
        scale = rng.uniform(1 - self.zoom, 1 + self.zoom, n)
        shift_N2 = 2 * rng.uniform(-self.shift, self.shift, (n, 2))
        return in_plane_affine(angle, scale, shift_N2, grid)

    @property
    def varies_intensity(self) -> bool:
        """Whether the values of an image change, and not only their places."""
        return (self.contrast, self.brightness, self.gamma) != (0, 0, 1)

    def sample_intensity(
        self, rng: np.random.Generator, n: int, channels: int
    ) -> NDArray[np.float32]:
        """Return factor, offset and power of every channel of ``n`` images, shape [n, C, 3]."""
        size, power = (n, channels), np.log(self.gamma)
        factor = rng.uniform(1 - self.contrast, 1 + self.contrast, size)
        offset = rng.uniform(-self.brightness, self.brightness, size)
        exponent = np.exp(rng.uniform(-power, power, size))
        return np.stack([factor, offset, exponent], axis=2).astype(np.float32)

    def reach(self, size: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the size (depth, height, width) of the source of a rotated and zoomed patch."""
        D, H, W = size

        def turned(side: int, other: int) -> float:
            """Return the extent along an axis; it is greatest where the diagonal is the axis."""
            angle = min(np.deg2rad(self.rotation_deg), np.arctan2(other, side))
            return float(side * np.cos(angle) + other * np.sin(angle))

        zoomed = (length / (1 - self.zoom) for length in (D, turned(H, W), turned(W, H)))
        d, h, w = (int(np.ceil(length - 1e-9)) for length in zoomed)
        return d, h, w

    def sample_3d(
        self,
        rng: np.random.Generator,
        n: int,
        size: tuple[int, int, int],
        source: tuple[int, int, int],
    ) -> NDArray[np.float32]:
        """Return ``n`` affines from patches to sources of :meth:`reach`, shape [n, 3, 4].

        Rotation is about the body's axis. There is no shift: the position of a patch is random.
        """
        D, H, W = size
        in_plane = self.model_copy(update={"shift": 0.0}).sample(rng, n, (H, W))
        theta = np.zeros((n, 3, 4), np.float32)
        theta[:, :2, :2] = in_plane[:, :, :2]
        # the determinant of the rotated and zoomed plane is 1 / scale ** 2
        theta[:, 2, 2] = np.sqrt(np.linalg.det(in_plane[:, :, :2]))
        shares = np.array([W, H, D]) / np.array(source[::-1])
        theta[:, :, :3] *= shares[:, None].astype(np.float32)
        return theta


def in_plane_affine(
    angle_N: NDArray[np.float64],
    scale_N: NDArray[np.float64],
    shift_N2: NDArray[np.float64],
    grid: tuple[int, int],
) -> NDArray[np.float32]:
    """Return affines from output to input in normalised coordinates, shape [N, 2, 3].

    Parameters
    ----------
    angle_N, scale_N, shift_N2
        Radians, factors, and shifts along columns and rows in half sides.
    grid
        Rows and columns.
    """
    H, W = grid
    cos, sin = np.cos(angle_N) / scale_N, np.sin(angle_N) / scale_N
    theta = np.empty((len(angle_N), 2, 3), np.float32)
    # grid_sample's first coordinate runs along W; H / W keeps a rotation rigid in pixels
    theta[:, 0, 0], theta[:, 0, 1] = cos, -sin * H / W
    theta[:, 1, 0], theta[:, 1, 1] = sin * W / H, cos
    theta[:, :, 2] = shift_N2
    return theta


def resample(
    image_BCHW: Tensor, maps_BCHW: Tensor, theta: Tensor, size: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Apply one affine to all channels of a slice or patch and to its label maps.

    Parameters
    ----------
    image_BCHW
        float32 in [0, 1]; linear, 0 (the lower end of a channel's range) outside.
    maps_BCHW
        Label maps; nearest neighbour, 0 outside.
    theta
        Affines of :class:`Augmentation`.
    size
        Image axes of the result.

    Returns
    -------
    image_BCHW, maps_BCHW
        float32 image and int64 label maps.
    """
    import torch
    from torch.nn import functional

    # What functional.affine_grid does, which computes the centres anew each time.
    centres_BNC = _centres(size, theta.device).expand(len(theta), -1, -1)
    grid = centres_BNC.bmm(theta.transpose(1, 2)).unflatten(1, size)
    image_BCHW = functional.grid_sample(image_BCHW, grid, mode="bilinear", align_corners=False)
    maps = functional.grid_sample(maps_BCHW.float(), grid, mode="nearest", align_corners=False)
    return image_BCHW, maps.to(torch.int64)


def vary_intensity(image_BCHW: Tensor, change_BC3: Tensor) -> Tensor:
    """Return images of another contrast, brightness and gamma.

    Parameters
    ----------
    image_BCHW
        float32 in [0, 1], or [B, C, D, H, W]; it is changed in place. What leaves [0, 1] is cut.
    change_BC3
        Of :meth:`Augmentation.sample_intensity`.
    """
    axes = tuple(range(2, image_BCHW.ndim))
    shape = (*image_BCHW.shape[:2], *(1 for _ in axes))
    factor, offset, exponent = (one.view(shape) for one in change_BC3.unbind(2))
    mean = image_BCHW.mean(axes, keepdim=True)
    return image_BCHW.sub_(mean).mul_(factor).add_(mean + offset).clamp_(0, 1).pow_(exponent)


@lru_cache(maxsize=2)
def _centres(size: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the centres of all voxels in normalised coordinates, and a 1, shape [1, N, 3 or 4]."""
    import torch
    from torch.nn import functional

    n = len(size)
    identity = torch.eye(n, n + 1, device=device)[None]
    grid = functional.affine_grid(identity, [1, 1, *size], align_corners=False)
    return functional.pad(grid.flatten(1, -2), (0, 1), value=1.0)
