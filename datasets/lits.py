"""LiTS: abdominal CT with liver and tumour labels, in either of its two public releases."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from nibabel.nifti1 import Nifti1Image
from typing_extensions import override

from bench.data.dataset import Case, Dataset
from bench.data.nifti import load, load_labels, locate
from bench.errors import BenchError
from bench.params import format_brackets

NAMES = {0: "background", 1: "liver", 2: "tumour"}
SEARCH_DEPTH = 3
"""Levels of folders below the root that are searched: batches, and folders of the archives."""

_CHALLENGE = re.compile(r"(?P<kind>volume|segmentation)-(?P<number>\d+)\.nii(\.gz)?")
_DECATHLON = re.compile(r"liver_(?P<number>\d+)\.nii(\.gz)?")
_DECATHLON_FOLDERS = {"imagesTr": "volume", "labelsTr": "segmentation"}


class Lits(Dataset):
    """The 131 training scans of the Liver Tumor Segmentation challenge, organ: liver.

    In the challenge's own release the headers of some segmentations differ from those of their
    volumes although the voxels correspond one to one, so there the volume's header counts for both.
    """

    summary: ClassVar[str] = "131 abdominal CT with liver labels (LiTS, or Decathlon Task03_Liver)"
    source: ClassVar[str] = (
        "MSD Task03_Liver from medicaldecathlon.com (CC BY-SA 4.0; corrected spacings), or the LiTS"
        " challenge, competitions.codalab.org/competitions/17094 (Creative Commons, non-commercial)"
    )
    layout: ClassVar[str] = (
        "volume-N.nii and segmentation-N.nii in any folder (also .nii.gz), or Task03_Liver with "
        "imagesTr/liver_N.nii.gz and labelsTr/liver_N.nii.gz"
    )
    folders: ClassVar[tuple[str, ...]] = ("lits", "LiTS", "LITS17", "LITS", "Task03_Liver")
    label_fractions: ClassVar[tuple[int, ...]] = (100, 30, 10, 5, 1)
    complete: ClassVar[int | None] = 131

    liver_only: bool = False
    """Count tumour voxels as background (label 1 only) instead of liver (labels 1 and 2)."""

    @property
    def name(self) -> str:
        """``lits``, with the option if it is set: other labels are other data."""
        return format_brackets("lits", {"liver_only": True} if self.liver_only else {})

    @property
    @override
    def organs(self) -> tuple[str, ...]:
        return ("liver",)

    def cases(self) -> tuple[Case, ...]:
        """Return the scans sorted by number; the liver is annotated in all of them.

        Raises
        ------
        BenchError
            No scan found (with source and expected files), a volume without segmentation or the
            reverse, two files for one scan.
        """
        found = self._find()
        volumes, segmentations = found["volume"], found["segmentation"]
        if not volumes and not segmentations:
            raise BenchError(
                f"no LiTS scan found below {self.root}; get the data from {self.source}; expected"
                f" {self.layout}"
            )
        for one, other, missing in (
            (volumes, segmentations, "segmentation"),
            (segmentations, volumes, "volume"),
        ):
            if alone := sorted(one.keys() - other.keys()):
                raise BenchError(
                    f"{one[alone[0]]}: no {missing} for number {', '.join(map(str, alone[:10]))}"
                    f"{' and more' if len(alone) > 10 else ''}; complete the download"
                )
        ids = (f"lits_{number:03d}" for number in sorted(volumes))
        return tuple(Case(id=case, patient=case, annotated=(True,)) for case in ids)

    @override
    def files(self, case: Case) -> tuple[Path, Path]:
        found = self._find()
        number = int(case.id.removeprefix("lits_"))
        return found["volume"][number], found["segmentation"][number]

    @override
    def image(self, case: Case) -> Nifti1Image:
        path, _ = self.files(case)
        return load(path, locate(self.name, case.id, path, "image"))

    def labels(self, case: Case) -> Nifti1Image:
        """Return the label map: 1 where liver, by :attr:`liver_only` with or without tumour."""
        volume, path = self.files(case)
        where = locate(self.name, case.id, path, "label map")
        labels = load_labels(path, {1: 1, 2: 0 if self.liver_only else 1}, NAMES, where)
        if _DECATHLON.fullmatch(path.name):
            return labels
        header = load(volume, locate(self.name, case.id, volume, "image"))
        return Nifti1Image(labels.dataobj, header.affine)

    def _find(self) -> dict[str, dict[int, Path]]:
        """Return the path of every volume and segmentation by its number."""
        found: dict[str, dict[int, Path]] = {"volume": {}, "segmentation": {}}
        for folder, name in _walk(self.root):
            if match := _CHALLENGE.fullmatch(name):
                kind = match["kind"]
            elif match := _DECATHLON.fullmatch(name):
                kind = _DECATHLON_FOLDERS.get(folder.name, "")
            if not match or not kind:
                continue
            number = int(match["number"])
            if number in found[kind]:
                raise BenchError(
                    f"{folder / name}: number {number} is also {found[kind][number]}; keep one"
                )
            found[kind][number] = folder / name
        return found


def _walk(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield folder and name of the files at most SEARCH_DEPTH folders below, not hidden ones."""
    for folder, subfolders, names in os.walk(root, followlinks=True):
        depth = len(Path(folder).relative_to(root).parts)
        subfolders[:] = sorted(
            name for name in subfolders if depth < SEARCH_DEPTH and not name.startswith(".")
        )
        for name in sorted(names):
            yield Path(folder), name
