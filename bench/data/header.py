"""The header of a NIfTI file, checked before memory is taken for what it announces."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from bench.data.geometry import check_affine
from bench.errors import BenchError
from bench.machine import memory
from bench.reporting.text import counted

MAX_VOXELS = 2**31
"""Voxels of one file, channels included: 2048 slices of 1024 x 1024."""

MAX_OFFSET = 2**26
"""Bytes before the voxels: header and extensions."""

QUATERNION_ROUNDING = 1e-3
"""What the length of a header's quaternion may exceed 1 by."""

HEADER_BYTES = Nifti2Header.sizeof_hdr
"""What is read of a file for its header, of either version."""

_GZIP = b"\x1f\x8b"

# Its notes on what it mends in headers would stand unexplained between our lines.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)


def parse_header(head: bytes, most: int, where: str) -> Nifti1Header:
    """Return the header at the start of a file that can hold ``most`` bytes, checked.

    Raises
    ------
    BenchError
        Not NIfTI, no voxel, more than :data:`MAX_VOXELS` or than memory holds, lengths in another
        unit than mm, an affine without meaning.
    EOFError
        The file is shorter than its header says.
    """
    if head.startswith(_GZIP):
        raise BenchError(
            f"{where}: is compressed once more than its name says; decompress it, or rename it to"
            " end with .nii.gz"
        )
    if len(head) < Nifti1Header.sizeof_hdr:
        raise EOFError(f"the header ends after {len(head)} bytes")
    if Nifti2Header.may_contain_header(head):
        header: Nifti1Header | None = Nifti2Header(head[: Nifti2Header.sizeof_hdr])
    elif Nifti1Header.may_contain_header(head):
        header = Nifti1Header(head[: Nifti1Header.sizeof_hdr])
    else:
        header = None
    if header is None or not header["magic"].item().startswith(b"n+"):
        raise BenchError(f"{where}: not a single-file NIfTI; convert it to .nii.gz")
    if header.get_data_shape() == ():
        raise BenchError(f"{where}: the header announces no voxel; convert the scan anew")
    _refuse_shape(header.get_data_shape(), where)
    if not header.single_vox_offset <= header.get_data_offset() <= MAX_OFFSET:
        raise BenchError(
            f"{where}: the header places the voxels at byte {header.get_data_offset()}; copy the"
            " file again or convert the scan anew"
        )
    if announced_bytes(header) > most:
        raise EOFError(f"the header announces {announced_bytes(header)} bytes, the file has fewer")
    _refuse_memory(header.get_data_shape(), where)
    _refuse_unit(header, where)
    _mend_quaternion(header, where)
    check_affine(header.get_best_affine(), where)
    return header


def announced_bytes(header: Nifti1Header) -> int:
    """Return the size of the uncompressed file that a header announces."""
    voxel = int(header["bitpix"]) // 8
    return int(header.get_data_offset()) + voxel * math.prod(map(int, header.get_data_shape()))


def refuse_size(shape: Sequence[int], where: str) -> None:
    """Raise if an image of this shape is empty, above :data:`MAX_VOXELS`, or above free memory."""
    _refuse_shape(shape, where)
    _refuse_memory(shape, where)


def refuse_picture(shape: Sequence[int], where: str) -> None:
    """Raise if an image has no third axis."""
    if len(shape) < 3:
        raise BenchError(
            f"{where}: {counted(len(shape), 'dimension')} {tuple(shape)}, a single picture and no"
            " scan; convert the whole series to one 3D volume (one slice has a third axis of"
            " length 1)"
        )


def _refuse_shape(shape: Sequence[int], where: str) -> None:
    if min(shape) < 1 or math.prod(map(int, shape)) > MAX_VOXELS:
        raise BenchError(
            f"{where}: the header announces {' x '.join(map(str, shape))} voxels, must be"
            f" 1 to {MAX_VOXELS}; copy the file again or convert the scan anew"
        )


def _refuse_memory(shape: Sequence[int], where: str) -> None:
    available = memory.available()
    if math.prod(map(int, shape)) * np.dtype(np.float32).itemsize > available:
        raise BenchError(
            f"{where}: {' x '.join(map(str, shape))} voxels do not fit into the"
            f" {available / 2**30:.1f} GiB of memory that are free; use a larger machine or crop it"
        )


def _refuse_unit(header: Nifti1Header, where: str) -> None:
    """Raise if lengths are not in mm: other tools take them as mm whatever the header says."""
    code = int(header["xyzt_units"]) % 8
    if code in (1, 3):
        unit = {1: "metres", 3: "micrometres"}[code]
        edges = " x ".join(f"{size:g}" for size in header.get_zooms()[:3])
        raise BenchError(
            f"{where}: the header gives lengths in {unit} (voxels of {edges}); convert the affine"
            " to mm, or set the unit (xyzt_units) to mm if the numbers are mm"
        )


def _mend_quaternion(header: Nifti1Header, where: str) -> None:
    """Bring a quaternion that rounding made too long to length 1, as ITK does."""
    if int(header["sform_code"]) or not int(header["qform_code"]):
        return
    names = ("quatern_b", "quatern_c", "quatern_d")
    length = math.hypot(*(float(header[name]) for name in names))
    if 1 < length <= 1 + QUATERNION_ROUNDING:
        for name in names:
            header[name] = float(header[name]) / length
    elif length > 1:
        raise BenchError(
            f"{where}: the rotation in the header is invalid (quaternion of qform, length"
            f" {length:.6g}, must be at most 1); set the sform, or convert the scan anew"
        )
