"""Images of one or several channels: finite values, as they are stored, on one grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from bench.data.geometry import Geometry, check_same_grid
from bench.data.intensity import Channel, GreyValue
from bench.data.nifti import load
from bench.data.place import copy_place
from bench.data.voxels import read_voxels
from bench.errors import BenchError
from bench.reporting.text import counted

MAX_INTEGER_BYTES = 4
"""Larger integers are read as float32."""


def read_image(
    source: Path | Nifti1Image,
    where: str,
    channels: Sequence[Channel] = (),
    accept: Callable[[Geometry, str], None] = lambda *_: None,
) -> tuple[NDArray[GreyValue], Geometry]:
    """Read the channels of an image in canonical orientation.

    Values are as they are stored, so that a scan takes two bytes a voxel and not four: whoever
    computes with them makes float32 of the part at hand.

    Parameters
    ----------
    source
        A NIfTI file, or the image itself.
    where
        Case and file, the start of every error message.
    channels
        Channels that the image must have; by default one of any kind.
    accept
        Called with the grid and ``where`` before the voxels are read; may raise.

    Returns
    -------
    image_CXYZ
        CT in HU: integers of at most 32 bits where the file holds such without a scale, otherwise
        float32. Not to be written to.
    geometry
        The grid of the file.

    Raises
    ------
    BenchError
        Truncated or corrupt file, another number of channels, singular affine, NaN or infinite
        voxels.
    """
    image = load(source, where) if isinstance(source, Path) else source
    values, geometry = read_voxels(image, where, channels, read=_grey_values, accept=accept)
    _refuse_infinite(values, where)
    image_XYZC = geometry.to_canonical(values if values.ndim == 4 else values[..., None])
    return np.moveaxis(image_XYZC, -1, 0), geometry


def load_channels(files: Mapping[str, Path]) -> Nifti1Image:
    """Open the channels of an image, one file each, as one image with channels on its last axis.

    Parameters
    ----------
    files
        The files in the order of the channels; the keys name them in messages.

    Raises
    ------
    BenchError
        As :func:`bench.data.nifti.load` and :func:`read_image`, for each file; files of different
        grids.
    """
    volumes: list[NDArray[GreyValue]] = []
    first: Geometry | None = None
    for where, path in files.items():
        one = load(path, where)
        values, geometry = read_voxels(one, where, read=_grey_values)
        _refuse_infinite(values, where)
        if first is None:
            first, place = geometry, one
        other = f"channel 0, {next(iter(files.values())).name},"
        check_same_grid(first, geometry, where, other, "resample one channel to the other")
        volumes.append(values)
    assert first is not None, "an image has channels"
    stacked = np.stack(volumes)
    if stacked.dtype.itemsize > MAX_INTEGER_BYTES:  # of signed and unsigned integers
        stacked = stacked.astype(np.float32)
    image = Nifti1Image(np.moveaxis(stacked, 0, -1), np.asarray(first.native_affine))
    copy_place(image, place.header)
    return image


def _grey_values(image: Nifti1Image) -> NDArray[GreyValue]:
    """Return the values of an image, see :func:`read_image`."""
    voxels = image.dataobj
    scale = getattr(voxels, "slope", 1.0), getattr(voxels, "inter", 0.0)
    stored = image.get_data_dtype() if isinstance(voxels, ArrayProxy) else np.asarray(voxels).dtype
    if scale == (1.0, 0.0) and stored.kind in "iu" and stored.itemsize <= MAX_INTEGER_BYTES:
        return np.asanyarray(voxels)
    floats: NDArray[np.float32] = image.get_fdata(dtype=np.float32, caching="unchanged")
    return floats


def _refuse_infinite(values: NDArray[GreyValue], where: str) -> None:
    if values.dtype.kind == "f" and not (np.isfinite(values.min()) and np.isfinite(values.max())):
        bad = np.argwhere(~np.isfinite(values))
        raise BenchError(
            f"{where}: {counted(len(bad), 'voxel')} NaN or infinite, the first at index"
            f" {tuple(bad[0].tolist())}; replace them (air is -1024 HU) or convert the scan anew"
        )
