"""Columns of scores, their comparisons, the bold rule and the sentences."""

import itertools
import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tables import result_table

from bench.errors import BenchError
from bench.reporting import scores
from bench.reporting.column import ComparisonColumn, columns
from bench.reporting.comparison import Compared, compare
from bench.reporting.marks import marks, ranked, standing
from bench.reporting.missing import gaps
from bench.reporting.sentences import sentence, sentences
from bench.reporting.style import MethodStyle, MethodStyles
from bench.reporting.text import interval
from bench.results.aggregate import cell_values, final_models
from bench.stats.multiple import holm

METHODS = ("naive", "inerrant0", "inerrant", "full")
STYLES = MethodStyles.of(result_table(methods=(*METHODS, "bai")))


def column_of(
    values: Mapping[str, list[float]], *, n_folds: int = 5, patients: int = 4
) -> ComparisonColumn:
    """Return a column in which every patient of a fold has the fold's value, plus a bit of its own.

    The bit is the same for all methods, so that differences are those of the folds.
    """
    rows = [
        {"task": "t", "label_pct": 30, "method": method, "organ": "liver", "seed": 0, "fold": fold}
        | {
            "test_to_train": 1 / (n_folds - 1) if n_folds else 0.0,
            "patient": f"p{fold}{p}",
            "case": f"p{fold}{p}",
            "value": value + p,
            "status": "ok",
            "metric": "DSC",
        }
        | {"unit": "%", "higher_is_better": True, "best": 100.0}
        for method, fold_values in values.items()
        for fold, value in enumerate(fold_values)
        for p in range(patients)
    ]
    return ComparisonColumn(pd.DataFrame(rows)[list(scores.COLUMNS)], None, STYLES)


def compared(column: ComparisonColumn) -> Compared:
    return Compared(column, compare(column, column.pairs, thorough=False))


def test_means_are_those_of_the_leaderboard() -> None:
    table = result_table(methods=METHODS, seeds=(0, 1), folds=(0, 1, 2))
    cells = cell_values(final_models(table)).set_index(["label_pct", "method"])["mean"]
    for column in columns(scores.of_results(table), MethodStyles.of(table)):
        for method in METHODS:
            assert column.means[method] == pytest.approx(cells[column.label_pct, method])
    organs = list(columns(scores.of_results(table), MethodStyles.of(table), per_organ=True))
    assert [column.label for column in organs] == [
        f"{pct} %, {organ}" for pct in (50, 30) for organ in ("liver", "spleen")
    ]


def test_comparisons_are_those_of_scipy() -> None:
    table = result_table(methods=METHODS, folds=range(5), fractions=[30])
    (column,) = columns(scores.of_results(table), MethodStyles.of(table))
    found = compare(column, column.pairs)
    assert [(one.a, one.b) for one in found] == [
        ("inerrant0", "naive"), ("inerrant", "naive"), ("inerrant", "inerrant0"),
    ]  # fmt: skip
    wide = final_models(table).pivot_table(
        index=["fold", "patient"], columns="method", values="dsc", aggfunc="mean"
    )
    folds = wide.groupby("fold").mean()
    ranks = wide.sub(wide["naive"], axis=0)["inerrant0"].pipe(
        lambda d: np.sign(d) * stats.rankdata(abs(d)) / len(d)
    )
    over_folds = stats.ttest_1samp(ranks.groupby("fold").mean(), 0)
    assert found[0].ranks.statistic == pytest.approx(over_folds.statistic / 1.5)
    for one in found:
        plain = stats.ttest_rel(folds[one.a], folds[one.b])
        assert column.plain_t(one.a, one.b).p == pytest.approx(plain.pvalue)
        assert one.primary.statistic == pytest.approx(plain.statistic / 1.5)
        diff = (wide[one.a] - wide[one.b]).mean()
        assert one.mixed.diff == pytest.approx(diff)
        assert one.mixed.interval()[0] < diff < one.mixed.interval()[1]
        assert (one.patients, one.only_a, one.only_b) == (15, 0, 0)
    assert [one.p_holm for one in found] == pytest.approx(
        list(holm([one.primary.p for one in found]))
    )


def test_a_patient_with_a_gap_in_one_organ_is_compared_on_the_other() -> None:
    rows = column_of({"a": [50.0, 60], "b": [40.0, 50]}).rows
    second = rows.assign(organ="spleen", value=rows["value"] - 20)
    second.loc[(second["method"] == "a") & (second["patient"] == "p00"), "value"] = math.nan
    column = ComparisonColumn(pd.concat([rows, second], ignore_index=True), None, STYLES)
    pair = column.pair("a", "b")
    assert pair.patients == pytest.approx(np.full(8, 10.0))
    assert list(pair.by_run[1]) == [0] * 4 + [1] * 4
    assert (pair.shared.only_a, pair.shared.only_b) == (0, 1)


