from __future__ import annotations

import gzip
import itertools
import os
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import aff2axcodes

from bench.data.geometry import Geometry
from bench.data.image import read_image
from bench.data.labelmap import map_labels, read_labels, to_native
from bench.data.nifti import load, load_geometry
from bench.errors import BenchError
from bench.machine import memory
from bench.seeds import generator

AXES = list(itertools.permutations(range(3)))
SIGNS = list(itertools.product((1.0, -1.0), repeat=3))


def affine_of(axes, signs):
    affine = np.eye(4)
    affine[:3, :3] = 0
    for voxel_axis, world_axis in enumerate(axes):
        affine[world_axis, voxel_axis] = signs[voxel_axis] * (0.7 + voxel_axis)
    affine[:3, 3] = (-120.25, 33.5, 1411.125)
    return affine


def tilted(affine, degrees=12.0):
    angle = np.deg2rad(degrees)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return (tilt @ affine).astype(np.float32).astype(float)


@pytest.mark.parametrize("signs", SIGNS)
@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("oblique", [False, True])
def test_every_orientation_comes_back_exactly(axes, signs, oblique, tmp_path):
    affine = affine_of(axes, signs)
    affine = tilted(affine) if oblique else affine.astype(np.float32).astype(float)
    labels = generator(0, "test-orientation").integers(0, 9, (4, 5, 6)).astype(np.uint8)
    native = nib.Nifti1Image(labels, affine)

    (image_XYZ,), geometry = read_image(native, "a test image")

    reference = nib.as_closest_canonical(native)
    np.testing.assert_array_equal(image_XYZ, reference.get_fdata())
    np.testing.assert_allclose(geometry.canonical_affine, reference.affine, atol=1e-9)
    assert aff2axcodes(geometry.canonical_affine) == ("R", "A", "S")
    assert geometry.canonical_shape == image_XYZ.shape
    np.testing.assert_allclose(geometry.spacing_mm, reference.header.get_zooms(), rtol=1e-6)
    np.testing.assert_allclose(geometry.voxel_ml, 0.7 * 1.7 * 2.7 / 1000, rtol=1e-5)

    back = to_native(image_XYZ.astype(np.uint8), geometry)
    nib.save(back, tmp_path / "back.nii.gz")
    again = nib.load(tmp_path / "back.nii.gz")
    np.testing.assert_array_equal(np.asarray(again.dataobj), labels)
    np.testing.assert_array_equal(again.affine, affine)
    assert again.get_data_dtype() == np.uint8


def test_a_voxel_keeps_its_place_in_the_body():
    affine = tilted(affine_of((2, 0, 1), (-1.0, 1.0, -1.0)))
    native = np.zeros((4, 5, 6), np.float32)
    native[1, 3, 4] = 1
    (image_XYZ,), geometry = read_image(nib.Nifti1Image(native, affine), "a test image")
    index = np.argwhere(image_XYZ)[0]
    here = nib.affines.apply_affine(geometry.canonical_affine, index)
    np.testing.assert_allclose(here, nib.affines.apply_affine(affine, (1, 3, 4)), atol=1e-6)


def test_geometry_survives_json():
    geometry = Geometry.of((4, 5, 6), tilted(affine_of((1, 0, 2), (1.0, -1.0, 1.0))))
    assert Geometry.model_validate_json(geometry.model_dump_json()) == geometry


def test_trailing_axes_of_length_one_are_squeezed():
    (image_XYZ,), geometry = read_image(nib.Nifti1Image(np.zeros((4, 5, 6, 1, 1)), np.eye(4)), "x")
    assert image_XYZ.shape == geometry.native_shape == (4, 5, 6)


