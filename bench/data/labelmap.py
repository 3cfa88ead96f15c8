"""Label maps: the values of a file brought to 0..K, and maps on the grid of the scan's file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from bench.data.geometry import Geometry
from bench.data.nifti import load
from bench.data.voxels import read_voxels
from bench.errors import BenchError
from bench.reporting.text import counted

MAX_LABEL = 65535
"""Largest label value of a file, before it becomes 0..K."""

LABEL_ROUNDING = 1e-3
"""What saving a label map as floating-point or scaled numbers may add to a whole number."""

_ALIEN = 255
"""Marks unknown values in a look-up table; targets are smaller."""
_SLICES = 16


def read_labels(path: Path, where: str) -> NDArray[np.uint8]:
    """Read a label map that this suite has written, in canonical orientation.

    Raises
    ------
    BenchError
        As :func:`bench.data.nifti.load`, and for voxels that are not uint8.
    """
    values, geometry = read_voxels(load(path, where), where)
    if values.dtype != np.uint8:
        raise BenchError(f"{where}: voxels of type {values.dtype}, expected uint8: it was edited")
    return geometry.to_canonical(values)


def load_labels(
    path: Path, values: Mapping[int, int], names: Mapping[int, str], where: str
) -> Nifti1Image:
    """Open a label map and bring its values to 0..K.

    Parameters
    ----------
    values
        New value of every value that may occur in the file: 1..K, 0, or VOID for voxels of which
        nobody says what they are. 0 (background) is always allowed.
    names
        Meaning of the file's values, for the message about an unknown one.

    Raises
    ------
    BenchError
        As :func:`bench.data.nifti.load`, and for values that are not whole numbers, by more than
        :data:`LABEL_ROUNDING`, or not in ``values``.
    """
    image = load(path, where)
    array, geometry = read_voxels(image, where)
    slope = float(getattr(image.dataobj, "slope", 1.0))
    known = {0: "background"} | dict(names)
    labels = map_labels(array, {0: 0} | dict(values), known, where, slope=slope)
    return _as_nifti(labels, geometry)


def map_labels(
    array: NDArray[Any],
    values: Mapping[int, int],
    names: Mapping[int, str],
    where: str,
    *,
    slope: float = 1.0,
) -> NDArray[np.uint8]:
    """Replace every label value by its new value in ``values``, see :func:`load_labels`.

    ``slope`` is what the file's header multiplies values by, for the message.
    """
    if not np.issubdtype(array.dtype, np.integer):
        array = _whole(array, where, slope)
    # A table look-up, because np.isin copies a volume of this size several times.
    table = np.full(MAX_LABEL + 1, _ALIEN, np.uint8)
    for value, target in values.items():
        table[value] = target
    mapped = np.empty_like(array, np.uint8, subok=False)
    if array.min(initial=0) < 0 or array.max(initial=0) > MAX_LABEL:
        mapped[...] = np.where(np.isin(array, list(values)), 0, _ALIEN)
    else:
        for part, into in zip(_parts(array), _parts(mapped), strict=True):
            into[...] = table[part]
    if mapped.max(initial=0) == _ALIEN:
        alien = mapped == _ALIEN
        found = ", ".join(str(value) for value in np.unique(array[alien])[:10])
        expected = ", ".join(f"{value} {names.get(value, '?')}" for value in sorted(values))
        raise BenchError(
            f"{where}: unknown label {found} in {counted(int(alien.sum()), 'voxel')}; known are"
            f" {expected}: correct the map or the data set's list of labels"
        )
    return mapped


def to_native(labels_XYZ: NDArray[np.uint8], geometry: Geometry) -> Nifti1Image:
    """Return a label map as uint8 NIfTI with the grid and affine of the scan's file."""
    if labels_XYZ.shape != geometry.canonical_shape:
        raise ValueError(f"shape {labels_XYZ.shape}, geometry {geometry.canonical_shape}")
    return _as_nifti(geometry.to_native(labels_XYZ.astype(np.uint8, copy=False)), geometry)


def share_to_native(share_XYZ: NDArray[np.uint8], geometry: Geometry) -> Nifti1Image:
    """Return numbers from 0 to 1, stored as 0 to 255, as NIfTI on the grid of the scan's file."""
    image = to_native(share_XYZ, geometry)
    image.header.set_slope_inter(1 / 255, 0)
    return image


def _parts(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Yield views of some of its slices: indices of a look-up take eight bytes a voxel."""
    axis = max(range(array.ndim), key=lambda axis: abs(array.strides[axis]), default=0)
    slices = np.moveaxis(np.atleast_1d(array), axis, 0)
    yield from (slices[start : start + _SLICES] for start in range(0, len(slices), _SLICES))


def _whole(array: NDArray[Any], where: str, slope: float) -> NDArray[np.int32]:
    """Return floating-point labels as integers."""
    nearest = np.rint(array)
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(array - nearest) <= LABEL_ROUNDING)
    if off.any():
        cause = "never interpolate a label map linearly, export it as integers"
        if slope != 1.0:
            cause = (
                f"the header scales them (scl_slope {slope:.6g}): save the map as integers, with an"
                " integer data type and slope 1"
            )
        example = float(array[off][0])
        raise BenchError(
            f"{where}: {counted(int(off.sum()), 'voxel')} with no whole number, such as"
            f" {example!r}; {cause}"
        )
    integers: NDArray[np.int32] = np.clip(nearest, -(2**30), 2**30).astype(np.int32)
    return integers


def _as_nifti(labels: NDArray[np.uint8], geometry: Geometry) -> Nifti1Image:
    affine = np.asarray(geometry.native_affine)
    image = Nifti1Image(labels, affine, dtype=np.uint8)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="unknown" if geometry.sheared else "scanner")
    return image
