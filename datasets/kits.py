"""KiTS: CT of patients with kidney tumours, of the challenges of 2019, 2021 and 2023."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from typing_extensions import override

from bench.data.release import Release, Scans

CASES = {"19": 210, "21": 300, "23": 489}


class Kits(Release):
    """Both kidneys are one organ, tumours and cysts included: the labels have no sides."""

    called = "kits"
    summary = "489 (210, 300) CT with kidney labels (KiTS23, 21, 19)"
    licence = "CC BY-NC-SA 4.0"
    citation = "Heller et al., arXiv:2307.01984, 2023 (19: Med. Image Anal. 67:101821, 2021)"
    urls = ("https://github.com/neheller/kits23", "https://github.com/neheller/kits19")
    layout = "case_NNNNN/imaging.nii.gz and case_NNNNN/segmentation.nii.gz"
    folders = ("kits", "kits23", "kits21", "kits19", "KiTS23", "KiTS21", "KiTS19")
    scans = (Scans("case_{:05d}", "case_{n}/imaging.nii", "case_{n}/segmentation.nii"),)
    values = {1: "kidney", 2: "kidney", 3: "kidney"}
    complete = 489
    choices = ("", "[release=21]", "[release=19]")

    release: Literal["19", "21", "23"] = "23"
    """Year of the challenge."""

    @override
    def expected(self) -> tuple[int, Mapping[str, int]]:
        return CASES[self.release], {}

    @override
    def has_labels(self, scans: Scans, number: int) -> bool:
        return self.release != "19" or number < CASES["19"]
