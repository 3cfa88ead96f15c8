"""A fold that is written for nnU-Net and read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import trees
from command import Bench
from nnunet import FOLD, N_FOLDS, differences, split

from bench.data.dataset import Dataset
from bench.data.export import Gaps, export_nnunet
from bench.data.scan import read_scan
from bench.datasets.folder import Folder
from bench.errors import BenchError


def export(dataset: Dataset, folder: Path, **options: Any) -> Folder:
    export_nnunet(dataset, folder, **{"fold": FOLD, "n_folds": N_FOLDS, "seed": 0} | options)
    return Folder(root=folder)


@pytest.mark.parametrize("gaps", ["flags", "ignore"])
@pytest.mark.parametrize("channels", [("CT",), ("T2", "CT")])
def test_flags_labels_and_images_come_back(
    tmp_path: Path, gaps: Gaps, channels: tuple[str, ...]
) -> None:
    hidden = {4: ("spleen",), 5: ("liver", "kidney_l")}
    dataset = Folder(root=trees.nnunet(tmp_path / "set", 6, hidden=hidden, channels=channels))
    again = export(dataset, tmp_path / "out", label_pct=50, gaps=gaps)
    assert list(differences(dataset, again, FOLD, 50, gaps=gaps)) == []
    other = "ignore" if gaps == "flags" else "flags"
    found = list(differences(dataset, again, FOLD, 50, gaps=other))
    assert found
    assert all(line.endswith(": another label map") for line in found)
    expected, folds = split(dataset, FOLD, 50), split(again, FOLD, 100)
    assert (folds.train, folds.test) == (expected.train, expected.test)


def test_all_folds_are_listed_where_nothing_is_hidden(tmp_path: Path) -> None:
    dataset = Folder(root=trees.nnunet(tmp_path / "set", 6))
    export(dataset, tmp_path / "out", label_pct=100, gaps="ignore")
    listed = json.loads((tmp_path / "out/splits_final.json").read_text())
    assert [fold["val"] for fold in listed] == [list(split(dataset, f, 100).test) for f in range(3)]
    description = json.loads((tmp_path / "out/dataset.json").read_text())
    assert "ignore" not in description["labels"]
    assert description["numTraining"] == 6
    stored = nib.load(tmp_path / "out/imagesTr/case_000_0000.nii.gz")
    assert stored.get_data_dtype() == np.int16


def test_voxels_of_unknown_class_are_ignored_with_either_choice(tmp_path: Path) -> None:
    root = trees.nnunet(tmp_path / "set", 6)
    description = json.loads((root / "dataset.json").read_text())
    description["labels"]["ignore"] = 9
    (root / "dataset.json").write_text(json.dumps(description))
    labels_XYZ = trees.volume(2).labels_XYZ.copy()
    labels_XYZ[:, :, :3] = 9
    trees.save(root / "labelsTr/case_002.nii.gz", labels_XYZ)
    dataset = Folder(root=root)
    again = export(dataset, tmp_path / "out", label_pct=100, gaps="flags")
    for case in dataset.cases():
        np.testing.assert_array_equal(
            read_scan(again, case).labels_XYZ, read_scan(dataset, case).labels_XYZ
        )
    values = np.unique(np.asarray(nib.load(tmp_path / "out/labelsTr/case_002.nii.gz").dataobj))
    assert values.max() == 5  # nnU-Net wants the highest value


def test_the_command_says_which_split_it_is(bench: Bench, tmp_path: Path) -> None:
    trees.nnunet(tmp_path / "set", 6)
    command = ("data", "export", "nnunet", "./set", "-o", "Dataset101_Set", "--n-folds", "3")
    code, out, _ = bench(*command, "-l", "50", "-f", "2")
    assert code == 0
    assert out == "Dataset101_Set\nits only split, 0 for nnU-Net, is fold 2 here\n"
    code, _, err = bench(*command)
    assert (code, err) == (2, "error: Dataset101_Set: is not empty; name a new folder\n")
    code, out, _ = bench("data", "check", "./Dataset101_Set")
    assert code == 0
    assert "6 cases of 6 patients" in out


def test_an_impossible_fold_is_left_out_and_another_name_is_said(
    bench: Bench, tmp_path: Path
) -> None:
    trees.nnunet(tmp_path / "set", 6, hidden=dict.fromkeys(range(5), ("spleen",)))
    command = ("data", "export", "nnunet", "--n-folds", "3", "-o")
    code, out, err = bench(*command, "out", "./set")
    assert (code, out) == (0, "out\nits splits, from 0 for nnU-Net, are folds 0 and 2 here\n")
    assert "a fold is left out: Generated: spleen is annotated in no training patient of" in err
    assert len(json.loads(Path("out/splits_final.json").read_text())) == 2
    code, _, err = bench(*command, "one", "./set[where=patient=patient_005|patient_001]")
    assert (code, err.count("\n")) == (2, 1)
    code, _, err = bench(*command, "part", "./set[where=tier=A|B]")
    assert "is called Generated_where_tier_A_B, not Generated[where=tier=A|B]: its folds" in err


def test_cases_that_always_train_do_so_when_they_are_read_again(tmp_path: Path) -> None:
    root = trees.nnunet(tmp_path / "set", 8, hidden={7: ("liver", "spleen", "kidney_l")})
    (header, *rows) = (root / "annotations.csv").read_text().split()
    folds = ["", "", "", "", "", "0 2", "none", "All"]
    lines = [f"{row},{fold}" for row, fold in zip(rows, folds, strict=True)]
    (root / "annotations.csv").write_text("\n".join([f"{header},trains_in", *lines]))
    dataset = Folder(root=root)
    trains = [None, None, None, None, None, (0, 2), (), "all"]
    assert [case.trains_in for case in dataset.cases()] == trains
    again = export(dataset, tmp_path / "out", label_pct=100, gaps="flags")
    assert [case.trains_in for case in again.cases()] == trains
    for fold in range(N_FOLDS):
        assert split(again, fold, 100) == split(dataset, fold, 100)
        assert "case_007" in split(again, fold, 100).train


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    dataset = Folder(root=trees.nnunet(tmp_path / "set", 6))
    with pytest.raises(BenchError, match="is not empty; name a new folder"):
        export(dataset, tmp_path / "set", label_pct=50, gaps="ignore")
    with pytest.raises(BenchError, match="fold 7 does not exist"):
        export(dataset, tmp_path / "out", fold=7, label_pct=50, gaps="ignore")
    assert not (tmp_path / "out").exists()