BEST = [60.0, 61.2, 59.1, 60.5, 61.0]


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({"b": [50.3, 51.1, 48.8, 50.0, 51.5]}, {"a": "best", "b": ""}),
        ({"b": [59.9, 61.0, 59.4, 60.1, 61.2]}, {"a": "best_tied", "b": "tied"}),
        (
            {"b": [59.9, 61.0, 59.4, 60.1, 61.2], "c": [50.3, 51.1, 48.8, 50.0, 51.5]},
            {"a": "best_tied", "b": "tied", "c": ""},
        ),
        # Where all means are printed alike nothing is best, whatever the test says.
        ({"b": BEST}, {"a": "", "b": ""}),
        ({"b": [value + 0.001 * i for i, value in enumerate(BEST)]}, {"a": "", "b": ""}),
        ({"b": BEST, "c": BEST[:4]}, {"a": "best_tied", "b": "best_tied", "c": "tied"}),
        # Of two that print one mean, one may beat the other all the same.
        (
            {
                "b": [v - 0.02 + 0.001 * (-1) ** i for i, v in enumerate(BEST)],
                "c": [50.3, 51, 50, 50, 51],
            },
            {"a": "best", "b": "", "c": ""},
        ),
        # Without any variance there is no test, whatever the difference.
        ({"b": [value - 9 for value in BEST]}, {"a": "best_tied", "b": ""}),
        # A method that lacks a fold is never best, and nothing is best because it lacks one.
        (
            {"b": [50.3, 51.1, 48.8, 50.0, 51.5], "c": [98.0, 99.5, 98.8, 99.1]},
            {"a": "", "b": "", "c": "tied"},
        ),
        (
            {"b": [50.3, 51.1, 48.8, 50.0, 51.5], "c": [50.0, 49.5, 49.8, 49.1]},
            {"a": "best", "b": "", "c": ""},
        ),
    ],
)
def test_the_bold_rule(others: dict[str, list[float]], expected: dict[str, str]) -> None:
    assert marks(column_of({"a": BEST} | others)) == expected


def test_other_bold_rules() -> None:
    column = column_of({"a": BEST, "b": [59.1, 60.8, 58.9, 59.6, 60.7]})
    (one,) = compare(column, column.pairs, thorough=False)
    assert column.plain_t(one.a, one.b).p < 0.05 < one.p_holm
    assert marks(column) == {"a": "best_tied", "b": "tied"}
    assert marks(column, "paper") == {"a": "best", "b": ""}
    assert marks(column, "mean") == {"a": "best", "b": ""}


def test_one_fold_marks_the_best_mean_only() -> None:
    found = compared(column_of({"a": [60.0], "b": [50.0]}))
    assert marks(found.column) == {"a": "best_tied", "b": ""}
    assert sentences(found)[-1] == (
        "At 30 %: a is 10.0 points above b, not tested: n too small (1 fold, 4 patients)."
    )


def test_sentences_say_the_numbers_of_the_table() -> None:
    found = compared(
        column_of({"inerrant0": [50.3, 51.1, 48.8, 50.0, 51.5], "inerrant": BEST, "bai": BEST})
    )
    by_pair = {(one.a, one.b): one for one in found.comparisons}
    one = by_pair["inerrant", "inerrant0"]
    assert sentence(one, found.column) == (
        f"INERRANT exceeds INERRANT⁰ by 10.0 points (corrected 95 % CI {one.interval[0]:.1f} to "
        f"{one.interval[1]:.1f}; Holm p < 0.001; 5 folds, 20 patients)."
    )
    same = sentence(by_pair["bai", "inerrant"], found.column)
    assert same == "Bai et al. and INERRANT are identical (5 folds, 20 patients)."


def test_places_are_by_what_is_printed() -> None:
    found = compared(column_of({"a": [62.15] * 5, "b": [62.2] * 5, "c": [70.0] * 5}))
    assert ranked(found.column) == {"c": "1", "b": "2", "a": "3"}  # 62.15 is printed as 62.1
    near = compared(column_of({"a": [62.06] * 5, "b": [62.13] * 5}))
    assert set(ranked(near.column).values()) == {"1="}
    assert ranked(near.column, 2) == {"b": "1", "a": "2"}


