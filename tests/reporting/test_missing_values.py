"""Comparisons with missing values, each against the numbers by hand."""

import io
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from public import public_scores
from scipy import stats
from tables import in_memory, result_table

from bench.errors import BenchError
from bench.reporting import scores
from bench.reporting.column import ComparisonColumn, Terms, columns
from bench.reporting.comparison import Compared, Comparison, compare
from bench.reporting.marks import marks, standing
from bench.reporting.missing import counts, gaps, substitutes
from bench.reporting.sentences import sentences
from bench.reporting.style import MethodStyles
from bench.reports.power import Power
from bench.reports.significance import Significance

NAN = float("nan")


def column_of(folder: Path, table: pd.DataFrame, **options: object) -> ComparisonColumn:
    path = folder / "mine.csv"
    table.to_csv(path, index=False)
    (column,) = columns(scores.read_csv(path, **options), MethodStyles())
    return column


def long(values: dict[str, list[float]], **more: object) -> pd.DataFrame:
    """Return one row per method and case; ``more`` are columns by case."""
    return pd.concat(
        pd.DataFrame(
            {"task": "t", "case": [f"c{i}" for i in range(len(of))], "method": method, "value": of}
            | more
        )
        for method, of in values.items()
    )


def only(column: ComparisonColumn) -> Comparison:
    (one,) = compare(column, column.pairs)
    return one


# --- cases 35 to 39 of public bug reports -------------------------------------------------------


