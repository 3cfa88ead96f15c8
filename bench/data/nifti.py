"""From a case's files to validated arrays in one orientation, and back to the grid of the file.

All checks of a scan and its label map are here, so other modules can rely on a :class:`Scan`: three
dimensions, finite values, labels 0..K of annotated organs only, channels and labels on one grid,
canonical RAS orientation.
"""

from __future__ import annotations

import gzip
import io
import logging
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, TypeVar

import nibabel as nib
import numpy as np
from nibabel import orientations
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Header, Nifti2Image
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from bench.data.dataset import Case, Dataset
from bench.data.intensity import Channel, GreyValue, listed
from bench.errors import BenchError, explain
from bench.files import file_size
from bench.labels import VOID
from bench.machine import memory
from bench.params import Params
from bench.reporting.text import counted

SUFFIXES = (".nii.gz", ".nii")
"""File names read as NIfTI."""

_NUMBERED = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")

MAX_LABEL = 65535
"""Largest label value of a file, before it becomes 0..K."""

MAX_VOXELS = 2**31
"""Voxels of one file, channels included: 2048 slices of 1024 x 1024."""

MAX_OFFSET = 2**26
"""Bytes before the voxels: header and extensions."""

USUAL_MM = (0.05, 20.0)
"""Edges of the voxels of clinical scans."""

MIN_VOXEL_MM, MAX_VOXEL_MM = 1e-4, 1e3

RIGHT_ANGLES = 1e-4
"""Largest cosine between axes at right angles: headers hold rounded numbers."""

LABEL_ROUNDING = 1e-3
"""What saving a label map as floating-point or scaled numbers may add to a whole number."""

GRID_ROUNDING = 0.1
"""Part of a voxel by which the corners of a grid may differ from those of another in two headers of
one: they hold float32 or a few decimals, and some tools rewrite them as a quaternion."""

QUATERNION_ROUNDING = 1e-3
"""What the length of a header's quaternion may exceed 1 by."""

_DEFLATE_RATIO = 1032
"""The best that gzip can do: no file holds more than this many times its size."""

