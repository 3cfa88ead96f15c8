"""Write a fold of a data set, with the labels that training sees, as a data set of nnU-Net."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from bench.data.annotations import TRAINS_IN, folds_text
from bench.data.dataset import Case, Dataset
from bench.data.geometry import Geometry
from bench.data.intensity import GreyValue
from bench.data.labelmap import to_native
from bench.data.scan import read_scan
from bench.data.simulate import Split, make_split
from bench.errors import BenchError
from bench.labels import VOID

Gaps = Literal["ignore", "flags"]
"""What stands where an organ may be that is not annotated: nnU-Net's ignore label in place of the
background of a case that lacks an organ, or background, with the flags in ``annotations.csv``."""


class Exported(NamedTuple):
    """What was written."""

    splits: tuple[Split, ...]
    """In the order of ``splits_final.json``."""
    left_out: tuple[str, ...]
    """Why folds are not among them."""


def export_nnunet(
    dataset: Dataset,
    folder: Path,
    *,
    fold: int,
    n_folds: int,
    label_pct: int,
    seed: int,
    gaps: Gaps,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Exported:
    """Write images, visible labels, flags and splits.

    Where every label is visible (100 %) the splits are those of all folds that are possible; else
    hidden labels are those of one fold, and the only split is its.

    Raises
    ------
    BenchError
        The folder is not empty, a case cannot be read, or no split is possible
        (:func:`bench.data.simulate.make_split`).
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BenchError(f"{folder}: is not empty; name a new folder")
    cases = dataset.found()
    splits: list[Split] = []
    refused: list[BenchError] = []
    for number in range(n_folds) if label_pct == 100 else [fold]:
        try:
            splits.append(
                make_split(
                    cases,
                    dataset.organs,
                    dataset=dataset.name,
                    fold=number,
                    n_folds=n_folds,
                    label_pct=label_pct,
                    seed=seed,
                )
            )
        except BenchError as error:
            refused.append(error)
    if not splits:
        raise refused[0]
    visible = {case.id: splits[0].flags.get(case.id, case.annotated) for case in cases}
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    ignored = len(dataset.organs) + 1
    ignores = False
    for count, case in enumerate(cases, start=1):
        scan = read_scan(dataset, case)
        for channel, image_XYZ in enumerate(scan.image_CXYZ):
            path = folder / "imagesTr" / f"{case.id}_{channel:04d}.nii.gz"
            nib.save(_image(image_XYZ, scan.geometry), path)
        labels_XYZ = _visible(scan.labels_XYZ, visible[case.id], gaps, ignored)
        ignores |= bool((labels_XYZ == ignored).any())
        nib.save(to_native(labels_XYZ, scan.geometry), folder / "labelsTr" / f"{case.id}.nii.gz")
        progress(count, len(cases))
    _write_table(folder / "annotations.csv", dataset.organs, cases, visible)
    fold_list = [{"train": list(s.train), "val": list(s.test)} for s in splits]
    (folder / "splits_final.json").write_text(json.dumps(fold_list, indent=1))
    # Last: without it the folder is no data set.
    description = _description(dataset, len(cases), ignored if ignores else None)
    (folder / "dataset.json").write_text(json.dumps(description, indent=1))
    return Exported(tuple(splits), tuple(map(str, refused)))


def _visible(
    labels_XYZ: NDArray[np.uint8], flags: Sequence[bool], gaps: Gaps, ignored: int
) -> NDArray[np.uint8]:
    """Return the labels that may be seen."""
    nothing = 0 if all(flags) or gaps == "flags" else ignored
    table = np.full(256, nothing, np.uint8)
    table[1 : len(flags) + 1] = np.where(flags, np.arange(1, len(flags) + 1), nothing)
    table[VOID] = ignored
    return table[labels_XYZ]


def _image(grey_XYZ: NDArray[GreyValue], geometry: Geometry) -> Nifti1Image:
    """Return a channel on the grid of its file, as 16-bit integers where it holds nothing else."""
    values = geometry.to_native(grey_XYZ.astype(np.float32))
    integers = np.clip(values, -(2**15), 2**15 - 1).astype(np.int16)
    affine = np.asarray(geometry.native_affine)
    image = Nifti1Image(integers if np.array_equal(integers, values) else values, affine)
    image.header.set_xyzt_units("mm")
    return image


def _write_table(
    path: Path, organs: Sequence[str], cases: Sequence[Case], visible: dict[str, tuple[bool, ...]]
) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        placed = any(case.trains_in is not None for case in cases)
        table.writerow(["case", "patient", *([TRAINS_IN] if placed else []), *organs])
        for case in cases:
            folds = [folds_text(case)] if placed else []
            table.writerow([case.id, case.patient, *folds, *map(int, visible[case.id])])


def _description(dataset: Dataset, n_cases: int, ignored: int | None) -> dict[str, Any]:
    labels = {"background": 0} | {organ: k for k, organ in enumerate(dataset.organs, start=1)}
    if ignored is not None:
        labels["ignore"] = ignored
    return {
        "name": dataset.name,
        "channel_names": {str(number): name for number, name in enumerate(dataset.channel_names)},
        "labels": labels,
        "numTraining": n_cases,
        "file_ending": ".nii.gz",
    }