def test_rescale_slope_and_intercept_are_applied(tmp_path):
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(2.0, -1000.0)
    image.to_filename(tmp_path / "scaled.nii.gz")
    raw = nib.load(tmp_path / "scaled.nii.gz").get_fdata()
    (image_XYZ,), _ = read_image(tmp_path / "scaled.nii.gz", "x")
    assert image_XYZ.dtype == np.float32
    np.testing.assert_allclose(image_XYZ, raw, atol=1e-3)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_voxels_are_held_once_and_as_they_are_stored(tmp_path, suffix):
    voxels = generator(0, "noise").integers(-1024, 3072, (64, 64, 512)).astype(np.int16)
    path = tmp_path / f"scan{suffix}"
    nib.save(nib.Nifti1Image(voxels, np.diag([-1, -1, 2, 1])), path)
    tracemalloc.start()
    (image_XYZ,), _ = read_image(path, "x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert image_XYZ.dtype == np.int16
    np.testing.assert_array_equal(image_XYZ, voxels[::-1, ::-1])
    assert peak < voxels.nbytes + 3 * 2**20  # pieces of 1 MiB


def test_labels_are_mapped_without_an_index_for_each_voxel():
    voxels = np.asfortranarray(np.tile(np.arange(4, dtype=np.uint8), (64, 64, 128)))
    tracemalloc.start()
    mapped = map_labels(voxels, {0: 0, 1: 2, 2: 1, 3: 1}, {}, "x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(mapped, np.array([0, 2, 1, 1])[voxels])
    assert mapped.strides == voxels.strides
    assert peak < 2.5 * voxels.nbytes


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_both_versions_of_the_format_are_read(tmp_path, kind, suffix):
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    path = tmp_path / f"image{suffix}"
    kind(values, np.diag([-1.0, 2.0, 3.0, 1.0])).to_filename(path)
    (image_XYZ,), geometry = read_image(path, "x")
    np.testing.assert_array_equal(image_XYZ, values[::-1])
    assert geometry.spacing_mm == (1.0, 2.0, 3.0)


def test_a_single_damaged_byte_is_noticed(tmp_path):
    path = tmp_path / "image.nii.gz"
    noise = generator(0, "test-damage").integers(-1000, 1000, (20, 20, 20)).astype(np.int16)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(BenchError, match=r"case 7, image.*truncated or corrupt.*download it again"):
        load(path, "case 7, image")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_file_is_noticed(tmp_path, suffix, keep):
    path = tmp_path / f"image{suffix}"
    noise = generator(0, "test-damage").integers(-1000, 1000, (20, 20, 20)).astype(np.int16)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(BenchError, match="truncated or corrupt"):
        read_image(path, "x")


def test_something_that_is_no_nifti_is_refused(tmp_path):
    (tmp_path / "page.nii.gz").write_bytes(b"<html>please log in</html>")
    (tmp_path / "page.nii").write_bytes(b"<html>please log in</html>" * 40)
    for name in ("page.nii.gz", "page.nii"):
        with pytest.raises(BenchError, match=r"cannot be read|not a single-file"):
            read_image(tmp_path / name, "x")
    with pytest.raises(BenchError, match="file not found"):
        read_image(Path(tmp_path / "none.nii.gz"), "x")


def test_label_values_are_mapped_and_strangers_named():
    array = np.array([[[0, 3, 9]]], np.int16)
    mapped = map_labels(array, {0: 0, 3: 1, 9: 2}, {3: "liver", 9: "spleen"}, "x")
    assert mapped.dtype == np.uint8
    assert mapped.tolist() == [[[0, 1, 2]]]
    message = r"unknown label 9 in 1 voxel; known are 0 background, 3 liver"
    with pytest.raises(BenchError, match=message):
        map_labels(array, {0: 0, 3: 1}, {0: "background", 3: "liver"}, "x")
    with pytest.raises(BenchError, match="unknown label -1"):
        map_labels(np.array([-1]), {0: 0, 3: 1}, {}, "x")


def test_float_labels_are_taken_only_if_whole():
    assert map_labels(np.array([0.0, 2.0]), {0: 0, 2: 1}, {}, "x").tolist() == [0, 1]
    for wrong in (0.5, np.nan, np.inf):
        with pytest.raises(BenchError, match="1 voxel with no whole number"):
            map_labels(np.array([0.0, wrong]), {0: 0, 2: 1}, {}, "x")


def announcing(path, **fields):
    """Write 3 MB of zeros behind a header of 32 x 28 x 8 voxels with some fields replaced."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((32, 28, 8))
    header["magic"], header["vox_offset"] = b"n+1", 352
    header.set_sform(np.diag([1.0, 1.0, 1.0, 1.0]), 1)
    for name, value in fields.items():
        header[name] = value
    rest = bytes(3_000_000)
    path.write_bytes((gzip.compress if path.suffix == ".gz" else bytes)(header.binaryblock + rest))
    return path


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dim": (3, 0, 28, 8, 1, 1, 1, 1)}, "announces 0 x 28 x 8 voxels"),
        ({"dim": (3, -4, 28, 8, 1, 1, 1, 1)}, "announces -4 x 28 x 8 voxels"),
        ({"dim": (3, 32767, 32767, 32767, 1, 1, 1, 1)}, "must be 1 to 2147483648"),
        ({"dim": (3, 1290, 1290, 1290, 1, 1, 1, 1)}, "4293378352 bytes, the file has fewer"),
        ({"dim": (3, 1200, 1200, 1100, 1, 1, 1, 1)}, "bytes, the file has"),
        ({"dim": (-7, 32, 28, 8, 1, 1, 1, 1)}, "the header is invalid"),
        ({"vox_offset": 1e30}, "the header places the voxels"),
        ({"vox_offset": 0}, "the header places the voxels at byte 0"),
        ({"vox_offset": np.inf}, "truncated or corrupt"),
        ({"vox_offset": np.nan}, "truncated or corrupt"),
        ({"srow_x": (np.nan, 0, 0, 0)}, "the affine is not finite"),
        ({"srow_x": (1e30, 0, 0, 0)}, "edges must be 0.0001 to 1000 mm"),
        ({"srow_x": (1e-30, 0, 0, 0)}, "edges must be 0.0001 to 1000 mm"),
        ({"srow_x": (0, 1, 0, 0)}, "the affine has no inverse"),
        ({"magic": b"ni1"}, "not a single-file NIfTI|truncated or corrupt"),
        ({"datatype": 9999}, "the header is invalid"),
        ({"sform_code": 0, "qform_code": 1, "quatern_b": 9}, "the rotation in the header"),
    ],
)
def test_a_header_that_cannot_be_true_is_refused_before_memory_is_taken(
    tmp_path, suffix, fields, message
):
    path = announcing(tmp_path / f"image{suffix}", **fields)
    tracemalloc.start()
    try:
        with pytest.raises(BenchError, match=message) as refused:
            load(path, str(path))
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()
    assert str(refused.value).startswith(f"{path}: ")
    assert str(refused.value).count(str(path)) == 1


def test_data_behind_the_announced_voxels_are_refused(tmp_path):
    path = announcing(tmp_path / "image.nii.gz")
    with pytest.raises(BenchError, match="more than the 14688 bytes that its header announces"):
        load(path, "x")


def test_a_label_map_of_the_suite_is_read_as_it_was_written_or_refused(tmp_path):
    labels_XYZ = np.random.default_rng(0).integers(0, 255, (5, 6, 7)).astype(np.uint8)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])[[1, 0, 2, 3]]
    affine[0] *= -1
    geometry = Geometry.of((6, 5, 7), affine)
    path = tmp_path / "a.nii.gz"
    to_native(labels_XYZ, geometry).to_filename(path)
    read = read_labels(path, "a case")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, labels_XYZ)
    nib.Nifti1Image(labels_XYZ.astype(np.float32), np.eye(4)).to_filename(path)
    with pytest.raises(BenchError, match="a case: voxels of type float32, expected uint8"):
        read_labels(path, "a case")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_what_is_no_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    for make in (lambda: path.symlink_to("/dev/zero"), lambda: os.mkfifo(path), path.mkdir):
        make()
        with pytest.raises(BenchError, match=f"{path} is no file"):
            load(path, "case 7, image")
        path.rmdir() if path.is_dir() else path.unlink()
    path.symlink_to(path)
    with pytest.raises(BenchError, match="cannot be read: Too many levels"):
        load(path, "case 7, image")


def seen_by_itk(path):
    """Return where ITK, and so ITK-SNAP and 3D Slicer, see three voxels, None if it refuses."""
    import SimpleITK as sitk  # noqa: N813

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        return None
    corners = [(0, 0, 0), (3, 0, 5), (0, 4, 5)]
    return np.array([image.TransformIndexToPhysicalPoint(corner) for corner in corners])


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("kind", ["straight", "oblique", "sheared"])
def test_other_programs_see_a_label_map_where_its_scan_is(axes, kind, tmp_path):
    affine = affine_of(axes, (1.0, -1.0, 1.0))
    if kind == "oblique":
        affine = tilted(affine)
    if kind == "sheared":
        affine[:3, 2] += 0.3 * affine[:3, 1]
    scan = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), affine)
    scan.set_sform(affine, 1)
    scan.set_qform(affine, 0 if kind == "sheared" else 1)
    nib.save(scan, tmp_path / "scan.nii.gz")
    _, geometry = read_image(tmp_path / "scan.nii.gz", "a test image")
    labels = to_native(np.zeros(geometry.canonical_shape, np.uint8), geometry)
    nib.save(labels, tmp_path / "labels.nii.gz")

    where = seen_by_itk(tmp_path / "labels.nii.gz")
    if kind == "sheared":  # never elsewhere: as for the scan, a shear is refused
        assert geometry.sheared
        assert where is None
        assert seen_by_itk(tmp_path / "scan.nii.gz") is None
    else:
        assert not geometry.sheared
        np.testing.assert_allclose(where, seen_by_itk(tmp_path / "scan.nii.gz"), atol=1e-4)
        by_hand = nib.affines.apply_affine(affine, [(0, 0, 0), (3, 0, 5), (0, 4, 5)])
        np.testing.assert_allclose(where, by_hand * (-1, -1, 1), atol=1e-3)


def test_the_memory_that_counts_is_that_of_the_control_group(tmp_path, monkeypatch):
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((50, 50, 50), np.uint8), np.eye(4)), path)
    load(path, str(path))
    (tmp_path / "job").mkdir()
    (tmp_path / "job/memory.max").write_text("600000")
    (tmp_path / "job/memory.current").write_text("200000")
    (tmp_path / "job/memory.stat").write_text("inactive_file 50000")
    group = memory._Group(tmp_path, "/job", *memory.V2)
    monkeypatch.setattr(memory, "_groups", lambda: [group])
    assert memory.available() == 450_000  # less than 500 kB in float32
    with pytest.raises(BenchError, match=r"50 x 50 x 50 voxels do not fit into the 0\.0 GiB"):
        load(path, str(path))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_with_more_than_its_header_announces_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"scan{suffix}"
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 4), np.int16), np.eye(4)), path)
    opener = gzip.open if suffix.endswith("gz") else open
    with opener(path, "ab") as file:
        file.write(bytes(512))  # a last block that was filled up
    load(path, "case")
    with opener(path, "ab") as file:
        file.write(b"\0")
    with pytest.raises(BenchError, match="holds more than the 864 bytes"):
        load(path, "case")


def test_a_file_that_is_not_compressed_but_named_so_is_to_be_renamed(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((8, 8, 4), np.int16), np.eye(4)), tmp_path / "scan.nii")
    path = (tmp_path / "scan.nii").rename(tmp_path / "scan.nii.gz")
    with pytest.raises(BenchError, match=r"not compressed; rename it to end with \.nii$"):
        load(path, "case")


def test_a_picture_is_no_grid_of_a_scan(tmp_path):
    path = tmp_path / "picture.nii"
    nib.save(nib.Nifti1Image(np.zeros((4, 5), np.int16), np.eye(4)), path)
    with pytest.raises(BenchError, match=r"2 dimensions .*, a single picture and no scan"):
        load_geometry(path, "here")
