"""The committed leaderboard is what its results tables say, byte for byte but for drawings."""

import re
from pathlib import Path

import pandas as pd
import pytest

from bench.plugins import registry
from bench.reporting.report import Report
from bench.results.files import Tables
from bench.results.sources import tables_of

ROOT = Path(__file__).parents[2] / "leaderboard"


def words(drawing: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]+)</text>", drawing)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("quick", "leaderboard"),
        ("quick", "significance"),
        ("quick", "fairness"),
        ("published-loss", "leaderboard"),
        ("published-loss", "fairness"),
        ("published-loss-5-folds", "leaderboard"),
        ("published-loss-5-folds", "significance"),
    ],
)
def test_committed_reports_regenerate_byte_for_byte(folder: str, name: str, tmp_path: Path) -> None:
    tables = tables_of(ROOT / folder)
    report = registry.load("reports", name, Report).from_overrides("report", name, {})
    written = report.build(Tables.read(tables)).write(tmp_path)
    names = [path.name for path in written]
    assert names[:4] == [f"{name}.{kind}" for kind in ("md", "csv", "tex", "html")]
    drawn = sorted(path.name for path in (ROOT / folder).glob(f"{name}-*"))
    assert drawn == sorted(names[4:])
    for path in written:
        committed = ROOT / folder / path.name
        if path.name == "significance.csv":  # the optimum of a mixed model varies with the machine
            pd.testing.assert_frame_equal(pd.read_csv(path), pd.read_csv(committed), rtol=1e-4)
        elif path.suffix in (".svg", ".html"):  # where a word stands varies with matplotlib
            texts = [one.read_text(encoding="utf-8") for one in (path, committed)]
            assert words(texts[0]) == words(texts[1]), path.name
            rest = [re.sub("<svg.*?</svg>", "", text, flags=re.DOTALL) for text in texts]
            assert rest[0] == rest[1], path.name
        elif path.suffix != ".pdf":
            assert path.read_bytes() == committed.read_bytes(), path.name
