"""Data and stores that the walks of the matrix share."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import trees


@pytest.fixture(scope="session")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases in nnU-Net layout; one lacks an annotation by nature."""
    root = tmp_path_factory.mktemp("clinic")
    return trees.nnunet(root / "tiny", 6, hidden={4: ("spleen",)}, shape=(48, 40, 12))


@pytest.fixture(scope="session")
def native_scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan of no data set: sides that nothing divides, stored back to front, oblique."""
    scan = trees.volume(40, (53, 47, 13))
    turn = np.deg2rad(7.0)
    affine = np.array(
        [
            [-1.3 * np.cos(turn), 1.3 * np.sin(turn), 0.0, 30.0],
            [-1.3 * np.sin(turn), -1.3 * np.cos(turn), 0.0, -12.0],
            [0.0, 0.0, 4.5, 100.0],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
    path = tmp_path_factory.mktemp("native") / "scan.nii.gz"
    nib.save(nib.Nifti1Image(scan.image_XYZ[::-1, ::-1], affine), path)
    return path
