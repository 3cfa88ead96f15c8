"""Notes below the boards of a leaderboard: definitions, failures, missing runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd

from bench.evaluation.metrics import MetricName, empty_masks, find
from bench.reporting.marks import Rule
from bench.reporting.sentences import domains, few_runs
from bench.reporting.style import MethodStyles
from bench.reporting.text import counted, listed, span
from bench.results.aggregate import fold_values
from bench.results.columns import CELL, GROUP

from .failures import failed

Line = Literal["method", "round", "organ", "domain"]
By = Literal[Line, "rank", "failures"]

NONE_BEST = "No column holds two methods whose means differ as rounded: none is marked."
FEW = 3
"""Labelled scans below which an organ is hardly learned."""
PARTS: tuple[Line, ...] = ("organ", "domain")
"""Boards of which a line is a method in a part of the results."""

LINE: dict[Line, list[str]] = {
    "method": ["method"],
    "round": ["method", "round"],
    "organ": ["organ", "method"],
    "domain": ["domain", "method"],
}


def notes_of(
    group: pd.DataFrame,
    rows: pd.DataFrame,
    cells: pd.DataFrame,
    lacking: pd.DataFrame,
    styles: MethodStyles,
    metric: MetricName,
    by: Line,
) -> list[str]:
    """Return the notes of a board, one sentence each.

    ``lacking`` are the pairs on which one of its models was scored and another was not.
    """
    measured = find(metric)
    better = "higher" if measured.best == "high" else "lower"
    fold_value = "the mean over the fold's test patients"
    if by != "organ":
        fold_value = f"the unweighted mean over organs of {fold_value}"
    organs = sorted(group["organ"].unique())
    seeds = sorted(map(int, group["seed"].unique()))
    folds = sorted(map(int, group["fold"].unique()))
    notes = [
        f"{measured.title} in {measured.unit}, {better} is better. Mean ± standard deviation "
        f"(n − 1) over fold values; a fold value{' (one per seed)' if len(seeds) > 1 else ''} is "
        f"{fold_value}.",
        f"{group['patient'].nunique()} test patients (n), folds {_listed(folds)}, "
        f"seed {_listed(seeds)}, {counted(len(organs), 'organ')}: {', '.join(organs)}.",
        *(domains(group) if by != "domain" else []),
        *(["One fold and seed: no standard deviation."] if (cells["runs"] == 1).all() else []),
        *_gaps(group, rows, cells, styles, metric, by),
        *_lacking(lacking, by),
        *_windows(rows, styles, by),
        empty_masks(measured),
        _failures(rows, metric),
    ]
    if by != "organ" and (cells["organs_min"] < cells["organs_max"]).any():
        low, high = int(cells["organs_min"].min()), int(cells["organs_max"].max())
        notes.append(
            f"Organs behind a fold value: {low} to {high}; the others have no value there."
        )
    if by not in PARTS:
        notes.append(
            "Steps: segmentation optimiser steps behind a model, all its rounds together. Time: "
            "mean training time of a model on its device, confidence networks included."
        )
    if by == "method":
        notes.append(f"Computed on {_distinct(rows['device'])} with {_distinct(rows['software'])}.")
        notes += _data(rows)
    return notes


def few_labels(targets: pd.DataFrame, group: pd.DataFrame) -> list[str]:
    """Name the organs that next to no training scan of a fold has a visible label of.

    Parameters
    ----------
    targets
        Counts of training targets, of any boards; they have the number of labelled scans.
    group
        Results of one board.
    """
    own = targets.merge(group[[*GROUP, "label_pct"]].drop_duplicates())
    scans = own.groupby(["organ", "label_pct"])["labelled"].agg(["min", "max"])
    found = scans[scans["min"] < FEW].sort_index(ascending=[True, False])
    if found.empty:
        return []
    named = [
        f"{organ} at {pct} % ({span(int(low), int(high), ' to ')})"
        for (organ, pct), low, high in found.itertuples(name=None)
    ]
    return [f"Labelled in fewer than {FEW} training scans of a fold: {listed(named)}."]


def bold_notes(
    by: By,
    bold: Rule,
    marks: np.ndarray[Any, Any],
    *,
    tested: bool,
    upper_bound: bool,
    runs: int,
    run_noun: str = "fold",
) -> Iterator[str]:
    """Return the legend of the marks that occur.

    Parameters
    ----------
    tested
        Whether any two methods could be tested.
    upper_bound
        Whether a method is one.
    runs
        Number of folds and seeds; 0 where folds are unknown.
    run_noun
        What one of them is called.
    """
    if not (marks != "").any():
        yield "No significance test applied." if by == "round" else NONE_BEST
        return
    where = "of the column" + (f" within its {by}" if by in PARTS else "")
    aside = "the upper bound aside, " if upper_bound else ""
    what = (
        f"best mean {where}, {aside}against each other method on the (case, organ) pairs that both "
        "have"
    )
    if bold == "mean":
        yield f"Bold: {what}. No significance test applied."
        return
    primary = "corrected resampled t-test over folds" if runs else "paired t-test over patients"
    test = {
        "holm": f"the {primary}, p below 0.05 after Holm's correction for all pairs of the column",
        "paper": "the paired t-test over folds, p below 0.05, uncorrected: as in the paper; it "
        "finds differences in 6 to 15 % of comparisons of equally good methods",
    }[bold]
    yield (
        f"Bold: {what}, and better than every other by {test}. Bold italic: best, but not proven "
        "better than every other; underlined: those that it does not beat. An incomplete cell is "
        "never best, and none is best that is behind an incomplete one where both have scores: "
        "those that no other beats are underlined then."
    )
    if not tested:
        yield "No test was possible, so nothing but the best mean is marked."
    elif runs == 2:
        yield few_runs(run_noun)


def _distinct(column: pd.Series) -> str:
    """Return every device or version once; a table cell may name several."""
    return "; ".join(sorted({part for cell in column.unique() for part in cell.split("; ")}))


def _data(rows: pd.DataFrame) -> Iterator[str]:
    """Say which data the rows stand on, which is one; unknown in tables of earlier releases."""
    known = rows["content"] != ""
    if known.any():
        first = rows.iloc[int(known.to_numpy().argmax())]
        some = "" if known.all() else ", as far as the results say"
        yield f"Data: content {first['content']}, images {first['scaling']}{some}."


def _windows(rows: pd.DataFrame, styles: MethodStyles, by: By) -> list[str]:
    """Return the share of the organs inside the window of networks that see the centre only."""
    seen = rows[rows["coverage"].notna()]
    if seen.empty or by in PARTS:
        return []
    inside = seen.groupby(["method", "label_pct"])["dsc_inside"].mean().reset_index()
    listed = ", ".join(
        f"{styles.name(row['method'])} {row['dsc_inside']:.1f} at {row['label_pct']} %"
        for row in inside.to_dict("records")
    )
    share = seen["coverage"].mean()
    return [
        f"The network sees the centre of a volume, {share:.1f} % of an organ on average; beyond it "
        f"all is background. DSC inside: {listed}."
    ]


def _failures(rows: pd.DataFrame, metric: MetricName) -> str:
    """Return the counts of zeros and NaN among the (case, organ) pairs of all models."""
    lost = failed(rows, metric)
    nan = int(lost[metric].isna().sum())
    zeros = f"{len(lost) - nan} are 0 and " if find(metric).zero_is_failure else ""
    where = "; by method in the board of zeros and NaN" if len(lost) else ""
    return f"Of {len(rows)} (case, organ) pairs {zeros}{nan} are NaN{where}."


def _gaps(
    group: pd.DataFrame,
    rows: pd.DataFrame,
    cells: pd.DataFrame,
    styles: MethodStyles,
    metric: MetricName,
    by: Line,
) -> list[str]:
    """Name the runs that a cell lacks and another method or label fraction has."""
    line = ["method", "round"] if by == "round" else ["method"]
    shown = rows if by == "round" else group
    wanted = len(lines_of(shown, LINE[by], styles)) * group["label_pct"].nunique()
    n_runs = len(group[["seed", "fold"]].drop_duplicates())
    if len(cells) == wanted and (cells["runs"] == n_runs).all():
        return []
    values = fold_values(rows, metric, [*CELL, *line[1:], "seed", "fold"])
    distinct = group[["seed", "fold"]].drop_duplicates()
    runs = sorted(zip(map(int, distinct["seed"]), map(int, distinct["fold"]), strict=True))
    several_seeds = len({seed for seed, _ in runs}) > 1
    missing, absent, undefined = [], [], []
    fractions = sorted(map(int, group["label_pct"].unique()), reverse=True)
    for keys, pct in product(lines_of(shown, line, styles), fractions):
        here = values[(values[line] == list(keys)).all(axis=1) & (values["label_pct"] == pct)]
        name = keys[0] + (f" round {keys[1]}" if by == "round" else "")
        found = dict(zip(zip(here["seed"], here["fold"], strict=True), here["value"], strict=True))
        lacking = [run for run in runs if run not in found]
        empty = [run for run, value in found.items() if np.isnan(value)]
        if not found:
            absent.append(f"{name} at {pct} %")
        elif lacking:
            missing.append(f"{name} {_runs(lacking, several_seeds)} at {pct} %")
        if empty:
            undefined.append(f"{name} {_runs(sorted(empty), several_seeds)} at {pct} %")
    return [
        f"{label}: {'; '.join(named)}."
        for label, named in (
            ("Missing", missing),
            ("No final model" if by != "round" else "No model", absent),
            ("Every pair NaN", undefined),
        )
        if named
    ]


def _lacking(lacking: pd.DataFrame, by: By) -> Iterator[str]:
    """Name the test cases on which one model was scored and another was not."""
    if lacking.empty:
        return
    model = ["method", *(["round"] if by == "round" else []), "label_pct"]
    parts = []
    for keys, pairs in lacking.groupby(model):
        cases = sorted(set(pairs["case"]))
        some = ", ".join(cases[:3]) + (", ..." if len(cases) > 3 else "")
        name = f"{keys[0]} round {keys[1]}" if by == "round" else str(keys[0])
        parts.append(f"{name} {counted(len(pairs), 'pair')} at {keys[-1]} % ({some})")
    yield (
        f"Not scored on (case, organ) pairs that another model has: {'; '.join(parts)}. Means over "
        "other patients are not comparable: these cells are marked incomplete."
    )


def _runs(runs: list[tuple[int, int]], several_seeds: bool) -> str:
    if several_seeds:
        return ", ".join(f"fold {fold} seed {seed}" for seed, fold in runs)
    folds = [fold for _, fold in runs]
    return f"{'fold' if len(folds) == 1 else 'folds'} {_listed(folds)}"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def lines_of(rows: pd.DataFrame, line: list[str], styles: MethodStyles) -> list[tuple[Any, ...]]:
    """Return the keys of the board's lines, methods in the order of every table."""
    keys = {tuple(row) for row in rows[line].drop_duplicates().itertuples(index=False)}
    method = line.index("method")
    return sorted(keys, key=lambda key: (*key[:method], styles.key(key[method]), *key[method:]))
