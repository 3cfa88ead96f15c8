"""Series in DICOM: every voxel where its slice says, or refused in one line that names the file."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import scanner
from pydicom.uid import HTJ2KLossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless

from bench.data import dicom
from bench.data.dicom import find_series, read_series
from bench.data.image import read_image
from bench.data.quiet import quiet
from bench.data.stack import TOLERANCE_MM
from bench.errors import BenchError

ROUNDED = "positions rounded to 0.1 mm"


@pytest.mark.parametrize("name", scanner.READ)
def test_every_voxel_is_where_its_slice_says(name, tmp_path, capfd, recwarn):
    folder = tmp_path / "series"
    scanner.READ[name](folder)
    apart_mm, off = scanner.errors(folder, read_series(folder))
    assert apart_mm <= (0.05 if name == ROUNDED else TOLERANCE_MM)
    assert off < 1e-3
    assert capfd.readouterr() == ("", "")
    # The set of files that the test writes leaves its temporary folder to the garbage collector.
    assert not [str(w.message) for w in recwarn if w.category is not ResourceWarning]


@pytest.mark.parametrize("name", scanner.REFUSED)
def test_what_makes_no_volume_is_refused(name, tmp_path, capfd):
    folder = tmp_path / "series"
    write, message = scanner.REFUSED[name]
    write(folder)
    with pytest.raises(BenchError, match=message) as refused:
        read_series(folder)
    assert str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_a_series_is_in_ras_millimetres(tmp_path):
    image = read_series(scanner.save(scanner.series(), tmp_path / "series"))
    np.testing.assert_allclose(
        image.affine, [[-2, 0, 0, 38], [0, -2, 0, 34], [0, 0, 5, -15], [0, 0, 0, 1]], atol=1e-9
    )
    (image_XYZ,), geometry = read_image(image, "x")
    expected_XYZ = scanner.hounsfield().transpose(1, 0, 2)[::-1, ::-1]
    np.testing.assert_array_equal(image_XYZ, expected_XYZ)
    assert geometry.spacing_mm == pytest.approx((2, 2, 5))


def test_a_tilted_gantry_makes_a_sheared_affine(tmp_path):
    image = read_series(scanner.save(scanner.tilted(20), tmp_path / "series"))
    step = 5 * np.tan(np.deg2rad(20))
    np.testing.assert_allclose(image.affine[:3, 2], [0, -step, 5], atol=1e-5)


def test_slices_are_known_in_the_order_of_the_volume(tmp_path):
    slices = find_series(scanner.save(scanner.series()[::-1], tmp_path / "series")).slices
    assert [one.path.name for one in slices] == [f"00{k}.dcm" for k in range(6, -1, -1)]
    slices = find_series(scanner.save([scanner.enhanced([1, 0, 2])], tmp_path / "one")).slices
    assert [one.frame for one in slices] == [1, 0, 2]


def test_other_files_in_the_folder_are_passed_over(tmp_path):
    folder = scanner.save(scanner.series(), tmp_path / "series")
    (folder / "notes.txt").write_text("exported on Monday")
    (folder / "more").mkdir()
    assert read_series(folder).shape == (12, 9, 7)


@pytest.mark.parametrize(
    ("which", "values", "doubt"),
    [
        (slice(None), {}, ""),
        (slice(None, None, 2), {}, "5 mm thick, are 10 mm apart, and .* 2 apart"),
        (slice(None, None, -2), {"SliceThickness": "10"}, ""),
        (slice(None, None, 2), {"InstanceNumber": 3}, ""),
        (slice(None, None, 2), {"InstanceNumber": None}, ""),
        (slice(5), {"ImagesInAcquisition": 7}, "5 slices, but the headers announce 7 images"),
        (slice(5), {"ImagesInAcquisition": 5}, ""),
        (slice(5), {"ImagesInAcquisition": 2}, ""),
    ],
)
def test_slices_that_may_be_missing_are_noticed(which, values, doubt, tmp_path):
    headers = scanner.change(scanner.series()[which], slice(None), **values)
    doubts = find_series(scanner.save(headers, tmp_path / "series")).doubts
    assert len(doubts) == bool(doubt)
    assert re.search(doubt, "".join(doubts))


def test_a_device_is_not_opened(tmp_path):
    folder = scanner.save(scanner.series(), tmp_path / "series")
    (folder / "9.dcm").symlink_to("/dev/zero")
    with pytest.raises(BenchError, match=r"9\.dcm: is no file"):
        read_series(folder)


@pytest.mark.parametrize("frames", [None, 10**9])
def test_gigantic_series_are_refused_before_pixels_are_read(frames, tmp_path, monkeypatch):
    monkeypatch.setattr(dicom, "_pixels", lambda slices: pytest.fail("pixels are read"))
    headers = [scanner.enhanced()] if frames else scanner.series()
    sizes = {"NumberOfFrames": frames} if frames else {"Rows": 65535, "Columns": 65535}
    folder = scanner.save(scanner.change(headers, slice(None), **sizes), tmp_path / "series")
    with pytest.raises(BenchError, match=r"announces .* voxels"):
        read_series(folder)


SIZES = {JPEGLSLossless: (b"\xff\xf7", 5, 2), JPEGLosslessSV1: (b"\xff\xc3", 5, 2)}
SIZES[JPEG2000Lossless] = (b"\xff\x51", 6, 4)


@pytest.mark.parametrize("syntax", SIZES)
def test_a_picture_larger_than_its_header_says_takes_no_memory(syntax, tmp_path):
    folder = scanner.save(scanner.compressed(scanner.series()[:2], syntax), tmp_path / "series")
    marker, at, length = SIZES[syntax]
    path = folder / "001.dcm"
    data = bytearray(path.read_bytes())
    start = data.index(marker) + at
    data[start : start + 2 * length] = (30000).to_bytes(length, "big") * 2
    path.write_bytes(data)
    lines = (
        "import resource, sys; from pathlib import Path",
        "from bench.data.dicom import read_series; import pydicom.pixels, nibabel, gdcm, jpeg_ls",
        "resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))",
        "read_series(Path(sys.argv[1]))",
    )
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), folder], capture_output=True, text=True
    )
    assert "001.dcm: cannot be decoded" in ended.stderr
    assert "(30000, 30000, 1)" in ended.stderr


@pytest.mark.parametrize(
    ("syntax", "written_as", "message"),
    [
        (JPEGLosslessSV1, JPEGLosslessSV1, "JPEG Lossless.*pip install"),
        (HTJ2KLossless, JPEG2000Lossless, "High-Throughput JPEG 2000.*; convert it"),
    ],
)
def test_what_is_missing_to_decompress_is_named(syntax, written_as, message, tmp_path, monkeypatch):
    from pydicom.pixels import get_decoder

    headers = scanner.compressed(scanner.series(), written_as)
    folder = scanner.save(scanner.syntax(headers, syntax), tmp_path / "s")
    monkeypatch.setattr(get_decoder(syntax), "_available", {})
    with pytest.raises(BenchError, match=rf"000\.dcm: compressed as {message}"):
        read_series(folder)


def test_warnings_of_threads_do_not_stay_silent():
    barrier = threading.Barrier(2)

    def decode(first):
        barrier.wait()
        with quiet():
            barrier.wait()
            if first:
                barrier.wait()
        if not first:
            barrier.wait()

    before = list(warnings.filters)
    threads = [threading.Thread(target=decode, args=(first,)) for first in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before
