"""Label maps as DICOM segmentations, which refer to the series that they were made of."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.data.dicom import find_series
from bench.data.synonyms import Name, understood
from bench.errors import BenchError
from bench.evaluation.counts import areas
from bench.labels import plain

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom.dataset import Dataset
    from pydicom.sr.coding import Code

SCHEME = "99BENCH"
"""Coding scheme of organs that SNOMED CT, as pydicom holds it, does not have by their name."""

_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate"),
    *("StudyTime", "AccessionNumber", "ReferringPhysicianName"),
)
"""What a segmentation repeats of its series; whoever removes names often removes them."""


def check_available() -> None:
    """Raise BenchError if highdicom is missing."""
    try:
        import highdicom.seg
    except ImportError:
        raise BenchError(
            "a DICOM segmentation needs highdicom, pip install 'organ-bench[dicom]'"
        ) from None
    assert highdicom.seg


def write_segmentation(
    labels_IJK: NDArray[np.uint8],
    folder: Path,
    organs: Sequence[str],
    model: str,
    version: str,
    path: Path,
) -> None:
    """Write a label map as a segmentation of the series in a folder.

    Parameters
    ----------
    labels_IJK
        On the axes of :func:`bench.data.dicom.read_series`: columns, rows, slices. Some voxel must
        be an organ's: there are no empty segmentations.
    folder
        The series.
    organs
        Names of the values 1, 2 and so on.
    model, version
        What made the label map.
    path
        The file to write.

    Raises
    ------
    BenchError
        Headers that lack what a segmentation repeats of them; several multi-frame files.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    series = find_series(folder)
    slices = series.slices
    files = list(dict.fromkeys(one.path for one in slices))
    frames = np.ascontiguousarray(labels_IJK.transpose(2, 1, 0))
    if len(files) < len(slices):  # frames of one file, in their order there
        if len(files) > 1:
            raise BenchError(f"{folder}: several multi-frame files; convert the label map instead")
        frames = frames[np.argsort([one.frame for one in slices])]
    found_K: NDArray[np.bool_] = np.any(areas(frames, len(organs)), axis=0)
    present = [value for value, found in enumerate(found_K, start=1) if found]
    # Numbers of segments follow each other without gaps; the values of label maps need not.
    table = np.zeros(256, np.uint8)
    table[present] = np.arange(1, len(present) + 1)
    algorithm = hd.AlgorithmIdentificationSequence(
        name=model, version=version, family=codes.DCM.ArtificialIntelligence
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            segmentation = hd.seg.Segmentation(
                source_images=[_header(file, series.modality) for file in files],
                pixel_array=table[frames],
                segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=[
                    _described(number, organs[value - 1], algorithm)
                    for number, value in enumerate(present, start=1)
                ],
                series_instance_uid=hd.UID(),
                series_number=_number(files[0]),
                series_description=f"Segmentation, {model}"[:64],
                sop_instance_uid=hd.UID(),
                instance_number=1,
                manufacturer="organ-bench",
                manufacturer_model_name="bench predict",
                software_versions=version,
                device_serial_number=model,
            )
            segmentation.save_as(path, enforce_file_format=True)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise BenchError(
            f"{files[0]}: no DICOM segmentation can refer to this series ({reason}); the label map"
            " is written"
        ) from None


def _header(file: Path, modality: str) -> Dataset:
    from pydicom import dcmread

    header = dcmread(file, stop_before_pixels=True)
    for name in _MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, None)
    if "Modality" not in header:
        header.Modality = modality
    return header


def _number(file: Path) -> int:
    """Return a number for the new series, beside that of the source."""
    from pydicom import dcmread

    header = dcmread(file, stop_before_pixels=True, specific_tags=["SeriesNumber"])
    return int(header.get("SeriesNumber") or 0) % 10**6 * 100 + 1


def _described(number: int, organ: str, algorithm: Any) -> SegmentDescription:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    kind, side = _codes(organ)
    described = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=organ[:64],
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=kind,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
    if side is not None:
        described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            hd.sr.CodedConcept.from_code(side)
        ]
    return described


def _codes(organ: str) -> tuple[Code, Code | None]:
    """Return the code of an organ in SNOMED CT, or one of our own, and that of its side."""
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    known, said = _snomed(), understood(organ)
    if (same := known.get(plain(organ))) is not None:
        return same, None
    if (either := known.get(said._replace(side=""))) is not None:
        return either, getattr(codes.SCT, said.side.capitalize()) if said.side else None
    return known.get(said, Code(organ[:16], SCHEME, organ[:64])), None


@cache
def _snomed() -> dict[str | Name, Code]:
    """Return the codes that pydicom holds, by their plain names and by what these say."""
    from pydicom.sr.codedict import codes

    found: dict[str | Name, Code] = {}
    for name in sorted(codes.SCT.dir(), key=len):  # of Eye and BothEyes, which say the same, Eye
        code = getattr(codes.SCT, name)
        found.setdefault(plain(name), code)
        found.setdefault(understood(name), code)
    return found
