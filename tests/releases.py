"""Small trees of public data sets: the names of files and folders are true, the scans are not.

Each function writes one release below a folder, with the oddities that the real one has.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import openpyxl
import scanner
import trees
from numpy.typing import DTypeLike, NDArray
from PIL import Image

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
    qform: bool = False,
) -> trees.Volume:
    """Write image and label map of a generated scan; ``absent`` values have no voxel."""
    made = scan(number, organs, shape)
    made.labels_XYZ[np.isin(made.labels_XYZ, list(absent))] = 0
    if image:
        store(image, made.image_XYZ, affine)
    if labels:
        header = affine if label_affine is None else label_affine
        store(labels, made.labels_XYZ.astype(dtype), affine, header, qform=qform)
    return made


def store(
    path: Path,
    array_XYZ: NDArray[np.generic],
    affine: NDArray[np.float64] = LPS,
    header: NDArray[np.float64] | None = None,
    *,
    qform: bool = False,
) -> None:
    """Write a canonical volume with the axes of ``affine``; the header may say another.

    ``qform`` leaves the sform out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    canonical, stored = (nib.orientations.io_orientation(one) for one in (np.eye(4), affine))
    turn = nib.orientations.ornt_transform(canonical, stored)
    voxels = nib.orientations.apply_orientation(array_XYZ, turn)
    image = nib.Nifti1Image(np.ascontiguousarray(voxels), affine if header is None else header)
    if qform:
        image.set_qform(image.affine, code=1)
        image.set_sform(None, code=0)
    nib.save(image, path)


def dicom(folder: Path, image_XYZ: NDArray[np.int16], name: str, *, reverse: bool = False) -> None:
    """Write a canonical volume as a CT series of 2 x 2 x 5 mm, files named upwards or downwards."""
    hu = np.ascontiguousarray(image_XYZ[::-1, ::-1].transpose(1, 0, 2))
    series = scanner.series(hu=hu)
    scanner.save(series[::-1] if reverse else series, folder, name)


def lying(made: trees.Volume) -> trees.Volume:
    """Empty the anterior and the upper half of a scan, so that it differs from its reflections."""
    made.image_XYZ[:, 16:] = -1000
    made.image_XYZ[:, :, 6:] = -800
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


FLARE = (
    *("liver", "kidney_r", "spleen", "pancreas", "aorta", "ivc", "adrenal_r", "adrenal_l"),
    *("gallbladder", "esophagus", "stomach", "duodenum", "kidney_l"),
)


def flare22(root: Path) -> Path:
    """The left kidney is 13; images and labels have different names."""
    top = root / "flare22/FLARE22Train"
    for number in (1, 50):
        name = f"FLARE22_Tr_{number:04d}"
        write(
            number,
            numbered(FLARE),
            top / f"images/{name}_0000.nii.gz",
            top / f"labels/{name}.nii.gz",
        )
    scans = root / "flare22/FLARE2022/Training/FLARE22_UnlabeledCase1-1000"
    write(7, numbered(FLARE), scans / "Case_00007_0000.nii.gz", None)
    return root


def flare23(root: Path) -> Path:
    """A corrected label map, a table of sources, scans with tumours, and one without labels."""
    top = root / "MICCAI-FLARE23"
    five = {value: organ for value, organ in numbered(FLARE).items() if value in (1, 2, 3, 4, 13)}
    sources = {1: ("Whole", numbered(FLARE)), 2: ("Five", five), 3: ("Five", five)}
    sources[4] = ("Tumours", {1: "liver", 14: "tumour"})
    for number, (_, organs) in sources.items():
        name = f"FLARE23_{number:04d}"
        write(
            number,
            organs,
            top / f"imagesTr2200/{name}_0000.nii.gz",
            top / f"labelsTr2200/{name}.nii.gz",
            absent=[1] if number == 1 else [],
        )
    fixed = top / "labelsTr2200/20230507-fix/FLARE23_0001.nii.gz"
    write(1, numbered(FLARE), None, fixed)
    write(9, five, top / "unlabeledTr1800/FLARE23_2201_0000.nii.gz", None)
    book = openpyxl.Workbook()
    book.active.append(["public_name", "Dataset"])
    for number, (source, _) in sources.items():
        book.active.append([f"FLARE23_{number:04d}_0000.nii.gz", source])
    book.save(top / "FLARE23-DataInfoTraining.xlsx")
    (top / "FLARE23-annotated.csv").write_text(
        f"Dataset,organs\nWhole,{':'.join(FLARE)}\nFive,{':'.join(five.values())}\n"
        "Tumours,liver:tumour\n"
    )
    return root


