"""CHAOS: 20 CT with liver labels, as DICOM with a picture for each slice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Image
from typing_extensions import override

from bench.data.dataset import Case, locate
from bench.data.dicom import find_series
from bench.data.release import Archive, Release, Scans, numbers
from bench.errors import BenchError

TRAINING = numbers("1 2 5 6 8 10 14 16 18 19 21-30")


class Chaos(Release):
    """The CT of the challenge. Pictures belong to DICOM files in the order of their names."""

    called = "chaos"
    summary = "20 abdominal CT with liver labels (CHAOS, as DICOM)"
    licence = "CC BY-SA 4.0"
    citation = "Kavur et al., Med. Image Anal. 69:101950, 2021"
    urls = ("https://zenodo.org/records/3431873 (CHAOS_Train_Sets.zip)",)
    layout = "Train_Sets/CT/N/DICOM_anon with DICOM files and Train_Sets/CT/N/Ground with pictures"
    folders = ("chaos", "CHAOS", "Train_Sets")
    scans = (Scans("chaos_{:02d}", "CT/{n}/DICOM_anon/", "CT/{n}/Ground/"),)
    values = {1: "liver"}
    no_labels = numbers("1-40") - TRAINING
    complete = 20
    archives = {
        "CHAOS_Train_Sets.zip": Archive(
            "sha256:535f7d3417a0e0f0d9133fb3d962423d2a9cf3f103e4f09a3d8a1daf87d5d2fc",
            "https://zenodo.org/records/3431873/files/CHAOS_Train_Sets.zip",
        )
    }

    @override
    def read_labels(self, case: Case, path: Path) -> Nifti1Image:
        from PIL import Image

        where = locate(self.name, case.id, path, "label map")
        series = find_series(self.file_of(case).image)
        pictures = sorted(one for one in path.iterdir() if one.suffix.lower() == ".png")
        names = sorted(one.path.name for one in series.slices)
        if len(pictures) != len(names):
            raise BenchError(
                f"{where}: {len(pictures)} pictures for {len(names)} slices; complete the download"
            )
        partner = dict(zip(names, pictures, strict=True))
        labels_IJK = np.zeros(series.shape, np.uint8)
        for k, one in enumerate(series.slices):
            picture = partner[one.path.name]
            try:
                with Image.open(picture) as opened:
                    drawn_JI = np.asarray(opened.convert("L")) > 0
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                raise BenchError(f"{where}: {picture.name} cannot be read ({error})") from None
            if drawn_JI.shape != labels_IJK.shape[1::-1]:
                raise BenchError(f"{where}: {picture.name} has another size than its slice")
            labels_IJK[:, :, k] = drawn_JI.T * self.number("liver")
        return Nifti1Image(labels_IJK, series.affine)
