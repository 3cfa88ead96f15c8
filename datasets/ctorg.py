"""CT-ORG: 140 CT with liver, bladder, lungs, kidneys, bones and brain."""

from typing_extensions import override

from bench.data.release import Files, Release, Scans

OF_LITS = {n: n for n in range(131) if n not in range(17, 23)} | {19: 22, 22: 18, 134: 19}
"""Number here -> number in LiTS. Grids agree (size, spacing, number of slices) under the same
number in 78 of 82 scans that could be compared, and as listed in three; 17, 18, 20, 21 are open."""


class Ctorg(Release):
    """Volumes 0 to 130 are scans of LiTS and count as its patients, as far as it is known which.

    Lungs and bones were drawn by an algorithm.
    """

    called = "ctorg"
    summary = "140 CT, 6 organs (CT-ORG)"
    licence = "CC BY 3.0"
    citation = "Rister et al., Scientific Data 7:381, 2020"
    urls = ("https://www.cancerimagingarchive.net/collection/ct-org",)
    layout = "volume-N.nii.gz and labels-N.nii.gz in one folder"
    folders = ("ctorg", "CT-ORG", "PKG - CT-ORG")
    scans = (Scans("ctorg_{:03d}", "volume-{n}.nii", "labels-{n}.nii"),)
    values = {1: "liver", 2: "bladder", 3: "lung", 4: "kidney", 5: "bone", 6: "brain"}
    unmeasured = range(28, 48)
    cropped = True
    complete = 140
    present = {"bladder": 114, "brain": 9}
    defects = dict.fromkeys((19, 70, 74, 76), "others found its labels faulty; look at it")

    @override
    def patient(self, case: str, files: Files) -> str:
        return f"lits_{OF_LITS[files.number]:03d}" if files.number in OF_LITS else case
