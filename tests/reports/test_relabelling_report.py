import numpy as np
import pytest
from tables import audit_table, in_memory, result_table

from bench.errors import BenchError
from bench.reports.relabelling import Relabelling
from bench.results.aggregate import audit_cell_values, left_out_values
from bench.results.columns import CELL
from bench.results.tables import AUDIT


def report(audit):
    return Relabelling().build(in_memory(audit=audit))


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
    complete = result_table(methods=["inerrant"], fractions=[100])
    with pytest.raises(BenchError, match="no label was hidden"):
        Relabelling().build(in_memory(results=complete))


def test_what_a_gate_leaves_out_stands_beside_what_it_keeps():
    audit = audit_table()
    assert "left out" not in report(audit).files["relabelling.md"]
    gated = audit.assign(
        left_out=2, candidates=2 * audit["added"].clip(lower=50), dsc_kept=0.8, dsc_left_out=0.1
    )
    found = left_out_values(gated, (*CELL, "organ", "round")).set_index(["organ", "round"])
    # Of 200 candidates of the liver a quarter is wrong; 100 were added, 90 of those right.
    assert found.loc[("liver", 1), "precision"] == pytest.approx(0.9)
    assert found.loc[("liver", 1), "precision_left_out"] == pytest.approx((150 - 90) / 100)
    assert found.loc[("liver", 1), ["volumes", "left_out"]].tolist() == [20, 4]
    text = report(gated).files["relabelling.md"]
    assert "d, profile smoke, unet: pseudo-labels left out, per organ" in text
    assert "| 30 % | liver | inerrant | 1 | 20 | 4 | 90.0 | 60.0 | 80.0 | 10.0 |" in text
    # No spleen is left out, so the mean over organs is that of the liver alone.
    gated.loc[gated["organ"] == "spleen", ["dsc_kept", "dsc_left_out"]] = [0.2, np.nan]
    mean = left_out_values(gated).set_index("round")
    assert mean.loc[2, ["dsc_kept", "dsc_left_out"]].tolist() == pytest.approx([0.8, 0.1])
