"""Series in DICOM, read through pydicom into the same image type as NIfTI files."""

from __future__ import annotations

import math
import re
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.dicomfiles import TAGS, missing, refuse_interleaved, refuse_two_origins
from bench.data.header import refuse_size
from bench.data.quiet import quiet
from bench.data.stack import Plane, stack
from bench.errors import BenchError, explain
from bench.files import dead_link, file_size, sha256
from bench.reporting.text import counted

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image
    from pydicom.dataset import Dataset

_MAGIC_AT = 128
_MAGIC = b"DICM"
_BARE = b"\x08\x00"
"""Start of a file without preamble: elements of group 8."""

_CLASSES = (
    "CT Image Storage",
    "MR Image Storage",
    "Positron Emission Tomography Image Storage",
    "Enhanced CT Image Storage",
    "Enhanced MR Image Storage",
    "Enhanced PET Image Storage",
    "Legacy Converted Enhanced CT Image Storage",
    "Legacy Converted Enhanced MR Image Storage",
    "Legacy Converted Enhanced PET Image Storage",
)
"""Objects that are slices. Others lie beside them, as structure sets do, and are passed over."""

_MODALITIES = ("CT", "MR", "PT")
SLICE_SUFFIXES = (".dcm", ".dicom", ".ima")
"""Ends of names, in lower case, that promise DICOM."""

_FRAMES = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
_PLACE = (
    ("position", "ImagePositionPatient", "PlanePositionSequence", 3),
    ("orientation", "ImageOrientationPatient", "PlaneOrientationSequence", 6),
    ("spacing of pixels", "PixelSpacing", "PixelMeasuresSequence", 2),
)
_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesDescription", "Modality"),
    *TAGS,
    *("ImageType", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "SliceThickness"),
    *("RescaleType", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    "PhotometricInterpretation",
    *(name for _, name, _, _ in _PLACE),
    *_FRAMES,
)
_RESCALE = "PixelValueTransformationSequence"
_JPEG2000 = b"\xff\x4f\xff\x51"
"""Start of JPEG 2000; the size of the picture follows."""

_JPEG_SIZES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Markers before the size of a picture in JPEG and JPEG-LS."""


class NoSlicesError(BenchError):
    """A folder without a slice of a volume."""


class Slice(NamedTuple):
    """One slice of a series: a file, or a frame of one."""

    path: Path
    frame: int
    plane: Plane
    slope: float
    intercept: float
    rescaled: bool
    """The header gives the intercept."""


class Series(NamedTuple):
    """A series whose slices make a volume."""

    uid: str
    modality: str
    """``CT``, ``MR`` or ``PT``."""
    unit: str
    """Of the values (``RescaleType``): HU, US if unspecified; empty if nothing is said."""
    slices: tuple[Slice, ...]
    """In the order of the volume's third axis."""
    affine: NDArray[np.float64]
    """From column, row and slice to RAS millimetres, 4 x 4."""
    doubts: tuple[str, ...]
    """What hints at slices that are missing, a line each."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices."""
        rows, columns = self.slices[0].plane.shape
        return columns, rows, len(self.slices)


def read_series(folder: Path) -> Nifti1Image:
    """Return the one series of a folder, CT in HU, with its affine in RAS millimetres.

    Returns
    -------
    Nifti1Image
        float32, axes columns, rows and slices. Every voxel is where its slice says, see
        :func:`bench.data.stack.stack`; a tilted gantry makes the affine a sheared one.

    Raises
    ------
    BenchError
        As :func:`find_series`, or pixels that cannot be decoded.
    """
    return series_image(find_series(folder))


def series_image(series: Series) -> Nifti1Image:
    """Return a series that was found, see :func:`read_series`."""
    import nibabel as nib

    voxels_IJK = np.empty(series.shape, np.float32, order="F")
    for k, (one, pixels_RC) in enumerate(_pixels(series.slices)):
        voxels_IJK[:, :, k] = (pixels_RC * one.slope + one.intercept).T
    return nib.Nifti1Image(voxels_IJK, series.affine)


