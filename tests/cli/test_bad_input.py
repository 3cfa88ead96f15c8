"""What users really hand in: every fault ends in one line with what, where and what to do."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest
import trees

from bench.data.check import check
from bench.data.scan import read_scan
from bench.datasets.folder import Folder
from bench.datasets.lits import Lits
from bench.datasets.openkbp import OpenKbp
from bench.errors import BenchError

IMAGE = "imagesTr/case_001_0000.nii.gz"
SECOND = "imagesTr/case_001_0001.nii.gz"
WHOLE = "imagesTr/case_001.nii.gz"
LABEL = "labelsTr/case_001.nii.gz"
HEADER = ["case", "patient", "tier", *trees.ORGANS]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    root = trees.nnunet(tmp_path_factory.mktemp("sound") / "set", hidden={1: ["spleen"]})
    for case in Folder(root=root).cases():
        read_scan(Folder(root=root), case)
    return root


@pytest.fixture
def root(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "set")


def image():
    return trees.volume(1).image_XYZ.astype(np.float32)


def labels():
    labels_XYZ = trees.volume(1).labels_XYZ
    return np.where(labels_XYZ == 2, 0, labels_XYZ).astype(np.uint8)


def shifted(mm):
    affine = trees.LPS.copy()
    affine[0, 3] += mm
    return affine


def with_voxels(*values):
    image_XYZ = image()
    for place, value in enumerate(values, start=3):
        image_XYZ[place, 4, 5] = value
    return image_XYZ


def truncate(root, name):
    data = (root / name).read_bytes()
    (root / name).write_bytes(data[: len(data) // 2])


def save_raw(root, name, array, affine=trees.LPS):
    nib.save(nib.Nifti1Image(array, affine), root / name)


def whole(root, array):
    """Replace the files of both channels by one."""
    (root / IMAGE).unlink()
    (root / SECOND).unlink()
    save_raw(root, WHOLE, array)


def save_scaled(root, labels_XYZ):
    """Write labels as nibabel does for arrays of floating-point numbers in integer files."""
    scaled = nib.Nifti1Image(labels_XYZ[::-1, ::-1].astype(float), trees.LPS)
    scaled.set_data_dtype(np.uint8)
    scaled.header.set_slope_inter(2 / 255, 0)
    nib.save(scaled, root / LABEL)


def save_in(root, unit, factor):
    scan = nib.Nifti1Image(image(), trees.LPS @ np.diag([factor, factor, factor, 1.0]))
    scan.header.set_xyzt_units(unit)
    nib.save(scan, root / IMAGE)


def save_quaternion(root, length):
    """Write an image turned by half a circle about z, with a quaternion of any length."""
    header = nib.Nifti1Image(image()[::-1, ::-1], trees.LPS).header
    header["sform_code"], header["qform_code"], header["vox_offset"] = 0, 1, 352
    header["quatern_b"] = header["quatern_c"] = 0
    header["quatern_d"] = length
    voxels = np.ascontiguousarray(image()[::-1, ::-1]).tobytes("F")
    (root / IMAGE).write_bytes(gzip.compress(header.binaryblock + bytes(4) + voxels))


def flatten_affine(root):
    spoilt = nib.Nifti1Image(image(), None)
    spoilt.header["sform_code"], spoilt.header["vox_offset"] = 1, 352
    spoilt.header["srow_x"] = (2.0, 0.0, 0.0, 0.0)
    spoilt.header["srow_z"] = (0.0, 0.0, 5.0, 0.0)
    header = spoilt.header.binaryblock + bytes(4)
    (root / IMAGE).write_bytes(gzip.compress(header + image().tobytes("F")))


def unlink(root, name):
    path = root / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to("/nowhere/it")


LOST = "is a link, and its target /nowhere/it is missing; mount or fetch it, or remove the link"

FILES = {
    "image without target": (lambda r: unlink(r, IMAGE), IMAGE, LOST),
    "labels without target": (lambda r: unlink(r, LABEL), LABEL, LOST),
    "truncated image": (lambda r: truncate(r, IMAGE), IMAGE, "truncated or corrupt"),
    "truncated labels": (lambda r: truncate(r, LABEL), LABEL, "truncated or corrupt"),
    "compressed twice": (
        lambda r: (r / IMAGE).write_bytes(gzip.compress((r / IMAGE).read_bytes())),
        IMAGE,
        "is compressed once more than its name says",
    ),
    "empty image": (lambda r: (r / IMAGE).write_bytes(b""), IMAGE, "truncated or corrupt"),
    "not compressed": (
        lambda r: (r / IMAGE).write_bytes(b"not gzip at all"),
        IMAGE,
        "truncated or corrupt",
    ),
    "infinity": (
        lambda r: trees.save(r / IMAGE, with_voxels(np.inf), np.eye(4)),
        IMAGE,
        "1 voxel NaN or infinite",
    ),
    "NaN": (
        lambda r: trees.save(r / IMAGE, with_voxels(np.nan, -np.inf), np.eye(4)),
        IMAGE,
        r"2 voxels NaN or infinite, the first at index \(3, 4, 5\)",
    ),
    "four dimensions": (
        lambda r: save_raw(r, IMAGE, np.zeros((32, 28, 10, 2), np.int16)),
        IMAGE,
        r"4 dimensions \(32, 28, 10, 2\), expected one 3D volume",
    ),
    "one slice": (
        lambda r: save_raw(r, IMAGE, np.zeros((32, 28), np.int16)),
        IMAGE,
        "2 dimensions .*single picture.*convert the whole series",
    ),
    "colour image": (
        lambda r: save_raw(
            r, IMAGE, np.zeros((32, 28, 10), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
        ),
        IMAGE,
        "colour voxels; export one grey value",
    ),
    "singular affine": (
        flatten_affine,
        IMAGE,
        "affine has no inverse",
    ),
    "other shape": (
        lambda r: trees.save(r / LABEL, labels()[:-1]),
        LABEL,
        r"shape \(31, 28, 10\), but the image has \(32, 28, 10\)",
    ),
    "other origin": (
        lambda r: trees.save(r / LABEL, labels(), shifted(1.0)),
        LABEL,
        "affine differs .*corners up to 1 mm apart",
    ),
    "other orientation": (
        lambda r: trees.save(r / LABEL, labels(), np.diag([2.0, -2.0, 5.0, 1.0])),
        LABEL,
        "affine differs",
    ),
    "unknown label": (
        lambda r: trees.save(r / LABEL, labels() + (labels() == 4) * np.uint8(3)),
        LABEL,
        "unknown label 7 in .*known are 0 background, 1 liver, 2 spleen, 3 kidney_l, 4 kidney_r",
    ),
    "interpolated labels": (
        lambda r: trees.save(r / LABEL, labels() * np.float32(0.5)),
        LABEL,
        "with no whole number, such as [0-9].5; never interpolate",
    ),
    "scaled labels": (
        lambda r: save_scaled(r, labels()),
        LABEL,
        r"such as [0-9]\.[0-9]{4,}; the header scales them \(scl_slope 0.00784",
    ),
    "lengths in metres": (
        lambda r: save_in(r, "meter", 0.001),
        IMAGE,
        r"gives lengths in metres \(voxels of 0.002 x 0.002 x 0.005\); convert the affine to mm",
    ),
    "lengths in micrometres": (
        lambda r: save_in(r, "micron", 1000.0),
        IMAGE,
        "gives lengths in micrometres",
    ),
    "no rotation": (
        lambda r: save_quaternion(r, 1.01),
        IMAGE,
        "rotation in the header is invalid .*length 1.01,",
    ),
    "organ that is not annotated": (
        lambda r: trees.save(r / LABEL, trees.volume(1).labels_XYZ),
        LABEL,
        "voxels of spleen, which is flagged as not annotated.*annotations.csv",
    ),
}


@pytest.mark.parametrize("fault", FILES)
def test_a_spoiled_file_is_named_with_its_case_and_remedy(root, fault):
    spoil, name, message = FILES[fault]
    spoil(root)
    check_named(Folder(root=root), name, message)


def check_named(dataset, name, message):
    """Check that the second case is refused in a line that names the file, the first is read."""
    cases = dataset.cases()
    with pytest.raises(BenchError, match=message) as error:
        read_scan(dataset, cases[1])
    text = str(error.value)
    assert "\n" not in text
    assert "Generated, case case_001" in text
    assert str(dataset.root / name) in text
    read_scan(dataset, cases[0])


@pytest.fixture(scope="module")
def sound_mr(tmp_path_factory):
    return trees.nnunet(
        tmp_path_factory.mktemp("mr") / "set", hidden={1: ["spleen"]}, channels=["T2", "ADC"]
    )


@pytest.fixture
def mr(sound_mr, tmp_path):
    return shutil.copytree(sound_mr, tmp_path / "set")


@pytest.mark.parametrize("fault", [fault for fault in FILES if FILES[fault][1] == IMAGE])
def test_a_spoiled_second_channel_is_named_like_a_first_one(mr, fault):
    spoil, _, message = FILES[fault]
    spoil(mr)
    rename(mr, SECOND, "sound")
    rename(mr, IMAGE, SECOND)
    rename(mr, "sound", IMAGE)
    check_named(Folder(root=mr), SECOND, message)


CHANNELS = {
    "other shape": (
        lambda r: trees.save(r / SECOND, image()[:-1]),
        SECOND,
        r"shape \(31, 28, 10\), but channel 0, case_001_0000.nii.gz, has \(32, 28, 10\)",
    ),
    "other origin": (
        lambda r: trees.save(r / SECOND, image(), shifted(1.0)),
        SECOND,
        "affine differs from that of channel 0, .*corners up to 1 mm apart",
    ),
    "labels of another shape": (
        lambda r: trees.save(r / LABEL, labels()[:-1]),
        LABEL,
        r"shape \(31, 28, 10\), but the image has \(32, 28, 10\)",
    ),
    "one volume for both": (
        lambda r: whole(r, image()),
        WHOLE,
        r"shape \(32, 28, 10\), expected a 3D volume of 2 channels \(0 T2, 1 ADC\)",
    ),
    "a third channel": (
        lambda r: whole(r, np.stack([image()] * 3, axis=-1)),
        WHOLE,
        r"shape \(32, 28, 10, 3\), expected a 3D volume of 2 channels",
    ),
    "infinity": (
        lambda r: whole(r, np.stack([image(), with_voxels(np.inf)], axis=-1)),
        WHOLE,
        r"1 voxel NaN or infinite, the first at index \(\d+, \d+, 5, 1\)",
    ),
}


@pytest.mark.parametrize("fault", CHANNELS)
def test_channels_that_do_not_go_together_are_named(mr, fault):
    spoil, name, message = CHANNELS[fault]
    spoil(mr)
    check_named(Folder(root=mr), name, message)


@pytest.mark.parametrize("name", [IMAGE, SECOND])
def test_a_channel_without_its_file_is_named(mr, name):
    (mr / name).unlink()
    with pytest.raises(BenchError, match=f"{mr / name}: file of a channel is missing, .* 1 ADC"):
        Folder(root=mr).cases()


def test_channels_on_a_fourth_axis_are_those_of_single_files(mr):
    dataset = Folder(root=mr)
    case = dataset.cases()[1]
    apart = read_scan(dataset, case)
    native_XYZ = [np.asarray(nib.load(mr / name).dataobj) for name in (IMAGE, SECOND)]
    affine = nib.load(mr / IMAGE).affine
    (mr / IMAGE).unlink()
    (mr / SECOND).unlink()
    save_raw(mr, WHOLE, np.stack(native_XYZ, axis=-1), affine)
    dataset = Folder(root=mr)
    assert dataset.cases()[1] == case
    together = read_scan(dataset, case)
    assert together.image_CXYZ.shape == (2, 32, 28, 10)
    np.testing.assert_array_equal(together.image_CXYZ, apart.image_CXYZ)
    assert together.geometry == apart.geometry


def test_rounding_of_a_quaternion_is_no_fault(root):
    before = read_scan(Folder(root=root), Folder(root=root).cases()[1])
    save_quaternion(root, np.float32(1 + 3e-7))
    after = read_scan(Folder(root=root), Folder(root=root).cases()[1])
    np.testing.assert_array_equal(after.image_CXYZ, before.image_CXYZ)
    np.testing.assert_allclose(
        after.geometry.canonical_affine, before.geometry.canonical_affine, atol=1e-4
    )


def test_rounding_of_labels_is_no_fault(root):
    trees.save(root / LABEL, labels() * np.float32(0.9999))
    scan = read_scan(Folder(root=root), Folder(root=root).cases()[1])
    np.testing.assert_array_equal(scan.labels_XYZ, labels())


def test_a_file_that_may_not_be_read_is_not_called_corrupt(root, monkeypatch):
    opened = type(root).open

    def refuse(path, *args, **kwargs):
        if path.name.endswith(".nii.gz"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *args, **kwargs)

    dataset = Folder(root=root)
    cases = dataset.cases()
    monkeypatch.setattr(type(root), "open", refuse)
    with pytest.raises(BenchError, match="cannot be read: Permission denied; ask for the") as error:
        dataset.image(cases[0])
    assert "corrupt" not in str(error.value)


@pytest.mark.parametrize(("image", "labels"), [(".NII.GZ", ".Nii.Gz"), (".NII", ".nii.gz")])
def test_suffixes_in_capitals_are_read(root, image, labels):
    before = read_scan(Folder(root=root), Folder(root=root).cases()[1])
    if image == ".NII":
        nib.save(nib.load(root / IMAGE), root / "plain.nii")
        (root / IMAGE).unlink()
    rename(root, "plain.nii" if image == ".NII" else IMAGE, f"imagesTr/case_001_0000{image}")
    rename(root, LABEL, f"labelsTr/case_001{labels}")
    dataset = Folder(root=root)
    assert [case.id for case in dataset.cases()] == [f"case_{n:03d}" for n in range(4)]
    after = read_scan(dataset, dataset.cases()[1])
    np.testing.assert_array_equal(after.image_CXYZ, before.image_CXYZ)
    np.testing.assert_array_equal(after.labels_XYZ, before.labels_XYZ)


def test_accents_are_equal_however_they_are_encoded(root):
    taken_apart, composed = "Mu\u0308ller", "M\u00fcller"
    rename(root, IMAGE, f"imagesTr/{taken_apart}_0000.nii.gz")
    rename(root, LABEL, f"labelsTr/{composed}.nii.gz")
    edit_rows(root, lambda t: t[2].__setitem__(0, taken_apart))
    dataset = Folder(root=root)
    case = dataset.cases()[0]
    assert case.id == composed
    assert not case.annotated[1]
    np.testing.assert_array_equal(read_scan(dataset, case).labels_XYZ, labels())


@pytest.mark.parametrize("name", ["Annotations.csv", "ANNOTATIONS.CSV"])
def test_the_table_of_flags_is_found_however_it_is_spelt(root, name):
    before = Folder(root=root).cases()
    rename(root, "annotations.csv", name)
    assert Folder(root=root).cases() == before


@pytest.mark.parametrize(
    ("separator", "encoding", "first", "organ", "suffix"),
    [
        (",", "utf-8", "case", "liver", "_0000.nii.gz"),
        (";", "utf-8-sig", "Case", "Liver", ".nii.gz"),
        ("\t", "utf-16", "case_id", "LIVER", "_0000"),
    ],
)
def test_the_table_of_a_spreadsheet_is_read(root, separator, encoding, first, organ, suffix):
    before = Folder(root=root).cases()
    table = [[name.replace("liver", organ) for name in row] for row in rows(root)]
    table[0][0], table[2][0] = first, f"imagesTr/case_001{suffix}"
    table[3][3:] = [f"{flag}.0" for flag in table[3][3:]]
    description = root / "dataset.json"
    description.write_bytes(description.read_text().encode(encoding))
    hint = "sep=;\n" if separator == ";" else ""
    text = hint + "".join(separator.join(row) + "\n" for row in table)
    (root / "annotations.csv").write_bytes(text.encode(encoding))
    assert Folder(root=root).cases() == before


def test_columns_that_may_name_the_patient_and_folders_are_not_passed_over(root):
    rename(root, "dataset.json", "Dataset.JSON")
    rename(root, "imagesTr", "ImagesTr")
    (root / "ImagesTr/more").mkdir()
    edit_rows(root, lambda t: t[0].__setitem__(1, "owner"))
    folders, patients = Folder(root=root).doubts()
    assert "ImagesTr holds the folders more" in folders
    assert "cases share values of tier in annotations.csv" in patients
    assert "read by filters alone: owner, tier" in Folder(root=root).remarks()[0]
    edit_rows(root, lambda t: t[2].__setitem__(1, t[1][1]))
    assert "values of owner and of tier" in Folder(root=root).doubts()[1]
    assert "values of owner in" in Folder(root=root, where="tier=A|B").doubts()[1]
    edit_rows(root, lambda t: t[0].__setitem__(1, "patient"))
    assert len(Folder(root=root).doubts()) == 1
    assert Folder(root=root).remarks() == ()


def test_files_about_an_image_and_labels_as_whole_numbers_with_a_point_are_accepted(root):
    before = Folder(root=root).cases()
    (root / f"{IMAGE}.md5").write_text("0123")
    names = ["background", *trees.ORGANS]
    edit_json(root, labels={organ: float(value) for value, organ in enumerate(names)})
    assert Folder(root=root).cases() == before
    assert Folder(root=root).organs == trees.ORGANS


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (
            {"numTraining": 5},
            "announces 5 training cases (numTraining), the folder holds 4; is the download"
            " complete?",
        ),
        (
            {"training": [f"./imagesTr/case_{n:03d}_0000.nii.gz" for n in (0, 1, 2, 9)]},
            "lists 4 training cases, the folder holds 4; missing: case_009",
        ),
        (
            {"training": [{"image": f"./imagesTr/case_{n:03d}.nii.gz"} for n in range(6)]},
            "lists 6 training cases, the folder holds 4; missing: case_004, case_005",
        ),
        ({"training": [{"image": "./imagesTr/case_000.nii.gz"}, 7, {}], "numTraining": "4"}, ""),
    ],
)
def test_cases_that_dataset_json_lists_are_missed(root, listed, message):
    edit_json(root, **listed)
    doubts = check(Folder(root=root)).warnings
    assert [d.message for d in doubts] == ([f"dataset.json {message}"] if message else [])


def test_rounding_of_the_affine_is_no_fault(root):
    trees.save(root / LABEL, labels(), shifted(0.05))
    dataset = Folder(root=root)
    read_scan(dataset, dataset.cases()[1])


def edit_json(root, **changes):
    path = root / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rows(root):
    return [line.split(",") for line in (root / "annotations.csv").read_text().split()]


def place_apart(table):
    table[0][2], table[1][1] = "trains_in", table[2][1]
    for row, folds in zip(table[1:], ("", "all", "", ""), strict=False):
        row[2] = folds


def edit_rows(root, change):
    table = rows(root)
    change(table)
    trees.write_annotations(root, table)


def rename(root, old, new):
    (root / old).rename(root / new)


FOLDERS = {
    "a table without target": (lambda r: unlink(r, "annotations.csv"), f"annotations.csv: {LOST}"),
    "a description without target": (lambda r: unlink(r, "dataset.json"), f"json: {LOST}"),
    "images without target": (lambda r: unlink(r, "imagesTr"), f"imagesTr: {LOST}"),
    "no dataset.json": (lambda r: (r / "dataset.json").unlink(), "file not found: .*dataset.json"),
    "broken json": (lambda r: (r / "dataset.json").write_text("{"), "not readable as JSON"),
    "json list": (lambda r: (r / "dataset.json").write_text("[]"), "expected an object"),
    "no labels": (lambda r: edit_json(r, labels={}), 'no object "labels"'),
    "regions that overlap": (
        lambda r: edit_json(r, labels={"background": 0, "whole": [1, 2], "core": 2}),
        'value 2 is in both regions whole and core.*"rest_of_whole": 1, "core": 2}',
    ),
    "region without values": (
        lambda r: edit_json(r, labels={"background": 0, "liver": []}),
        "label liver has no value",
    ),
    "region with the background": (
        lambda r: edit_json(r, labels={"body": [0, 1]}),
        "label body has 0, the background, among its values",
    ),
    "ignore as a region": (
        lambda r: edit_json(r, labels={"background": 0, "liver": 1, "ignore": [2, 3]}),
        r"label ignore has values \[2, 3\], expected one",
    ),
    "label text": (
        lambda r: edit_json(r, labels={"background": 0, "liver": "one"}),
        "value 'one', expected a whole number",
    ),
    "label twice": (
        lambda r: edit_json(r, labels={"background": 0, "liver": 1, "spleen": 1}),
        "liver and spleen both have value 1",
    ),
    "organ twice": (
        lambda r: edit_json(r, labels={"0": "background", "1": "liver", "2": "liver"}),
        "the labels liver and liver are the same name",
    ),
    "organs alike": (
        lambda r: edit_json(r, labels={"background": 0, "Left_Kidney": 1, "left kidney": 2}),
        "the labels Left_Kidney and left kidney are the same name",
    ),
    "entry twice": (
        lambda r: (r / "dataset.json").write_text('{"labels": {"liver": 1, "liver": 2}}'),
        "'liver' stands in it 2 times",
    ),
    "channel without files": (
        lambda r: edit_json(r, channel_names={"0": "CT", "1": "PET"}),
        r"case_000_0001.nii.gz: file of a channel is missing, dataset.json names 0 CT, 1 PET",
    ),
    "file without channel": (
        lambda r: shutil.copy(r / IMAGE, r / SECOND),
        r"case_001_0001.nii.gz: channel 1, but dataset.json names 0 CT; leave this file out",
    ),
    "channels numbered from 1": (
        lambda r: edit_json(r, channel_names={"1": "CT"}),
        "number the channels from 0",
    ),
    "channels as a list": (
        lambda r: edit_json(r, channel_names=["CT"]),
        "number the channels from 0",
    ),
    "image twice": (
        lambda r: shutil.copy(r / IMAGE, r / "imagesTr/case_001.nii.gz"),
        "both the image of case case_001",
    ),
    "both suffixes": (
        lambda r: shutil.copy(r / LABEL, r / "labelsTr/case_001.nii"),
        "both case_001.nii and case_001.nii.gz",
    ),
    "no label map": (lambda r: (r / LABEL).unlink(), "no label map for case_001"),
    "label maps of other names": (
        lambda r: [p.rename(p.with_name(f"seg{p.name[4:]}")) for p in (r / "labelsTr").iterdir()],
        "no label map for case_000, .*, and no image for seg_000, .*; call a label map as",
    ),
    "no image": (lambda r: (r / IMAGE).unlink(), "no image for the label maps case_001"),
    "the folder above": (
        lambda r: shutil.copytree(r, r / "Task101_Mine") and (r / "dataset.json").unlink(),
        "dataset.json; name one below it, Task101_Mine",
    ),
    "files elsewhere": (
        lambda r: edit_json(r, dataset={"case_000": {"images": ["a.nii.gz"], "label": "b.nii.gz"}}),
        "names files elsewhere .entry dataset.*; link them into imagesTr and labelsTr",
    ),
    "no labelsTr": (lambda r: shutil.rmtree(r / "labelsTr"), "folder not found: .*labelsTr"),
    "no cases": (
        lambda r: [path.unlink() for path in r.glob("*Tr/*")],
        "no case found",
    ),
    "other format": (
        lambda r: rename(r, IMAGE, "imagesTr/case_001_0000.nrrd"),
        "only NIfTI is read",
    ),
    "unfinished download": (
        lambda r: rename(r, IMAGE, f"{IMAGE}.part"),
        "case_001_0000.nii.gz.part: a name that ends neither",
    ),
    "organ at 0": (
        lambda r: edit_json(r, labels={"liver": 0, "spleen": 1, "kidney_l": 2, "kidney_r": 3}),
        "label liver has value 0, which is the background",
    ),
    "annotations in a spreadsheet": (
        lambda r: rename(r, "annotations.csv", "Annotations.xlsx"),
        "Annotations.xlsx: flags are read from one file annotations.csv",
    ),
    "two tables": (
        lambda r: shutil.copy(r / "annotations.csv", r / "Annotations.CSV"),
        "Annotations.CSV: flags are read from one file",
    ),
    "no case column": (
        lambda r: edit_rows(r, lambda t: t[0].__setitem__(0, "id")),
        "no column is called case .columns: id, patient",
    ),
    "two case columns": (
        lambda r: edit_rows(r, lambda t: t[0].__setitem__(2, "Case ID")),
        "the columns case, Case ID all seem to name the case",
    ),
    "one organ twice": (
        lambda r: edit_rows(r, lambda t: t[0].__setitem__(2, "Kidney L")),
        "Kidney L and kidney_l are both a column of kidney_l",
    ),
    "folds that are none": (
        lambda r: edit_rows(r, lambda t: t[0].__setitem__(2, "trains_in")),
        "case case_000, column trains_in: 'a'; write all, none, or",
    ),
    "a patient in two places": (
        lambda r: edit_rows(r, place_apart),
        "case_000 and case_001 are of one patient and differ in trains_in",
    ),
    "another encoding": (
        lambda r: (r / "annotations.csv").write_bytes("case\nM\xfcller".encode("latin-1")),
        "row 2: is no UTF-8 text; save the table anew",
    ),
    "UTF-16 without its mark": (
        lambda r: (r / "annotations.csv").write_bytes("case,liver".encode("utf-16-le")),
        "is no UTF-8 text; save the table anew",
    ),
    "lost zeros": (
        lambda r: edit_rows(r, lambda t: t[2].__setitem__(0, "case_1")),
        "no row for case case_001, and no image for the rows of case_1",
    ),
    "images in folders": (
        lambda r: [(r / "imagesTr/b").mkdir(), rename(r, IMAGE, "imagesTr/b/case_001_0000.nii.gz")],
        "no image for the label maps case_001.*not read: the folders in it, b",
    ),
    "two dataset.json": (
        lambda r: shutil.copy(r / "dataset.json", r / "Dataset.JSON"),
        "both Dataset.JSON and dataset.json; remove one",
    ),
    "no rows": (lambda r: edit_rows(r, lambda t: t.__delitem__(slice(1, None))), "no rows"),
    "organ without column": (
        lambda r: edit_rows(r, lambda t: t[0].__setitem__(4, "Milz")),
        "no column for spleen of dataset.json",
    ),
    "case without row": (
        lambda r: edit_rows(r, lambda t: t.__delitem__(2)),
        "no row for case case_001",
    ),
    "row without case": (
        lambda r: edit_rows(r, lambda t: t.append(["case_9", "p", "A", "1", "1", "1", "1"])),
        "row for case_9, which has no image",
    ),
    "row twice": (
        lambda r: edit_rows(r, lambda t: t.append(t[1])),
        "row 6: another row of case case_000; keep one",
    ),
    "column twice": (
        lambda r: edit_rows(r, lambda t: t[0].__setitem__(2, "liver")),
        "row 1: two columns are called liver; keep one",
    ),
    "blank flag": (
        lambda r: edit_rows(r, lambda t: t[2].__setitem__(3, "")),
        "case case_001, column liver: ''; write 1",
    ),
    "flag in words": (
        lambda r: edit_rows(r, lambda t: t[2].__setitem__(3, "yes")),
        "case case_001, column liver: 'yes'",
    ),
    "blank patient": (
        lambda r: edit_rows(r, lambda t: t[2].__setitem__(1, "")),
        "patient of case case_001 is blank",
    ),
    "ragged row": (lambda r: edit_rows(r, lambda t: t[2].pop()), "row 3: has 6 of 7 cells"),
    "organ annotated nowhere": (
        lambda r: edit_rows(r, lambda t: [row.__setitem__(3, "0") for row in t[1:]]),
        "liver is annotated in none of the 4 cases",
    ),
}


@pytest.mark.parametrize("fault", FOLDERS)
def test_a_spoiled_folder_is_refused_before_any_voxel_is_read(root, fault):
    spoil, message = FOLDERS[fault]
    spoil(root)
    with pytest.raises(BenchError, match=message) as error:
        Folder(root=root).cases()
    assert str(root) in str(error.value).splitlines()[0]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("tier=C", "unknown value of column tier.*'C': known: A, B"),
        ("teir=A", "unknown column.*did you mean tier"),
        ("tier=A&patient=patient_001", "no case has patient=patient_001&tier=A"),
        ("tier=B&patient=patient_001", "spleen is annotated in none of the 1 cases with"),
    ],
)
def test_a_filter_that_cannot_be_met_is_refused(root, where, message):
    with pytest.raises(BenchError, match=message):
        Folder(root=root, where=where).cases()


def test_a_filter_needs_the_table_and_the_right_notation(root):
    with pytest.raises(BenchError, match="write column=value"):
        Folder.from_overrides("data set", "folder", {"root": str(root), "where": "tier"})
    (root / "annotations.csv").unlink()
    with pytest.raises(BenchError, match=r"needs the columns of .*annotations\.csv"):
        Folder(root=root, where="tier=A").cases()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("segmentation-2.nii", "volume-2.nii: no label map for number 2"),
        ("volume-2.nii", "segmentation-2.nii: no image for number 2"),
    ],
)
def test_lits_names_the_half_that_is_missing(tmp_path, name, message):
    root = trees.lits(tmp_path / "lits")
    next(root.rglob(name)).unlink()
    with pytest.raises(BenchError, match=message):
        Lits(root=root).cases()


def test_lits_refuses_two_copies_of_one_scan(tmp_path):
    root = trees.lits(tmp_path / "lits")
    shutil.copytree(root / "Training Batch 1", root / "copy")
    with pytest.raises(BenchError, match=r"number 0 is also .*keep one"):
        Lits(root=root).cases()


TABLES = {
    "empty": ("ct.csv", lambda text: "", "no slice carries"),
    "cut in a number": (
        "ct.csv",
        lambda text: text[: text.rindex(",") + 1],
        "1 rows without value",
    ),
    "index beyond": ("Larynx.csv", lambda text: text + "9999999,\n", "index outside"),
    "letters": ("Larynx.csv", lambda text: text + "abc,\n", "cannot be read"),
    "two lengths": ("voxel_dimensions.csv", lambda text: "4.0\n4.0\n", "expected three lengths"),
    "no length": ("voxel_dimensions.csv", lambda text: "4.0\n4.0\n0\n", "expected three lengths"),
    "no ct left": ("ct.csv", lambda text: text[: text.index("\n", 300) + 1], "no slice carries"),
}


@pytest.mark.parametrize("fault", TABLES)
def test_a_spoiled_openkbp_table_is_named(tmp_path, fault):
    name, change, message = TABLES[fault]
    dataset = OpenKbp(root=trees.openkbp(tmp_path / "open-kbp", patients=2))
    path = dataset.root / "provided-data/train-pats/pt_2" / name
    path.write_text(change(path.read_text()))
    case = dataset.cases()[1]
    with pytest.raises(BenchError, match=message) as error:
        read_scan(dataset, case)
    assert "case pt_002" in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_openkbp_patient_without_ct_is_named(tmp_path):
    root = trees.openkbp(tmp_path / "open-kbp", patients=2)
    folder = root / "provided-data/train-pats/pt_2"
    (folder / "ct.csv").unlink()
    with pytest.raises(BenchError, match=r"file not found: .*pt_2/ct\.csv; update"):
        OpenKbp(root=root).cases()
