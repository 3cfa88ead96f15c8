from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest
import trees

from bench.data import check as checking
from bench.data.check import check
from bench.data.scan import read_scan
from bench.datasets.folder import Folder
from bench.datasets.lits import Lits
from bench.datasets.openkbp import OpenKbp
from bench.errors import BenchError


def test_nnunet_folder_delivers_canonical_scans_and_flags(tmp_path):
    root = trees.nnunet(tmp_path / "set", hidden={1: ["spleen"], 3: ["liver", "kidney_l"]})
    dataset = Folder(root=root)
    assert dataset.name == "Generated"
    assert dataset.organs == trees.ORGANS
    cases = dataset.cases()
    assert [case.id for case in cases] == [f"case_{n:03d}" for n in range(4)]
    assert [case.patient for case in cases] == [f"patient_{n:03d}" for n in range(4)]
    assert cases[1].annotated == (True, False, True, True)
    assert cases[3].annotated == (False, True, False, True)
    truth = trees.volume(1)
    scan = read_scan(dataset, cases[1])
    np.testing.assert_array_equal(scan.image_CXYZ[0], truth.image_XYZ)
    np.testing.assert_array_equal(
        scan.labels_XYZ, np.where(truth.labels_XYZ == 2, 0, truth.labels_XYZ)
    )
    assert scan.geometry.spacing_mm == (2.0, 2.0, 5.0)
    assert all(path.is_file() for case in cases for path in dataset.files(case))


def test_decathlon_folder_is_read_and_hidden_files_are_ignored(tmp_path):
    dataset = Folder(root=trees.decathlon(tmp_path / "set"))
    assert (dataset.name, dataset.organs) == ("LIVER", ("liver", "spleen"))
    cases = dataset.cases()
    assert [case.id for case in cases] == [f"liver_{n}" for n in range(4)]
    assert all(case.annotated == (True, True) for case in cases)
    truth = trees.volume(2, organs=trees.ORGANS[:2])
    np.testing.assert_array_equal(read_scan(dataset, cases[2]).labels_XYZ, truth.labels_XYZ)


def test_organs_follow_label_values_that_need_not_be_consecutive(tmp_path):
    root = trees.nnunet(tmp_path / "set", cases=2, organs=("liver", "spleen"))
    (root / "annotations.csv").unlink()
    for path in (root / "labelsTr").iterdir():
        image = nib.load(path)
        swapped = np.array([0, 40, 7], np.int16)[np.asarray(image.dataobj)]
        nib.save(nib.Nifti1Image(swapped, image.affine), path)
    labels = {"background": 0, "liver": 40, "spleen": 7}
    (root / "dataset.json").write_text(json.dumps({"labels": labels}))
    dataset = Folder(root=root)
    assert dataset.organs == ("spleen", "liver")
    scan = read_scan(dataset, dataset.cases()[0])
    truth = trees.volume(0, organs=("liver", "spleen")).labels_XYZ
    np.testing.assert_array_equal(scan.labels_XYZ, np.array([0, 2, 1], np.uint8)[truth])


def test_filter_keeps_matching_cases_and_enters_the_name(tmp_path):
    root = trees.nnunet(tmp_path / "set", cases=4)
    dataset = Folder(root=root, where="tier=A")
    assert [case.id for case in dataset.cases()] == ["case_000", "case_002"]
    assert dataset.name == dataset.label == "Generated[where=tier=A]"
    scaled = dataset.model_copy(update={"hu_window": (-100.0, 200.0), "intensity": ("zscore",)})
    assert scaled.name == dataset.name
    assert scaled.label == "Generated[where=tier=A,hu_window=-100:200,intensity=zscore]"
    both = Folder(root=root, where=" patient=patient_002 & tier = B|A")
    assert [case.id for case in both.cases()] == ["case_002"]
    assert both == Folder(root=root, where="tier=A|B&patient=patient_002")
    table = root / "annotations.csv"
    table.write_text(table.read_text().replace(",A,1,", ",A,1.0,"))
    assert len(Folder(root=root, where="tier=A|B&liver=1").cases()) == 4
    assert len(Folder(root=root, where="liver=1.0").cases()) == 4


