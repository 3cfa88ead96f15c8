"""OpenKBP: head-and-neck planning CT with clinical contours, annotated only in part.

Reads a plain clone of the public repository. A patient's folder holds sparse tables over a
flattened 128 x 128 x 128 array (C order; axes anterior to posterior, right to left, superior to
inferior): the CT as HU + 1024 and the voxels of each organ. An organ without a table was not
contoured.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray
from typing_extensions import override

from bench.data.dataset import Case, Dataset, locate
from bench.errors import BenchError
from bench.files import absent

ORGANS = (
    "Brainstem",
    "SpinalCord",
    "RightParotid",
    "LeftParotid",
    "Esophagus",
    "Larynx",
    "Mandible",
)
SIDE = 128
"""Voxels along each axis."""
PARTS = ("train-pats", "validation-pats", "test-pats")

MIN_SECTION_CM2 = 50.0
"""Least CT area of a slice that is kept: smaller than any neck, larger than the contours.

About half the patients have CT only in a slab around the target; outside it just the voxels inside
contoured structures carry a value.
"""

_PATIENT = re.compile(r"pt_(\d+)")
_AIR = -1024.0


class OpenKbp(Dataset):
    """OpenKBP in the layout of its repository, cropped to the voxels that carry CT."""

    summary: ClassVar[str] = "head-and-neck CT, 7 organs, genuinely partially annotated (OpenKBP)"
    source: ClassVar[str] = (
        "git clone https://github.com/ababier/open-kbp (MIT licence;"
        " cite Babier et al., Med. Phys. 48:5549, 2021)"
    )
    layout: ClassVar[str] = (
        "provided-data/train-pats/pt_N (also validation-pats, test-pats) with ct.csv, "
        "voxel_dimensions.csv and one table for each contoured organ"
    )
    folders: ClassVar[tuple[str, ...]] = (
        *("open-kbp", "open-kbp-master", "openkbp-original"),
        "openkbp",
    )

    @property
    @override
    def name(self) -> str:
        return "openkbp"

    @property
    @override
    def organs(self) -> tuple[str, ...]:
        return ORGANS

    def cases(self) -> tuple[Case, ...]:
        """Return one case for each patient folder, sorted by number.

        Raises
        ------
        BenchError
            No patient found (with source and expected files), or a patient without CT.
        """
        cases = {}
        for folder in self._patient_folders():
            case = _case_id(folder)
            for needed in ("ct.csv", "voxel_dimensions.csv"):
                if not (folder / needed).is_file():
                    what = absent(folder / needed, "file")
                    raise BenchError(f"{what}; update or repeat the clone")
            if case in cases:
                raise BenchError(f"{folder}: patient {case} is in two folders; remove one")
            flags = tuple(os.path.lexists(folder / f"{organ}.csv") for organ in ORGANS)
            cases[case] = Case(id=case, patient=case, annotated=flags)
        return tuple(cases[case] for case in sorted(cases))

    @override
    def files(self, case: Case) -> tuple[Path, ...]:
        folder = self._folder(case)
        contoured = (o for o, flag in zip(ORGANS, case.annotated, strict=True) if flag)
        names = ("ct", "voxel_dimensions", *contoured)
        return tuple(folder / f"{name}.csv" for name in names)

    def image(self, case: Case) -> Nifti1Image:
        """Return the CT in HU inside the box that carries CT, air elsewhere."""
        ct, crop, affine = self._ct(case)
        return Nifti1Image(np.where(ct > 0, ct - 1024, _AIR)[crop], affine)

    def labels(self, case: Case) -> Nifti1Image:
        """Return the label map on the grid of :meth:`image`.

        The few voxels in two contours get the later organ of :data:`ORGANS`. An organ
        outside the box keeps its flag and has no voxel.
        """
        folder = self._folder(case)
        labels = np.zeros(SIDE**3, np.uint8)
        for k, organ in enumerate(ORGANS, start=1):
            if case.annotated[k - 1]:
                table = folder / f"{organ}.csv"
                labels[_read_sparse(table, self._where(case, table))["index"]] = k
        _, crop, affine = self._ct(case)
        return Nifti1Image(labels.reshape(SIDE, SIDE, SIDE)[crop], affine)

    def _patient_folders(self) -> list[Path]:
        above = [self.root / "provided-data" / part for part in PARTS]
        above += [self.root / part for part in PARTS]
        folders = [
            folder
            for part in above
            if part.is_dir()
            for folder in part.iterdir()
            if folder.is_dir() and _PATIENT.fullmatch(folder.name)
        ]
        if not folders:
            raise BenchError(
                f"no OpenKBP patient found below {self.root}; get the data with: {self.source};"
                f" expected {self.layout}"
            )
        return folders

    def _folder(self, case: Case) -> Path:
        number = int(case.id.removeprefix("pt_"))
        places = [
            above / part / f"pt_{number}"
            for above in (self.root / "provided-data", self.root)
            for part in PARTS
        ]
        return next(filter(Path.is_dir, places), places[0])

    def _where(self, case: Case, path: Path) -> str:
        return locate(self.name, case.id, path, "table")

    def _ct(self, case: Case) -> tuple[NDArray[np.float32], tuple[slice, ...], NDArray[np.float64]]:
        """Return the whole CT (HU + 1024, 0 = no CT), the box to keep and the box's affine."""
        folder = self._folder(case)
        spacing = self._spacing(case)
        where = self._where(case, folder / "ct.csv")
        table = _read_sparse(folder / "ct.csv", where)
        if blank := int(table["value"].isna().sum()):
            raise BenchError(f"{where}: {blank} rows without value; update or repeat the clone")
        flat = np.zeros(SIDE**3, np.float32)
        flat[table["index"]] = table["value"]
        ct = flat.reshape(SIDE, SIDE, SIDE)
        crop = _box(ct > 0, spacing)
        if crop is None:
            raise BenchError(
                f"{where}: no slice carries {MIN_SECTION_CM2:g} cm2 of CT; update or repeat the"
                " clone, or remove the patient"
            )
        return ct, crop, _affine(spacing, crop)

    def _spacing(self, case: Case) -> NDArray[np.float64]:
        path = self._folder(case) / "voxel_dimensions.csv"
        try:
            spacing = np.loadtxt(path, ndmin=1)
        except (OSError, ValueError) as error:
            raise BenchError(f"{self._where(case, path)}: cannot be read ({error})") from None
        if spacing.shape != (3,) or not (np.isfinite(spacing) & (spacing > 0)).all():
            raise BenchError(f"{self._where(case, path)}: expected three lengths in mm")
        return spacing


