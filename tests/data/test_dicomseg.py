"""Codes of organs in DICOM segmentations."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import scanner

from bench.data.dicomseg import SCHEME, write_segmentation

MEANT = {
    "kidney_r": ("SCT", "64033007", "Right"),
    "RightKidney": ("SCT", "64033007", "Right"),
    "kidneys_r": ("SCT", "64033007", "Right"),
    "rt kidney": ("SCT", "64033007", "Right"),
    "LeftParotid": ("SCT", "45289007", "Left"),
    "lungs": ("SCT", "39607008", ""),
    "SpinalCord": ("SCT", "2748008", ""),
    "oesophagus": ("SCT", "32849002", ""),
    "postcava": ("SCT", "64131007", ""),
    "small_bowel": ("SCT", "30315005", ""),
    "femur_head_l": ("SCT", "2812003", "Left"),
    "eye_l": ("SCT", "81745001", "Left"),
    "left_ventricle": ("SCT", "87878005", ""),
    "lung_middle_lobe_right": ("SCT", "72481006", ""),
    "gluteus_maximus_left": (SCHEME, "gluteus_maximus_", ""),
    "prostate_uterus": (SCHEME, "prostate_uterus", ""),
}
"""Name of an organ -> scheme, code, side."""


def test_an_organ_has_the_code_of_what_its_name_says(tmp_path: Path) -> None:
    folder = scanner.save(scanner.series(), tmp_path / "ct")
    rows, columns, slices = scanner.SHAPE
    labels_IJK = np.zeros((columns, rows, slices), np.uint8)
    labels_IJK.flat[: len(MEANT)] = np.arange(1, len(MEANT) + 1)
    write_segmentation(labels_IJK, folder, list(MEANT), "model", "1", tmp_path / "seg.dcm")
    found = {}
    for segment in hd.seg.segread(tmp_path / "seg.dcm").SegmentSequence:
        (code,) = segment.SegmentedPropertyTypeCodeSequence
        sides = code.get("SegmentedPropertyTypeModifierCodeSequence", [])
        side = "".join(side.CodeMeaning for side in sides)
        found[segment.SegmentLabel] = (code.CodingSchemeDesignator, code.CodeValue, side)
    assert found == MEANT