WORD = (
    *("liver", "spleen", "kidney_l", "kidney_r", "stomach", "gallbladder", "esophagus"),
    *("pancreas", "duodenum", "colon", "intestine", "adrenal", "rectum", "bladder"),
    *("femur_head_l", "femur_head_r"),
)


def word(root: Path) -> Path:
    """Left before right, headers without sform, one file of 16-bit labels."""
    for number, part in ((2, "Tr"), (1, "Val"), (14, "Ts")):
        name = f"word_{number:04d}.nii.gz"
        write(
            number,
            numbered(WORD),
            root / f"WORD-V0.1.0/images{part}/{name}",
            root / f"WORD-V0.1.0/labels{part}/{name}",
            dtype=np.uint16 if number == 1 else np.uint8,
            qform=True,
        )
    return root


KITS = {1: "kidney", 2: "tumour", 3: "cyst"}
IPL = np.array([[0, 0, -2.0, 60], [0, -2.0, 0, 50], [-5.0, 0, 0, 40], [0, 0, 0, 1]])


def kits23(root: Path) -> Path:
    """Slices first, and files of single raters beside them."""
    return _kits(root / "kits23/dataset", {0: SHAPE, 160: (40, 28, 12), 400: SHAPE}, KITS)


def kits19(root: Path) -> Path:
    """Labels without sform in 15, and test images without labels from 210 on."""
    organs = {value: KITS[value] for value in (1, 2)}
    _kits(root / "kits19/data", {3: SHAPE, 15: SHAPE}, organs)
    write(210, organs, root / "kits19/data/case_00210/imaging.nii.gz", None, affine=IPL)
    return root


def _kits(top: Path, shapes: Mapping[int, tuple[int, int, int]], organs: dict[int, str]) -> Path:
    for number, shape in shapes.items():
        case = top / f"case_{number:05d}"
        write(
            number,
            organs,
            case / "imaging.nii.gz",
            case / "segmentation.nii.gz",
            affine=IPL,
            shape=shape,
            dtype=np.uint16 if number == 15 else np.uint8,
            qform=number == 15,
        )
    write(1, organs, None, top / f"case_{min(shapes):05d}/instances/kidney_a1.nii.gz")
    return top.parents[1]


CTORG = numbered(("liver", "bladder", "lung", "kidney", "bone", "brain"))


def ctorg(root: Path) -> Path:
    """Images and labels in one folder; most organs are out of view in some scans."""
    top = root / "PKG - CT-ORG/CT-ORG/OrganSegmentations"
    for number in (0, 28, 139):
        write(
            number,
            CTORG,
            top / f"volume-{number}.nii.gz",
            top / f"labels-{number}.nii.gz",
            affine=IDENTITY if number == 28 else LPS,
            absent=[2, 6] if number == 0 else [],
        )
    return root


A1K = numbered(("liver", "kidney", "spleen", "pancreas"))


def abdomenct1k(root: Path) -> Path:
    """An image of which the release has no mask, and a scan of unknown voxel size."""
    top = root / "AbdomenCT-1K"
    for number in (1, 10, 78):
        image = top / f"AbdomenCT-1K-ImagePart1/Case_{number:05d}_0000.nii.gz"
        mask = top / f"Mask/Case_{number:05d}.nii.gz"
        write(number, A1K, image, None if number == 10 else mask)
    return root


def task07(root: Path) -> Path:
    """A task of the Decathlon."""
    return _task(root, "Task07_Pancreas", "pancreas_{:03d}", (1, 4, 421), numbered(PANCREAS))


def task09(root: Path) -> Path:
    """Another, whose numbers are not padded."""
    return _task(root, "Task09_Spleen", "spleen_{}", (2, 10, 63), {1: "spleen"})


PANCREAS = ("pancreas", "cancer")


def _task(
    root: Path, task: str, names: str, numbers: Collection[int], organs: dict[int, str]
) -> Path:
    for number in numbers:
        name = names.format(number) + ".nii.gz"
        write(number, organs, root / task / f"imagesTr/{name}", root / task / f"labelsTr/{name}")
        macos(root / task / "labelsTr", name)
    write(5, organs, root / task / f"imagesTs/{names.format(5)}.nii.gz", None)
    return root


TOTAL = {"liver": "liver", "spleen": "spleen", "kidney_l": "kidney_left"}


