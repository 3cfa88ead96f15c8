"""The generated CT: the same for the same seed, plausible anatomy and CT numbers."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest
from numpy._core import _multiarray_umath as cpu
from scipy import ndimage

from bench.data.dataset import Case
from bench.datasets import phantom as phantom_module
from bench.datasets.phantom import Phantom
from bench.datasets.phantom.calibration import REAL_VOLUME_ML
from bench.errors import BenchError

SMALL = Phantom(scale=0.5, n_cases=24)
ORGAN = {organ: number for number, organ in enumerate(SMALL.organs, start=1)}


def canonical(image: nib.Nifti1Image) -> np.ndarray:
    return np.asarray(nib.as_closest_canonical(image).dataobj)


@pytest.fixture(scope="module")
def full_size() -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    data = Phantom()
    case = data.cases()[1]
    return data.image(case), data.labels(case)


@pytest.fixture(scope="module")
def patients() -> list[tuple[nib.Nifti1Image, nib.Nifti1Image]]:
    return [(SMALL.image(case), SMALL.labels(case)) for case in SMALL.cases()]


@pytest.fixture(scope="module")
def volumes_ml(patients) -> np.ndarray:
    return np.array(
        [[volume_ml(labels, number) for number in ORGAN.values()] for _, labels in patients]
    )


def volume_ml(labels: nib.Nifti1Image, number: int) -> float:
    voxel_ml = float(np.prod(labels.header.get_zooms())) / 1000
    return float((np.asarray(labels.dataobj) == number).sum()) * voxel_ml


def test_cases_are_all_annotated_and_need_no_files():
    cases = Phantom(n_cases=3).cases()
    assert [case.id for case in cases] == ["phantom_000", "phantom_001", "phantom_002"]
    assert all(case.annotated == (True,) * 7 for case in cases)
    assert SMALL.files(cases[0]) == ()
    assert Phantom().name == "phantom"


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names of x86 features")
def test_every_processor_generates_the_same_voxels():
    program = (
        "import hashlib, numpy as np\n"
        "from bench.datasets.phantom import Phantom\n"
        "data = Phantom(scale=0.5, n_cases=3)\n"
        "for case in data.cases():\n"
        "    for scan in (data.image(case), data.labels(case)):\n"
        "        print(hashlib.sha256(np.asarray(scan.dataobj).tobytes()).hexdigest())\n"
    )
    simple = {
        "NPY_DISABLE_CPU_FEATURES": " ".join(
            name for name in cpu.__cpu_dispatch__ if cpu.__cpu_features__[name]
        ),
        "OPENBLAS_CORETYPE": "Prescott",
    }
    voxels = [
        subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
        ).stdout
        for env in (dict(os.environ), os.environ | simple)
    ]
    assert voxels[0].count("\n") == 6
    assert voxels[0] == voxels[1]


def test_a_case_depends_on_seed_and_index_alone():
    few, other = Phantom(n_cases=4, scale=0.5), Phantom(n_cases=4, scale=0.5, seed=1)
    case = few.cases()[3]
    first = np.asarray(few.image(case).dataobj)
    phantom_module._scan.cache_clear()
    again = np.asarray(SMALL.image(case).dataobj)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, np.asarray(other.image(case).dataobj))
    assert not np.array_equal(first, np.asarray(few.image(few.cases()[2]).dataobj))


def test_a_caller_cannot_spoil_the_cache():
    case = SMALL.cases()[0]
    image = SMALL.image(case)
    before = np.asarray(image.dataobj).copy()
    np.asarray(image.dataobj)[...] = 0
    np.testing.assert_array_equal(np.asarray(SMALL.image(case).dataobj), before)


def test_threads_see_the_same_cases():
    cases = SMALL.cases()[:6]
    expected = [np.asarray(SMALL.labels(case).dataobj) for case in cases]
    phantom_module._scan.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda case: np.asarray(SMALL.labels(case).dataobj), cases))
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_grid_and_types_at_default_scale(full_size):
    image, labels = full_size
    assert image.get_data_dtype() == np.int16
    assert labels.get_data_dtype() == np.uint8
    assert image.shape == labels.shape
    np.testing.assert_array_equal(image.affine, labels.affine)
    x, y, z = nib.as_closest_canonical(image).shape
    assert 116 <= x <= 140
    assert 88 <= y <= 104
    assert 36 <= z <= 64
    dx, dy, dz = nib.as_closest_canonical(image).header.get_zooms()
    assert 2.4 < dx < 3.6
    assert dy == pytest.approx(dx)
    assert 2.9 < dz < 6.5
    np.testing.assert_allclose(nib.affines.voxel_sizes(image.affine), image.header.get_zooms())


def test_scale_shows_the_same_patient_coarser(full_size, patients):
    labels, coarse = full_size[1], patients[1][1]
    assert coarse.shape[2] < labels.shape[2]
    assert np.prod(coarse.shape[:2]) == pytest.approx(np.prod(labels.shape[:2]) / 4, rel=0.1)
    for organ in ("liver", "spleen", "kidney_l", "kidney_r", "stomach"):
        ml = [volume_ml(image, ORGAN[organ]) for image in (labels, coarse)]
        assert ml[1] == pytest.approx(ml[0], rel=0.2), organ


def test_orientations_differ_and_are_described_by_the_affine(patients):
    codes = set()
    for _, labels in patients[:12]:
        codes.add(nib.aff2axcodes(labels.affine))
        label = canonical(labels)
        center = {
            organ: np.argwhere(label == number).mean(axis=0) for organ, number in ORGAN.items()
        }
        assert center["liver"][0] > center["spleen"][0]
        assert center["kidney_r"][0] > center["kidney_l"][0]
        assert center["liver"][1] > center["kidney_r"][1]
        assert center["liver"][2] > center["kidney_r"][2]
    assert len(codes) >= 3


def test_organs_are_present_connected_and_inside_the_scan(volumes_ml):
    missing = (volumes_ml == 0).sum(axis=0)
    assert 1 <= missing[ORGAN["gallbladder"] - 1] <= 4
    assert missing.sum() == missing[ORGAN["gallbladder"] - 1]
    label = canonical(Phantom().labels(SMALL.cases()[2]))
    for organ, number in ORGAN.items():
        mask = label == number
        _, pieces = ndimage.label(ndimage.binary_dilation(mask, np.ones((3, 3, 3))))
        assert pieces == 1, organ
        assert not mask[:, :, [0, -1]].any(), organ


def test_volumes_match_the_real_label_maps(volumes_ml):
    for organ, number in ORGAN.items():
        mean, sd = REAL_VOLUME_ML[organ]
        found = volumes_ml[:, number - 1]
        found = found[found > 0]
        assert found.mean() == pytest.approx(mean, rel=0.25), organ
        assert 0.5 * sd < found.std() < 1.6 * sd, organ


def test_ct_numbers_are_those_of_tissue(full_size):
    image, label = (canonical(item) for item in full_size)
    assert np.median(image[:3, :3]) == pytest.approx(-1000, abs=15)
    assert image.min() >= -1024
    assert image.max() > 300
    fat = image[(image > -150) & (image < -60)]
    assert np.median(fat) == pytest.approx(-104, abs=12)
    inside = ndimage.binary_erosion(label == ORGAN["liver"], iterations=2)
    assert 15 < image[inside].mean() < 150


def test_noise_is_correlated_as_a_scanner_filters_it(full_size):
    image, label = (canonical(item).astype(float) for item in full_size)
    inside = ndimage.binary_erosion(label == ORGAN["spleen"], iterations=2)
    pairs = inside[1:] & inside[:-1]
    near = np.corrcoef(image[1:][pairs], image[:-1][pairs])[0, 1]
    assert 0.2 < near < 0.95
    assert 5 < image[inside].std() < 35


def test_the_pancreas_lies_among_tissue_of_its_own_density(patients):
    shares = []
    for image, label in ((canonical(a), canonical(b)) for a, b in patients[:8]):
        pancreas = label == ORGAN["pancreas"]
        near = ndimage.binary_dilation(pancreas, iterations=2) & (label == 0)
        level = np.median(image[pancreas])
        shares.append((np.abs(image[near] - level) < 30).mean())
    assert np.mean(shares) > 0.15


def test_a_foreign_case_is_refused():
    foreign = Case(id="liver_3", patient="liver_3", annotated=(True,) * 7)
    with pytest.raises(BenchError, match="liver_3"):
        SMALL.image(foreign)
    with pytest.raises(BenchError, match="n_cases"):
        Phantom(n_cases=2).labels(Phantom(n_cases=3).cases()[2])
