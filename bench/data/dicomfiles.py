"""Whether the files of a DICOM series belong together, and whether some are missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import BenchError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

TAGS = (
    *("PatientID", "FrameOfReferenceUID", "AcquisitionNumber", "AcquisitionTime"),
    *("ContrastBolusAgent", "InstanceNumber", "ImagesInAcquisition"),
)
"""What is asked of a header."""

GAP = 1.25
"""Distance of slices, in thicknesses, from which something lies between them."""

_PHASES = (
    ("acquisition", "AcquisitionNumber"),
    ("contrast agent", "ContrastBolusAgent"),
    ("acquisition time", "AcquisitionTime"),
)

_Files = Sequence[tuple[Path, "Dataset"]]


def refuse_two_origins(files: _Files) -> None:
    """Raise BenchError if files are of two patients or refer to two frames of reference.

    A file from which the patient was removed is taken for one of the same.
    """
    first, header = files[0]
    known = next(((p, h.PatientID) for p, h in files if h.get("PatientID")), (first, None))
    for path, other in files:
        if other.get("PatientID") and other.PatientID != known[1]:
            raise BenchError(
                f"{path}: of another patient (PatientID) than {known[0].name}, though of the same"
                " series; keep each patient in a folder of its own"
            )
        if other.get("FrameOfReferenceUID") != header.get("FrameOfReferenceUID"):
            raise BenchError(
                f"{path}: its position refers to another frame of reference than that of"
                f" {first.name}; keep each in a folder of its own"
            )


def refuse_interleaved(ordered: _Files) -> None:
    """Raise BenchError if slices of one phase of a CT lie between those of another.

    Parameters
    ----------
    ordered
        The file of every slice, by position.
    """
    for what, name in _PHASES:
        begun: set[str] = set()
        values = [str(header.get(name) or "") for _, header in ordered]
        for value, run in groupby(zip(values, ordered, strict=True), key=itemgetter(0)):
            if value in begun:
                _, (path, _) = next(run)
                raise BenchError(
                    f"{path}: slices of {what} {value or '(none)'} lie between those of"
                    " another, as if two phases were mixed; keep each phase in a folder of its own"
                )
            begun.add(value)


def missing(ordered: _Files, distance_mm: float, thickness_mm: float) -> Iterator[str]:
    """Yield what hints at slices that are not there though those that are lie evenly.

    Parameters
    ----------
    ordered
        The file of every slice, by position, each with one slice.
    distance_mm
        From slice to slice, along their normal.
    thickness_mm
        Of a slice; NaN if unknown.
    """
    numbers = [_whole(header, "InstanceNumber") for _, header in ordered]
    steps = set(np.abs(np.diff([number for number in numbers if number is not None])).tolist())
    if (
        len(ordered) > 2
        and None not in numbers
        and len(steps) == 1
        and (step := steps.pop()) > 1
        and distance_mm > GAP * thickness_mm
    ):
        yield (
            f"its slices, {thickness_mm:g} mm thick, are {distance_mm:.4g} mm apart, and their"
            f" numbers (InstanceNumber) {step} apart: were those between them left out?"
        )
    for _, run in groupby(ordered, key=lambda one: one[1].get("AcquisitionNumber")):
        announced = [_whole(header, "ImagesInAcquisition") for _, header in run]
        if len(announced) < (most := max(number or 0 for number in announced)):
            yield (
                f"{len(announced)} slices, but the headers announce {most} images of the"
                " acquisition (ImagesInAcquisition): are slices missing, or in another series?"
            )
            return


def _whole(header: Dataset, name: str) -> int | None:
    """Return a whole number of a header, None if it is missing or malformed."""
    try:
        value = header.get(name)
        return None if value is None else int(value)
    except (TypeError, ValueError, OverflowError):
        return None
