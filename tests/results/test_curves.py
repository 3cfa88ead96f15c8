"""What trainings logged: from event lines to parts, to the report."""

from __future__ import annotations

from pathlib import Path

import pytest
from tables import curves_table, in_memory

from bench.errors import BenchError
from bench.reports.training import Training
from bench.results.aggregate import curve_values, parts
from bench.results.tables import CURVES, PARTS


def test_events_are_averaged_within_parts() -> None:
    events = [{"step": step, "time": 1.0, "a/b": float(step)} for step in range(0, 400, 10)]
    found = list(parts(events, 400))
    assert [(name, part) for name, part, _ in found] == [("a/b", part) for part in range(PARTS)]
    assert [value for *_, value in found] == [20 * part + 5 for part in range(PARTS)]


def test_a_short_training_logs_in_some_parts_only() -> None:
    events = [{"step": 0, "time": 1.0, "x": 1.0}, {"step": 5, "time": 2.0, "x": 3.0}]
    assert list(parts(events, 6)) == [("x", 0, 1.0), ("x", 16, 3.0)]


def test_curves_are_means_over_folds() -> None:
    values = curve_values(curves_table())
    row = values[(values["name"] == "segment/gate_share") & (values["part"] == 4)].iloc[0]
    assert row["mean"] == pytest.approx(4 + 0.5)
    assert row["std"] == pytest.approx(0.5**0.5)
    assert row["runs"] == 2


def test_a_table_survives_the_disk(tmp_path: Path) -> None:
    table = curves_table()
    CURVES.save(table, tmp_path / "x.curves.parquet")
    assert CURVES.load(tmp_path / "x.curves.parquet").equals(CURVES.frame(table.to_dict("records")))


def test_the_report_shows_what_is_a_methods_own(tmp_path: Path) -> None:
    table = curves_table()
    first, second = tmp_path / "1", tmp_path / "2"
    written = Training().build(in_memory(curves=table)).write(first)
    Training().build(in_memory(curves=table.sample(frac=1, random_state=0))).write(second)
    assert [path.name for path in written] == [
        *(f"training.{suffix}" for suffix in ("md", "csv", "tex", "html")),
        "training-1.svg",
        "training-1.pdf",
    ]
    for path in written:
        assert path.read_bytes() == (second / path.name).read_bytes()
    text = (first / "training.md").read_text()
    assert "gate\\_share" in text
    assert "| 0.5 | 5.5 | 10.5 | 19.5 |" in text
    assert "loss" not in text
    assert "gate_share" in (first / "training-1.svg").read_text()


def test_methods_without_terms_of_their_own_are_said_to_have_none() -> None:
    table = curves_table()
    with pytest.raises(BenchError, match="no method among the results"):
        Training().build(in_memory(curves=table[table["name"] == "segment/loss"]))
