"""Leaderboard: mean and standard deviation over folds, methods against label fractions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from bench import board, style
from bench.board import Board
from bench.errors import BenchError
from bench.report import Report
from bench.results import CELL, GROUP, Metric, cell_values, final_models, fold_values

if TYPE_CHECKING:
    from rich.console import RenderableType

By = Literal["method", "round", "organ"]

LINE: dict[By, list[str]] = {
    "method": ["method"],
    "round": ["method", "round"],
    "organ": ["organ", "method"],
}
TITLE: dict[By, str] = {
    "method": "",
    "round": ", after each relabelling round",
    "organ": ", per organ",
}
LOWER_IS_BETTER = frozenset({"hd95_mm"})
STATES = {
    "ok": "without overlap",
    "missed": "missed",
    "hallucinated": "hallucinated",
    "both_empty": "both empty",
}
NONE = "–"


class Leaderboard(Report):
    """The leaderboard as Markdown, CSV, LaTeX and HTML."""

    summary: ClassVar[str] = "mean ± standard deviation over folds, per method and label fraction"

    metric: Metric = "dsc"
    digits: int = Field(default=1, ge=0, le=4)

    def build(self, table: pd.DataFrame, out: Path) -> list[Path]:
        """Write ``leaderboard.{md,csv,tex,html}``; metrics other than DSC are named in the file."""
        boards = self._boards(table)
        heading = f"Leaderboard: {style.METRICS[self.metric][0]}"
        stem = "leaderboard" if self.metric == "dsc" else f"leaderboard-{self.metric}"
        return board.write(boards, heading, to_csv(table, self.metric), out / stem)

    def show(self, table: pd.DataFrame) -> RenderableType:
        """Return all boards for the terminal."""
        return board.to_console(self._boards(table))

    def _boards(self, table: pd.DataFrame) -> list[Board]:
        return [
            found for by in TITLE for found in leaderboards(table, self.metric, by, self.digits)
        ]


def leaderboard(table: pd.DataFrame, metric: Metric = "dsc") -> pd.DataFrame:
    """Return the text of the final models' board of one (data set, profile, backbone).

    Raises
    ------
    BenchError
        The table holds several boards; :func:`leaderboards` takes them all.
    """
    boards = leaderboards(table, metric)
    if len(boards) > 1:
        raise BenchError(f"the table holds {len(boards)} leaderboards: select one of them first")
    return boards[0].frame


def leaderboards(
    table: pd.DataFrame, metric: Metric = "dsc", by: By = "method", digits: int = 1
) -> list[Board]:
    """Return one board per (data set, profile, backbone) of a results table.

    Parameters
    ----------
    table
        A valid results table (``bench.results``).
    metric
        Which metric to show.
    by
        ``method``: the final models; ``round``: every round of the methods that have several;
        ``organ``: the final models, organ by organ, where there are several organs.
    digits
        Decimals of mean and standard deviation.

    Returns
    -------
    list of Board
        Sorted by data set, profile and backbone; empty where ``by`` does not apply.

    Raises
    ------
    BenchError
        The table has no row.
    """
    if table.empty:
        raise BenchError("the results table has no row: run `bench run` first")
    boards = []
    for _, group in table.groupby(GROUP):
        if by == "organ" and group["organ"].nunique() == 1:
            continue
        rows = _several_rounds(group) if by == "round" else final_models(group)
        if by != "round" or not rows.empty:
            boards.append(_board(group, rows, metric, by, digits))
    return boards


def to_csv(table: pd.DataFrame, metric: Metric = "dsc") -> str:
    """Return the numbers behind the boards, one line per cell.

    ``round`` is ``final`` for the last models, ``organ`` is ``mean`` for the mean over organs.
    """
    last = final_models(table)
    cells = pd.concat(
        [
            cell_values(last, metric).assign(round="final", organ="mean"),
            cell_values(last, metric, (*CELL, "organ")).assign(round="final"),
            cell_values(table, metric, (*CELL, "round")).assign(organ="mean"),
        ],
        ignore_index=True,
    )
    leading = [*CELL, "organ", "round"]
    cells["round"] = cells["round"].astype(str)
    cells = cells.sort_values(leading, ignore_index=True)
    cells = cells[[*leading, *cells.columns.drop(leading)]]
    cells.insert(len(leading), "metric", metric)
    return str(cells.to_csv(index=False, float_format="%.4f", lineterminator="\n"))


def _board(group: pd.DataFrame, rows: pd.DataFrame, metric: Metric, by: By, digits: int) -> Board:
    line = LINE[by]
    cells = cell_values(rows, metric, [*CELL, *(name for name in line if name != "method")])
    cells = cells.set_index([*line, "label_pct"]).sort_index()
    fractions = sorted({int(pct) for pct in group["label_pct"]}, reverse=True)
    lines = _lines(rows if by == "round" else group, line)
    methods = tuple(str(keys[line.index("method")]) for keys in lines)
    expected = {keys: _expected_runs(group, by, keys) for keys in lines}

    runs_name = "folds" if group["seed"].nunique() == 1 else "runs"
    text: list[dict[str, str]] = []
    for keys in lines:
        shown = [
            cells.loc[(*keys, pct)] if (*keys, pct) in cells.index else None for pct in fractions
        ]
        found = [cell for cell in shown if cell is not None]
        text.append(
            {
                name: style.display_name(str(key)) if name == "method" else str(key)
                for name, key in zip(line, keys, strict=True)
            }
            | {
                f"{pct} %": _cell_text(cell, expected[keys], runs_name, digits)
                for pct, cell in zip(fractions, shown, strict=True)
            }
            | {
                "n": _range([cell["patients"] for cell in found]),
                "folds": _range([cell["folds"] for cell in found]),
            }
            | (_cost_text(found) if by != "organ" else {})
        )
    frame = pd.DataFrame(text)
    bold = np.zeros(frame.shape, dtype=bool)
    if by != "round":
        for column, pct in enumerate(fractions, start=len(line)):
            bold[:, column] = _best(cells, lines, methods, pct, expected, metric, digits)
    name, unit = style.METRICS[metric]
    dataset, profile, backbone = group[GROUP].iloc[0]
    return Board(
        title=f"{dataset}, profile {profile}, {backbone}: {name} in {unit}{TITLE[by]}",
        frame=frame,
        bold=bold,
        notes=tuple(_notes(group, rows, cells, metric, by, bold)),
        labels=len(line),
        methods=methods,
    )


def _several_rounds(group: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the methods that were evaluated after several rounds."""
    return group[group.groupby("method")["round"].transform("nunique") > 1]


