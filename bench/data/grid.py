"""The training grid: axial slices of all cases on one [H, W] raster, and the way back.

For 2D networks a slice whose longer side exceeds the profile's limit is downsampled to it, never
enlarged; the number of slices stays. For 3D networks volumes are resampled to cubic voxels. Axes
that shrink are averaged over areas, axes that grow are interpolated linearly, label maps take the
nearest neighbour. Then all slices are padded to one common shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, prod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.params import Params

if TYPE_CHECKING:
    from torch import Tensor


class Placement(Params):
    """The position of a case on the training grid."""

    native: tuple[int, int]
    """Slice shape (X, Y) of the canonical volume."""
    scaled: tuple[int, int]
    """Shape after reduction."""
    offset: tuple[int, int] = (0, 0)
    """First row and column on the grid."""
    depth: tuple[int, int] | None = None
    """Slices of the canonical volume and on the grid; None if they are the same."""

    def native_shape(self, n_slices: int) -> tuple[int, int, int]:
        """Return slices, X and Y of the canonical volume that has ``n_slices`` on the grid."""
        return n_slices if self.depth is None else self.depth[0], *self.native

    def pixel_mm(self, spacing_mm: Sequence[float]) -> tuple[float, float]:
        """Return the sides of a pixel of the grid along X and Y, from those of a voxel."""
        (x, y), (h, w) = self.native, self.scaled
        return spacing_mm[0] * x / h, spacing_mm[1] * y / w

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


def centred(
    native: tuple[int, int],
    scaled: tuple[int, int],
    grid: tuple[int, int],
    depth: tuple[int, int] | None = None,
) -> Placement:
    """Return the placement centred on the grid."""
    offset = ((grid[0] - scaled[0]) // 2, (grid[1] - scaled[1]) // 2)
    return Placement(native=native, scaled=scaled, offset=offset, depth=depth)


def cubic(
    shape_XYZ: tuple[int, int, int], spacing_mm: tuple[float, float, float], side_mm: float
) -> tuple[tuple[int, int], int]:
    """Return the slice shape (h, w) and the number of slices of a volume in cubic voxels."""
    h, w, n = (
        max(1, round(length * spacing / side_mm))
        for length, spacing in zip(shape_XYZ, spacing_mm, strict=True)
    )
    return (h, w), n


def refuse_cubic(
    shape_XYZ: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    side_mm: float,
    n_channels: int,
    where: str,
) -> None:
    """Raise if a volume in cubic voxels is above ``MAX_VOXELS`` or the memory that is free.

    Raises
    ------
    BenchError
        With the start ``where``.
    """
    from bench.data.header import MAX_VOXELS
    from bench.machine import memory

    lengths = [length * spacing for length, spacing in zip(shape_XYZ, spacing_mm, strict=True)]
    voxels = prod(length / side_mm for length in lengths) * n_channels
    available = memory.available()
    if voxels > MAX_VOXELS:
        limit = f"more than {MAX_VOXELS}"
    elif voxels * np.dtype(np.float32).itemsize > available:
        limit = f"more than fit into the {available / 2**30:.1f} GiB of memory that are free"
    else:
        return
    raise BenchError(
        f"{where}: its {' x '.join(f'{length:.4g}' for length in lengths)} mm are {voxels:.2g} "
        f"cubic voxels of {side_mm:g} mm, {limit}; correct the spacing in its header, crop it, or "
        "choose larger voxels, such as -p 'quick[voxel_mm=4]'"
    )


def resize_image(
    image_XYZ: NDArray[np.float32], scaled: tuple[int, int], n_slices: int | None = None
) -> NDArray[np.float32]:
    """Return the axial slices of a volume at another size, shape [Z, h, w].

    Parameters
    ----------
    image_XYZ
        Canonical volume.
    scaled
        New slice shape.
    n_slices
        New number of slices; unchanged if None.
    """
    import torch
    from torch.nn.functional import adaptive_avg_pool3d, interpolate

    slices_ZXY = torch.from_numpy(np.ascontiguousarray(image_XYZ.transpose(2, 0, 1)))
    before = slices_ZXY.shape
    after = (before[0] if n_slices is None else n_slices, *scaled)
    if before == after:
        return np.asarray(slices_ZXY.numpy())
    depth, height, width = (min(old, new) for old, new in zip(before, after, strict=True))
    resized = adaptive_avg_pool3d(slices_ZXY[None, None], (depth, height, width))
    if resized.shape[2:] != after:
        resized = interpolate(resized, size=after, mode="trilinear")
    return np.asarray(resized[0, 0].numpy())


def depth_parts(depth: int, n_slices: int, at_once: int) -> Iterator[tuple[slice, int]]:
    """Yield slices of a volume, and how many :func:`resize_image` makes of them, part by part.

    The parts are those of the whole volume at ``n_slices``: slices that keep their number do not
    depend on each other, one that is an average does on those it covers, and interpolation takes
    the whole volume.
    """
    if n_slices == depth:
        for start in range(0, depth, at_once):
            stop = min(start + at_once, depth)
            yield slice(start, stop), stop - start
    elif n_slices < depth:
        for k in range(n_slices):
            yield slice(k * depth // n_slices, -(-(k + 1) * depth // n_slices)), 1
    else:
        yield slice(0, depth), n_slices


def labels_to_grid(
    labels_XYZ: NDArray[np.uint8], placement: Placement, grid: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return the axial slices of a label map on the grid, nearest neighbour, shape [Z, H, W]."""
    rows, columns = (
        _nearest(n, m) for n, m in zip(placement.native, placement.scaled, strict=True)
    )
    slices = (
        np.arange(labels_XYZ.shape[2]) if placement.depth is None else _nearest(*placement.depth)
    )
    out = np.zeros((len(slices), *grid), np.uint8)
    chosen_XYZ = labels_XYZ[np.ix_(rows, columns, slices)]
    out[(slice(None), *placement.window)] = chosen_XYZ.transpose(2, 0, 1)
    return out


