"""NIH Pancreas-CT: 80 abdominal CT with pancreas labels, as DICOM with label maps beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Image
from typing_extensions import override

from bench.data.dataset import Case, locate
from bench.data.flips import flips
from bench.data.release import Release, Scans


class TciaPancreas(Release):
    """Geometry is that of the DICOM series; headers of label maps are not used, some are wrong.

    0025 and 0070, the same scan as 0002, are left out: older downloads and the labels hold them.
    """

    called = "tcia_pancreas"
    summary = "80 abdominal CT with pancreas labels (NIH Pancreas-CT, as DICOM)"
    licence = "CC BY 3.0"
    citation = "Roth et al., MICCAI 2015, doi:10.7937/K9/TCIA.2016.tNB1kqBU"
    urls = ("https://www.cancerimagingarchive.net/collection/pancreas-ct",)
    layout = (
        "Pancreas-CT/PANCREAS_NNNN/STUDY/SERIES with DICOM files, and "
        "TCIA_pancreas_labels-02-05-2017/labelNNNN.nii.gz"
    )
    folders = ("tcia_pancreas", "tcia", "Pancreas-CT", "NIH-Pancreas")
    scans = (Scans("pancreas_{:04d}", "PANCREAS_{n}/*/*/", "TCIA_pancreas_labels*/label{n}.nii"),)
    values = {1: "pancreas"}
    left_out = (25, 70)
    complete = 80
    defects = dict.fromkeys(
        (7, 27, 32, 45),
        "the header of its label map has another slice distance than the series, which counts",
    )

    @override
    def read_labels(self, case: Case, path: Path) -> Nifti1Image:
        labels_IJK = np.asarray(super().read_labels(case, path).dataobj)
        image = self.image(case)
        where = locate(self.name, case.id, path, "label map")
        turn = flips(np.asarray(image.dataobj), labels_IJK, where)
        return Nifti1Image(labels_IJK[turn], image.affine)