def _lines(rows: pd.DataFrame, line: list[str]) -> list[tuple[Any, ...]]:
    """Return the keys of the board's lines, methods in the order of every table."""
    keys = {tuple(row) for row in rows[line].drop_duplicates().itertuples(index=False)}
    method = line.index("method")
    return sorted(keys, key=lambda key: (*key[:method], style.sort_key(key[method]), *key[method:]))


def _expected_runs(group: pd.DataFrame, by: By, keys: tuple[Any, ...]) -> int:
    """Return how many (seed, fold) a complete cell has: those of any method in this board."""
    rows = group[group["organ"] == keys[0]] if by == "organ" else group
    return len(rows[["seed", "fold"]].drop_duplicates())


def _cell_text(cell: pd.Series | None, expected: int, runs_name: str, digits: int) -> str:
    if cell is None or not cell["runs"]:
        return NONE
    runs = int(cell["runs"])
    text = f"{cell['mean']:.{digits}f}"
    if runs > 1:
        text += f" ± {cell['std']:.{digits}f}"
    if runs < expected:
        return f"{text} ({runs}/{expected} {runs_name})"
    return text


def _cost_text(cells: list[pd.Series]) -> dict[str, str]:
    seconds = [float(cell["device_s"]) for cell in cells if not np.isnan(cell["device_s"])]
    steps = [cell[name] for cell in cells for name in ("seg_steps_min", "seg_steps_max")]
    return {
        "steps": _range(steps),
        "time": _duration(float(np.mean(seconds))) if seconds else NONE,
    }


def _range(values: Sequence[float]) -> str:
    if not values:
        return NONE
    low, high = int(min(values)), int(max(values))
    return f"{low}" if low == high else f"{low}–{high}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _best(
    cells: pd.DataFrame,
    lines: list[tuple[Any, ...]],
    methods: tuple[str, ...],
    pct: int,
    expected: dict[tuple[Any, ...], int],
    metric: Metric,
    digits: int,
) -> list[bool]:
    """Mark the best printed mean of a column (per organ, if lines have organs).

    Upper bounds and incomplete cells take no part; a cell without a rival is not marked.
    """
    means: dict[tuple[Any, ...], float] = {}
    for keys, method in zip(lines, methods, strict=True):
        if style.is_upper_bound(method) or (*keys, pct) not in cells.index:
            continue
        cell = cells.loc[(*keys, pct)]
        if int(cell["runs"]) == expected[keys]:
            means[keys] = round(float(cell["mean"]), digits)
    sign = -1 if metric in LOWER_IS_BETTER else 1
    marks = []
    for keys in lines:
        rivals = [sign * mean for other, mean in means.items() if other[:-1] == keys[:-1]]
        marks.append(keys in means and len(rivals) > 1 and sign * means[keys] == max(rivals))
    return marks


def _windows(rows: pd.DataFrame, by: By) -> list[str]:
    """Say how much of the organs networks that see the centre only can see."""
    seen = rows[rows["coverage"].notna()]
    if seen.empty or by == "organ":
        return []
    inside = seen.groupby(["method", "label_pct"])["dsc_inside"].mean().reset_index()
    listed = ", ".join(
        f"{style.display_name(row['method'])} {row['dsc_inside']:.1f} at {row['label_pct']} %"
        for row in inside.to_dict("records")
    )
    share = seen["coverage"].mean()
    return [
        f"The network sees the centre of a volume, {share:.1f} % of an organ on average; beyond it "
        f"all is background. DSC inside: {listed}."
    ]