def _nearest(n: int, m: int) -> NDArray[np.intp]:
    """Return, for each of ``m`` voxels, the nearest of ``n`` that cover the same length."""
    return ((np.arange(m) + 0.5) * n / m).astype(np.intp)


def logits_to_native(logits_SKHW: Tensor, placement: Placement) -> Tensor:
    """Return logits on the native slices, bilinear, shape [S, K, X, Y]."""
    from torch.nn import functional

    cropped = logits_SKHW[(slice(None), slice(None), *placement.window)]
    if placement.scaled == placement.native:
        return cropped
    return functional.interpolate(cropped, size=placement.native, mode="bilinear")


def native_box(
    placement: Placement, n_slices: int, first: Sequence[int], size: Sequence[int]
) -> tuple[slice, slice, slice]:
    """Return the canonical voxels (X, Y, Z) whose centres are within a box on the grid.

    Parameters
    ----------
    placement, n_slices
        Placement and number of slices of the case.
    first, size
        First voxel and lengths of the box along slices, rows and columns; it may reach beyond.
    """
    natives = (*placement.native, placement.native_shape(n_slices)[0])
    scaled = (*placement.scaled, n_slices)
    offsets = (*placement.offset, 0)
    box = []
    for axis, (n, m, offset) in enumerate(zip(natives, scaled, offsets, strict=True)):
        start = first[(axis + 1) % 3] - offset
        ends = (start, start + size[(axis + 1) % 3])
        low, high = (min(max(ceil(end * n / m - 0.5), 0), n) for end in ends)
        box.append(slice(low, high))
    return box[0], box[1], box[2]


def native_slices(logits_SKHW: Tensor, placement: Placement, rows: slice) -> Tensor:
    """Return the logits at some of the native slices, linear along the depth, shape [s, K, H, W].

    Parameters
    ----------
    logits_SKHW
        Logits of the whole volume on the training grid.
    placement
        Placement of the case.
    rows
        Native slices, with explicit start and stop.
    """
    import torch

    if placement.depth is None:
        return logits_SKHW[rows]
    n_native, n_scaled = placement.depth
    native_s = torch.arange(rows.start, rows.stop, device=logits_SKHW.device)
    at_s = ((native_s + 0.5) * n_scaled / n_native - 0.5).clamp(0, n_scaled - 1)
    below_s = at_s.long()
    above_s = (below_s + 1).clamp(max=n_scaled - 1)
    share_s111 = (at_s - below_s).view(-1, 1, 1, 1)
    return torch.lerp(logits_SKHW[below_s], logits_SKHW[above_s], share_s111)
