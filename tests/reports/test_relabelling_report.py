import numpy as np
import pytest
from tables import audit_table

from bench.errors import BenchError
from bench.reports.relabelling import Relabelling
from bench.results.aggregate import audit_cell_values
from bench.results.files import Tables
from bench.results.tables import AUDIT


def report(audit):
    return Relabelling().build(Tables.of(audit=audit))


def test_files_are_complete_and_equal_input_gives_equal_bytes(tmp_path):
    audit = audit_table()
    first, second = tmp_path / "1", tmp_path / "2"
    written = report(audit).write(first)
    report(audit.sample(frac=1, random_state=0)).write(second)
    assert [path.name for path in written] == [
        f"relabelling.{suffix}" for suffix in ("md", "csv", "tex", "html")
    ]
    for path in written:
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_shown_values_are_the_aggregated_ones_in_percent():
    audit = audit_table()
    text = report(audit).files["relabelling.md"]
    cells = audit_cell_values(audit)
    for precision in cells["precision"]:
        assert f"{100 * precision:.1f}" in text
    assert "nan" not in text.lower()


def test_undefined_ratios_are_dashes():
    audit = audit_table().assign(precision=np.nan)
    assert "–" in report(audit).files["relabelling.md"]


def test_no_relabelling_is_said():
    with pytest.raises(BenchError, match="method with rounds"):
        report(AUDIT.frame([]))
