"""Series in DICOM: read as they are, or refused in one line that names the file."""

from __future__ import annotations

import locale

import numpy as np
import pytest
import trees

from bench.data.dicom import read_series
from bench.data.nifti import read_image
from bench.errors import BenchError


@pytest.fixture
def series(tmp_path):
    return trees.dicom(tmp_path / "series", trees.volume(1, (32, 28, 6)).image_XYZ)


def test_a_series_is_in_ras_millimetres(series):
    encoding = locale.getencoding()
    (image_XYZ,), geometry = read_image(read_series(series), "x")
    assert locale.getencoding() == encoding  # the reader of ITK changes it for a while
    np.testing.assert_array_equal(image_XYZ, trees.volume(1, (32, 28, 6)).image_XYZ)
    assert geometry.spacing_mm == (2.0, 2.0, 5.0)


def rewrite(path, old, new):
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


def enlarge(series):
    for path in series.iterdir():
        for element, size in ((b"\x10", b"\x1c"), (b"\x11", b"\x20")):  # rows, columns
            entry = b"\x28\x00" + element + b"\x00\x02\x00\x00\x00"
            rewrite(path, entry + size + b"\x00", entry + b"\xff\xff")


FAULTS = {
    "no slice": (lambda s: [path.unlink() for path in s.iterdir()], "holds 0 DICOM series"),
    "a slice is missing": (lambda s: (s / "3.dcm").unlink(), "5 to 10 mm, must be even"),
    "a file is cut": (
        lambda s: (s / "3.dcm").write_bytes((s / "3.dcm").read_bytes()[:-500]),
        "3.dcm: cannot be read, truncated or corrupt",
    ),
    "a header is cut": (
        lambda s: (s / "3.dcm").write_bytes((s / "3.dcm").read_bytes()[:300]),
        "3.dcm: cannot be read, truncated or corrupt",
    ),
    "a device": (lambda s: (s / "9.dcm").symlink_to("/dev/zero"), "9.dcm: is no file"),
    "two series": (
        lambda s: (
            trees.dicom(s / "x", trees.volume(2, (32, 28, 2)).image_XYZ, "1.9")
            .joinpath("0.dcm")
            .rename(s / "8.dcm")
        ),
        "holds 2 DICOM series",
    ),
    "gigantic slices": (enlarge, "announces 65535 x 65535 x 6 voxels"),
    "no position": (
        lambda s: rewrite(s / "2.dcm", b"\\0\\10", b"\\0\\nn"),
        "the header has no position of the slice",
    ),
    "tilted": (
        lambda s: rewrite(s / "2.dcm", b"0\\0\\10", b"0\\3\\10"),
        "slices are shifted by 3 mm against each other",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_series_that_is_no_even_stack_is_refused(series, fault, capfd):
    spoil, message = FAULTS[fault]
    spoil(series)
    with pytest.raises(BenchError, match=message) as refused:
        read_series(series)
    assert str(series) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr().err == ""


def test_other_files_in_the_folder_are_passed_over(series):
    (series / "notes.txt").write_text("exported on Monday")
    (series / "more").mkdir()
    assert read_series(series).shape == (32, 28, 6)
