"""Every method with an encoder of another library and in 3D, in one command each."""

from __future__ import annotations

from pathlib import Path

import pytest
from walk import bench, results

from bench.plugins import registry

FAMILIES = [
    "deeplabv3plus/tu-mobilenetv3_small_050",
    "unet3d_t11[width=2,bn_momentum=0.1]",
]


@pytest.mark.parametrize("network", FAMILIES)
def test_every_method_trains_with_a_network(network: str, clinic: Path, tmp_path: Path) -> None:
    methods = registry.names("methods")
    options = ["-d", clinic, "-l", "50", "-p", "smoke[steps=3]", "-b", network]
    options += ["--launcher", "inline", "--store", tmp_path]
    bench("run", "-m", ",".join(methods), *options)
    table = results(tmp_path)
    assert sorted(set(table["method"])) == methods
    assert table["dsc"].notna().all()
    again = bench("run", "-m", ",".join(methods), *options)
    assert " 0 to compute" in again.out
