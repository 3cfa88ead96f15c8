"""CT series in DICOM, read through SimpleITK into the same image type as NIfTI files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image


def read_series(folder: Path) -> Nifti1Image:
    """Return the one CT series of a folder, in HU, with its affine in RAS millimetres.

    Raises
    ------
    BenchError
        No series, several, or one that cannot be decoded.
    """
    import nibabel as nib
    import numpy as np
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        raise BenchError(
            f"{folder}: holds {len(series)} DICOM series, must be one; "
            "keep each series in a folder of its own"
        )
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series[0]))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise BenchError(f"{folder}: the DICOM series cannot be decoded: {reason}") from None
    voxels_IJK = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    affine[:2] *= -1  # ITK's world is LPS, NIfTI's is RAS
    return nib.Nifti1Image(voxels_IJK, affine)