@pytest.mark.parametrize(
    ("one", "other", "warned"),
    [
        ("1", "1.0", True),
        ("007", "7", True),
        ("P1", "p-01", True),
        ("1-11", "11-1", False),
        ("1.1", "1.10", False),
        ("P1", "Q1", False),
    ],
)
def test_a_patient_in_two_spellings_is_doubted(tmp_path, one, other, warned):
    root = trees.nnunet(tmp_path / "set", cases=3, shape=(8, 8, 4))
    table = root / "annotations.csv"
    text = table.read_text().replace("patient_001", one).replace("patient_002", other)
    table.write_text(text)
    doubts = Folder(root=root).doubts()
    first, second = sorted((one, other))
    assert [line.partition(" in column")[0] for line in doubts] == (
        [f"{first} and {second}"] if warned else []
    )
    assert Folder(root=root, where="tier=A").doubts() == ()


def test_identity_does_not_change_when_the_folder_moves(tmp_path):
    here = Folder(root=trees.nnunet(tmp_path / "here"))
    shutil.copytree(here.root, tmp_path / "there")
    there = Folder(root=tmp_path / "there")
    assert (here.identity(), here.name) == (there.identity(), there.name)
    assert str(tmp_path) not in json.dumps(here.identity())
    assert here.cases() == there.cases()
    assert Folder(root=here.root, where="tier=A").identity() != here.identity()


def test_an_unnamed_folder_is_called_after_itself(tmp_path, monkeypatch):
    root = trees.nnunet(tmp_path / "My CT (2024)")
    description = json.loads((root / "dataset.json").read_text())
    del description["name"]
    (root / "dataset.json").write_text(json.dumps(description))
    monkeypatch.chdir(root)
    assert Folder(root=".").name == "My_CT_2024"


@pytest.mark.parametrize("liver_only", [False, True])
@pytest.mark.parametrize("layout", ["batches", "separate", "decathlon"])
def test_lits_is_found_in_every_layout(tmp_path, layout, liver_only):
    root = trees.lits(tmp_path / "lits")
    if layout == "separate":
        for path in list(root.rglob("*.nii")):
            kind = "segmentations" if path.name.startswith("seg") else "volumes"
            (root / kind).mkdir(exist_ok=True)
            path.rename(root / kind / path.name)
    elif layout == "decathlon":
        for path in list(root.rglob("*.nii")):
            kind, number = path.stem.split("-")
            folder = root / "Task03_Liver" / ("imagesTr" if kind == "volume" else "labelsTr")
            folder.mkdir(parents=True, exist_ok=True)
            nib.save(nib.load(path), folder / f"liver_{number}.nii.gz")
            path.unlink()
        (root / "Task03_Liver/imagesTr/._liver_0.nii.gz").write_bytes(b"junk")
    dataset = Lits(root=root, liver_only=liver_only)
    cases = dataset.cases()
    assert [case.id for case in cases] == ["lits_000", "lits_001", "lits_002", "lits_003"]
    scan = read_scan(dataset, cases[3])
    truth = trees.volume(3, organs=("liver",))
    np.testing.assert_array_equal(scan.image_CXYZ[0], truth.image_XYZ)
    assert (truth.labels_XYZ > 0).sum() - (scan.labels_XYZ > 0).sum() == int(liver_only)
    assert dataset.name == ("lits[liver_only=true]" if liver_only else "lits")


def test_lits_takes_the_grid_of_the_volume_where_headers_disagree(tmp_path):
    root = trees.lits(tmp_path / "lits")
    path = root / "Training Batch 1" / "segmentation-0.nii"
    labels = nib.load(path)
    nib.save(nib.Nifti1Image(labels.get_fdata().astype(np.uint8), np.eye(4)), path)
    dataset = Lits(root=root)
    scan = read_scan(dataset, dataset.cases()[0])
    truth = trees.volume(0, organs=("liver",))
    np.testing.assert_array_equal(scan.labels_XYZ > 0, truth.labels_XYZ > 0)


