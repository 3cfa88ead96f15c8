"""The voxels of an opened image and their grid, in the axes of the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from bench.data.geometry import Geometry, check_affine
from bench.data.header import refuse_picture
from bench.data.intensity import Channel, listed
from bench.data.nifti import UNREADABLE, unreadable
from bench.errors import BenchError


def read_voxels(
    image: Nifti1Image,
    where: str,
    channels: Sequence[Channel] = (),
    *,
    read: Callable[[Nifti1Image], NDArray[Any]] = lambda image: np.asanyarray(image.dataobj),
    accept: Callable[[Geometry, str], None] = lambda *_: None,
) -> tuple[NDArray[Any], Geometry]:
    """Return the array in the axes of the file, channels on a fourth axis, and its geometry."""
    stored = image.get_data_dtype()
    if stored.fields is not None:
        raise BenchError(f"{where}: colour voxels; export one grey value or label each")
    if not np.issubdtype(stored, np.number) or stored.kind == "c":
        raise BenchError(
            f"{where}: voxels of type {stored}, not numbers; export one grey value each"
        )
    shape = volume_shape(image)
    refuse_picture(shape, where)
    if len(channels) > 1 and (len(shape) != 4 or shape[3] != len(channels)):
        raise BenchError(
            f"{where}: shape {shape}, expected a 3D volume of {len(channels)} channels"
            f" ({listed(channels)}), the last axis"
        )
    if len(channels) <= 1 and len(shape) != 3:
        raise BenchError(
            f"{where}: {len(shape)} dimensions {shape}, expected one 3D volume; split the file by"
            " its last axis (channels of an image are named in dataset.json)"
        )
    if 0 in shape:
        raise BenchError(f"{where}: shape {shape} has no voxel; convert the scan anew")
    affine = np.asarray(image.affine, np.float64)
    check_affine(affine, where)
    geometry = Geometry.of(shape[:3], affine)
    accept(geometry, where)
    try:
        array = read(image)
    except UNREADABLE as error:
        raise unreadable(where, error) from None
    return array.reshape(shape), geometry


def volume_shape(image: Nifti1Image) -> tuple[int, ...]:
    """Return the shape of an image without axes of length 1 after the third."""
    shape: tuple[int, ...] = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