def hardest_left_out() -> pd.DataFrame:
    """A equals B in 20 cases and has no value in the hardest of every fold."""
    rng = np.random.default_rng(0)
    hard = np.arange(25) % 5 == 4
    b = np.where(hard, 10, 90) + rng.normal(size=25).round(2)
    return long({"B": b, "A": np.where(hard, NAN, b)}, fold=np.arange(25) // 5)


def test_a_method_is_not_better_for_leaving_out_the_hardest_cases(tmp_path: Path) -> None:
    column = column_of(tmp_path, hardest_left_out())
    one = only(column)
    assert (one.primary.diff, one.primary.p, one.primary.note) == (0.0, 1.0, "identical")
    assert (one.only_a, one.only_b, one.patients) == (5, 0, 20)
    # B is level with A on all that A has, and A can be no better for what it lacks.
    assert marks(column) == {"A": "tied", "B": "best_tied"}
    found = sentences(Compared(column, [one]))
    assert "B and A are identical (5 folds, 20 patients, without 5 scores" in found[0]
    assert gaps(column) == ["A 5 patients (c14, c19, c24, ...)"]


def test_equal_differences_are_ties_in_percent_and_as_fractions(tmp_path: Path) -> None:
    a = [0.755, 0.668, 0.721, 0.774, 0.689, 0.592, 0.932, 0.800, 0.595, 0.724]
    b = [0.765, 0.613, 0.706, 0.719, 0.679, 0.567, 0.922, 0.810, 0.570, 0.724]
    found = []
    for scale in (1, 100):
        table = long({"B": scale * np.array(b), "A": scale * np.array(a)})
        found.append(only(column_of(tmp_path, table)))
    for one in found:
        assert one.ranks.p == 0.046875  # all 2^9 signs of the ranks, ties exact
    assert found[0].primary.p == pytest.approx(found[1].primary.p)


# --- ten more, the numbers by hand --------------------------------------------------------------


def test_1_only_shared_cases_count(tmp_path: Path) -> None:
    a = [80.0, NAN, 84, 90, 70, 66]
    b = [70.0, 75, NAN, 85, 69, 60]
    one = only(column_of(tmp_path, long({"b": b, "a": a})))
    expected = stats.ttest_rel([80, 90, 70, 66], [70, 85, 69, 60])
    by_hand = expected.confidence_interval(0.95)
    assert (one.a, one.b) == ("b", "a")
    assert one.primary.diff == -(10 + 5 + 1 + 6) / 4
    assert one.primary.p == pytest.approx(expected.pvalue)
    assert one.interval == pytest.approx((-by_hand.high, -by_hand.low))
    assert (one.primary.n, one.only_a, one.only_b) == (4, 1, 1)


def test_2_a_fold_value_of_a_pair_is_of_the_cases_that_both_have(tmp_path: Path) -> None:
    a = [80.0, 70, NAN, 90, 60, 50]
    b = [70.0, 65, 10, 85, NAN, 48]
    one = only(column_of(tmp_path, long({"b": b, "a": a}, fold=[0, 0, 0, 1, 1, 1])))
    folds = [(75 - 67.5), (70 - 66.5)]
    error = math.sqrt((1 / 2 + 1) * np.var(folds, ddof=1))
    assert one.primary.diff == pytest.approx(-np.mean(folds))
    assert one.primary.statistic == pytest.approx(-np.mean(folds) / error)


def test_3_an_organ_that_one_lacks_is_left_out_for_that_patient(tmp_path: Path) -> None:
    liver = long({"b": [70.0, 71, 74, 60], "a": [80.0, 82, 83, 71]}, organ="liver")
    spleen = long({"b": [50.0, 51, NAN, 40], "a": [NAN, 57, 59, 46]}, organ="spleen")
    one = only(column_of(tmp_path, pd.concat([liver, spleen])))
    patients = [10, (11 + 6) / 2, 9, (11 + 6) / 2]
    assert one.primary.diff == pytest.approx(-np.mean(patients))
    assert one.primary.p == pytest.approx(stats.ttest_1samp(patients, 0).pvalue)


def test_4_scans_of_a_patient_are_one_value(tmp_path: Path) -> None:
    values = {"b": [70.0, 72, 60, 50, 55, 58], "a": [75.0, NAN, 64, 51, 57, 66]}
    patient = ["p1", "p1", "p2", "p3", "p3", "p3"]
    one = only(column_of(tmp_path, long(values, patient=patient)))
    patients = [5, 4, (1 + 2 + 8) / 3]
    assert (one.primary.n, one.patients) == (3, 3)
    assert one.primary.p == pytest.approx(stats.ttest_1samp(patients, 0).pvalue)


def test_5_a_failure_without_a_score_counts_as_the_worst_measured(tmp_path: Path) -> None:
    values = {"b": [5.0, 6, 9, 4, 30], "a": [4.0, NAN, 8, 4, 20]}
    status = ["ok"] * 9
    status.insert(6, "missed")
    table = long(values).assign(status=status)
    column = column_of(tmp_path, table, higher_is_better=False)
    one = only(column)
    d = np.array([5, 6, 9, 4, 30]) - np.array([4, 30, 8, 4, 20])
    assert one.primary.diff == pytest.approx(d.mean())
    assert one.primary.p == pytest.approx(stats.ttest_1samp(d, 0).pvalue)
    assert (one.primary.n, one.counted, one.only_a) == (5, 1, 0)
    assert substitutes(column) == [
        "1 failure without an own score counts as 30.0, the worst measured"
    ]


def test_6_both_empty_is_no_case_and_no_gap(tmp_path: Path) -> None:
    values = {"b": [70.0, 75, NAN, 60], "a": [75.0, 76, NAN, 66]}
    status = ["ok", "ok", "both_empty", "ok"] * 2
    column = column_of(tmp_path, long(values).assign(status=status))
    one = only(column)
    assert (one.primary.n, one.only_a, one.only_b, one.counted) == (3, 0, 0, 0)
    assert one.primary.diff == -4.0
    assert gaps(column) == []
    assert standing(column).leaders == ("a",)
    assert counts(column)["a"].absent == 1


def test_7_a_hallucination_costs_against_a_correct_absence(tmp_path: Path) -> None:
    values = {"b": [70.0, 75, 0, 60, 81], "a": [70.0, 75, NAN, 60, 80]}
    status = ["ok", "ok", "hallucinated", "ok", "ok", "ok", "ok", "both_empty", "ok", "ok"]
    column = column_of(tmp_path, long(values).assign(status=status))
    one = only(column)
    assert one.primary.diff == (0 + 0 - 100 + 0 + 1) / 5  # b - a, the absence at 100
    assert standing(column).leaders == ("a",)
    assert "counts as 100.0 against it" in substitutes(column)[0]
    assert counts(column)["b"].hallucinated == 1


def test_8_without_a_status_zeros_beside_empty_cells_stay_visible(tmp_path: Path) -> None:
    values = {"b": [70.0, 75, 0, 60], "a": [71.0, 76, NAN, 61]}
    column = column_of(tmp_path, long(values))
    one = only(column)
    assert (one.primary.n, one.only_a, one.only_b) == (3, 1, 0)
    assert counts(column)["b"].zeros == 1
    assert standing(column).leaders == ("a",)  # an empty cell beside zeros only is no gap


def test_9_nothing_is_best_because_another_has_missing_values(tmp_path: Path) -> None:
    # c is best on all it has but lacks the easy cases, which makes its own mean the lowest.
    easy, hard = [95.0, 96, 94, 95], [50.0, 52, 51, 49]
    values = {
        "a": easy + hard,
        "b": [x - 1 for x in easy] + [49.5, 50, 50.5, 47],
        "c": [NAN] * 4 + [60.0, 61.5, 60.2, 58],
    }
    column = column_of(tmp_path, long(values))
    assert column.means["c"] < column.means["b"] < column.means["a"]
    who = standing(column)
    assert (who.leaders, who.ahead) == ((), ("c",))
    found = sentences(Compared(column, compare(column, column.pairs)))
    assert found[0] == (
        "No method is best: ahead where both have scores is c, which lacks 4 (case, organ) pairs."
    )


def test_10_seeds_are_a_random_effect_and_a_seed_that_lacks_is_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    effects = {0: 0.0, 1: 3.0, 2: 6.0}
    parts = []
    d = np.empty((8, 3))
    for seed, effect in effects.items():
        b = rng.normal(60, 5, 8).round(1)
        a = (b + 2 + effect + rng.normal(0, 0.5, 8)).round(1)
        d[:, seed] = a - b
        parts.append(long({"b": b, "a": a}, seed=seed))
    table = pd.concat(parts)
    table.loc[(table["case"] == "c7") & (table["seed"] == 1), "value"] = NAN
    one = only(column_of(tmp_path, table))
    d = d[:7]
    ms_p, ms_s = 3 * d.mean(axis=1).var(ddof=1), 7 * d.mean(axis=0).var(ddof=1)
    rest = d - d.mean(axis=1, keepdims=True) - d.mean(axis=0) + d.mean()
    error = math.sqrt((ms_p + ms_s - (rest**2).sum() / 12) / 21)
    assert one.primary.n == 7
    assert one.primary.diff == pytest.approx(-d.mean())
    assert one.primary.p == pytest.approx(2 * stats.t.sf(d.mean() / error, 2))


def test_every_figure_of_a_pair_is_of_the_patients_with_all_seeds(tmp_path: Path) -> None:
    d = np.array([[1.0, 2], [2, 4], [3, 3], [-9, NAN]])  # the last would change all of them
    parts = [long({"a": [60.0] * 4, "b": list(60 + d[:, seed])}, seed=seed) for seed in (0, 1)]
    one = only(column_of(tmp_path, pd.concat(parts)))
    of_patients = d[:3].mean(axis=1)
    assert (one.primary.n, one.patients, one.ranks.n) == (3, 3, 3)
    assert one.effect.dz == pytest.approx(of_patients.mean() / of_patients.std(ddof=1))
    assert (one.effect.superiority, one.effect.rank_biserial) == (1, 1)
    (found,) = Power(csv=tmp_path / "mine.csv", reference="a").build(in_memory()).boards
    line = found.frame.iloc[0]
    assert (line["difference"], line["patients"]) == ("+2.5", "3")


@pytest.mark.parametrize("seeds", [1, 2])
def test_11_a_seed_that_one_method_lacks_is_left_out(seeds: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    d = rng.normal(3, 2, (3, 8)).round(1)
    b = rng.normal(60, 5, (3, 8)).round(1)
    both = [long({"a": list(b[s] + d[s]), "b": list(b[s])}, seed=s) for s in range(3)]
    table = pd.concat(both)
    column = column_of(tmp_path, table[(table["method"] == "a") | (table["seed"] < seeds)])
    one = only(column)
    assert one.primary.n == 8
    assert -one.primary.diff == pytest.approx(d[:seeds].mean())
    # These seeds are alike (F test), so that they are averaged.
    assert one.primary.p == pytest.approx(stats.ttest_1samp(d[:seeds].mean(axis=0), 0).pvalue)
    assert one.only_a + one.only_b == 8 * (3 - seeds)
    (told, *_) = sentences(Compared(column, [one]))
    assert f"8 cases, without {8 * (3 - seeds)} scores that only one of them has" in told
    assert gaps(column) == ["b " + ", ".join(f"seed {s}" for s in range(seeds, 3))]


def test_cases_of_one_seed_each_are_not_said_to_be_nothing(tmp_path: Path) -> None:
    table = long({"a": [80.0, 70, 60, 50], "b": [70.0, 65, 55, 49]}, seed=[0, 1, 0, 1])
    column = column_of(tmp_path, table)
    told = sentences(Compared(column, [only(column)]))[0]
    assert told == "b and a share no case with all their seeds to compare (4 cases)."


def test_whole_folds_seeds_and_organs_that_a_method_lacks_are_named(tmp_path: Path) -> None:
    values = {"a": [80.0, 70, 60, 50], "b": [70.0, 65, 55, 49]}
    liver, spleen = (long(values, organ=organ) for organ in ("liver", "spleen"))
    table = pd.concat([liver, spleen[(spleen["method"] == "a")]])
    assert gaps(column_of(tmp_path, table)) == ["b organ spleen"]
    runs = pd.concat(long(values, fold=[0, 0, 1, 1], seed=seed) for seed in range(3))
    table = runs[(runs["method"] == "a") | (runs["seed"] < 2)]
    assert gaps(column_of(tmp_path, table)) == ["b seed 2"]


def test_distances_of_missed_organs_count_in_results_too() -> None:
    table = result_table(methods=("naive", "inerrant0"), folds=range(5), fractions=[30])
    (column,) = columns(scores.of_results(table, "hd95_mm"), MethodStyles.of(table))
    one = only(column)
    worst = table["hd95_mm"].max()
    wide = table.assign(hd95_mm=table["hd95_mm"].fillna(worst)).pivot_table(
        index=["fold", "organ"], columns="method", values="hd95_mm"
    )
    diff = (wide["inerrant0"] - wide["naive"]).groupby("fold").mean()
    assert one.primary.diff == pytest.approx(diff.mean())
    assert one.counted == 5
    assert f"count as {worst:.1f} mm, the worst measured" in substitutes(column)[0]

    # BraTS counts the diagonal of its images, which no score here is worse than.
    asked = replace(column, terms=Terms(failure=373.13))
    assert only(asked).primary.diff == pytest.approx(diff.mean() - (373.13 - worst) / 6)
    assert substitutes(asked)[0].endswith("count as 373.1 mm, as asked for with failure=373.13")
    small = substitutes(replace(column, terms=Terms(failure=worst - 1e-6)))[0]
    assert small.endswith("; 1 score measured worse")
    (full,) = columns(scores.of_results(table), MethodStyles.of(table))
    (said,) = substitutes(replace(full, terms=Terms(failure=5)))
    assert "failure=5 changes nothing: no failure is without a score" in said


def test_signed_ranks_decide_with_their_own_estimate(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(70, 5, 30).round(1)
    b = (a + rng.gamma(1, 1, 30)).round(1)
    b[:4] = a[:4] - 40  # the mean is with a, most patients are with b
    column = column_of(tmp_path, long({"a": a, "b": b}))
    by_means, by_ranks = only(column), only(replace(column, terms=Terms(decides="ranks")))
    assert by_means.primary.diff < 0 < by_ranks.primary.diff
    walsh = (np.add.outer(b - a, b - a) / 2)[np.triu_indices(30)]
    assert by_ranks.primary.diff == pytest.approx(np.median(walsh))
    assert by_ranks.primary.p == by_means.ranks.p
    assert by_ranks.significant == (by_ranks.interval[0] > 0)
    report = Significance(csv=tmp_path / "mine.csv", decides="ranks").build(in_memory())
    text = str(report.files["significance-ranks.md"])
    assert "(Hodges-Lehmann estimate, corrected 95 % CI" in text
    assert "best mean" not in text
    numbers = pd.read_csv(io.StringIO(str(report.files["significance-ranks.csv"])))
    assert numbers["diff"].to_list() == pytest.approx([by_ranks.primary.diff])

    # No p value without an interval: where most values are equal, no shift fits the ranks.
    equal = column_of(tmp_path, long({"a": [2.0] * 100, "b": [2.0] * 75 + [9.0] * 25}))
    one = only(replace(equal, terms=Terms(decides="ranks")))
    assert only(equal).ranks.p < 0.05
    assert not one.significant
    told = sentences(Compared(replace(equal, terms=Terms(decides="ranks")), [one]))
    assert "not tested: too many equal values" in told[0]


@pytest.mark.parametrize("name", ["fold", "seed"])
def test_signed_ranks_do_not_decide_where_patients_share_models(name: str, tmp_path: Path) -> None:
    values = {"a": [1.0, 2, 3, 4, 5, 6, 7, 8], "b": [2.0, 3, 4, 5, 6, 7, 8, 10]}
    table = long(values, **{name: [0, 1] * 4})
    if name == "seed":
        table["case"] = table["case"].map({f"c{i}": f"c{i // 2}" for i in range(8)})
    column = replace(column_of(tmp_path, table), terms=Terms(decides="ranks"))
    with pytest.raises(BenchError, match="signed ranks take patients as independent, but patients"):
        only(column)


# --- tables that cannot be compared -------------------------------------------------------------


def test_percent_and_fractions_are_noticed(tmp_path: Path) -> None:
    table = long({"a": [80.1, 90.2, 70.0], "b": [0.81, 0.9, 0.7], "c": [0.5, 0.6, 0.7]})
    with pytest.raises(BenchError, match=r"task t: values of b and c are up to 0\.9, those of a "):
        column_of(tmp_path, table)
    assert column_of(tmp_path, table, unit="%").measure_unit == "%"
    assert column_of(tmp_path, table, higher_is_better=False).methods == ("a", "b", "c")


def test_organs_in_fractions_beside_others_in_percent_are_noticed(tmp_path: Path) -> None:
    table = long({"a": [80.0, 0.7], "b": [70.0, 0.6]}, organ=["liver", "spleen"])
    with pytest.raises(BenchError, match="values of spleen are up to"):
        column_of(tmp_path, table)


def test_methods_without_a_common_case_are_refused_by_name(tmp_path: Path) -> None:
    table = long({"a": [80.0, 70, NAN, NAN], "b": [NAN, NAN, 70.0, 72]})
    with pytest.raises(BenchError, match="methods a and b have no case in common"):
        column_of(tmp_path, table)
    with pytest.raises(BenchError, match="task t: method b has no value"):
        column_of(tmp_path, long({"a": [80.0, 70], "b": [NAN, NAN]}))


def test_statuses_of_different_truths_are_refused(tmp_path: Path) -> None:
    table = long({"a": [80.0, NAN], "b": [70.0, 75.0]})
    table["status"] = ["ok", "both_empty", "ok", "ok"]
    expected = "case c1, organ all: both_empty of a and ok of b"
    with pytest.raises(BenchError, match=expected):
        column_of(tmp_path, table)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("status", ["broken", "ok"], "row 2, column status: 'broken' is none of ok, missed"),
        ("status", ["both_empty", ""], "row 2, column status: 'both_empty' has a value"),
        ("patient", ["p", ""], "row 3, column patient: '' is empty"),
        ("seed", ["0", "x"], "row 3, column seed: 'x' is not a finite number"),
    ],
)
def test_more_columns_are_checked(
    column: str, values: list[str], message: str, tmp_path: Path
) -> None:
    table = long({"a": [80.0, 70]}).assign(**{column: values})
    with pytest.raises(BenchError, match=re.escape(message)):
        column_of(tmp_path, table)


# --- sentences ----------------------------------------------------------------------------------

INTERVAL = re.compile(r"corrected 95 % CI (\S+) to (\S+); Holm p (?:= (\S+)|< 0\.001);")


def parsed(text: str) -> Iterator[tuple[str, float, float, float]]:
    """Yield sentence, bounds and corrected p value of every comparison that is told."""
    for line in text.splitlines():
        if found := INTERVAL.search(line):
            low, high = (float(bound.replace("−", "-")) for bound in found.groups()[:2])
            yield line, low, high, float(found[3] or 0)


@pytest.mark.parametrize("seed", range(3))
def test_every_sentence_agrees_with_its_interval(seed: int, tmp_path: Path) -> None:
    table = public_scores(methods=6, organs=3, cases=40, seed=seed)
    if seed:
        table["fold"] = table["case"].str[4:].astype(int) % 5
    table.to_csv(tmp_path / "public.csv", index=False)
    found = []
    for decides in ("mean", "ranks") if not seed else ("mean",):
        report = Significance(csv=tmp_path / "public.csv", decides=decides).build(in_memory())
        (text,) = (text for name, text in report.files.items() if name.endswith(".md"))
        found += list(parsed(str(text)))
        assert found
    for line, low, high, p in found:
        assert (" exceeds " in line) == (low > 0), line
        assert (" exceeds " in line) == (p < 0.05), line
        assert low <= high
        number = re.search(r"(?:by|is) (\d\S*) ?(?:points)?(?: above| \()", line)
        if number:
            assert low <= float(number[1]) <= high, line


def test_no_sentence_says_zero_points() -> None:
    rows = long({"b": [0.70004, 0.6, 0.5, 0.4], "a": [0.7, 0.6, 0.5, 0.4]})
    rows = rows.assign(
        label_pct=0, organ="all", seed=0, fold=0, test_to_train=0.0, patient=rows["case"],
        status="unknown", metric="value", unit="", higher_is_better=True, best=NAN,
    )  # fmt: skip
    column = ComparisonColumn(rows, None, MethodStyles())
    (text,) = sentences(Compared(column, [only(column)]))[:1]
    assert "differ by less than 0.001, which may be chance" in text


def test_what_is_detectable_is_in_the_unit_of_the_differences(tmp_path: Path) -> None:
    values = {"a": [60.0] * 5, "b": [62.0, 63, 62.4, 62.6, 62.2]}
    for options, unit in {(): "points", ("mm",): "mm"}.items():
        more = {"unit": options[0], "higher_is_better": False} if options else {}
        column = column_of(tmp_path, long(values), **more)
        told = sentences(Compared(column, [only(column)]))
        assert f"2.4 {unit} (corrected" in told[0]
        assert f"a true difference below 0.6 {unit} is found" in told[1]


def test_two_folds_have_no_interval_in_every_sentence(tmp_path: Path) -> None:
    values = {"b": [70.0, 71, 74, 60], "a": [80.0, 82, 83, 79]}
    column = column_of(tmp_path, long(values, fold=[0, 0, 1, 1]))
    text = sentences(Compared(column, [only(column)]))[0]
    assert text == (
        "a is 12.2 points above b, which two folds cannot tell from chance (2 folds, 4 patients)."
    )
