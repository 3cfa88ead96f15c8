"""Medical Segmentation Decathlon: any of its ten tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from typing_extensions import override

from bench.data.release import Archive, Files, Release, Scans

TaskName = Literal[
    "Task01_BrainTumour",
    "Task02_Heart",
    "Task03_Liver",
    "Task04_Hippocampus",
    "Task05_Prostate",
    "Task06_Lung",
    "Task07_Pancreas",
    "Task08_HepaticVessel",
    "Task09_Spleen",
    "Task10_Colon",
]


class Task(NamedTuple):
    """Start of the file names, label values, channels and cases of a task."""

    prefix: str
    values: Mapping[int, str]
    cases: int
    channels: tuple[str, ...] = ("CT",)


TASKS: dict[str, Task] = {
    "Task01_BrainTumour": Task(
        "BRATS",
        {1: "edema", 2: "non_enhancing_tumour", 3: "enhancing_tumour"},
        484,
        ("FLAIR", "T1w", "t1gd", "T2w"),
    ),
    "Task02_Heart": Task("la", {1: "left_atrium"}, 20, ("MRI",)),
    "Task03_Liver": Task("liver", {1: "liver", 2: "liver"}, 131),
    "Task04_Hippocampus": Task(
        "hippocampus", {1: "hippocampus_anterior", 2: "hippocampus_posterior"}, 260, ("MRI",)
    ),
    "Task05_Prostate": Task(
        "prostate", {1: "prostate_peripheral", 2: "prostate_transition"}, 32, ("T2", "ADC")
    ),
    "Task06_Lung": Task("lung", {1: "lung_tumour"}, 63),
    "Task07_Pancreas": Task("pancreas", {1: "pancreas", 2: "pancreas"}, 281),
    "Task08_HepaticVessel": Task("hepaticvessel", {1: "hepatic_vessel", 2: "liver_tumour"}, 303),
    "Task09_Spleen": Task("spleen", {1: "spleen"}, 41),
    "Task10_Colon": Task("colon", {1: "colon_tumour"}, 126),
}
HOST = "https://msd-for-monai.s3-us-west-2.amazonaws.com"
SHA256 = {
    "Task03_Liver": "4007d9db1acda850d57a6ceb2b3998b7a0d43f8ad5a3f740dc38bc0cb8b7a2c5",
    "Task07_Pancreas": "e40181a0229ca85c2588d6ebb90fa6674f84eb1e66f0f968cda088d011769732",
    "Task09_Spleen": "dfeba347daae4fb08c38f4d243ab606b28b91b206ffc445ec55c35489fa65e60",
}


class Msd(Release):
    """A task of the Decathlon; an organ includes its tumour (liver, pancreas)."""

    called = "msd"
    summary = "a task of the Medical Segmentation Decathlon, e.g. 281 CT with pancreas labels"
    licence = "CC BY-SA 4.0"
    citation = "Antonelli et al., Nature Communications 13:4128, 2022"
    urls = ("http://medicaldecathlon.com",)
    layout = "TaskNN_Name with imagesTr/NAME_N.nii.gz and labelsTr/NAME_N.nii.gz"
    folders = ("msd", "MSD", "decathlon", "Decathlon")
    scans = ()
    choices = tuple(f"[task={name}]" for name in TASKS)
    values = {}
    archives = {
        f"{name}.tar": Archive(f"sha256:{digest}", f"{HOST}/{name}.tar")
        for name, digest in SHA256.items()
    }

    task: TaskName
    """Folder of the task, as in ``msd[task=Task07_Pancreas]``."""

    @property
    @override
    def channel_names(self) -> tuple[str, ...]:
        return TASKS[self.task].channels

    @override
    def label_values(self) -> Mapping[int, str]:
        return TASKS[self.task].values

    @override
    def patterns(self) -> tuple[Scans, ...]:
        prefix = TASKS[self.task].prefix
        case = f"{prefix}_{{:03d}}"
        return (
            Scans(case, f"imagesTr/{prefix}_{{n}}.nii", f"labelsTr/{prefix}_{{n}}.nii"),
            Scans(case, f"imagesTs/{prefix}_{{n}}.nii"),
        )

    @override
    def downloads(self) -> Mapping[str, Archive]:
        name = f"{self.task}.tar"
        return {name: self.archives[name]} if name in self.archives else {}

    @override
    def patient(self, case: str, files: Files) -> str:
        return f"lits_{files.number:03d}" if self.task == "Task03_Liver" else case

    @override
    def lacks_spacing(self, number: int) -> bool:
        return self.task == "Task03_Liver" and number in range(28, 48)

    @override
    def expected(self) -> tuple[int, Mapping[str, int]]:
        return TASKS[self.task].cases, {}