def find_series(folder: Path) -> Series:
    """Return the one series of a folder from its headers, pixels unread.

    Sub-folders, files that are not DICOM, localizers, and objects that are no slices of a volume
    (structure sets, segmentations, reports, pictures) are passed over.

    Raises
    ------
    BenchError
        No series, several, a header that cannot be read, slices that make no volume (see
        :func:`bench.data.stack.stack`), or more voxels than :data:`bench.data.header.MAX_VOXELS`.
    """
    by_series: dict[str, list[tuple[Path, Dataset]]] = defaultdict(list)
    others: dict[str, Path] = {}
    for path in _files(folder):
        with _decoding(path):
            header = _header(path)
            if header is None:
                _refuse_promised(path)
            elif _is_slice(header):
                by_series[_series_of(path, header)].append((path, header))
            else:
                others[header.SOPClassUID.name] = path
    if len(by_series) != 1:
        found = [_described(files) for files in by_series.values()] or [
            f"{path.name}: {name}, no slice of a volume" for name, path in others.items()
        ]
        listed = f" ({'; '.join(found[:5])})" if found else ""
        raise (BenchError if by_series else NoSlicesError)(
            f"{folder}: holds {len(by_series)} DICOM series{listed}, must be one; keep each series"
            " in a folder of its own"
        )
    ((uid, files),) = by_series.items()
    modality = _modality(files[0][1])
    refuse_two_origins(files)
    slices = [one for path, header in _once(files) for one in _slices(path, header)]
    bare = next((one for one in slices if not one.rescaled), None)
    if bare and any(one.rescaled for one in slices):
        raise BenchError(
            f"{bare.plane.where}: the header has no intercept of values, as others of the series;"
            " export the series anew"
        )
    rows, columns = slices[0].plane.shape
    refuse_size((columns, rows, len(slices)), str(folder))
    order, affine = stack([one.plane for one in slices])
    ordered = tuple(slices[k] for k in order)
    headers = dict(files)
    by_place = [(one.path, headers[one.path]) for one in ordered]
    if modality == "CT":
        refuse_interleaved(by_place)
    doubts: tuple[str, ...] = ()
    if len({one.path for one in ordered}) == len(ordered):
        plane = ordered[0].plane
        distance_mm = abs(np.linalg.det(affine[:3, :3])) / math.prod(plane.spacing)
        doubts = tuple(missing(by_place, distance_mm, plane.thickness))
    unit = str(_value(_sources(files[0][1], 0), "RescaleType", _RESCALE) or "")
    return Series(uid, modality, unit, ordered, affine, doubts)


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder that are not hidden; a device among them may never end."""
    if not folder.is_dir():
        raise BenchError(f"{folder}: {dead_link(folder) or 'folder not found'}")
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    files = [path for path in inside if not path.is_dir()]
    for path in files:
        file_size(path)
    return files


def is_dicom(path: Path) -> bool:
    """Tell by its first bytes whether a file is DICOM; a DICOMDIR, which has no pixels, is not."""
    with path.open("rb") as file:
        start = file.read(_MAGIC_AT + len(_MAGIC))
    return path.name != "DICOMDIR" and (start[_MAGIC_AT:] == _MAGIC or start.startswith(_BARE))


def _header(path: Path) -> Dataset | None:
    """Return what is needed of a header, None if the file is not DICOM, or a list of files."""
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

    if not is_dicom(path):
        return None
    with path.open("rb") as file:
        bare = file.read(len(_BARE)) == _BARE
    if not bare:
        meta = read_file_meta_info(path)
        if meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return None
        # A small file may inflate to any size.
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            raise BenchError(f"{path}: deflated as a whole; convert it to explicit little endian")
    header = dcmread(path, force=bare, stop_before_pixels=True, specific_tags=list(_TAGS))
    if "SOPClassUID" not in header:
        raise ValueError("no class of the object")
    list(header)  # values are decoded when asked for: here, where a failure names the file
    return header


def _is_slice(header: Dataset) -> bool:
    if "LOCALIZER" in list(header.get("ImageType") or ()):
        return False
    if header.SOPClassUID.name in _CLASSES:
        return True
    # What other programs save as secondary capture is a slice if it is one of a scanner.
    placed = all(name in header for _, name, _, _ in _PLACE)
    return placed and header.get("Modality") in _MODALITIES and "Rows" in header


def _series_of(path: Path, header: Dataset) -> str:
    uid = header.get("SeriesInstanceUID")
    if not uid:
        raise BenchError(f"{path}: the header has no SeriesInstanceUID; export the series anew")
    return str(uid)


def _modality(header: Dataset) -> str:
    """Return the modality of a slice, by its class where the tag says something else."""
    if header.get("Modality") in _MODALITIES:
        return str(header.Modality)
    name = header.SOPClassUID.name
    return "CT" if "CT Image" in name else "MR" if "MR Image" in name else "PT"


def _refuse_promised(path: Path) -> None:
    """Raise if a file that is no DICOM has the name of a slice, which would be missing."""
    if is_dicom(path):
        return  # a DICOMDIR, whatever its name
    suffix = path.suffix.lower()
    empty = path.stat().st_size == 0
    if suffix in SLICE_SUFFIXES or (empty and not re.search("[a-z]", suffix)):
        what = "empty" if empty else "no DICOM by its content"
        raise BenchError(f"{path}: is {what}; copy it again, or remove it if it is no slice")


def _described(files: Sequence[tuple[Path, Dataset]]) -> str:
    path, header = files[0]
    what = str(header.get("SeriesDescription") or header.get("Modality") or "no description")
    return f"{what}: {counted(len(files), 'file')} such as {path.name}"


def _once(files: Sequence[tuple[Path, Dataset]]) -> Iterator[tuple[Path, Dataset]]:
    """Yield every file that is not the exact copy of another."""
    seen: dict[str, Path] = {}
    for path, header in files:
        other = seen.setdefault(header.get("SOPInstanceUID", str(path)), path)
        if other is path:
            yield path, header
        elif sha256(path) != sha256(other):
            raise BenchError(
                f"{path}: another image than {other}, though it says to be the same; remove one"
            )


def _slices(path: Path, header: Dataset) -> Iterator[Slice]:
    """Yield the slice of a file, or those of a multi-frame one."""
    with _decoding(path):
        shape = int(header.Rows), int(header.Columns)
        n_frames = int(header.get("NumberOfFrames") or 1)
        frames = header.get(_FRAMES[0]) or ()
    refuse_size((shape[1], shape[0], n_frames), str(path))
    grey = str(header.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
    if header.get("SamplesPerPixel", 1) != 1 or not grey:
        raise BenchError(f"{path}: in colour, not in grey values; leave this file out")
    if "ModalityLUTSequence" in header:
        raise BenchError(f"{path}: values by a table, not by slope and intercept; convert it")
    if n_frames > 1 and len(frames) != n_frames:
        raise BenchError(
            f"{path}: {n_frames} frames, {len(frames)} with a position; export the series anew"
        )
    for frame in range(n_frames):
        yield _slice(path, frame, shape, _sources(header, frame), several=n_frames > 1)


def _sources(header: Dataset, frame: int) -> list[Dataset]:
    """Return where attributes of a frame are looked for: its groups, the shared, the header."""
    frames = header.get(_FRAMES[0]) or ()
    return [*frames[frame : frame + 1], *(header.get(_FRAMES[1]) or ()), header]


def _slice(
    path: Path,
    frame: int,
    shape: tuple[int, int],
    sources: Sequence[Dataset],
    *,
    several: bool,
) -> Slice:
    where = f"{path}, frame {frame + 1}" if several else str(path)
    values = {}
    for what, name, group, count in _PLACE:
        found = _numbers(sources, name, group) or ()
        if len(found) != count or not all(map(math.isfinite, found)):
            raise BenchError(f"{where}: the header has no {what}; export the series anew")
        values[name] = found
    spacing = values["PixelSpacing"]
    if min(spacing) <= 0:
        raise BenchError(f"{where}: spacing of pixels {spacing} mm; export the series anew")
    thickness, *_ = _numbers(sources, "SliceThickness", "PixelMeasuresSequence") or (math.nan,)
    slope = _rescaling(sources, "RescaleSlope", where)
    intercept = _rescaling(sources, "RescaleIntercept", where)
    rescaled = intercept is not None
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if not (slope and math.isfinite(slope) and math.isfinite(intercept)):
        raise BenchError(
            f"{where}: rescaling of values by {slope:g} and {intercept:g}; export the series anew"
        )
    plane = Plane(
        where,
        shape,
        values["ImagePositionPatient"],
        values["ImageOrientationPatient"],
        spacing,
        thickness,
        _decimals(_value(sources, "ImagePositionPatient", "PlanePositionSequence")),
    )
    return Slice(path, frame, plane, slope, intercept, rescaled)


def _rescaling(sources: Sequence[Dataset], name: str, where: str) -> float | None:
    """Return slope or intercept of the values; None where the header does not have it."""
    found = _numbers(sources, name, _RESCALE)
    if found is None:
        return None
    if len(found) == 1:
        return found[0]
    raise BenchError(f"{where}: {name} is not one number; correct the header, or export it anew")


def _value(sources: Sequence[Dataset], name: str, group: str) -> Any:
    """Return an attribute: of the frame, of all frames, or of a file with one slice."""
    for source in sources:
        inner = source.get(group)
        if inner and name in inner[0]:
            return inner[0].get(name)
        if name in source:
            return source.get(name)
    return None


def _numbers(sources: Sequence[Dataset], name: str, group: str) -> tuple[float, ...] | None:
    """Return an attribute as numbers, None if it is missing, () if it is malformed."""
    try:
        value = _value(sources, name, group)
        if value is None:
            return None
        if isinstance(value, str):
            return ()
        return tuple(map(float, value)) if isinstance(value, Sequence) else (float(value),)
    except Exception:  # pydicom converts when asked, and raises what it likes
        return ()


def _decimals(position: Any) -> int:
    """Return the decimals with which a position is written; binary numbers have all."""
    texts = [getattr(value, "original_string", None) for value in position]
    if not all(
        isinstance(text, str) and set(text.strip()) <= set("+-.0123456789") for text in texts
    ):
        return 9
    return max(len(str(text).strip().partition(".")[2]) for text in texts)


def _pixels(slices: Sequence[Slice]) -> Iterator[tuple[Slice, NDArray[Any]]]:
    """Yield every slice with its stored values [row, column]."""
    for path, of_file in groupby(slices, key=lambda one: one.path):
        frames = {one.frame: one for one in of_file}
        with _decoding(path):
            for one, pixels_RC in zip(frames.values(), _decoded(path, list(frames)), strict=True):
                if pixels_RC.shape != one.plane.shape:
                    raise ValueError(f"{pixels_RC.shape} pixels")
                yield one, pixels_RC


def _decoded(path: Path, frames: Sequence[int]) -> Iterator[NDArray[Any]]:
    from pydicom import dcmread
    from pydicom.encaps import generate_frames
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import iter_pixels
    from pydicom.uid import (
        ImplicitVRLittleEndian,
        JPEGLSTransferSyntaxes,
        JPEGTransferSyntaxes,
    )

    header = dcmread(path, force=True, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
    syntax = header.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
    if syntax.is_compressed:
        if not get_decoder(syntax).is_available:
            remedy = "convert it to an uncompressed one"
            if syntax in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
                remedy = "install what reads it: pip install 'organ-bench[dicom]'"
            raise BenchError(f"{path}: compressed as {syntax.name}; {remedy}")
        image = dcmread(path)
        n_frames = int(image.get("NumberOfFrames") or 1)
        for data in generate_frames(image.PixelData, number_of_frames=n_frames):
            _check_stream(data, syntax.name, image.Rows, image.Columns)
        yield from iter_pixels(image, indices=frames, raw=True)
    elif "TransferSyntaxUID" not in header.file_meta:
        image = dcmread(path, force=True)
        image.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        yield from iter_pixels(image, indices=frames, raw=True)
    else:
        yield from iter_pixels(path, indices=frames, raw=True)


def _check_stream(data: bytes, syntax: str, rows: int, columns: int) -> None:
    """Raise if a compressed picture is larger than announced: decoders take it at its word."""
    found = None
    if "2000" in syntax:
        if data.startswith(_JPEG2000):
            width, height, left, top = struct.unpack(">4I", data[8:24])
            (channels,) = struct.unpack(">H", data[40:42])
            found = height - top, width - left, channels
    elif "JPEG" in syntax:
        at = 2
        while data[at : at + 1] == b"\xff" and data[at + 1] not in _JPEG_SIZES:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        found = struct.unpack(">2HB", data[at + 5 : at + 10])
    else:  # run lengths do not say how long they are, and are at most 64 times as long
        return
    if found != (rows, columns, 1):
        raise ValueError(f"its pixels are {found}, not {(rows, columns, 1)}")


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn what decoders raise into one line about the file, and keep their warnings quiet."""
    with quiet():
        try:
            yield
        except BenchError:
            raise
        except Exception as error:  # of a malformed file, pydicom and its decoders raise anything
            if isinstance(error, OSError) and error.errno is not None:
                error.filename = None
                raise BenchError(f"{path}: cannot be read: {explain(error)}") from None
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
            raise BenchError(
                f"{path}: cannot be decoded, truncated or corrupt ({reason}); copy or download it"
                " again"
            ) from None
