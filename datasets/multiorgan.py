"""Multi-organ labels on BTCV and Pancreas-CT, in three groups of annotated organs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Literal

import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray
from typing_extensions import override

from bench.data.dataset import Case, locate
from bench.data.flips import flips
from bench.data.nifti import load
from bench.data.release import Archive, Files, Release, Scans, numbers, placed
from bench.data.tree import find_file
from bench.errors import BenchError
from bench.texttable import read_table

BTCV = Scans("multiorgan_btcv_{:04d}", "img/img{n}.nii", "label_btcv_multiorgan/label{n}.nii")
TCIA = Scans("multiorgan_tcia_{:04d}", "PANCREAS_{n}/*/*/", "label_tcia_multiorgan/label{n}.nii")
LABELLED = {
    BTCV: numbers("1-10 21-40 61-70 74-80"),
    TCIA: numbers("2-14 16-22 24 26-35 38-48"),
}
"""0025 has no CT any more."""
EIGHT = (
    *("spleen", "kidney_l", "gallbladder", "esophagus", "liver", "stomach", "pancreas"),
    "duodenum",
)
LAST_WITH_ALL = 40
"""The training scans of BTCV."""
TCIA_ROWS = 43
RECORD = "https://zenodo.org/records/1169361"
ID_COLUMN, BOX_COLUMNS = 2, slice(3, 9)
"""Number of the scan (``original_id``); first and last plus one voxel along the three axes of the
label map (``extent_left``, ``right``, ``ant``, ``post``, ``inf``, ``sup``)."""
SURELY = 0.01
"""Share of the labelled voxels that a box counted otherwise has to hold in addition."""
MOST_OUTSIDE = 0.2
"""Share of the labelled voxels outside the box above which it is not that of the scan."""


Box = tuple[slice, ...]


class Multiorgan(Release):
    """All 14 organs on BTCV's training scans, eight on its test scans and on Pancreas-CT.

    Outside the box of ``cropping.csv`` labels may be incomplete, so image and labels are cropped
    to it. The images are those of the other two sets. 0025 of Pancreas-CT is left out, as there.
    """

    version = 2
    called = "multiorgan"
    summary = "89 abdominal CT, 14 organs in 30 and 8 in 59 (on BTCV and Pancreas-CT)"
    licence = "CC BY 4.0, images as BTCV and Pancreas-CT"
    citation = "Gibson et al., IEEE TMI 37:1822, 2018"
    urls = (RECORD,)
    layout = (
        "label_btcv_multiorgan/labelNNNN.nii.gz with img/imgNNNN.nii.gz of BTCV (or part=tcia), "
        "label_tcia_multiorgan/labelNNNN.nii.gz with PANCREAS_NNNN/STUDY/SERIES of Pancreas-CT (or "
        "part=btcv), and cropping.csv"
    )
    folders = ("multiorgan", "zenodo-1169361")
    scans = (BTCV, TCIA)
    values = {
        1: "spleen",
        2: "kidney_r",
        3: "kidney_l",
        4: "gallbladder",
        5: "esophagus",
        6: "liver",
        7: "stomach",
        8: "aorta",
        9: "ivc",
        10: "portal_splenic_vein",
        11: "pancreas",
        12: "adrenal_r",
        13: "adrenal_l",
        14: "duodenum",
    }
    sided = True
    complete = 89
    choices = ("", "[part=btcv]", "[part=tcia]")
    archives = {
        "label_btcv_multiorgan.tar.gz": Archive(
            "sha256:bb080c7de1094cc0ee46a5e1bef5b66e635075f8e9a3080ca681086cd2723998",
            f"{RECORD}/files/label_btcv_multiorgan.tar.gz",
        ),
        "label_tciapancreasct_multiorgan.tar.gz": Archive(
            "sha256:1790e252ba0732cc06ec727f00245c8d9c1d5f0bb9829fd3e9915863c5100c61",
            f"{RECORD}/files/label_tciapancreasct_multiorgan.tar.gz",
        ),
        "cropping.csv": Archive(
            "sha256:d6503bda3d776c10698523aae14446409bc9d3722fb405b0025b4a5f59094f8f",
            f"{RECORD}/files/cropping.csv",
        ),
    }

    part: Literal["all", "btcv", "tcia"] = "all"
    """Scans of BTCV (images need a registration), of Pancreas-CT (open), or both."""

    @override
    def patterns(self) -> tuple[Scans, ...]:
        return {"all": (BTCV, TCIA), "btcv": (BTCV,), "tcia": (TCIA,)}[self.part]

    @override
    def label_values(self) -> Mapping[int, str]:
        if self.part != "tcia":
            return self.values
        return {value: organ for value, organ in self.values.items() if organ in EIGHT}

    @override
    def expected(self) -> tuple[int, Mapping[str, int]]:
        return sum(len(LABELLED[scans]) for scans in self.patterns()), {}

    @override
    def annotated_pairs(self) -> int:
        return sum(
            len(self._drawn(scans, number))
            for scans in self.patterns()
            for number in LABELLED[scans]
        )

    @override
    def reads(self, scans: Scans, number: int) -> bool:
        return scans is BTCV or number not in (25, 70)

    @override
    def has_labels(self, scans: Scans, number: int) -> bool:
        return number in LABELLED[scans]

    @override
    def patient(self, case: str, files: Files) -> str:
        return f"{'btcv' if files.scans is BTCV else 'pancreas'}_{files.number:04d}"

    @override
    def annotated(self, files: Files) -> Collection[str]:
        return self._drawn(files.scans, files.number)

    def _drawn(self, scans: Scans, number: int) -> Collection[str]:
        return self.own_organs if scans is BTCV and number <= LAST_WITH_ALL else EIGHT

    @override
    def image(self, case: Case) -> Nifti1Image:
        image, _, box = self._whole(case)
        return _cropped(image, box)

    @override
    def labels(self, case: Case) -> Nifti1Image:
        _, labels, box = self._whole(case)
        return _cropped(labels, box)

    def _whole(self, case: Case) -> tuple[Nifti1Image, Nifti1Image, Box]:
        """Return image and labels before they are cropped, and the box."""
        files = self.file_of(case)
        image = super().image(case)
        if files.labels is None:
            empty = Nifti1Image(np.zeros(image.shape, np.uint8), image.affine)
            return image, empty, (slice(None),) * 3
        where = locate(self.name, case.id, files.labels, "label map")
        labels = self.read_labels(case, files.labels)
        drawn_XYZ = np.asarray(load(files.labels, where).dataobj) > 0
        if image.shape != labels.shape:
            raise BenchError(f"{where}: shape {labels.shape}, but the image has {image.shape}")
        box = self._box(files, drawn_XYZ, where)
        if files.scans is BTCV:
            return image, placed(labels, image.affine, files), box
        turn = flips(image.get_fdata(dtype=np.float32, caching="unchanged"), drawn_XYZ, where)
        turned = np.asarray(labels.dataobj)[turn]
        if not any(case.annotated):
            turned = np.zeros_like(turned)
        box = tuple(
            slice(size - side.stop, size - side.start) if way.step else side
            for side, way, size in zip(box, turn, image.shape, strict=True)
        )
        return image, Nifti1Image(turned, image.affine), box

    def _box(self, files: Files, drawn_XYZ: NDArray[np.bool_], where: str) -> Box:
        """Return the box of a scan along the axes of its label map.

        Which of the first two axes comes first, and from which end an axis is counted, is not
        documented: the labels decide, as they are inside.
        """
        ends = self._boxes.get((files.scans, files.number))
        if ends is None:
            raise BenchError(f"{where}: cropping.csv has no row for it; download the table again")
        boxes = [
            _box_along([ends[place] for place in order], turned, drawn_XYZ.shape)
            for order in ((0, 1, 2), (1, 0, 2))
            for turned in product((False, True), repeat=3)
        ]
        held = [np.count_nonzero(drawn_XYZ[box]) for box in boxes]
        all_of_it = np.count_nonzero(drawn_XYZ)
        best = int(np.argmax(held))
        if held[best] - held[0] <= SURELY * all_of_it:
            best = 0
        box, inside = boxes[best], held[best]
        if all_of_it - inside > MOST_OUTSIDE * all_of_it:
            raise BenchError(
                f"{where}: {all_of_it - inside} of {all_of_it} labelled voxels are outside the box"
                " of cropping.csv, which is that of another scan"
            )
        return box

    @cached_property
    def _boxes(self) -> dict[tuple[Scans, int], tuple[tuple[int, int], ...]]:
        """Return the boxes of ``cropping.csv``, whose first rows are those of Pancreas-CT."""
        table = find_file(self.root, "cropping.csv")
        if table is None:
            raise BenchError(f"{self.root}: no cropping.csv below it; get it from {self.source}")
        found = read_table(table)
        boxes: dict[tuple[Scans, int], tuple[tuple[int, int], ...]] = {}
        for place, row in enumerate(found.rows):
            cells = row.cells
            text = " ".join(cells[:2]).lower()
            scans = BTCV if "btcv" in text or ("tcia" not in text and place >= TCIA_ROWS) else TCIA
            try:
                number, ends = int(cells[ID_COLUMN]), [int(cell) for cell in cells[BOX_COLUMNS]]
                pairs = zip(ends[::2], ends[1::2], strict=True)
                boxes[scans, number] = tuple((min(pair), max(pair)) for pair in pairs)
                if len(ends) != 6:
                    raise ValueError
            except (ValueError, IndexError):
                raise found.fault(row, "holds no id and box") from None
        return boxes


def _box_along(
    ends: Sequence[tuple[int, int]], turned: Sequence[bool], shape: Sequence[int]
) -> Box:
    """Return the box whose sides are counted from the other end where ``turned``."""
    return tuple(
        slice(max(0, size - high), max(0, size - low))
        if turn
        else slice(max(0, low), min(high, size))
        for (low, high), turn, size in zip(ends, turned, shape, strict=True)
    )


def _cropped(image: Nifti1Image, box: Box) -> Nifti1Image:
    affine = image.affine.copy()
    start = [side.start or 0 for side in box]
    affine[:3, 3] += affine[:3, :3] @ start
    return Nifti1Image(np.asarray(image.dataobj)[box], affine)
