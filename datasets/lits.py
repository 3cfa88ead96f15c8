"""LiTS: abdominal CT with liver and tumour labels, in either of its two public releases."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import override

from bench.data.release import BACKGROUND, Archive, Release, Scans


class Lits(Release):
    """The 131 training scans of the Liver Tumor Segmentation challenge, organ: liver.

    In the challenge's own release the headers of some segmentations differ from those of their
    volumes although the voxels correspond one to one, so there the volume's header counts for both.
    """

    called = "lits"
    summary = "131 abdominal CT with liver labels (LiTS, or Decathlon Task03_Liver)"
    licence = "Task03 CC BY-SA 4.0; challenge Creative Commons, non-commercial"
    citation = "Bilic et al., Med. Image Anal. 84:102680, 2023"
    urls = (
        "http://medicaldecathlon.com (Task03_Liver)",
        "https://competitions.codalab.org/competitions/17094",
    )
    layout = (
        "volume-N.nii and segmentation-N.nii in any folder (also .nii.gz), or Task03_Liver with "
        "imagesTr/liver_N.nii.gz and labelsTr/liver_N.nii.gz"
    )
    folders = ("lits", "LiTS", "LITS17", "LITS", "Task03_Liver")
    scans = (
        Scans("lits_{:03d}", "volume-{n}.nii", "segmentation-{n}.nii", own_header=False),
        Scans("lits_{:03d}", "imagesTr/liver_{n}.nii", "labelsTr/liver_{n}.nii"),
        Scans("lits_test_{:03d}", "test-volume-{n}.nii"),
        Scans("lits_test_{:03d}", "imagesTs/liver_{n}.nii"),
    )
    values = {1: "liver", 2: "liver"}
    unmeasured = range(28, 48)  # identity affine, in both releases
    complete = 131
    label_fractions = (100, 30, 10, 5, 1)
    archives = {
        "Task03_Liver.tar": Archive(
            "sha256:4007d9db1acda850d57a6ceb2b3998b7a0d43f8ad5a3f740dc38bc0cb8b7a2c5",
            "https://msd-for-monai.s3-us-west-2.amazonaws.com/Task03_Liver.tar",
        ),
    }

    liver_only: bool = False
    """Count tumour voxels as background (label 1 only) instead of liver (labels 1 and 2)."""

    @override
    def label_values(self) -> Mapping[int, str]:
        return {1: "liver", 2: BACKGROUND if self.liver_only else "liver"}
