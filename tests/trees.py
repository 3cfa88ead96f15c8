"""Small generated data sets, written to disk in the layouts that users really have.

Every volume is a body (an ellipse of soft tissue with a bone in air) with one bright blob per organ
at a jittered place, so that even a tiny network can learn it.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from bench.seeds import generator

ORGANS = ("liver", "spleen", "kidney_l", "kidney_r")
PLACES_XYZ = {
    "liver": (0.68, 0.60, 0.60),
    "spleen": (0.27, 0.45, 0.62),
    "kidney_l": (0.36, 0.28, 0.35),
    "kidney_r": (0.64, 0.28, 0.35),
}
"""Centre of each organ as a fraction of the RAS volume (X grows to the patient's right)."""
RADII_XYZ = {
    "liver": (0.16, 0.18, 0.25),
    "spleen": (0.10, 0.11, 0.18),
    "kidney_l": (0.08, 0.09, 0.18),
    "kidney_r": (0.08, 0.09, 0.18),
}
HU = {"liver": 90.0, "spleen": 150.0, "kidney_l": 210.0, "kidney_r": 210.0}
LPS = np.diag([-2.0, -2.0, 5.0, 1.0])
"""Affine in which scanners usually store: the array runs to left, posterior, superior."""


class Volume(NamedTuple):
    image_XYZ: NDArray[np.int16]
    labels_XYZ: NDArray[np.uint8]


def volume(
    number: int,
    shape: tuple[int, int, int] = (32, 28, 10),
    organs: Sequence[str] = ORGANS,
    seed: int = 0,
) -> Volume:
    """Return one generated scan in canonical orientation, labels in the order of ``organs``."""
    rng = generator(seed, "test-volume", number)
    grid_3XYZ = np.stack(np.meshgrid(*((np.arange(n) + 0.5) / n for n in shape), indexing="ij"))

    def ellipse(centre: Sequence[float], radii: Sequence[float]) -> NDArray[np.bool_]:
        away_3XYZ = (grid_3XYZ - np.reshape(centre, (3, 1, 1, 1))) / np.reshape(radii, (3, 1, 1, 1))
        return np.asarray((away_3XYZ**2).sum(axis=0) <= 1)

    image_XYZ = np.full(shape, -1000.0)
    image_XYZ[ellipse((0.5, 0.5, 0.5), (0.46, 0.44, 5.0))] = 20.0
    image_XYZ[ellipse((0.5, 0.16, 0.5), (0.06, 0.06, 5.0))] = 700.0
    labels_XYZ = np.zeros(shape, np.uint8)
    for k, organ in enumerate(organs, start=1):
        centre = np.asarray(PLACES_XYZ[organ]) + rng.uniform(-0.03, 0.03, 3)
        blob_XYZ = ellipse(centre, RADII_XYZ[organ]) & (labels_XYZ == 0)
        labels_XYZ[blob_XYZ] = k
        image_XYZ[blob_XYZ] = HU[organ]
    image_XYZ += rng.normal(0.0, 8.0, shape)
    return Volume(image_XYZ.round().astype(np.int16), labels_XYZ)


def save(path: Path, array_XYZ: NDArray[np.generic], affine: NDArray[np.float64] = LPS) -> Path:
    """Write a canonical volume as NIfTI in the orientation of ``affine``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    signs = np.sign(np.diag(affine)[:3]).astype(int)
    stored = array_XYZ[tuple(slice(None, None, int(sign)) for sign in signs)]
    nib.save(nib.Nifti1Image(np.ascontiguousarray(stored), affine), path)
    return path


def channel(name: str, image_XYZ: NDArray[np.int16], number: int) -> NDArray[np.float32]:
    """Return what a channel shows of a generated scan.

    HU if it is called CT, and nothing of it in ``noise``. In any other every volume has a scale and
    an offset of its own, as in MR.
    """
    if name == "CT":
        return image_XYZ.astype(np.float32)
    if name == "noise":
        return generator(0, "test-noise", number).random(image_XYZ.shape, np.float32)
    soft_XYZ = image_XYZ.clip(0, 200).astype(np.float32)
    return soft_XYZ * 4.0 ** (number % 3) + 500.0 * number


def nnunet(
    root: Path,
    cases: int = 4,
    organs: Sequence[str] = ORGANS,
    hidden: Mapping[int, Sequence[str]] | None = None,
    shape: tuple[int, int, int] = (32, 28, 10),
    channels: Sequence[str] = ("CT",),
) -> Path:
    """Write an nnU-Net folder with annotations.csv.

    Parameters
    ----------
    hidden
        Case number -> organs that nobody annotated in it: flag 0 and no voxel in the label map.
    channels
        Names of the channels, what each shows as in :func:`channel`.
    """
    hidden = hidden or {}
    labels = {"background": 0} | {organ: k for k, organ in enumerate(organs, start=1)}
    rows = []
    for number in range(cases):
        scan = volume(number, shape, organs)
        missing = hidden.get(number, ())
        kept = np.array([0] + [0 if organ in missing else labels[organ] for organ in organs])
        for c, name in enumerate(channels):
            path = root / f"imagesTr/case_{number:03d}_{c:04d}.nii.gz"
            save(path, channel(name, scan.image_XYZ, number))
        save(root / f"labelsTr/case_{number:03d}.nii.gz", kept.astype(np.uint8)[scan.labels_XYZ])
        flags = [int(organ not in missing) for organ in organs]
        rows.append([f"case_{number:03d}", f"patient_{number:03d}", "AB"[number % 2], *flags])
    description = {
        "name": "Generated",
        "channel_names": {str(c): name for c, name in enumerate(channels)},
        "labels": labels,
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(description))
    write_annotations(root, [["case", "patient", "tier", *organs], *rows])
    return root


def write_annotations(root: Path, rows: Sequence[Sequence[object]]) -> None:
    with (root / "annotations.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def decathlon(root: Path, cases: int = 4, shape: tuple[int, int, int] = (32, 28, 10)) -> Path:
    """Write an MSD folder as its archives unpack: no channel suffix, label names by value."""
    for number in range(cases):
        scan = volume(number, shape, ORGANS[:2])
        save(root / f"imagesTr/liver_{number}.nii.gz", scan.image_XYZ.astype(np.float32))
        save(root / f"labelsTr/liver_{number}.nii.gz", scan.labels_XYZ)
        (root / f"imagesTr/._liver_{number}.nii.gz").write_bytes(b"\x00\x05\x16\x07")
    description = {
        "name": "LIVER",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "liver", "2": "spleen"},
        "numTraining": cases,
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root


def lits(root: Path, cases: int = 4, shape: tuple[int, int, int] = (32, 28, 10)) -> Path:
    """Write the LiTS release in its two batch folders; label 2 is a tumour inside the liver."""
    for number in range(cases):
        scan = volume(number, shape, ("liver",))
        labels_XYZ = scan.labels_XYZ.copy()
        inside = np.argwhere(labels_XYZ == 1)
        x, y, z = inside[len(inside) // 2]
        labels_XYZ[x, y, z] = 2
        folder = root / f"Training Batch {1 if number < cases // 2 else 2}"
        save(folder / f"volume-{number}.nii", scan.image_XYZ)
        save(folder / f"segmentation-{number}.nii", labels_XYZ)
    return root


def openkbp(
    root: Path,
    patients: int = 3,
    slab: tuple[int, int] = (30, 50),
    more_organs: Mapping[str, tuple[int, int, int]] | None = None,
) -> Path:
    """Write a clone of open-kbp: CT in a slab, the cord also above and below it.

    Patient 1 lacks the larynx, and nobody has esophagus and mandible unless ``more_organs`` places
    them; in every patient the cord is drawn over all slices and the CT outside the slab exists in
    the cord only.
    """
    row, column, level = np.ogrid[:128, :128, :128]
    for number in range(1, patients + 1):
        rng = generator(0, "test-openkbp", number)
        folder = root / "provided-data" / "train-pats" / f"pt_{number}"
        folder.mkdir(parents=True)
        in_slab = (level >= slab[0]) & (level < slab[1])
        neck = ((row - 64) ** 2 + (column - 64) ** 2 <= 20**2) & in_slab
        blobs = {
            "Brainstem": (60, 64, slab[0] + 3),
            "RightParotid": (62, 52, slab[0] + 8),
            "LeftParotid": (62, 76, slab[0] + 8),
            "Larynx": (52, 64, slab[1] - 5),
            **(more_organs or {}),
        }
        masks = {"SpinalCord": ((row - 74) ** 2 + (column - 64) ** 2 <= 4) & (level > 10)}
        for organ, centre in blobs.items():
            i, j, k = centre + rng.integers(-1, 2, 3)
            masks[organ] = (row - i) ** 2 + (column - j) ** 2 + (level - k) ** 2 <= 9
        if number == 1:
            del masks["Larynx"]
        # Soft tissue of its own: else all patients would be one scan.
        own = gaussian_filter(rng.normal(size=(128, 128, 128)).astype(np.float32), 3.0)
        ct = np.where(neck | masks["SpinalCord"], 1064.0 + np.rint(60 * own / own.std()), 0.0)
        ct[neck & ((row - 74) ** 2 + (column - 64) ** 2 <= 16)] = 1700.0
        for place, organ in enumerate(masks):
            ct[masks[organ] & neck] = 1100.0 + 40.0 * place
        index = np.flatnonzero(ct)
        _write_sparse(folder / "ct.csv", index, ct.ravel()[index])
        for organ, mask in masks.items():
            _write_sparse(folder / f"{organ}.csv", np.flatnonzero(mask), None)
        np.savetxt(folder / "voxel_dimensions.csv", [4.0, 4.0, 2.5])
    return root


def _write_sparse(path: Path, index: NDArray[np.int64], values: NDArray[np.float64] | None) -> None:
    cells = [""] * len(index) if values is None else [str(value) for value in values]
    lines = (f"{i},{cell}" for i, cell in zip(index.tolist(), cells, strict=True))
    path.write_text(",data\n" + "\n".join(lines) + "\n")


def shared_data(name: str) -> Path:
    """Return a folder of the real CT, or skip the calling test where there is none."""
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("BENCH_SHARED_DATA", default)) / name
    if not folder.is_dir():
        pytest.skip(f"real data not found: {folder} (set BENCH_SHARED_DATA)")
    return folder
