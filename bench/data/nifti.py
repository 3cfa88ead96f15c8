"""Open NIfTI files, plain or compressed, and say in one line why one cannot be read."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Header, Nifti2Image
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from bench.data.geometry import Geometry
from bench.data.header import HEADER_BYTES, announced_bytes, parse_header, refuse_picture
from bench.errors import BenchError, explain
from bench.files import file_size

_DEFLATE_RATIO = 1032
"""The best that gzip can do: no file holds more than this many times its size."""

_PIECE_BYTES = 2**20
_PADDING_BYTES = 512
"""What may follow the voxels: some writers fill up their last block."""

UNREADABLE = (
    EOFError,
    zlib.error,
    struct.error,
    MemoryError,
    OverflowError,
    OSError,
    ValueError,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
)
"""What reading a file may raise that is truncated, corrupt or too large."""


def load(path: Path, where: str) -> Nifti1Image:
    """Open a NIfTI file; a compressed one is read in full, so that its checksum is verified.

    Memory is taken for what the header announces, after a look at whether a file of this size can
    hold it, and for nothing that follows. Extensions of the header are not read.

    Raises
    ------
    BenchError
        Missing, truncated or corrupt file, not NIfTI, no voxel, more voxels than
        :data:`bench.data.header.MAX_VOXELS`, or more data than its header announces.
    """
    try:
        size = file_size(path, where)
        with path.open("rb") as file:
            if not path.name.lower().endswith(".gz"):
                header = parse_header(file.read(HEADER_BYTES), size, where)
                _refuse_rest(size - announced_bytes(header), announced_bytes(header), where)
                # Not memory-mapped: a file that changes or a share that drops would kill us.
                return _image(header, path)
            _refuse_plain(file, where)
            with gzip.GzipFile(fileobj=file) as stream:
                head = stream.read(HEADER_BYTES)
                header = parse_header(head, size * _DEFLATE_RATIO, where)
                return _image(header, _inflate(stream, head, announced_bytes(header), where))
    except UNREADABLE as error:
        raise unreadable(where, error) from None


def load_geometry(path: Path, where: str) -> Geometry:
    """Return the voxel grid of a file from its header alone; raises as :func:`load`."""
    try:
        size = file_size(path, where)
        with path.open("rb") as file:
            if not path.name.lower().endswith(".gz"):
                header = parse_header(file.read(HEADER_BYTES), size, where)
            else:
                with gzip.GzipFile(fileobj=file) as stream:
                    header = parse_header(stream.read(HEADER_BYTES), size * _DEFLATE_RATIO, where)
    except UNREADABLE as error:
        raise unreadable(where, error) from None
    refuse_picture(header.get_data_shape(), where)
    return Geometry.of(header.get_data_shape()[:3], header.get_best_affine())


def unreadable(where: str, error: Exception) -> BenchError:
    """Return one of :data:`UNREADABLE` as one line with the remedy."""
    if isinstance(error, OSError) and error.errno is not None:
        error.filename = None  # ``where`` names it
        return BenchError(f"{where}: cannot be read: {explain(error)}")
    if isinstance(error, MemoryError):
        return BenchError(f"{where}: does not fit into memory; use a larger machine or crop it")
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, HeaderDataError):
        return BenchError(f"{where}: the header is invalid ({reason}); convert or copy it anew")
    return BenchError(
        f"{where}: cannot be read, truncated or corrupt ({reason}); copy or download it again"
    )


def _inflate(stream: gzip.GzipFile, head: bytes, n_bytes: int, where: str) -> bytearray:
    """Return the first ``n_bytes``; the rest must be short and is read for the checksum only."""
    data = bytearray(n_bytes)
    done = min(n_bytes, len(head))
    data[:done] = head[:done]
    rest = memoryview(data)
    while done < n_bytes:
        n_read = stream.readinto(rest[done : done + _PIECE_BYTES])
        if not n_read:
            raise EOFError(f"the header announces {n_bytes} bytes, the file has {done}")
        done += n_read
    extra = 0
    while piece := stream.read(_PIECE_BYTES):
        extra += len(piece)
        _refuse_rest(extra, n_bytes, where)
    return data


def _refuse_rest(extra: int, n_bytes: int, where: str) -> None:
    if extra > _PADDING_BYTES:
        raise BenchError(
            f"{where}: holds more than the {n_bytes} bytes that its header announces; convert"
            " the scan anew"
        )


def _refuse_plain(file: IO[bytes], where: str) -> None:
    """Refuse a file that is named as compressed and holds a header as it is."""
    start = file.read(4)
    file.seek(0)
    if int.from_bytes(start, "little") in (348, 540) or int.from_bytes(start, "big") in (348, 540):
        raise BenchError(f"{where}: is named .gz and is not compressed; rename it to end with .nii")


def _image(header: Nifti1Header, source: Path | bytearray) -> Nifti1Image:
    """Return the image of a file or of the bytes of one; without a scale these are not copied."""
    if isinstance(source, Path):
        voxels: ArrayProxy | NDArray[Any] = ArrayProxy(source, header, mmap=False)
    elif header.get_slope_inter() in ((None, None), (1.0, 0.0)):
        shape, dtype = header.get_data_shape(), header.get_data_dtype()
        voxels = np.ndarray(shape, dtype, source, header.get_data_offset(), order="F")
    else:
        voxels = ArrayProxy(io.BytesIO(source), header, mmap=False)
    affine = header.get_best_affine()
    if isinstance(header, Nifti2Header):
        return Nifti2Image(voxels, affine, header)
    return Nifti1Image(voxels, affine, header)