_PLACE = (
    *("qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
    *(f"quatern_{axis}" for axis in "bcd"),
    *(f"qoffset_{axis}" for axis in "xyz"),
)
"""What a header holds of the place of a scan, besides the size of its voxels."""

_GZIP = b"\x1f\x8b"
_HEADER_BYTES = Nifti2Header.sizeof_hdr
_PIECE_BYTES = 2**20
_PADDING_BYTES = 512
"""What may follow the voxels: some writers fill up their last block."""
_SLICES = 16

MAX_INTEGER_BYTES = 4
"""Larger integers are read as float32."""

# Its notes on what it mends in headers would stand unexplained between our lines.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)

_ALIEN = 255
"""Marks unknown values in a look-up table; targets are smaller."""

Row = tuple[float, float, float, float]
ScalarT = TypeVar("ScalarT", bound=np.generic)

_UNREADABLE = (
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
_CANONICAL = orientations.axcodes2ornt(("R", "A", "S"))


class Geometry(Params):
    """The voxel grid of a file and its relation to the canonical (closest RAS) grid.

    Canonical axes differ from those of the file by a permutation and flips only, so an oblique scan
    stays oblique and nothing is interpolated.
    """

    native_shape: tuple[int, int, int]
    native_affine: tuple[Row, Row, Row, Row]
    """Voxel index to RAS world coordinates in mm, as in the file."""

    @classmethod
    def of(cls, shape: tuple[int, ...], affine: NDArray[np.floating[Any]]) -> Geometry:
        """Build from an array shape (three axes) and a 4 x 4 affine."""
        return cls.model_validate({"native_shape": shape, "native_affine": affine.tolist()})

    @property
    def canonical_shape(self) -> tuple[int, int, int]:
        """Shape [X, Y, Z] after reorientation."""
        shape = [0, 0, 0]
        for length, (axis, _flip) in zip(self.native_shape, self._orientation, strict=True):
            shape[int(axis)] = length
        return shape[0], shape[1], shape[2]

    @property
    def canonical_affine(self) -> NDArray[np.float64]:
        """Canonical voxel index to RAS world coordinates in mm, 4 x 4."""
        flip = orientations.inv_ornt_aff(self._orientation, self.native_shape)
        affine: NDArray[np.float64] = np.asarray(self.native_affine) @ flip
        return affine

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel edge lengths along X, Y, Z."""
        x, y, z = np.linalg.norm(self.canonical_affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def sheared(self) -> bool:
        """Whether the axes are not at right angles, as those of a tilted gantry.

        The qform of NIfTI, a rotation, cannot hold such an affine.
        """
        axes = np.asarray(self.native_affine)[:3, :3]
        axes = axes / np.linalg.norm(axes, axis=0)
        return bool(np.abs(axes.T @ axes - np.eye(3)).max() > RIGHT_ANGLES)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(np.asarray(self.native_affine)[:3, :3]))) / 1000.0

    def to_canonical(self, array: NDArray[ScalarT]) -> NDArray[ScalarT]:
        """Return a view of an array in the axes of the file as [X, Y, Z].

        The order in memory stays that of the file, slices are mostly contiguous.
        """
        turned: NDArray[ScalarT] = orientations.apply_orientation(array, self._orientation)
        return turned

    def to_native(self, array_XYZ: NDArray[ScalarT]) -> NDArray[ScalarT]:
        """Bring an array from [X, Y, Z] back to the axes of the file."""
        back = orientations.ornt_transform(_CANONICAL, self._orientation)
        return np.ascontiguousarray(orientations.apply_orientation(array_XYZ, back))

    @property
    def _orientation(self) -> NDArray[np.float64]:
        ornt: NDArray[np.float64] = orientations.io_orientation(np.asarray(self.native_affine))
        return ornt


class Scan(NamedTuple):
    """A validated case in canonical orientation."""

    image_CXYZ: NDArray[GreyValue]
    """CT in HU, other channels as in their file; see :func:`read_image`."""
    labels_XYZ: NDArray[np.uint8]
    """0..K, or VOID; only annotated organs occur."""
    geometry: Geometry


def read_scan(dataset: Dataset, case: Case) -> Scan:
    """Read and validate image and label map of one case.

    Raises
    ------
    BenchError
        Any problem of the files, in one line with case, file and remedy. That includes voxels of an
        organ flagged as not annotated: keeping them would give methods labels that the simulation
        of missing labels ignores, dropping them would silently discard annotations. Only the user
        can tell whether the flag or the map is right.
    """
    return assemble(dataset, case, dataset.image(case), dataset.labels(case))


def assemble(dataset: Dataset, case: Case, image: Nifti1Image, labels: Nifti1Image) -> Scan:
    """Validate what ``dataset`` returned for ``case``, see :func:`read_scan`."""
    where = where_is(dataset, case, "image")
    image_CXYZ, geometry = read_image(image, where, dataset.channels)
    return Scan(image_CXYZ, _annotations(dataset, case, labels, geometry), geometry)


def read_annotations(dataset: Dataset, case: Case) -> tuple[NDArray[np.uint8], Geometry]:
    """Validate a case as :func:`read_scan`, and return its labels alone: the image is let go."""
    where = where_is(dataset, case, "image")
    geometry = read_image(dataset.image(case), where, dataset.channels)[1]
    return _annotations(dataset, case, dataset.labels(case), geometry), geometry


def _annotations(
    dataset: Dataset, case: Case, labels: Nifti1Image, geometry: Geometry
) -> NDArray[np.uint8]:
    """Return the validated labels on the grid of the image, in canonical orientation."""
    where = where_is(dataset, case, "label map")
    values, label_geometry = _voxels(labels, where)
    _same_grid(
        geometry,
        label_geometry,
        where,
        "the image",
        "resample the labels to it (nearest neighbour)",
    )
    known = {0: "background"} | dict(enumerate(dataset.organs, start=1)) | {VOID: "unknown class"}
    native = map_labels(values, {value: value for value in known}, known, where)
    table = dataset.owner(case)[0].table
    remedy = (
        f"set it to 1 in {table}, or erase them"
        if table
        else "is the map that of the release? erase them if it is"
    )
    for k, (organ, annotated) in enumerate(zip(dataset.organs, case.annotated, strict=True), 1):
        if not annotated and (count := np.count_nonzero(native == k)):
            raise BenchError(
                f"{where}: {counted(int(count), 'voxel')} of {organ}, which is flagged as not"
                f" annotated in this case; {remedy}"
            )
    return geometry.to_canonical(native).copy(order="K")


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
    values, geometry = _voxels(image, where, channels, read=_grey_values, accept=accept)
    _refuse_infinite(values, where)
    image_XYZC = geometry.to_canonical(values if values.ndim == 4 else values[..., None])
    return np.moveaxis(image_XYZC, -1, 0), geometry


def read_labels(path: Path, where: str) -> NDArray[np.uint8]:
    """Read a label map that this suite has written, in canonical orientation.

    Raises
    ------
    BenchError
        As :func:`load`, and for voxels that are not uint8.
    """
    values, geometry = _voxels(load(path, where), where)
    if values.dtype != np.uint8:
        raise BenchError(f"{where}: voxels of type {values.dtype}, expected uint8: it was edited")
    return geometry.to_canonical(values)


def load_channels(files: Mapping[str, Path]) -> Nifti1Image:
    """Open the channels of an image, one file each, as one image with channels on its last axis.

    Parameters
    ----------
    files
        The files in the order of the channels; the keys name them in messages.

    Raises
    ------
    BenchError
        As :func:`load` and :func:`read_image`, for each file; files of different grids.
    """
    volumes: list[NDArray[GreyValue]] = []
    first: Geometry | None = None
    for where, path in files.items():
        one = load(path, where)
        values, geometry = _voxels(one, where, read=_grey_values)
        _refuse_infinite(values, where)
        if first is None:
            first, place = geometry, one
        other = f"channel 0, {next(iter(files.values())).name},"
        _same_grid(first, geometry, where, other, "resample one channel to the other")
        volumes.append(values)
    assert first is not None, "an image has channels"
    image = Nifti1Image(np.moveaxis(np.stack(volumes), 0, -1), np.asarray(first.native_affine))
    copy_place(image, place.header)
    return image


def file_stem(name: str) -> str | None:
    """Return the name of a NIfTI file without its suffix; None for other files."""
    suffix = next((end for end in SUFFIXES if name.lower().endswith(end)), None)
    return None if suffix is None else name[: -len(suffix)]


def split_channel(stem: str) -> tuple[str, int | None]:
    """Return case and channel of a name like ``CASE_0000``; None without a number."""
    match = _NUMBERED.fullmatch(stem)
    return (match["case"], int(match["channel"])) if match else (stem, None)


def in_order(
    case: str, files: Mapping[int | None, Path], channels: Sequence[Channel], source: str
) -> tuple[Path, ...]:
    """Return the image files of a case: one for each channel, or one for all of them.

    Parameters
    ----------
    files
        Files by number of the channel; None for a file without a number.
    source
        Start of a message that lists the channels: ``dataset.json names``.

    Raises
    ------
    BenchError
        A channel is missing, unknown or duplicated.
    """
    wanted = f"{source} {listed(channels)}"
    numbers = sorted(number for number in files if number is not None)
    if numbers and numbers[-1] >= len(channels):
        raise BenchError(
            f"{files[numbers[-1]]}: channel {numbers[-1]}, but {wanted}; leave this file out"
        )
    if None in files and numbers:
        raise BenchError(
            f"{files[None]}: this file and {files[numbers[0]].name} are both the image of case"
            f" {case}; remove one"
        )
    if None in files:
        return (files[None],)
    for number in range(len(channels)):
        if number not in files:
            path = files[numbers[0]].with_name(f"{case}_{number:04d}{SUFFIXES[0]}")
            raise BenchError(f"{path}: file of a channel is missing, {wanted}; add it")
    return tuple(files[number] for number in numbers)


def load(path: Path, where: str) -> Nifti1Image:
    """Open a NIfTI file; a compressed one is read in full, so that its checksum is verified.

    Memory is taken for what the header announces, after a look at whether a file of this size can
    hold it, and for nothing that follows. Extensions of the header are not read.

    Raises
    ------
    BenchError
        Missing, truncated or corrupt file, not NIfTI, no voxel, more voxels than
        :data:`MAX_VOXELS`, or more data than its header announces.
    """
    try:
        size = file_size(path, where)
        with path.open("rb") as file:
            if not path.name.lower().endswith(".gz"):
                header = _header(file.read(_HEADER_BYTES), size, where)
                _refuse_rest(size - _n_bytes(header), _n_bytes(header), where)
                # Not memory-mapped: a file that changes or a share that drops would kill us.
                return _image(header, path)
            _refuse_plain(file, where)
            with gzip.GzipFile(fileobj=file) as stream:
                head = stream.read(_HEADER_BYTES)
                header = _header(head, size * _DEFLATE_RATIO, where)
                return _image(header, _inflate(stream, head, _n_bytes(header), where))
    except _UNREADABLE as error:
        raise _unreadable(where, error) from None


def load_geometry(path: Path, where: str) -> Geometry:
    """Return the voxel grid of a file from its header alone; raises as :func:`load`."""
    try:
        size = file_size(path, where)
        with path.open("rb") as file:
            if not path.name.lower().endswith(".gz"):
                header = _header(file.read(_HEADER_BYTES), size, where)
            else:
                with gzip.GzipFile(fileobj=file) as stream:
                    header = _header(stream.read(_HEADER_BYTES), size * _DEFLATE_RATIO, where)
    except _UNREADABLE as error:
        raise _unreadable(where, error) from None
    return Geometry.of(header.get_data_shape()[:3], header.get_best_affine())


def _header(head: bytes, most: int, where: str) -> Nifti1Header:
    """Return the header at the start of a file that can hold ``most`` bytes, checked."""
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
    if not 0 <= header.get_data_offset() <= MAX_OFFSET:
        raise BenchError(
            f"{where}: the header places the voxels at byte {header.get_data_offset()}; copy the"
            " file again or convert the scan anew"
        )
    if _n_bytes(header) > most:
        raise EOFError(f"the header announces {_n_bytes(header)} bytes, the file has fewer")
    _refuse_memory(header.get_data_shape(), where)
    _refuse_unit(header, where)
    _mend_quaternion(header, where)
    _check_affine(header.get_best_affine(), where)
    return header


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


def refuse_size(shape: Sequence[int], where: str) -> None:
    """Raise if an image of this shape is empty, above :data:`MAX_VOXELS`, or above free memory."""
    _refuse_shape(shape, where)
    _refuse_memory(shape, where)


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


def _n_bytes(header: Nifti1Header) -> int:
    """Return the size of the uncompressed file that a header announces."""
    voxel = int(header["bitpix"]) // 8
    return int(header.get_data_offset()) + voxel * math.prod(map(int, header.get_data_shape()))


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
        As :func:`load`, and for values that are not whole numbers, by more than
        :data:`LABEL_ROUNDING`, or not in ``values``.
    """
    image = load(path, where)
    array, geometry = _voxels(image, where)
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


def to_native(labels_XYZ: NDArray[np.uint8], geometry: Geometry) -> Nifti1Image:
    """Return a label map as uint8 NIfTI with the grid and affine of the scan's file."""
    if labels_XYZ.shape != geometry.canonical_shape:
        raise ValueError(f"shape {labels_XYZ.shape}, geometry {geometry.canonical_shape}")
    return _as_nifti(geometry.to_native(labels_XYZ.astype(np.uint8, copy=False)), geometry)


def copy_place(image: Nifti1Image, scan: Nifti1Header) -> None:
    """Give an image on the grid of a scan both transforms of the scan's header and their codes.

    Programs differ in which of the two they follow; so the image is where the scan is in each.
    """
    for name in _PLACE:
        image.header[name] = scan[name]
    image.header["pixdim"][:4] = scan["pixdim"][:4]


def doubtful_place(image: Nifti1Image) -> str | None:
    """Say why it is doubtful where a scan is, or which side is left; None if it is not."""
    codes = [int(image.header[f"{form}_code"]) for form in ("sform", "qform")]
    if not any(codes) or np.array_equal(image.affine, np.eye(4)):
        return "the header carries no geometry; spacing and orientation are guesses"
    if all(codes):
        sform, qform = (
            "".join(nib.aff2axcodes(affine))
            for affine in (image.header.get_sform(), image.header.get_qform())
        )
        if sform != qform:
            return (
                f"the axes run to {sform} by the sform of the header, which is followed, and to"
                f" {qform} by its qform; sides may be exchanged: correct the header"
            )
    return None


def unusual_spacing(geometry: Geometry) -> str | None:
    """Say that no clinical scan has voxels of this size; None if some have."""
    if USUAL_MM[0] <= min(geometry.spacing_mm) and max(geometry.spacing_mm) <= USUAL_MM[1]:
        return None
    edges = " x ".join(f"{length:.3g}" for length in geometry.spacing_mm)
    return f"spacing {edges} mm; is the header in another unit than mm?"


def share_to_native(share_XYZ: NDArray[np.uint8], geometry: Geometry) -> Nifti1Image:
    """Return numbers from 0 to 1, stored as 0 to 255, as NIfTI on the grid of the scan's file."""
    image = to_native(share_XYZ, geometry)
    image.header.set_slope_inter(1 / 255, 0)
    return image


def where_is(dataset: Dataset, case: Case, what: Literal["image", "label map"]) -> str:
    """Return data set, case and file of an image or label map, as the start of a message."""
    files = dataset.files(case)
    if what == "image" and len(files) == 1:
        path: Path | None = files[0]
    elif len(files) in (2, 1 + len(dataset.channels)):
        path = files[0 if what == "image" else -1]
    else:
        path = files[0].parent if files else None
    return locate(dataset.name, case.id, path, what)


def locate(dataset: str, case: str, path: Path | None, what: str) -> str:
    """Return data set, case and file as the start of a message."""
    return f"{dataset}, case {case}, {what} {path if path else '(generated)'}"


def volume_shape(image: Nifti1Image) -> tuple[int, ...]:
    """Return the shape of an image without axes of length 1 after the third."""
    shape: tuple[int, ...] = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _voxels(
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
    if len(shape) < 3:
        raise BenchError(
            f"{where}: {counted(len(shape), 'dimension')} {shape}, a single picture and no scan;"
            " convert the whole series to one 3D volume (one slice has a third axis of length 1)"
        )
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
    _check_affine(affine, where)
    geometry = Geometry.of(shape[:3], affine)
    accept(geometry, where)
    try:
        array = read(image)
    except _UNREADABLE as error:
        raise _unreadable(where, error) from None
    return array.reshape(shape), geometry


def _grey_values(image: Nifti1Image) -> NDArray[GreyValue]:
    """Return the values of an image, see :func:`read_image`."""
    voxels = image.dataobj
    scale = getattr(voxels, "slope", 1.0), getattr(voxels, "inter", 0.0)
    stored = image.get_data_dtype() if isinstance(voxels, ArrayProxy) else np.asarray(voxels).dtype
    if scale == (1.0, 0.0) and stored.kind in "iu" and stored.itemsize <= MAX_INTEGER_BYTES:
        return np.asanyarray(voxels)
    floats: NDArray[np.float32] = image.get_fdata(dtype=np.float32, caching="unchanged")
    return floats


def _check_affine(affine: NDArray[np.float64], where: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and np.isfinite(sizes).all()):
        reason = "is not finite"
    elif abs(np.linalg.det(affine[:3, :3])) <= 1e-6 * sizes.prod():
        reason = "has no inverse, so voxels have no position"
    elif sizes.min() < MIN_VOXEL_MM or sizes.max() > MAX_VOXEL_MM:
        edges = " x ".join(f"{size:.3g}" for size in sizes)
        reason = f"has voxels of {edges} mm, edges must be {MIN_VOXEL_MM:g} to {MAX_VOXEL_MM:g} mm"
    else:
        return
    raise BenchError(
        f"{where}: the affine {reason}; correct the header (qform, sform) or convert the scan anew"
    )


def _refuse_infinite(values: NDArray[GreyValue], where: str) -> None:
    if values.dtype.kind == "f" and not (np.isfinite(values.min()) and np.isfinite(values.max())):
        bad = np.argwhere(~np.isfinite(values))
        raise BenchError(
            f"{where}: {counted(len(bad), 'voxel')} NaN or infinite, the first at index"
            f" {tuple(bad[0].tolist())}; replace them (air is -1024 HU) or convert the scan anew"
        )


def _same_grid(wanted: Geometry, found: Geometry, where: str, other: str, remedy: str) -> None:
    """Raise if a file, named by ``where``, is not on the grid of ``other``."""
    if wanted.native_shape != found.native_shape:
        raise BenchError(
            f"{where}: shape {found.native_shape}, but {other} has {wanted.native_shape}; {remedy}"
        )
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(wanted.native_shape) - 1)
    of_wanted, of_found = (
        nib.affines.apply_affine(np.asarray(grid.native_affine), corners)
        for grid in (wanted, found)
    )
    apart = float(np.linalg.norm(of_wanted - of_found, axis=1).max())
    if apart > GRID_ROUNDING * min(wanted.spacing_mm):
        raise BenchError(
            f"{where}: the affine differs from that of {other} (corners up to {apart:.3g} mm"
            f" apart); {remedy}, or copy the header if only that is wrong"
        )


def _as_nifti(labels: NDArray[np.uint8], geometry: Geometry) -> Nifti1Image:
    affine = np.asarray(geometry.native_affine)
    image = Nifti1Image(labels, affine, dtype=np.uint8)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="unknown" if geometry.sheared else "scanner")
    return image


def _refuse_plain(file: IO[bytes], where: str) -> None:
    """Refuse a file that is named as compressed and holds a header as it is."""
    start = file.read(4)
    file.seek(0)
    if int.from_bytes(start, "little") in (348, 540) or int.from_bytes(start, "big") in (348, 540):
        raise BenchError(f"{where}: is named .gz and is not compressed; rename it to end with .nii")


def _unreadable(where: str, error: Exception) -> BenchError:
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
