"""Every network trains, is interrupted, goes on, relabels, predicts a native scan, is reported."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import walk
from walk import PROFILE, bench

from bench.nets.catalogue import NETWORKS, SMP_ARCHITECTURES

SMALL = {
    "unet_t11": "unet_t11[width=4,bn_momentum=0.1]",
    "unet3d_t11": "unet3d_t11[width=2,bn_momentum=0.1]",
    "dynunet": "dynunet[width=4]",
    "segresnet": "segresnet[width=8]",
    "mednext": "mednext[width=2]",
}
"""The smallest of every network with a width."""
SMALL_ENCODER = "tu-mobilenetv3_small_050"
"""Of timm; one network has an encoder of segmentation_models_pytorch itself."""
TRIED = [
    *SMALL.values(),
    *(f"{architecture}/{SMALL_ENCODER}" for architecture in SMP_ARCHITECTURES),
    "pspnet/resnet18",
]


def test_no_network_is_left_out() -> None:
    tried = set(SMALL) | {f"{architecture}/ENCODER" for architecture in SMP_ARCHITECTURES}
    assert tried == set(NETWORKS)


@pytest.mark.parametrize("network", TRIED)
def test_a_network_goes_all_the_way(
    network: str, clinic: Path, native_scan: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    run = ["run", "-m", "inerrant[rounds=1]", "-d", clinic, "-l", "50", "-p", PROFILE]
    run += ["-b", network, "--pictures", "--launcher", "inline", "--store", store]
    walk.interrupt_in_training(*run)
    bench(*run)
    assert not walk.saved(store)
    results = walk.results(store)
    assert set(results["round"]) == {0, 1}
    assert results["dsc"].notna().all()
    assert (results["backbone"] == network).all()
    for training in store.glob("Train/*/events.jsonl"):
        steps = [json.loads(line)["step"] for line in training.read_text().splitlines()]
        assert steps.count(0) == 1, f"{training} began anew instead of going on"

    key = walk.key_of_model(store, "*-masked-r1-*")
    bench("predict", key, native_scan, "-o", tmp_path, "--store", store)
    scan, labels = nib.load(native_scan), nib.load(tmp_path / "scan.nii.gz")
    assert labels.shape == scan.shape
    np.testing.assert_allclose(labels.affine, scan.affine, atol=1e-5)
    assert set(np.unique(np.asarray(labels.dataobj))) <= set(range(5))
