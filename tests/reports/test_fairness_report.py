"""The fairness report: what each method cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tables import in_memory, result_table

from bench.methods.inerrant import Inerrant
from bench.methods.inerrant0 import Inerrant0
from bench.methods.inerrant_views import InerrantViews
from bench.reports.fairness import Fairness, costs


def test_costs_are_those_of_the_last_models() -> None:
    found = costs(result_table(methods=["inerrant", "naive", "inerrant0"])).set_index("method")
    assert found.index.tolist() == ["naive", "inerrant0", "inerrant"]
    assert found.loc["inerrant", ["networks", "parameters", "seg_steps"]].tolist() == [
        2,
        2_000_000,
        1000,
    ]
    assert found.loc["inerrant", "passes"] == 2.0
    assert found["times"].tolist() == [1.0, 1.0, 3.0]


def test_without_a_reference_there_is_no_multiple() -> None:
    assert np.isnan(costs(result_table(methods=["naive"]))["times"]).all()


def test_the_report_names_what_departs(tmp_path: Path) -> None:
    table = result_table(methods=["inerrant0", "inerrant"])
    written = Fairness().build(in_memory(results=table)).write(tmp_path)
    assert [path.name for path in written] == [
        f"fairness.{suffix}" for suffix in ("md", "csv", "tex", "html")
    ]
    text = (tmp_path / "fairness.md").read_text()
    assert "Deviations of INERRANT: rounds, as published." in text
    assert "| INERRANT | 2 | 2.00 | 1000 | 2.0 | 180 s | 3.0 | – |" in text
    first = {path.name: path.read_bytes() for path in written}
    shuffled = table.sample(frac=1, random_state=0).reset_index(drop=True)
    again = Fairness().build(in_memory(results=shuffled)).write(tmp_path)
    assert {path.name: path.read_bytes() for path in again} == first


def test_departures_are_stated_by_the_methods() -> None:
    assert "confidence network" in Inerrant.departs


def test_a_method_that_predicts_by_views_says_so() -> None:
    usual, views = Inerrant0(), Inerrant0(predict="views")
    assert usual.deviations() == Inerrant0.departs == "nothing"
    assert views.deviations().startswith("predicts the mean of five views")
    said = InerrantViews().deviations()
    assert said == f"{InerrantViews.departs}; {views.deviations()}"


def test_times_are_of_the_runs_that_both_have_on_one_device() -> None:
    table = result_table(methods=["inerrant0", "naive"], folds=[0, 1, 2])
    slow = {"inerrant0": {0: 1000.0, 1: 10.0, 2: 10.0}, "naive": {1: 40.0, 2: 40.0}}
    table = table[(table["method"] == "inerrant0") | (table["fold"] > 0)].reset_index(drop=True)
    table["device_s"] = [slow[m][f] for m, f in zip(table["method"], table["fold"], strict=True)]
    table.loc[(table["method"] == "naive") & (table["fold"] == 2), "device"] = "another"
    assert costs(table).set_index("method")["times"].to_dict() == {"inerrant0": 1.0, "naive": 4.0}
