"""The committed leaderboard is what its results tables say, byte for byte."""

from pathlib import Path

import pytest

from bench import registry
from bench.report import Report

FOLDER = Path(__file__).parents[1] / "leaderboard" / "quick"


@pytest.mark.parametrize("name", ["leaderboard", "fairness"])
def test_committed_reports_regenerate_byte_for_byte(name: str, tmp_path: Path) -> None:
    report = registry.load("reports", name, Report).from_overrides("report", name, {})
    written = report.build(report.read(sorted(FOLDER.glob("*.parquet"))), tmp_path)
    assert {path.suffix for path in written} == {".md", ".csv", ".tex", ".html"}
    for path in written:
        assert path.read_bytes() == (FOLDER / path.name).read_bytes(), path.name