def _case_id(folder: Path) -> str:
    """Return the id of a patient, its number padded so that text order is numeric order."""
    return f"pt_{int(folder.name.removeprefix('pt_')):03d}"


def _read_sparse(path: Path, where: str) -> pd.DataFrame:
    """Return columns ``index`` (flat voxel index) and ``value`` (NaN in contours)."""
    try:
        table = pd.read_csv(
            path,
            header=0,
            names=["index", "value"],
            dtype={"index": np.int64, "value": np.float32},
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise BenchError(f"{where}: cannot be read ({reason}); repeat the clone") from None
    if len(table) and not table["index"].between(0, SIDE**3 - 1).all():
        raise BenchError(f"{where}: an index outside 0..{SIDE**3 - 1}; repeat the clone")
    return table


def _box(has_ct: NDArray[np.bool_], spacing: NDArray[np.float64]) -> tuple[slice, ...] | None:
    """Return the bounding box of the longest run of slices that carry CT, as three slices."""
    section_cm2 = has_ct.sum(axis=(0, 1)) * spacing[0] * spacing[1] / 100.0
    edges = np.flatnonzero(np.diff(np.r_[0, section_cm2 >= MIN_SECTION_CM2, 0]))
    if not len(edges):
        return None
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    slab = slice(int(starts[longest]), int(ends[longest]))
    inside = has_ct[:, :, slab]
    rows, columns = (np.flatnonzero(inside.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1), slab


def _affine(spacing: NDArray[np.float64], crop: tuple[slice, ...]) -> NDArray[np.float64]:
    """Return the affine of a box: world origin in the middle of the 128-cube, RAS mm."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    # Array axes run to posterior, left and inferior, all against their RAS axis.
    for axis, world in enumerate((1, 0, 2)):
        affine[world, axis] = -spacing[axis]
        affine[world, 3] = spacing[axis] * ((SIDE - 1) / 2 - crop[axis].start)
    return affine