def test_a_tie_is_shown_as_a_tie() -> None:
    found = compared(column_of({"inerrant0": [50.0] * 5, "inerrant": BEST, "bai": BEST}))
    shared = "At 30 %: the best mean is shared by INERRANT and Bai et al., 61.9 %."
    assert sentences(found)[0] == shared
    assert ranked(found.column) == {"inerrant": "1=", "bai": "1=", "inerrant0": "3"}
    assert set(marks(found.column).values()) == {"best_tied", ""}
    alike = compared(column_of(dict.fromkeys(("a", "b", "c"), BEST)))
    assert sentences(alike)[0] == "At 30 %: all 3 methods have the same rounded mean, 61.9 %."
    assert set(ranked(alike.column).values()) == {"1="}
    assert set(marks(alike.column).values()) == {""}
    assert set(marks(alike.column, "mean").values()) == {""}
    assert standing(alike.column) == ((), (), ("a", "b", "c"))


def test_gaps_are_named() -> None:
    column = column_of({"a": BEST, "b": BEST[:3]})
    assert gaps(column) == ["b fold 3, fold 4"]
    rows = column.rows[~((column.rows["method"] == "a") & (column.rows["patient"] == "p01"))]
    column = ComparisonColumn(rows, None, STYLES)
    assert gaps(column) == [
        "a 1 patient (p01)",
        "b fold 3, fold 4",
    ]


# --- scores from a CSV --------------------------------------------------------------------------


def csv(folder: Path, text: str) -> Path:
    path = folder / "mine.csv"
    path.write_text(text)
    return path


def test_an_end_of_an_interval_shows_on_which_side_of_0_it_lies() -> None:
    assert interval(-0.0312, 4.2, 1) == "−0.03 to 4.2"
    assert interval(0.0004, 4.2, 1) == "0.0004 to 4.2"
    assert interval(0.0, 0.0, 1) == "0.0 to 0.0"
    assert interval(-1e-12, 1.0, 1).startswith("0.0")  # nothing that a table could store


