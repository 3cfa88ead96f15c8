"""TotalSegmentator v2: 1228 CT of any part of the body, 117 structures, a mask file for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from nibabel.nifti1 import Nifti1Image
from typing_extensions import override

from bench.data.dataset import Case, locate
from bench.data.filenames import file_stem
from bench.data.labelmap import load_labels
from bench.data.release import Archive, Files, Release, Scans, placed
from bench.data.tree import file_names, find, find_file
from bench.errors import BenchError
from bench.labels import VOID
from bench.reporting.text import enumerated
from bench.texttable import read_table

SPLITS = {"train": 1082, "val": 57, "test": 89}
RENAMED = {
    "kidney_r": "kidney_right",
    "kidney_l": "kidney_left",
    "adrenal_r": "adrenal_gland_right",
    "adrenal_l": "adrenal_gland_left",
    "bladder": "urinary_bladder",
    "ivc": "inferior_vena_cava",
    "portal_splenic_vein": "portal_vein_and_splenic_vein",
}
"""Organ -> name of its file, where the suite calls it differently."""

BOTH = (
    *("subclavian_artery", "common_carotid_artery", "brachiocephalic_vein", "iliac_artery"),
    *("iliac_vena", "humerus", "scapula", "clavicula", "femur", "hip", "gluteus_maximus"),
    *("gluteus_medius", "gluteus_minimus", "autochthon", "iliopsoas", "kidney_cyst"),
)
STRUCTURES = (
    *("spleen", "kidney_r", "kidney_l", "gallbladder", "liver", "stomach", "pancreas"),
    *("adrenal_r", "adrenal_l", "esophagus", "trachea", "thyroid_gland", "small_bowel"),
    *("duodenum", "colon", "bladder", "prostate", "heart", "aorta", "pulmonary_vein"),
    *("brachiocephalic_trunk", "superior_vena_cava", "ivc", "portal_splenic_vein", "spinal_cord"),
    *("brain", "skull", "sternum", "costal_cartilages", "atrial_appendage_left", "sacrum"),
    *("lung_upper_lobe_left", "lung_lower_lobe_left", "lung_upper_lobe_right"),
    *("lung_middle_lobe_right", "lung_lower_lobe_right", "vertebrae_S1"),
    *(f"vertebrae_L{n}" for n in range(5, 0, -1)),
    *(f"vertebrae_T{n}" for n in range(12, 0, -1)),
    *(f"vertebrae_C{n}" for n in range(7, 0, -1)),
    *(f"{name}_{side}" for name in BOTH for side in ("left", "right")),
    *(f"rib_{side}_{n}" for side in ("left", "right") for n in range(1, 13)),
)
_BY_FILE = {RENAMED.get(organ, organ).lower(): organ for organ in STRUCTURES}


class TotalSegmentator(Release):
    """A mask that is missing or empty means that the structure is outside the scan.

    A voxel in the masks of two structures counts as of unknown class.
    """

    called = "totalsegmentator"
    summary = "1228 CT of any part of the body, 117 structures (TotalSegmentator v2)"
    licence = "CC BY 4.0"
    citation = "Wasserthal et al., Radiology: AI 5:e230024, 2023"
    urls = ("https://zenodo.org/records/10047292 (Totalsegmentator_dataset_v201.zip)",)
    layout = "meta.csv, sNNNN/ct.nii.gz and sNNNN/segmentations/STRUCTURE.nii.gz"
    folders = (
        *("totalsegmentator", "TotalSegmentator", "Totalsegmentator_dataset_v201"),
        "Totalsegmentator_dataset_v2",
    )
    scans = (Scans("s{:04d}", "s{n}/ct.nii", "s{n}/segmentations/"),)
    values = dict(enumerate(STRUCTURES, start=1))
    sided = True
    cropped = True
    complete = 1228
    present = {
        "spleen": 886,
        "kidney_r": 782,
        "kidney_l": 802,
        "gallbladder": 654,
        "liver": 937,
        "stomach": 905,
        "pancreas": 811,
    }
    defects = {
        **dict.fromkeys((143, 201, 1196), "a part of the abdomen is labelled as heart"),
        **dict.fromkeys((1, 44, 67), "the image is rotated and labels reach beyond it"),
    }
    archives = {
        "Totalsegmentator_dataset_v201.zip": Archive(
            "md5:fe250e5718e0a3b5df4c4ea9d58a62fe",
            "https://zenodo.org/records/10047292/files/Totalsegmentator_dataset_v201.zip",
        )
    }

    split: Literal["all", "train", "val", "test"] = "all"
    """Scans with this value of ``split`` in ``meta.csv``."""

    @override
    def expected(self) -> tuple[int, Mapping[str, int]]:
        if self.split == "all":
            return sum(SPLITS.values()), self.present
        return SPLITS[self.split], {}

    @override
    def reads(self, scans: Scans, number: int) -> bool:
        return self.split == "all" or self._splits.get(number) == self.split

    @override
    def draws(self, name: str) -> bool:
        return _structure(name) is not None

    @override
    def doubts(self) -> tuple[str, ...]:
        return *super().doubts(), *self._without_row()

    def _without_row(self) -> Iterator[str]:
        """Yield which scans belong to no split."""
        if self.split == "all":
            return
        images = find(self.root, self.scans[0].image)
        if missing := [f"s{n:04d}" for n in sorted(images.keys() - self._splits.keys())]:
            yield f"no row in meta.csv, so in no split and left out: {enumerated(missing)}"

    @override
    def content(self, files: Files) -> tuple[Path, ...]:
        """Return the image and the masks that are read."""
        assert files.labels is not None
        return files.image, *self._masks(files.labels).values()

    @override
    def read_labels(self, case: Case, path: Path) -> Nifti1Image:
        grid = self.geometry(case)
        affine = np.asarray(grid.native_affine)
        labels = np.zeros(grid.native_shape, np.uint8)
        for organ, mask in self._masks(path).items():
            where = locate(self.name, case.id, mask, "label map")
            found = load_labels(mask, {1: 1}, {1: organ}, where)
            on_image = placed(found, affine, self.file_of(case))
            if found.shape != labels.shape or not np.array_equal(on_image.affine, affine):
                raise BenchError(f"{where}: is not on the grid of the image; download it again")
            drawn = np.asarray(found.dataobj) > 0
            labels[drawn] = np.where(labels[drawn] == 0, self.number(organ), VOID)
        return Nifti1Image(labels, affine)

    def _masks(self, folder: Path) -> dict[str, Path]:
        """Return the mask files of the organs looked at, of those that are in the scan."""
        masks: dict[str, Path] = {}
        for name in file_names(folder):  # a link without a target is no absent organ
            if (organ := _structure(name)) is None:
                continue
            if organ in masks:
                raise BenchError(f"{folder}: both {masks[organ].name} and {name}; keep one")
            masks[organ] = folder / name
        return {organ: masks[organ] for organ in self.organs if organ in masks}

    @cached_property
    def _splits(self) -> dict[int, str]:
        """Return scan -> split."""
        table = find_file(self.root, "meta.csv")
        if table is None:
            raise BenchError(f"{self.root}: no meta.csv below it, which split={self.split} needs")
        found = read_table(table)
        header = found.names()
        if not {"image_id", "split"} <= set(header):
            raise BenchError(f"{table}: no columns image_id and split among {enumerated(header)}")
        name, split = header.index("image_id"), header.index("split")
        splits: dict[int, str] = {}
        for row in found.rows:
            try:
                splits[int(row.cells[name].lstrip("s"))] = row.cells[split]
            except ValueError:
                raise found.fault(row, "holds no image_id such as s0001") from None
        return splits


def _structure(name: str) -> str | None:
    """Return the organ of a mask file by its name, capitals aside; None for other files."""
    stem = file_stem(name)
    return None if stem is None else _BY_FILE.get(stem.lower())