def _notes(
    group: pd.DataFrame,
    rows: pd.DataFrame,
    cells: pd.DataFrame,
    metric: Metric,
    by: By,
    bold: np.ndarray[Any, Any],
) -> list[str]:
    name, unit = style.METRICS[metric]
    better = "lower" if metric in LOWER_IS_BETTER else "higher"
    fold_value = "the mean over the fold's test patients"
    if by != "organ":
        fold_value = f"the unweighted mean over organs of {fold_value}"
    organs = sorted(set(group["organ"]))
    seeds = sorted({int(seed) for seed in group["seed"]})
    folds = sorted({int(fold) for fold in group["fold"]})
    notes = [
        f"{name} in {unit}, {better} is better. Mean ± standard deviation (n − 1) over fold "
        f"values; a fold value{' (one per seed)' if len(seeds) > 1 else ''} is {fold_value}.",
        f"{group['patient'].nunique()} test patients (n), folds {_listed(folds)}, "
        f"seed {_listed(seeds)}, {_counted(len(organs), 'organ')}: {', '.join(organs)}.",
        *(["One fold and seed: no standard deviation."] if (cells["runs"] == 1).all() else []),
        *_gaps(group, rows, metric, by),
        *_windows(rows, by),
        _policy(metric),
        *_failures(rows, metric, by),
    ]
    if by != "organ" and (cells["organs_min"] < cells["organs_max"]).any():
        low, high = int(cells["organs_min"].min()), int(cells["organs_max"].max())
        notes.append(
            f"Organs behind a fold value: {low} to {high}; the others have no value there."
        )
    if by != "organ":
        notes.append(
            "Steps: segmentation optimiser steps behind a model, all its rounds together. Time: "
            "mean training time of a model on its device, confidence networks included."
        )
    if bold.any():
        bounded = any(style.is_upper_bound(method) for method in set(group["method"]))
        notes.append(
            "Bold: best mean of the column"
            + (" within its organ" if by == "organ" else "")
            + ", incomplete cells"
            + (" and the upper bound" if bounded else "")
            + " aside. No significance test applied."
        )
    else:
        notes.append("No significance test applied.")
    return notes


def _policy(metric: Metric) -> str:
    if metric == "hd95_mm":
        return (
            "Empty masks: HD95 is undefined (NaN, left out and counted) where the prediction or "
            "the ground truth is empty. Predicting nothing therefore costs nothing here: read it "
            "next to the DSC."
        )
    return (
        "Only annotated organs are evaluated. Empty masks: both empty is NaN, left out and "
        "counted; one of them empty is 0."
    )


def _failures(rows: pd.DataFrame, metric: Metric, by: By) -> list[str]:
    """Count zeros and NaN among the (case, organ) pairs, per method and label fraction."""
    values = rows[metric]
    counted = rows.assign(zero=values == 0, nan=values.isna(), pairs=1)
    # A distance of 0 is no failure.
    kinds = {"nan": "NaN"} if metric in LOWER_IS_BETTER else {"zero": "Zeros", "nan": "NaN"}
    notes = []
    for kind, label in kinds.items():
        failed = counted[counted[kind]]
        parts = []
        for method in style.sort_methods(failed["method"]):
            own = counted[counted["method"] == method]
            cells = own.groupby(["round", "label_pct"] if by == "round" else ["label_pct"])
            sums = cells[[kind, "pairs"]].sum().sort_index(ascending=False).reset_index()
            shares = ", ".join(
                f"{row[kind]}/{row['pairs']} at {row['label_pct']} %"
                + (f" after round {row['round']}" if by == "round" else "")
                for _, row in sums[sums[kind] > 0].iterrows()
            )
            states = failed.loc[failed["method"] == method, "status"].value_counts().sort_index()
            why = ", ".join(f"{count} {STATES[str(state)]}" for state, count in states.items())
            parts.append(f"{method} {shares} ({why})")
        notes.append(f"{label} among (case, organ) pairs: {'; '.join(parts) or 'none'}.")
    return notes


def _gaps(group: pd.DataFrame, rows: pd.DataFrame, metric: Metric, by: By) -> list[str]:
    """Name the runs that a cell lacks although another method or label fraction has them."""
    line = ["method", "round"] if by == "round" else ["method"]
    values = fold_values(rows, metric, [*CELL, *line[1:], "seed", "fold"])
    runs = sorted(
        {(int(seed), int(fold)) for seed, fold in zip(group["seed"], group["fold"], strict=True)}
    )
    several_seeds = len({seed for seed, _ in runs}) > 1
    missing, absent, undefined = [], [], []
    fractions = sorted({int(pct) for pct in group["label_pct"]}, reverse=True)
    for keys, pct in product(_lines(rows if by == "round" else group, line), fractions):
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


def _runs(runs: list[tuple[int, int]], several_seeds: bool) -> str:
    if several_seeds:
        return ", ".join(f"fold {fold} seed {seed}" for seed, fold in runs)
    folds = [fold for _, fold in runs]
    return f"{'fold' if len(folds) == 1 else 'folds'} {_listed(folds)}"


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
