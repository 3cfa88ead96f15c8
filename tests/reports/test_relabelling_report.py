import numpy as np
import pytest
from tables import audit_table

from bench.errors import BenchError
from bench.reports.relabelling import Relabelling
from bench.results.aggregate import audit_cell_values
from bench.results.tables import AUDIT


def test_files_are_complete_and_equal_input_gives_equal_bytes(tmp_path):
    audit = audit_table()
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    written = Relabelling().build(audit, first)
    Relabelling().build(audit.sample(frac=1, random_state=0), second)
    assert [path.name for path in written] == [
        f"relabelling.{suffix}" for suffix in ("md", "csv", "tex", "html")
    ]
    for path in written:
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_shown_values_are_the_aggregated_ones_in_percent(tmp_path):
    audit = audit_table()
    Relabelling().build(audit, tmp_path)
    text = (tmp_path / "relabelling.md").read_text()
    cells = audit_cell_values(audit)
    for precision in cells["precision"]:
        assert f"{100 * precision:.1f}" in text
    assert "nan" not in text.lower()


def test_undefined_ratios_are_dashes(tmp_path):
    audit = audit_table().assign(precision=np.nan)
    Relabelling().build(audit, tmp_path)
    assert "–" in (tmp_path / "relabelling.md").read_text()


def test_no_relabelling_is_said(tmp_path):
    with pytest.raises(BenchError, match="method with rounds"):
        Relabelling().build(AUDIT.frame([]), tmp_path)
