"""Where the header of an image places it: two transforms and their codes."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Header, Nifti1Image

_PLACE = (
    *("qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
    *(f"quatern_{axis}" for axis in "bcd"),
    *(f"qoffset_{axis}" for axis in "xyz"),
)
"""What a header holds of the place of a scan, besides the size of its voxels."""


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