def test_openkbp_clone_becomes_cropped_ras_scans(tmp_path):
    dataset = OpenKbp(root=trees.openkbp(tmp_path / "open-kbp", slab=(30, 50)))
    cases = dataset.cases()
    assert [case.id for case in cases] == ["pt_001", "pt_002", "pt_003"]
    flags = dict(zip(dataset.organs, cases[0].annotated, strict=True))
    assert [organ for organ, flag in flags.items() if not flag] == [
        "Esophagus",
        "Larynx",
        "Mandible",
    ]
    assert dict(zip(dataset.organs, cases[1].annotated, strict=True))["Larynx"]
    scan = read_scan(dataset, cases[1])
    assert scan.image_CXYZ[0].shape == (41, 41, 20)
    assert scan.geometry.spacing_mm == (4.0, 4.0, 2.5)
    assert scan.image_CXYZ[0].min() == -1024
    assert 40 in scan.image_CXYZ[0]

    centre = {
        organ: np.argwhere(scan.labels_XYZ == k).mean(axis=0)
        for k, organ in enumerate(dataset.organs, start=1)
        if (scan.labels_XYZ == k).any()
    }
    assert centre["RightParotid"][0] > centre["LeftParotid"][0]
    assert centre["SpinalCord"][1] < centre["Larynx"][1]
    assert centre["Brainstem"][2] > centre["Larynx"][2]
    assert not check(dataset).errors


def test_openkbp_crop_keeps_world_coordinates(tmp_path):
    wide, narrow = (
        OpenKbp(root=trees.openkbp(tmp_path / str(slab), patients=1, slab=slab))
        for slab in ((30, 60), (40, 50))
    )
    high = read_scan(wide, wide.cases()[0]).geometry
    low = read_scan(narrow, narrow.cases()[0]).geometry
    shift_mm = low.canonical_affine[:3, 3] - high.canonical_affine[:3, 3]
    np.testing.assert_allclose(shift_mm, [0, 0, 10 * 2.5], atol=1e-9)


def test_check_of_sound_data_reports_numbers_and_nothing_else(tmp_path):
    dataset = Folder(root=trees.nnunet(tmp_path / "set", hidden={1: ["spleen"]}))
    seen = []
    result = check(dataset, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 4) for n in range(1, 5)]
    assert result.problems == ()
    assert (result.cases, result.patients, result.readable) == (4, 4, 4)
    assert result.values[0].low < -900
    assert [axis.high for axis in result.shape] == [32, 28, 10]
    assert [axis.low for axis in result.spacing_mm] == [2, 2, 5]
    spleen = result.organs[1]
    assert (spleen.organ, spleen.annotated, spleen.present) == ("spleen", 3, 3)
    volumes = [(trees.volume(n).labels_XYZ == 2).sum() * 0.02 for n in (0, 2, 3)]
    assert spleen.median_ml == pytest.approx(np.median(volumes))


