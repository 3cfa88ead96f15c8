"""The committed leaderboard is what its results tables say, byte for byte."""

from pathlib import Path

import pandas as pd
import pytest

from bench.plugins import registry
from bench.reporting.report import Report
from bench.results.files import Tables
from bench.results.sources import tables_of

ROOT = Path(__file__).parents[2] / "leaderboard"


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("quick", "leaderboard"),
        ("quick", "fairness"),
        ("quick-5-folds", "leaderboard"),
        ("quick-5-folds", "significance"),
    ],
)
def test_committed_reports_regenerate_byte_for_byte(folder: str, name: str, tmp_path: Path) -> None:
    tables = tables_of(ROOT / folder)
    report = registry.load("reports", name, Report).from_overrides("report", name, {})
    written = report.build(Tables.read(tables)).write(tmp_path)
    assert {path.suffix for path in written} == {".md", ".csv", ".tex", ".html"}
    for path in written:
        committed = ROOT / folder / path.name
        if path.name == "significance.csv":  # the optimum of a mixed model varies with the machine
            pd.testing.assert_frame_equal(pd.read_csv(path), pd.read_csv(committed), rtol=1e-4)
        else:
            assert path.read_bytes() == committed.read_bytes(), path.name
