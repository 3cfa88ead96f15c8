"""Every launcher brings the same run to the same weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from walk import PROFILE, bench

LAUNCHERS = ["inline", "local"]


def weights(store: Path) -> dict[str, str]:
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in store.glob("Train/*/out/*.safetensors")
    }


@pytest.fixture(scope="module")
def stores(clinic: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    stores = {name: tmp_path_factory.mktemp("store") for name in LAUNCHERS}
    for name, store in stores.items():
        options = ["-d", clinic, "-l", "50", "-p", PROFILE, "--launcher", name, "--store", store]
        bench("run", "-m", "naive,inerrant[rounds=1]", *options, OMP_NUM_THREADS="1")
    return stores


def test_launchers_agree(stores: dict[str, Path]) -> None:
    reference, *others = map(weights, stores.values())
    assert len(reference) >= 4
    assert all(other == reference for other in others)
