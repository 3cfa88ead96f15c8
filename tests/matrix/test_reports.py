"""Every report on stores with and without relabelling, with and without pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from walk import PROFILE, bench

from bench.plugins import registry

STORES = {
    "one method": ["-m", "naive"],
    "one method, pictures": ["-m", "naive", "--pictures"],
    "relabelling": ["-m", "inerrant0,inerrant[rounds=1],uamt", "-f", "0-1"],
    "relabelling, pictures": ["-m", "inerrant0,inerrant[rounds=1],uamt", "--pictures"],
}
NOTHING_TO_SAY = {
    ("relabelling", "one method"),
    ("relabelling", "one method, pictures"),
    ("training", "one method"),
    ("training", "one method, pictures"),
    ("significance", "one method"),
    ("significance", "one method, pictures"),
    ("power", "one method"),
    ("power", "one method, pictures"),
}
"""Reports that such a store has nothing for: they say so in one line."""


@pytest.fixture(scope="module", params=STORES)
def store(
    request: pytest.FixtureRequest, clinic: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("store")
    options = ["-d", clinic, "-l", "50", "-p", PROFILE, "--launcher", "inline"]
    bench("run", *STORES[request.param], *options, "--store", folder)
    return request.param, folder


@pytest.mark.parametrize("report", registry.names("reports"))
def test_a_report_is_written(report: str, store: tuple[str, Path], tmp_path: Path) -> None:
    name, folder = store
    empty = (report, name) in NOTHING_TO_SAY
    answer = bench(
        "report", report, "-o", tmp_path / "out", "--store", folder, code=2 if empty else 0
    )
    if empty:
        assert len(answer.err.splitlines()) == 1
        return
    written = [path for path in (tmp_path / "out").iterdir() if path.is_file()]
    assert written
    assert all(path.stat().st_size for path in written)
