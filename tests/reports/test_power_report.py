"""The power report: smallest detectable differences, and patients needed."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tables import in_memory, result_table

from bench.errors import BenchError
from bench.reports import power
from bench.reports.power import Power

METHODS = ("naive", "inerrant0", "inerrant", "full")


def numbers(report: Power, table: pd.DataFrame) -> pd.DataFrame:
    files = report.build(in_memory(results=table)).files
    return pd.read_csv(io.StringIO(str(files["power.csv"])))


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return result_table(methods=METHODS, folds=range(5), fractions=[30], patients=4)


def test_a_true_difference_of_the_detectable_size_is_found_as_often_as_stated(
    table: pd.DataFrame,
) -> None:
    found = numbers(Power(power=0.8), table)
    assert found["a"].tolist() == ["naive", "inerrant"]  # the upper bound is compared with nothing
    row = found.iloc[1]
    rng = np.random.default_rng(0)
    patients = rng.normal(row["over_patients"], row["sd"], (20_000, int(row["patients"])))
    p = stats.ttest_1samp(patients, 0, axis=1).pvalue
    assert np.mean(p < 0.05 / 2) == pytest.approx(0.8, abs=0.01)


def test_over_folds_the_corrected_error_counts(table: pd.DataFrame) -> None:
    found = numbers(Power(), table).set_index("a").loc["inerrant"]
    last = table[table["final"]]
    folds = last.groupby(["method", "fold", "organ"])["dsc"].mean().groupby(["method", "fold"])
    values = folds.mean().unstack("method")
    diff = values["inerrant"] - values["inerrant0"]
    error = diff.std() * math.sqrt(1 / 5 + 0.25)
    assert found["diff"] == pytest.approx(diff.mean(), rel=1e-4)
    critical = stats.t.ppf(1 - 0.05 / 4, 4)
    assert stats.nct.sf(critical, 4, found["over_folds"] / error) == pytest.approx(0.8, abs=1e-3)


def test_the_needed_patients_are_those_of_textbooks() -> None:
    # A paired t-test, d = 0.5, two-sided 5 %, power 80 %: 34 pairs (Cohen 1988; G*Power).
    table = result_table(methods=("inerrant0", "inerrant"), fractions=[30])
    sd = numbers(Power(), table)["sd"].item()
    found = numbers(Power(difference=sd / 2), table)["needed"].item()
    assert math.ceil(found) == 34


def test_equal_rows_give_equal_bytes(table: pd.DataFrame) -> None:
    document = Power(metric="nsd").build(in_memory(results=table))
    again = Power(metric="nsd").build(in_memory(results=table.sample(frac=1, random_state=1)))
    assert document.files == again.files
    suffixes = (".md", ".csv", ".tex", ".html", "-1.svg", "-1.pdf")
    assert list(document.files) == [f"power-nsd{suffix}" for suffix in suffixes]


def test_what_no_scale_holds_is_not_printed_as_a_number() -> None:
    table = result_table(methods=("naive", "inerrant0"), folds=[0, 1], fractions=[30])
    table.loc[(table["fold"] == 1) & (table["method"] == "naive"), "dsc"] = 90.0  # folds disagree
    few = Power().build(in_memory(results=table)).boards[0].frame
    assert few["detectable over folds"].item() == "> 100"
    one = Power().build(in_memory(results=table[table["fold"] == 0])).boards[0].frame
    assert one["detectable over folds"].item() == "–"


def test_nothing_to_compare_is_said() -> None:
    with pytest.raises(BenchError, match="nothing to compare"):
        Power().build(in_memory(results=result_table(methods=["inerrant0", "full"])))
    with pytest.raises(BenchError, match="unknown reference"):
        Power(reference="bai").build(in_memory(results=result_table()))
    with pytest.raises(BenchError, match="no row"):
        Power().build(in_memory())


def test_boards_without_the_reference_are_left_out_and_named() -> None:
    both = result_table(folds=[0, 1], fractions=[30])
    alone = result_table(methods=["naive"], folds=[0, 1], fractions=[30], dataset="other")
    boards = Power().build(in_memory(results=pd.concat([both, alone], ignore_index=True))).boards
    assert len(boards) == 1
    assert boards[0].notes[-1].startswith("Left out, without a second method: other")


def test_without_the_usual_reference_the_best_method_is_it() -> None:
    table = result_table(methods=["naive", "bai"], folds=range(3), fractions=[30])
    assert numbers(Power(), table)[["a", "b"]].to_numpy().tolist() == [["naive", "bai"]]
    table = result_table(methods=["naive", "inerrant0", "bai"], folds=range(3), fractions=[30])
    assert set(numbers(Power(), table)["b"]) == {"inerrant0"}


def test_scores_that_do_not_vary_have_no_curve(table: pd.DataFrame) -> None:
    one = table[(table["patient"] == table["patient"].iloc[0])]
    files = Power().build(in_memory(results=one)).files
    assert set(files) == {"power.md", "power.csv", "power.tex", "power.html"}


@pytest.mark.parametrize("sd", [2.0, 30.0])
def test_axes_of_power_have_numbers(sd: float) -> None:
    line = power._Line("a", "#0067A5", sd / np.sqrt(power.PATIENTS) * 3, (20, sd))
    figure = power._curves([power._Panel("30 %", [line])], "b", 1, "%")
    figure.canvas.draw()
    (axis,) = figure.axes
    shown = [
        label.get_text()
        for scale in (axis.xaxis, axis.yaxis)
        for label in scale.get_ticklabels(which="both")
    ]
    values = [float(text) for text in shown if text]  # none is a formula
    low, high = axis.get_ylim()
    assert len([value for value in values if low <= value <= high]) >= 2
