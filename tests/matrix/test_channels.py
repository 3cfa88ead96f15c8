"""Images of two channels, from nnU-Net's files to a trained model and a segmented scan."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import helpers
import nibabel as nib
import numpy as np
import pytest
import trees
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from walk import bench, key_of_model, results

from bench.data.visible import TrainView
from bench.engine.store import Store
from bench.errors import BenchError
from bench.experiment.segment import segment

ORDERS = {"T2_first": ("T2", "noise"), "T2_second": ("noise", "T2")}
"""Data sets, and which of their channels shows anything."""
NETWORK = "unet_t11[width=8,bn_momentum=0.1]"
PROFILE = "smoke[steps=60,lr=5e-3,output_bias=-2]"
SHAPE = (36, 30, 11)


def write(root: Path, name: str) -> Path:
    """Write four cases of one organ."""
    trees.nnunet(root, 4, organs=["liver"], channels=ORDERS[name])
    table = root / "dataset.json"
    table.write_text(json.dumps(json.loads(table.read_text()) | {"name": name}))
    return root


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which a model was trained on each order of the channels."""
    root = tmp_path_factory.mktemp("channels")
    options = ["-m", "inerrant0", "-l", "100", "-p", PROFILE, "-b", NETWORK, "--pictures"]
    for name in ORDERS:
        options += ["-d", str(write(root / name, name))]
    bench("run", *options, "--launcher", "inline", "--store", root / "store")
    return root / "store"


def test_the_informative_channel_is_learnt_from_wherever_it_stands(store: Path) -> None:
    rows = results(store).groupby("dataset")["dsc"].mean()
    assert set(rows.index) == set(ORDERS)
    assert (rows > 75).all(), rows


def test_a_check_reports_each_channel(tmp_path: Path) -> None:
    found = bench("data", "check", write(tmp_path / "mr", "T2_first")).out
    assert "0 errors, 0 warnings" in found
    assert "T2  0 to " in found
    assert "noise  " in found


def test_pictures_show_the_first_channel(store: Path) -> None:
    contrast = {}
    for path in store.glob("PredictionPictures/*/out/pictures.json"):
        scan = base64.b64decode(json.loads(path.read_text())[0]["scan"])
        grey = np.asarray(Image.open(io.BytesIO(scan)), np.float32)
        contrast[path.parts[-3].split("-")[0]] = np.abs(np.diff(grey, axis=0)).mean()
    assert contrast["T2_first"] < contrast["T2_second"] / 2  # noise differs from row to row


def test_a_native_scan_of_two_files_is_segmented(store: Path, tmp_path: Path) -> None:
    name = "T2_second"
    volume = trees.volume(40, SHAPE, ["liver"])
    files = []
    for case, shown in {"seen": ORDERS[name], "blind": ("noise", "noise")}.items():
        for number, channel in enumerate(shown):
            values_XYZ = trees.channel(channel, volume.image_XYZ, 40 + number)
            files.append(trees.save(tmp_path / f"{case}_{number:04d}.nii.gz", values_XYZ))
    key, out = key_of_model(store, f"{name}-*"), tmp_path / "out"
    # The names of the files say which channel they are, not their order.
    bench("predict", key, *reversed(files), "-o", out, "--store", store, "--preview")
    seen, blind = (dice(out / f"{case}.nii.gz", volume.labels_XYZ) for case in ("seen", "blind"))
    assert seen > 0.7
    assert seen > 1.5 * blind
    assert (out / "seen.png").stat().st_size > 10_000


def dice(path: Path, truth_XYZ: NDArray[np.uint8]) -> float:
    """Return the Dice coefficient of a label map on the grid of the scan."""
    image = nib.as_closest_canonical(nib.load(path))
    found_XYZ = np.asarray(image.dataobj) == 1
    return float(2 * (found_XYZ & (truth_XYZ == 1)).sum() / (found_XYZ.sum() + truth_XYZ.sum()))


def test_a_scan_of_one_channel_is_refused(store: Path, tmp_path: Path) -> None:
    image_XYZ = trees.volume(40, SHAPE, ["liver"]).image_XYZ
    finished = Store(store)
    model = finished.find(key_of_model(store, "T2_first-*"))
    for name, message in {
        "scan_0000": r"scan_0001\.nii\.gz: file of a channel is missing",
        "scan": r"scan\.nii\.gz: shape .*, expected .* of 2 channels",
    }.items():
        scan = trees.save(tmp_path / f"{name}.nii.gz", image_XYZ)
        (refused,) = segment(model, [scan], tmp_path / "out", finished)
        assert isinstance(refused, BenchError)
        assert re.search(message, str(refused))


@pytest.mark.parametrize(
    ("methods", "network"),
    [
        ("inerrant[rounds=1],uamt", "unet_t11[width=2]"),
        ("naive", "unet3d_t11[width=2]"),
    ],
)
def test_relabelling_a_teacher_and_patches_take_both_channels(
    methods: str, network: str, tmp_path: Path
) -> None:
    root, store = write(tmp_path / "mr", "T2_first"), Store(tmp_path / "store")
    options = {"profile": "smoke[steps=2]", "labelled": "70", "networks": [network]}
    runs = helpers.plan(store, root, methods, **options)
    helpers.compute(runs, store)
    for run in runs:
        last = run.rounds[-1]
        layers = last.model.load_segmenter(store.out(last.model)).modules()
        first = next(layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Conv3d))
        assert first.in_channels == 2
        assert (store.out(last.evaluation) / "cases.json").is_file()
        view = TrainView(store.out(last.model.images), store.out(last.model.labels))
        of_t2, of_noise = view.intensity_sd()
        assert of_noise > 1.5 * of_t2 > 0
