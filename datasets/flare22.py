"""FLARE22: 50 abdominal CT with thirteen organs, and 2000 without labels."""

from typing_extensions import override

from bench.data.release import Files, Release, Scans

OF_TASK07 = {
    1: 1,
    2: 4,
    3: 6,
    5: 16,
    6: 21,
    9: 49,
    10: 55,
    11: 56,
    14: 91,
    15: 94,
    16: 95,
    17: 96,
    21: 104,
    22: 105,
    24: 109,
    25: 119,
    27: 125,
    28: 227,
    29: 231,
    30: 241,
    31: 242,
    34: 253,
    35: 254,
    36: 256,
    37: 258,
    38: 264,
    43: 300,
    44: 302,
    45: 303,
    46: 304,
    47: 308,
    48: 309,
    50: 313,
}
"""Number here -> number in Decathlon's Task07, which has the same grid (size, spacing, number of
slices). The others could not be compared; numbers ascend in both."""


class Flare22(Release):
    """The labelled cases of the FLARE 2022 challenge; they are also scans of Decathlon's Task07.

    They count as the patients of Task07 as far as it is known which they are.
    """

    called = "flare22"
    summary = "50 abdominal CT, 13 organs (FLARE 2022)"
    licence = "CC BY-NC-SA"
    citation = "Ma et al., Lancet Digital Health 6:e815, 2024"
    urls = ("https://zenodo.org/records/7860267 (FLARE22Train.zip)",)
    layout = "images/FLARE22_Tr_NNNN_0000.nii.gz and labels/FLARE22_Tr_NNNN.nii.gz"
    folders = ("flare22", "FLARE22", "FLARE2022", "FLARE22Train")
    scans = (
        Scans("flare22_{:04d}", "images/FLARE22_Tr_{n}_0000.nii", "labels/FLARE22_Tr_{n}.nii"),
        Scans("flare22_unlabelled_{:05d}", "FLARE22_UnlabeledCase*/Case_{n}_0000.nii"),
    )
    values = {
        1: "liver",
        2: "kidney_r",
        3: "spleen",
        4: "pancreas",
        5: "aorta",
        6: "ivc",
        7: "adrenal_r",
        8: "adrenal_l",
        9: "gallbladder",
        10: "esophagus",
        11: "stomach",
        12: "duodenum",
        13: "kidney_l",
    }
    sided = True
    complete = 50

    @override
    def patient(self, case: str, files: Files) -> str:
        known = files.labels and files.number in OF_TASK07
        return f"pancreas_{OF_TASK07[files.number]:03d}" if known else case
