"""Small trees of public data sets: the names of files and folders are true, the scans are not.

Each function writes one release below a folder, with the oddities that the real one has.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import trees
from numpy.typing import DTypeLike, NDArray

from bench.seeds import generator

SHAPE = (32, 28, 12)
LPS = trees.LPS
IDENTITY = np.eye(4)
SLOTS = [(x, y, z) for z in (2, 7) for y in (5, 9, 13, 17, 21) for x in (0, 4, 8)]
"""Corners of the places for organs on one side of the body, 3 voxels wide."""

BTCV = (
    *("spleen", "kidney_r", "kidney_l", "gallbladder", "esophagus", "liver", "stomach", "aorta"),
    *("ivc", "portal_splenic_vein", "pancreas", "adrenal_r", "adrenal_l"),
)
AMOS = (
    *("spleen", "kidney_r", "kidney_l", "gallbladder", "esophagus", "liver", "stomach", "aorta"),
    *("ivc", "pancreas", "adrenal_r", "adrenal_l", "duodenum", "bladder", "prostate_uterus"),
)


def numbered(organs: Collection[str]) -> dict[int, str]:
    """Return label value -> organ for labels that are numbered from 1."""
    return dict(enumerate(organs, start=1))


def scan(
    number: int, organs: Mapping[int, str], shape: tuple[int, int, int] = SHAPE
) -> trees.Volume:
    """Return a canonical scan with the organs on their side of the body, labels by their value."""
    image_XYZ = np.full(shape, -1000.0)
    image_XYZ[2:-2, 3:-3] = 20.0
    image_XYZ[14:18, 4:6] = 700.0
    labels_XYZ = np.zeros(shape, np.uint16)
    free = {"right": iter(SLOTS), "left": iter(SLOTS)}
    for count, (value, organ) in enumerate(sorted(organs.items())):
        end = organ.rpartition("_")[2]
        right = end in ("r", "right") or organ == "liver"
        left = end in ("l", "left") or organ == "spleen"
        side = "right" if right or (not left and count % 2) else "left"
        x, y, z = next(free[side])
        x += 18 if side == "right" else 4
        box = slice(x, x + 3), slice(y, y + 3), slice(z, z + 3)
        labels_XYZ[box] = value
        image_XYZ[box] = 60.0 + 5 * count
    image_XYZ += generator(0, "test-release", number).normal(0.0, 4.0, shape)
    return trees.Volume(image_XYZ.round().astype(np.int16), labels_XYZ)


def write(
    number: int,
    organs: Mapping[int, str],
    image: Path | None,
    labels: Path | None,
    *,
    affine: NDArray[np.float64] = LPS,
    label_affine: NDArray[np.float64] | None = None,
    dtype: DTypeLike = np.uint8,
    absent: Collection[int] = (),
    shape: tuple[int, int, int] = SHAPE,
) -> trees.Volume:
    """Write image and label map of a generated scan; ``absent`` values have no voxel."""
    made = scan(number, organs, shape)
    made.labels_XYZ[np.isin(made.labels_XYZ, list(absent))] = 0
    if image:
        trees.save(image, made.image_XYZ, affine)
    if labels:
        path = trees.save(labels, made.labels_XYZ.astype(dtype), affine)
        if label_affine is not None:
            voxels = np.asarray(nib.load(path, mmap=False).dataobj)
            nib.save(nib.Nifti1Image(voxels, label_affine), path)
    return made


def macos(folder: Path, name: str) -> None:
    """Write what macOS adds to archives."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"._{name}").write_bytes(b"\x00\x05\x16\x07")


LIVER = {1: "liver", 2: "tumour"}


def lits(root: Path) -> Path:
    """The challenge's release: 27 has another header than its volume, 28 has none."""
    top = root / "media/nas/01_Datasets/CT/LITS"
    shifted = LPS.copy()
    shifted[:3, 3] = 7
    for number, batch in ((0, 1), (27, 1), (28, 2)):
        folder = top / f"Training Batch {batch}"
        write(
            number,
            LIVER,
            folder / f"volume-{number}.nii",
            folder / f"segmentation-{number}.nii",
            affine=IDENTITY if number == 28 else LPS,
            label_affine=shifted if number == 27 else None,
        )
    return root


def task03(root: Path) -> Path:
    """The Decathlon's release of LiTS."""
    top = root / "Task03_Liver"
    for number in (0, 28):
        write(
            number,
            LIVER,
            top / f"imagesTr/liver_{number}.nii.gz",
            top / f"labelsTr/liver_{number}.nii.gz",
            affine=IDENTITY if number == 28 else LPS,
        )
        macos(top / "imagesTr", f"liver_{number}.nii.gz")
    write(131, LIVER, top / "imagesTs/liver_131.nii.gz", None)
    (top / "dataset.json").write_text('{"labels": {"1": "liver", "2": "cancer"}}')
    return root


def btcv(root: Path) -> Path:
    """Numbers with gaps, test images, and a patient without a gallbladder."""
    top = root / "Abdomen/RawData"
    for number in (1, 21, 40):
        write(
            number,
            numbered(BTCV),
            top / f"Training/img/img{number:04d}.nii.gz",
            top / f"Training/label/label{number:04d}.nii.gz",
            absent=[4] if number == 21 else [],
        )
    write(61, numbered(BTCV), top / "Testing/img/img0061.nii.gz", None)
    return root


def amos(root: Path) -> Path:
    """MR among the CT, rounded headers of label maps, and what macOS adds."""
    top = root / "amos22"
    rounded = LPS.copy()
    rounded[0, 0] += 1e-4
    for number, part in ((1, "Tr"), (410, "Tr"), (507, "Tr"), (8, "Va"), (2, "Ts")):
        name = f"amos_{number:04d}.nii.gz"
        write(
            number,
            numbered(AMOS),
            top / f"images{part}/{name}",
            None if part == "Ts" else top / f"labels{part}/{name}",
            label_affine=rounded if number == 1 else None,
            shape=(40, 40, 12) if number == 410 else SHAPE,
        )
    macos(top / "__MACOSX/imagesTr", "amos_0001.nii.gz")
    shutil.copytree(top / "imagesTr", top / "__MACOSX/copy/imagesTr")
    (top / "dataset.json").write_text("{}")
    return root