def totalsegmentator(root: Path) -> Path:
    """A mask file for each structure; the spleen's is missing in one scan and empty in another."""
    top = root / "Totalsegmentator_dataset_v201"
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    for number in (0, 1, 11):
        made = scan(number, numbered(TOTAL))
        store(top / f"s{number:04d}/ct.nii.gz", made.image_XYZ, affine)
        for value, (organ, stem) in enumerate(TOTAL.items(), start=1):
            mask_XYZ = (made.labels_XYZ == value) & ~(organ == "spleen" and number == 1)
            if organ != "spleen" or number != 0:
                path = top / f"s{number:04d}/segmentations/{stem}.nii.gz"
                store(path, mask_XYZ.astype(np.uint8), affine)
    rows = [["image_id", "age", "split"]]
    rows += [["s0000", "61", "train"], ["s0001", "43", "test"], ["s0011", "70", "train"]]
    with (top / "meta.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    return root


def _pancreas_ct(root: Path, number: int, image_XYZ: NDArray[np.int16]) -> None:
    study = f"11-24-2015-PANCREAS{number:04d}-1"
    top = root / "manifest-1599750808610/Pancreas-CT" / f"PANCREAS_{number:04d}" / study
    dicom(top / f"Pancreas-{18957 + number}", image_XYZ, "1-{k:03d}.dcm")


def tcia_pancreas(root: Path) -> Path:
    """Labels lie upside down and back to front on the series; one header has another distance."""
    top = root / "tcia"
    for number in (1, 7, 25, 70, 82):
        made = lying(scan(number, {1: "pancreas"}))
        if number not in (25, 70):
            _pancreas_ct(top, number, made.image_XYZ)
        distance = 3.0 if number == 7 else 1.0
        store(
            top / f"TCIA_pancreas_labels-02-05-2017/label{number:04d}.nii.gz",
            made.labels_XYZ[:, ::-1, ::-1].astype(np.uint8),
            LPS,
            np.diag([1.0, 1.0, distance, 1.0]),
        )
    return root


EIGHT = (1, 3, 4, 5, 6, 7, 11, 14)
MULTIORGAN = numbered((*BTCV, "duodenum"))
BOX = ((1, 31), (2, 27), (1, 10))
"""Box of every scan, along the axes of the label map."""


def multiorgan(root: Path) -> Path:
    """Three groups of annotated organs, and labels outside the box."""
    top = root / "multiorgan"
    some = {value: MULTIORGAN[value] for value in EIGHT}
    for number, organs in ((1, MULTIORGAN), (61, some)):
        made = scan(number, organs)
        made.labels_XYZ[10:12, 10, -1] = 14
        store(top / f"Abdomen/RawData/Training/img/img{number:04d}.nii.gz", made.image_XYZ)
        labels = top / f"label_btcv_multiorgan/label{number:04d}.nii.gz"
        store(labels, made.labels_XYZ.astype(np.uint8))
    for number in (2, 25):
        made = lying(scan(number, some))
        if number != 25:
            _pancreas_ct(top, number, made.image_XYZ)
        labels = top / f"label_tcia_multiorgan/label{number:04d}.nii.gz"
        store(labels, made.labels_XYZ[:, ::-1, ::-1].astype(np.uint8))
    sides = [end for side in BOX for end in side]
    rows: list[list[object]] = [["original_dataset", "name", "id", *"abcdef"]]
    rows += [["tcia", "", f"{number:04d}", *sides] for number in (2, 25)]
    rows += [["btcv", "", f"{number:04d}", *sides] for number in (1, 61)]
    with (top / "cropping.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root


def chaos(root: Path) -> Path:
    """Pictures follow the names of the DICOM files, whose slices run from the top down."""
    for number in (1, 21, 3):
        made = scan(number, {1: "liver"})
        top = root / "CHAOS/Train_Sets/CT" / str(number)
        dicom(top / "DICOM_anon", made.image_XYZ, "i{k:04d},0000b.dcm", reverse=True)
        if number == 3:
            continue
        (top / "Ground").mkdir()
        for place, slice_XY in enumerate(made.labels_XYZ[::-1, ::-1].transpose(2, 0, 1)[::-1]):
            picture = Image.fromarray((slice_XY.T * 255).astype(np.uint8))
            picture.save(top / f"Ground/liver_GT_{place:03d}.png")
    return root


TREES = {
    "lits": (lits, 3),
    "btcv": (btcv, 3),
    "amos": (amos, 3),
    "flare22": (flare22, 2),
    "flare23": (flare23, 4),
    "word": (word, 3),
    "kits": (kits23, 3),
    "kits[release=19]": (kits19, 2),
    "ctorg": (ctorg, 3),
    "abdomenct1k": (abdomenct1k, 2),
    "msd[task=Task07_Pancreas]": (task07, 3),
    "msd[task=Task09_Spleen]": (task09, 3),
    "totalsegmentator": (totalsegmentator, 3),
    "tcia_pancreas": (tcia_pancreas, 3),
    "multiorgan": (multiorgan, 3),
    "chaos": (chaos, 2),
}
"""Data set -> who writes its tree, and the scans with annotated organs in it."""