def test_distances_are_lower_in_their_own_unit(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    lines = [
        f"kidney,c{i},{method},{mean + rng.normal(0, 0.1):.4f}"
        for method, mean in (("near", 2.0), ("far", 5.0))
        for i in range(12)
    ]
    file = csv(tmp_path, "task,case,method,value\n" + "\n".join(lines) + "\n")
    table = scores.read_csv(file)
    table["higher_is_better"] = False
    (column,) = columns(table, MethodStyles())
    (one,) = compare(column, column.pairs)
    told = sentence(one, column)
    assert re.match(r"near is lower than far by [23]\.\d+ \(corrected 95 % CI [23]\.\d+ to", told)


def test_effects_are_of_the_patients_that_the_test_is_over(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    lines = [
        f"kidney,c{i},{method},{seed},{shift + rng.normal(0, 0.02):.4f}"
        for method, shift in (("a", 0.7), ("b", 0.75))
        for seed in range(2)
        for i in range(12)
        if (seed, i) != (1, 0)
    ]
    file = csv(tmp_path, "task,case,method,seed,value\n" + "\n".join(lines) + "\n")
    (column,) = columns(scores.read_csv(file), MethodStyles())
    (one,) = compare(column, column.pairs)
    assert one.patients == one.ranks.n == 11
    assert "11 cases" in sentence(one, column)


def test_a_csv_without_folds_is_compared_over_cases(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = {m: 0.7 + shift + rng.normal(0, 0.02, 12) for m, shift in (("x", 0), ("y", 0.05))}
    lines = [
        f"kidney,c{i},{method},{value:.4f}"
        for method, column in values.items()
        for i, value in enumerate(column)
    ]
    table = scores.read_csv(csv(tmp_path, "task,case,method,value\n" + "\n".join(lines) + "\n\n"))
    (column,) = columns(table, MethodStyles())
    (one,) = compare(column, column.pairs)
    assert column.unit == "patient"
    wide = np.round([values["y"], values["x"]], 4)
    assert one.primary.p == pytest.approx(stats.ttest_rel(*wide).pvalue)
    assert one.ranks.p == pytest.approx(stats.wilcoxon(*wide, method="exact").pvalue)
    assert math.isnan(column.plain_t(one.a, one.b).p)
    assert math.isnan(one.mixed.p)
    assert sentence(one, column).startswith("y exceeds x by 0.0")
    assert "12 cases" in sentence(one, column)


def test_a_csv_with_folds_is_compared_over_folds(tmp_path: Path) -> None:
    rows = itertools.product("xy", range(4), range(3))
    lines = [f"k,c{f}{i},{m},{60 + 5 * (m == 'y') + f + i * (m == 'y')},{f}" for m, f, i in rows]
    table = scores.read_csv(csv(tmp_path, "task,case,method,value,fold\n" + "\n".join(lines)))
    (column,) = columns(table, MethodStyles())
    assert (column.unit, column.test_to_train) == ("fold", pytest.approx(1 / 3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task,case,method,dice\nk,a,m,1\n", "row 1: column value is missing"),
        ("task,case,method,value,age\nk,a,m,1,9\n", "row 1: unknown column 'age'"),
        ("task,case,method,value\nk,a,m,1\nk,b,m,'0,9\n", "row 3: has 5 cells, the header 4"),
        ("task,case,method,value\nk,a,m,1\nk,b,m,high\n", "row 3, column value: 'high' is no"),
        ("task,case,method,value\nk,a,m,inf\n", "row 2, column value: 'inf' is not a finite"),
        ("task,case,method,value\nk,a,m,-1e300\n", "row 2, column value: '-1e300' is larger than"),
        ("task,case,method,value\n\nk,a,m,1\nk,a,m,2\n", "row 4, column case: 'a' occurs twice"),
        ("task,case,method,value\nk,,m,1\n", "row 2, column case: '' is empty"),
        ("task,case,method,value,fold\nk,a,m,1,0\nk,a,n,1,1\n", "column fold: '0' is not the only"),
        ("task,case,method,value,fold\nk,a,m,1,1.5\n", "column fold: '1.5' must be a whole"),
        ('task,case,method,value\nk,a,m,"0,9"\n', "row 2, column value: '0,9' has a comma; write"),
        ("sep=;\ntask;case;method;value\nk;a;m;x\n", "row 3, column value: 'x' is not a"),
        ("task,case,method,value\nk,a,m,1\nk,b,m\n", "row 3: has 3 of 4 cells"),
        ("task,case,method,value\n", "holds no row"),
        ("", "is empty"),
    ],
)
def test_a_bad_csv_is_named_by_row_and_column(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=message) as error:
        scores.read_csv(csv(tmp_path, text))
    assert "mine.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_value_is_a_gap_and_no_zero(tmp_path: Path) -> None:
    lines = [f"k,c{i},{m},{70 + i}" for m in "xy" for i in range(8)]
    lines[3] = "k,c3,x,"
    (column,) = columns(
        scores.read_csv(csv(tmp_path, "task,case,method,value\n" + "\n".join(lines))),
        MethodStyles(),
    )
    (one,) = compare(column, column.pairs, thorough=False)
    assert (one.primary.n, one.patients, one.only_a + one.only_b) == (7, 7, 1)
    assert gaps(column) == ["x 1 case (c3)"]


def test_methods_of_one_title_are_told_apart() -> None:
    styles = MethodStyles(
        {"mine": MethodStyle("Ours"), "theirs": MethodStyle("Ours"), "other": MethodStyle("Other")}
    )
    assert styles.name("mine") == "Ours (mine)"
    assert styles.name("theirs[rounds=2]") == "Ours (theirs) [rounds=2]"
    assert styles.name("other") == "Other"


def seeds_of(values: Mapping[str, list[float]]) -> ComparisonColumn:
    """Return a column of five folds in which every patient of a seed has the seed's value."""
    parts = []
    for seed, of_seed in enumerate(zip(*values.values(), strict=True)):
        folds = {method: [value] * 5 for method, value in zip(values, of_seed, strict=True)}
        parts.append(column_of(folds).rows.assign(seed=seed))
    return ComparisonColumn(pd.concat(parts, ignore_index=True), None, STYLES)


def test_a_difference_below_the_noise_floor_of_seeds_is_called_none() -> None:
    column = seeds_of({"bai": [60, 64, 61], "inerrant": [61, 62, 63], "naive": [20, 26, 20]})
    assert column.noise[1:] == (3, 3)
    assert 3 < column.noise.floor < 5
    floor = f"{column.noise.floor:.1f} points"
    found = compared(column)
    told = {frozenset((one.a, one.b)): sentence(one, column) for one in found.comparisons}
    near = told[frozenset(("bai", "inerrant"))]
    assert near.startswith(
        "INERRANT is 0.3 points above Bai et al., less than the noise floor: no difference ("
    )
    assert "noise floor" not in told[frozenset(("bai", "naive"))]
    assert sentences(found)[-1] == (
        f"Noise floor: {floor} at 30 %. Means over 3 seeds of methods that are equally good differ "
        "by less in 95 of 100 cases; a smaller difference is none."
    )


def test_one_seed_has_no_noise_floor() -> None:
    found = compared(column_of({"bai": [60, 61, 62, 63, 64], "naive": [20, 21, 22, 23, 25]}))
    assert math.isnan(found.column.noise.floor)
    assert not any("noise" in told.lower() for told in sentences(found))


def test_a_method_with_gaps_has_no_part_in_the_noise_floor() -> None:
    column = seeds_of({"bai": [60, 64, 61], "inerrant": [61, 62, 63], "naive": [20, 26, 20]})
    rows = column.rows
    gap = (rows["method"] == "naive") & (rows["seed"] == 1) & (rows["fold"] == 2)
    assert ComparisonColumn(rows[~gap], None, STYLES).noise.methods == 2