def test_a_check_that_is_interrupted_reads_no_further_case(tmp_path, monkeypatch):
    dataset = Folder(root=trees.nnunet(tmp_path / "set", cases=12))
    read = []
    image = Folder.image
    monkeypatch.setattr("bench.data.pool.threads", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(Folder, "image", lambda *asked: read.append(asked) or image(*asked))

    def interrupted(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(dataset, progress=interrupted)
    assert len(read) < 6


def test_check_collects_every_error_instead_of_stopping(tmp_path):
    root = trees.nnunet(tmp_path / "set", cases=4)
    (root / "imagesTr/case_000_0000.nii.gz").write_bytes(b"")
    trees.save(root / "labelsTr/case_002.nii.gz", np.full((32, 28, 10), 99, np.uint8))
    result = check(Folder(root=root))
    assert [problem.case for problem in result.errors] == ["case_000", "case_002"]
    assert result.readable == 2


def replace_image(root, number, change, affine=trees.LPS):
    image_XYZ = change(trees.volume(number).image_XYZ.astype(float)).astype(np.int16)
    trees.save(root / f"imagesTr/case_{number:03d}_0000.nii.gz", image_XYZ, affine)


def replace_labels(root, number, change, affine=trees.LPS):
    labels_XYZ = change(trees.volume(number).labels_XYZ)
    trees.save(root / f"labelsTr/case_{number:03d}.nii.gz", labels_XYZ, affine)


def shift_to_positive(root):
    replace_image(root, 1, lambda image: np.clip(image + 1024, 0, None))


def shift_behind_padding(root):
    def spoil(image):
        image = image + 1024
        image[:3, :3] = -2000
        return image

    replace_image(root, 1, spoil)


def shrink(root):
    small = trees.LPS @ np.diag([0.01, 0.01, 0.01, 1.0])
    replace_image(root, 1, lambda image: image, small)
    replace_labels(root, 1, lambda labels: labels, small)


def exchange_kidneys(root):
    replace_labels(root, 1, lambda labels: np.array([0, 1, 2, 4, 3], np.uint8)[labels])


def mirror(root):
    replace_image(root, 1, lambda image: image[::-1])
    replace_labels(root, 1, lambda labels: np.array([0, 1, 2, 4, 3], np.uint8)[labels][::-1])


def empty_spleen(root):
    replace_labels(root, 1, lambda labels: np.where(labels == 2, 0, labels).astype(np.uint8))


def lose_geometry(root):
    replace_image(root, 1, lambda image: image, np.eye(4))
    replace_labels(root, 1, lambda labels: labels, np.eye(4))


def stretch(root):
    far = trees.LPS @ np.diag([1.0, 1.0, 4.0, 1.0])
    replace_image(root, 1, lambda image: image, far)
    replace_labels(root, 1, lambda labels: labels, far)


def tilt(root):
    sheared = trees.LPS.copy()
    sheared[1, 2] = 1.8
    replace_image(root, 1, lambda image: image, sheared)
    replace_labels(root, 1, lambda labels: labels, sheared)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (tilt, "axes are not at right angles"),
        (shift_to_positive, "do not look like HU"),
        (shift_behind_padding, "is above 700 HU, as if 1024 had been added"),
        (shrink, "spacing 0.02 x 0.02 x 0.05 mm; is the header in another unit than mm?"),
        (exchange_kidneys, "kidney_l is to the right of kidney_r"),
        (mirror, "liver is not in the right half"),
        (empty_spleen, "spleen is annotated but has no voxel"),
        (lose_geometry, "carries no geometry"),
        (stretch, "spacing 2 x 2 x 20 mm, the median case has 2 x 2 x 5 mm"),
    ],
)
def test_check_warns_of_what_runs_through_but_looks_wrong(tmp_path, spoil, message):
    root = trees.nnunet(tmp_path / "set", cases=4)
    spoil(root)
    result = check(Folder(root=root))
    assert not result.errors
    found = [problem for problem in result.warnings if message in problem.message]
    assert [problem.case for problem in found] == ["case_001"]


def test_check_says_that_a_download_is_not_complete(tmp_path):
    result = check(Lits(root=trees.lits(tmp_path / "lits")))
    assert [problem.message for problem in result.problems] == [
        "4 of 131 cases; the download is not complete"
    ]


def test_left_and_right_are_paired_by_name():
    organs = ("RightParotid", "left kidney", "kidney_r", "Left_Parotid", "kidney_right", "liver")
    assert sorted(checking._pairs(organs)) == [
        ("Left_Parotid", "RightParotid"),
        ("left kidney", "kidney_right"),
    ]


@pytest.mark.real
def test_all_real_openkbp_cases_are_sound():
    dataset = Folder(root=trees.shared_data("openkbp"))
    result = check(dataset)
    assert (result.cases, result.readable, result.errors) == (197, 197, ())
    assert all("has no voxel" in problem.message for problem in result.warnings)
    assert len(Folder(root=dataset.root, where="tier=A").cases()) == 87


