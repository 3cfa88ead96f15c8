"""CT series in DICOM, read through SimpleITK into the same image type as NIfTI files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.data.nifti import refuse_size
from bench.errors import BenchError
from bench.files import file_size

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

_MAGIC_AT = 128
_MAGIC = b"DICM"
_POSITION = "0020|0032"
_ORIENTATION = "0020|0037"

UNEVEN = 0.02
"""Share of the slice distance by which slices may be out of place."""


def read_series(folder: Path) -> Nifti1Image:
    """Return the one CT series of a folder, in HU, with its affine in RAS millimetres.

    Raises
    ------
    BenchError
        No series, several, a file that cannot be decoded, slices that are missing, unevenly spaced
        or not stacked at right angles, or more voxels than :data:`bench.data.nifti.MAX_VOXELS`.
    """
    import nibabel as nib
    import SimpleITK as sitk  # noqa: N813

    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # what matters of them is checked here
    files = _files(folder)
    reader = sitk.ImageSeriesReader()
    try:
        series: tuple[str, ...] = reader.GetGDCMSeriesIDs(str(folder)) if files else ()
    except RuntimeError as error:
        raise BenchError(f"{folder}: the DICOM series cannot be decoded: {_last(error)}") from None
    if len(series) != 1:
        raise BenchError(
            f"{folder}: holds {len(series)} DICOM series, must be one; "
            "keep each series in a folder of its own"
        )
    names = reader.GetGDCMSeriesFileNames(str(folder), series[0])
    # The reader passes over what it cannot decode, and a volume without that slice is wrong.
    if left_out := sorted({path for path in files if _is_dicom(path)} - set(map(Path, names))):
        raise BenchError(
            f"{left_out[0]}: cannot be read, truncated or corrupt; copy or download it again"
        )
    _check_headers(folder, names)
    reader.SetFileNames(names)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise BenchError(f"{folder}: the DICOM series cannot be decoded: {_last(error)}") from None
    voxels_IJK = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    affine[:2] *= -1  # ITK's world is LPS, NIfTI's is RAS
    return nib.Nifti1Image(voxels_IJK, affine)


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder; a device among them may never end."""
    if not folder.is_dir():
        raise BenchError(f"{folder}: folder not found")
    files = [path for path in folder.iterdir() if not path.is_dir()]
    for path in files:
        file_size(path)
    return files


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return path.name != "DICOMDIR" and file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC


def _check_headers(folder: Path, names: Sequence[str]) -> None:
    """Raise if the slices are too large, or do not make an even stack."""
    import SimpleITK as sitk  # noqa: N813

    places = []
    for name in names:
        header = sitk.ImageFileReader()
        header.SetFileName(name)
        try:
            header.ReadImageInformation()
        except RuntimeError as error:
            raise BenchError(f"{name}: cannot be decoded: {_last(error)}") from None
        refuse_size([*header.GetSize()[:2], len(names) * header.GetSize()[2]], str(folder))
        if len(names) > 1:
            places.append(_numbers(header, _POSITION, 3, name))
    if len(names) > 1:
        _check_stack(folder, np.array(places), _numbers(header, _ORIENTATION, 6, name))


def _numbers(header: Any, tag: str, count: int, name: str) -> list[float]:
    """Return the numbers of a tag; backslashes separate them."""
    try:
        numbers = [float(text) for text in header.GetMetaData(tag).split("\\")]
    except (RuntimeError, ValueError):
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        what = "position" if tag == _POSITION else "orientation"
        raise BenchError(f"{name}: the header has no {what} of the slice; export the series anew")
    return numbers


def _check_stack(
    folder: Path, places_S3: NDArray[np.float64], orientation: Sequence[float]
) -> None:
    normal_3 = np.cross(orientation[:3], orientation[3:])
    steps_S3 = np.diff(places_S3, axis=0)
    along_S = steps_S3 @ normal_3
    step = float(np.median(along_S))
    if not step or np.abs(along_S - step).max() > UNEVEN * abs(step):
        lengths = np.abs(along_S)
        raise BenchError(
            f"{folder}: the distance of slices is {lengths.min():.3g} to {lengths.max():.3g} mm, "
            "must be even; add the missing slices or export the series anew"
        )
    aside = np.linalg.norm(steps_S3 - along_S[:, None] * normal_3, axis=1).max()
    if aside > UNEVEN * abs(step):
        raise BenchError(
            f"{folder}: slices are shifted by {aside:.3g} mm against each other (a tilted gantry);"
            " resample the series to right angles"
        )


def _last(error: Exception) -> str:
    """Return the last line of a message of SimpleITK, which says what went wrong."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
