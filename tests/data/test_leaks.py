"""The same scan in two cases is found whatever was done to its file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trees
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom
from walk import PROFILE, bench

from bench.data import leaks
from bench.data.catalogue import parse_dataset
from bench.data.check import check
from bench.data.dataset import Case
from bench.data.landmarks import agreement, landmarks, recognisable, twins
from bench.data.leaks import find_leaks, refuse_leaks, remembered_landmarks
from bench.errors import BenchError
from bench.seeds import generator

SPACING = (3.0, 3.0, 3.0)


def anatomy(number: int) -> NDArray[np.float32]:
    """Return a scan of soft shapes, 180 x 180 x 150 mm."""
    rng = generator(0, "anatomy", number)
    image_XYZ = gaussian_filter(rng.normal(size=(60, 60, 50)), 3.0)
    return np.rint(300 * image_XYZ / np.abs(image_XYZ).max()).astype(np.float32)


def coarser(image_XYZ: NDArray[np.float32]) -> NDArray[np.float32]:
    return zoom(image_XYZ, (0.8, 1.5, 1.2), order=1, grid_mode=True, mode="nearest")


@pytest.mark.parametrize(
    ("altered", "spacing"),
    [
        (lambda image: image, SPACING),
        (lambda image: np.rint(image / 2) * 2, SPACING),
        (lambda image: image + 1024, SPACING),
        (lambda image: image[:, :, 15:], SPACING),
        (lambda image: image[8:50, 5:48], SPACING),
        (coarser, (3.75, 2.0, 2.5)),
        (lambda image: coarser(image)[:, :, 20:], (3.75, 2.0, 2.5)),
    ],
    ids=["equal", "rounded", "stored", "shorter", "narrower", "resampled", "both"],
)
def test_an_altered_scan_is_recognised(altered, spacing) -> None:  # type: ignore[no-untyped-def]
    scans = [landmarks(anatomy(number), SPACING) for number in range(4)]
    twin = landmarks(altered(anatomy(2)), spacing)
    assert [(pair.first, pair.second) for pair in twins([*scans, twin])] == [(2, 4)]


def test_other_scans_share_next_to_nothing() -> None:
    scans = [landmarks(anatomy(number), SPACING) for number in range(6)]
    assert all(map(recognisable, scans))
    shares = [agreement(scans[i], scans[j]).share for i in range(6) for j in range(i)]
    assert max(shares) < 0.2


def test_maps_of_small_values_are_told_apart() -> None:
    scans = [landmarks(anatomy(number) / 1e6 + 1, SPACING, hu=False) for number in (0, 1, 0)]
    assert [(pair.first, pair.second) for pair in twins(scans)] == [(0, 2)]
    assert len({scan.content for scan in scans}) == 2


def test_generated_bodies_without_texture_are_no_twins_unless_every_voxel_is_equal() -> None:
    across = np.hypot(*np.meshgrid(np.arange(96) - 48, np.arange(96) - 48))[..., None]
    height = np.arange(40)
    scans = []
    for number in range(3):
        body_XYZ = np.where(across < 43, 30.0, -1000.0) + np.zeros(40)
        place = 10 + 10 * number
        body_XYZ[(across - 20) ** 2 + (height - place) ** 2 < 64] = 150.0
        noise_XYZ = generator(0, "cylinder", number).normal(0.0, 10.0, body_XYZ.shape)
        scans.append(landmarks(np.rint(body_XYZ + noise_XYZ).astype(np.float32), (3.0, 3.0, 5.0)))
    alike = agreement(scans[0], scans[1])
    assert (alike.share > 0.45, alike.common > 12, alike.own < 6) == (True, True, True)
    assert not any(map(recognisable, scans))
    assert [(pair.first, pair.second) for pair in twins([*scans, scans[1]])] == [(1, 3)]


def site(root: Path, numbers: list[int], image_type: type[np.generic], prefix: str) -> Path:
    """Write a folder with an anatomy per case."""
    labels = {"background": 0, "liver": 1, "spleen": 2}
    for number in numbers:
        image_XYZ = anatomy(number)
        stored_XYZ = image_XYZ.astype(image_type)
        affine = np.diag([*SPACING, 1.0])
        trees.save(root / f"imagesTr/{prefix}{number}_0000.nii.gz", stored_XYZ, affine)
        drawn_XYZ = 1 + (image_XYZ > 100).astype(np.uint8)
        trees.save(root / f"labelsTr/{prefix}{number}.nii.gz", drawn_XYZ, affine)
    description = {"name": root.name, "channel_names": {"0": "CT"}, "labels": labels}
    (root / "dataset.json").write_text(json.dumps(description))
    return root


@pytest.fixture
def pair(tmp_path: Path) -> str:
    """Two releases that share one scan under other names and voxel types."""
    flare = site(tmp_path / "flare", [0, 1], np.int16, "FLARE22_Tr_000")
    decathlon = site(tmp_path / "decathlon", [1, 2], np.float32, "pancreas_10")
    return f"sources=flare={flare}:task07={decathlon}"


def test_a_run_on_two_releases_of_one_scan_is_refused(pair: str, tmp_path: Path) -> None:
    options = ["-m", "naive", "-l", "100", "-p", PROFILE, "--launcher", "inline"]
    command = ["run", "-d", f"union[{pair}]", *options, "--store", tmp_path / "s"]
    said = bench(*command, code=2).err
    for part in ("FLARE22_Tr_0001_0000.nii.gz", "pancreas_101_0000.nii.gz", "remove one", "twins"):
        assert part in " ".join(said.split())
    assert "equal voxels" in said
    assert not list((tmp_path / "s").glob("stages/*"))
    assert "Naive" in bench(*command, "--accept-twins").out


def test_scans_that_always_train_may_be_twins(pair: str, tmp_path: Path) -> None:
    dataset = parse_dataset(f"union[{pair.replace('task07=', 'more=')},test=flare]")
    with pytest.raises(BenchError, match=r"hold the same scan.*remove one [^,;]*; `bench"):
        refuse_leaks(dataset, dataset.cases(), tmp_path / "digests.json")
    (lone,) = [case for case in dataset.cases() if case.id.endswith("102")]
    train = [case for case in dataset.cases() if case.domain == "more"]
    refuse_leaks(dataset, [*train, lone], tmp_path / "digests.json")


def test_the_check_lists_twins_and_one_patient_settles_them(tmp_path: Path) -> None:
    root = site(tmp_path / "set", [0, 1, 2], np.int16, "a")
    affine = np.diag([*SPACING, 1.0])
    trees.save(root / "imagesTr/b_0000.nii.gz", anatomy(1)[:, :, 12:].astype(np.float32), affine)
    trees.save(root / "labelsTr/b.nii.gz", np.ones((60, 60, 38), np.uint8), affine)
    dataset = parse_dataset(str(root))
    found = [problem.message for problem in check(dataset).errors]
    assert len(found) == 1
    assert "a1, b hold the same scan" in found[0]
    assert "remove one (image and label map), give both one patient in annotations.csv" in found[0]
    rows = ["case,Patient_ID,liver,spleen", "a0,p,1,1", "a1,q,1,1", "a2,r,1,1", "b,q,1,1"]
    (root / "annotations.csv").write_text("\n".join(rows))
    refuse_leaks(dataset, dataset.cases(), tmp_path / "digests.json")
    result = check(dataset)
    assert (result.patients, result.errors) == (3, ())
    assert any("a1, b hold the same scan" in problem.message for problem in result.warnings)


def test_an_unchanged_scan_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = site(tmp_path / "set", [0, 1], np.int16, "a")
    dataset, memory = parse_dataset(str(root)), tmp_path / "store/digests.json"
    before = remembered_landmarks(dataset, dataset.cases(), memory)
    kept = sorted((tmp_path / "store/scans").iterdir())
    kept[0].write_bytes(b"damaged")
    again = remembered_landmarks(dataset, dataset.cases(), memory)
    monkeypatch.setattr(leaks, "read_image", None)
    for scans in (again, remembered_landmarks(dataset, dataset.cases(), memory)):
        for case, scan in before.items():
            assert scan.content == scans[case].content
            assert np.array_equal(scan.looks_ND, scans[case].looks_ND)


def test_equal_scans_too_small_for_landmarks_are_found(tmp_path: Path) -> None:
    root = trees.nnunet(tmp_path, 4)
    copy = root / "imagesTr/case_001_0000.nii.gz"
    trees.save(copy, trees.volume(3).image_XYZ.astype(np.float64))
    (found,) = check(parse_dataset(str(root))).errors
    assert "case_001, case_003 hold the same scan (equal voxels)" in found.message


@pytest.mark.parametrize("column", ["Patient", "PatientID", "pid", "Patienten-ID", "Subject no"])
def test_patients_are_known_by_any_spelling_of_the_column(column: str, tmp_path: Path) -> None:
    root = trees.nnunet(tmp_path, 4)
    table = root / "annotations.csv"
    table.write_text(
        table.read_text().replace("case,patient,", f"case,{column},").replace("nt_001", "nt_000")
    )
    assert len({case.patient for case in parse_dataset(str(root)).cases()}) == 3
    table.write_text(table.read_text().replace(",tier,", ",patient-name,"))
    with pytest.raises(BenchError, match=f"{column}, patient-name all seem to name the patient"):
        parse_dataset(str(root)).cases()


def test_twins_that_train_in_the_same_folds_do_not_part() -> None:
    scan = landmarks(anatomy(0), SPACING)
    for folds, part in (("all", False), ((), False), ((0, 2), False), (None, True)):
        pair = [
            Case(id=name, patient=name, annotated=(True,), trains_in=folds) for name in ("a", "b")
        ]
        (leak,) = find_leaks(pair, {"a": scan, "b": scan})
        assert leak.parts == part
