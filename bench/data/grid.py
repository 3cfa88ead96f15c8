"""The training grid: every axial slice of a data set on one [H, W] raster.

A slice whose longer side exceeds the profile's limit is reduced to it (images by area averaging,
label maps by nearest neighbour), never enlarged; then all slices are padded to one common shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.params import Params

if TYPE_CHECKING:
    from torch import Tensor


class Placement(Params):
    """Where the axial slices of one case lie on the training grid."""

    native: tuple[int, int]
    """Slice shape (X, Y) of the canonical volume."""
    scaled: tuple[int, int]
    """Shape after reduction."""
    offset: tuple[int, int] = (0, 0)
    """First row and column on the grid."""

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the grid that the case covers."""
        (h, w), (top, left) = self.scaled, self.offset
        return slice(top, top + h), slice(left, left + w)


def reduced(native: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Return the slice shape after reduction to ``max_side``, the aspect ratio kept."""
    factor = min(1.0, max_side / max(native))
    return max(1, round(native[0] * factor)), max(1, round(native[1] * factor))


def grid_shape(shapes: Sequence[tuple[int, int]], multiple_of: int) -> tuple[int, int]:
    """Return the smallest grid, of sides divisible by ``multiple_of``, that holds every shape."""
    tallest, widest = np.max(np.asarray(shapes), axis=0)
    return -(-int(tallest) // multiple_of) * multiple_of, -(
        -int(widest) // multiple_of
    ) * multiple_of


def centred(native: tuple[int, int], scaled: tuple[int, int], grid: tuple[int, int]) -> Placement:
    """Return the placement in the middle of the grid."""
    offset = ((grid[0] - scaled[0]) // 2, (grid[1] - scaled[1]) // 2)
    return Placement(native=native, scaled=scaled, offset=offset)


def reduce_image(image_XYZ: NDArray[np.float32], scaled: tuple[int, int]) -> NDArray[np.float32]:
    """Return the axial slices of a volume, area-averaged to ``scaled``, shape [Z, h, w]."""
    slices_ZXY = np.ascontiguousarray(image_XYZ.transpose(2, 0, 1))
    if slices_ZXY.shape[1:] == scaled:
        return slices_ZXY
    import torch

    pooled = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(slices_ZXY)[:, None], scaled)
    return np.asarray(pooled[:, 0].numpy())


def labels_to_grid(
    labels_XYZ: NDArray[np.uint8], placement: Placement, grid: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return the axial slices of a label map on the grid, nearest neighbour, shape [Z, H, W]."""
    rows, columns = (
        ((np.arange(m) + 0.5) * n / m).astype(np.intp)
        for n, m in zip(placement.native, placement.scaled, strict=True)
    )
    out = np.zeros((labels_XYZ.shape[2], *grid), np.uint8)
    out[(slice(None), *placement.window)] = labels_XYZ[np.ix_(rows, columns)].transpose(2, 0, 1)
    return out


def logits_to_native(logits_SKHW: Tensor, placement: Placement) -> Tensor:
    """Return logits on the native slices, bilinear, shape [S, K, X, Y]."""
    from torch.nn import functional

    cropped = logits_SKHW[(slice(None), slice(None), *placement.window)]
    if placement.scaled == placement.native:
        return cropped
    return functional.interpolate(cropped, size=placement.native, mode="bilinear")