@pytest.mark.real
def test_original_openkbp_tables_agree_with_their_nifti_version():
    original = OpenKbp(root=trees.shared_data("openkbp-original"))
    converted = Folder(root=trees.shared_data("openkbp"))
    partners = {case.id.removeprefix("kbp_"): case for case in converted.cases()}
    cases = original.cases()
    assert len(cases) == 6
    for case in cases:
        partner = partners[case.id.removeprefix("pt_")]
        assert case.annotated == partner.annotated
        start = time.perf_counter()
        ours = read_scan(original, case)
        assert time.perf_counter() - start < 2.0
        theirs = read_scan(converted, partner)
        np.testing.assert_allclose(ours.geometry.spacing_mm, theirs.geometry.spacing_mm, rtol=1e-6)
        # The converted version is cropped more tightly: it must be inside ours, voxel on voxel.
        offset = np.linalg.solve(
            ours.geometry.canonical_affine, theirs.geometry.canonical_affine[:, 3]
        )[:3]
        np.testing.assert_allclose(offset, offset.round(), atol=1e-3)
        box = tuple(
            slice(low, low + length)
            for low, length in zip(
                offset.round().astype(int).tolist(), theirs.labels_XYZ.shape, strict=True
            )
        )
        np.testing.assert_array_equal(ours.image_CXYZ[0][box], theirs.image_CXYZ[0])
        np.testing.assert_array_equal(ours.labels_XYZ[box], theirs.labels_XYZ)
        assert box[2] == slice(0, ours.labels_XYZ.shape[2])
        outside = np.count_nonzero(ours.labels_XYZ) - np.count_nonzero(theirs.labels_XYZ)
        assert outside == 0


SEVEN = ("liver", "gallbladder", "pancreas", "spleen", "kidney_r", "kidney_l", "stomach")


@pytest.mark.real
@pytest.mark.parametrize(
    ("organs", "names"),
    [
        (("liver", "tumour"), ("chaos_ct_eval01", "ircad_1_01", "ircad_1_17")),
        (SEVEN, ("totalseg_example",)),
    ],
)
def test_real_abdominal_ct_is_read_as_a_folder(tmp_path, organs, names):
    singles = trees.shared_data("abdomen-singles")
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "labelsTr").mkdir()
    for name in names:
        shutil.copy(singles / f"images/{name}.nii.gz", tmp_path / f"imagesTr/{name}_0000.nii.gz")
        shutil.copy(singles / f"labels/{name}.nii.gz", tmp_path / f"labelsTr/{name}.nii.gz")
    labels = {"background": 0} | {organ: k for k, organ in enumerate(organs, start=1)}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    result = check(Folder(root=tmp_path))
    assert (result.cases, result.readable, result.errors) == (len(names), len(names), ())
    assert {problem.message.split()[0] for problem in result.warnings} <= {"tumour"}
    assert result.organs[0].present == len(names)
    assert 500 < result.organs[0].median_ml < 3000


@pytest.mark.parametrize("dataset", [Folder, Lits, OpenKbp])
def test_a_wrong_root_is_answered_with_the_expected_files(tmp_path, dataset):
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(BenchError) as error:
            dataset(root=root).cases()
        assert str(root) in str(error.value).splitlines()[0]
        assert dataset.layout in str(error.value)
        if dataset is not Folder:
            assert dataset.source in str(error.value)


def test_a_channel_copied_from_another_is_warned_of(tmp_path):
    root = trees.nnunet(tmp_path, channels=("T2", "noise"))
    assert not check(Folder(root=root)).warnings
    shutil.copy(root / "imagesTr/case_001_0000.nii.gz", root / "imagesTr/case_001_0001.nii.gz")
    (warning,) = check(Folder(root=root)).warnings
    assert (warning.case, warning.message.partition(";")[0]) == (
        "case_001",
        "channels T2 and noise are the same image",
    )
