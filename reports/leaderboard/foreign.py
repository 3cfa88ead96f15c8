"""The leaderboard of a CSV of scores, which knows no label fractions, costs or rounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.reporting import missing
from bench.reporting.board import Board
from bench.reporting.column import ComparisonColumn
from bench.reporting.marks import Rule, is_tested
from bench.reporting.marks import marks as marks_of
from bench.reporting.scored import Scored
from bench.reporting.sentences import noise_floor
from bench.reporting.text import NONE, counted, number

from .notes import By, bold_notes
from .ranks import rank_boards

TITLE: dict[By, str] = {"method": "", "rank": ", ranks", "failures": "", "organ": ", per organ"}
LACKS = (
    "Lacks: (case, organ) pairs that another method has. Means over other pairs are not "
    "comparable; the marks, and the report on significance, compare what both have."
)


def leaderboards(
    scored: Scored,
    by: By = "method",
    digits: int | None = None,
    bold: Rule = "holm",
) -> list[Board]:
    """Return one board per task.

    Parameters
    ----------
    scored
        Scores of a CSV.
    by
        ``method``: means; ``rank``: ranks; ``failures``: what has no score; ``organ``: means organ
        by organ.
    digits
        Decimals of mean and standard deviation; by default those of the column.
    bold
        The criterion for a better method (``bench.reporting.marks``).

    Returns
    -------
    list of Board
        Sorted by task; empty where ``by`` does not apply.
    """
    found: list[Board] = []
    for task in sorted(scored.scores["task"].unique()):
        shown = scored.of_task(task, per_organ=by == "organ")
        if by == "rank":
            found += rank_boards(shown, scored.styles, f"{task}{TITLE[by]}")
        elif by == "failures":
            found += missing.boards(shown)
        elif shown:
            found.append(_board(str(task), shown, by, digits, bold))
    return found


def heading(column: ComparisonColumn) -> str:
    """Return the name of the column of means: the measure and its unit."""
    unit = f" in {column.measure_unit}" if column.measure_unit else ""
    return f"{column.measure}{unit}"


def numbers(scored: Scored) -> pd.DataFrame:
    """Return the numbers behind the boards, one line per task, organ (or their mean) and method."""
    rows: list[dict[str, Any]] = []
    for column in (*scored.columns, *scored.by_organ()):
        counts = missing.counts(column)
        for method in column.methods:
            values = column.values[method]
            own = {
                "task": column.task,
                "organ": column.organ or "mean",
                "method": method,
                "mean": values.mean(),
                "std": values.std(),
                "unit": column.unit,
                "n": values.count(),
                "patients": _patients(column, method),
            }
            rows.append(own | counts[method]._asdict())
    order = ["task", "organ", "method"]
    return pd.DataFrame(rows).sort_values(order, ignore_index=True)


def _board(
    task: str, shown: Sequence[ComparisonColumn], by: By, digits: int | None, bold: Rule
) -> Board:
    first, over_folds = shown[0], shown[0].unit == "fold"
    lines, marks, methods = [], [], []
    for column in shown:
        marked = marks_of(column, bold, digits)
        for method in column.methods:
            lacking = column.incomplete.get(method)
            line = {"organ": str(column.organ), "method": column.styles.name(method)}
            line |= {
                heading(first): _cell(column, method, digits),
                "n": str(_patients(column, method)),
                "folds": str(column.values[method].count()),
                "lacks": "0" if lacking is None else str(int(lacking.sum())),
            }
            lines.append(line)
            methods.append(method)
            marks.append(marked.get(method, ""))
    frame = pd.DataFrame(lines)
    whole = not any(column.incomplete for column in shown)
    dropped = {"organ": by != "organ", "folds": not over_folds, "lacks": whole}
    frame = frame.drop(columns=[name for name, drop in dropped.items() if drop])
    cells = np.full(frame.shape, "", object)
    cells[:, list(frame.columns).index(heading(first))] = marks
    runs = len(first.rows[["seed", "fold"]].drop_duplicates()) if over_folds else 0
    tested = any(is_tested(column, bold) for column in shown)
    legend = bold_notes(
        by, bold, cells, tested=tested, upper_bound=False, runs=runs, run_noun=first.run_noun
    )
    return Board(
        title=f"{task}: {heading(first)}{TITLE[by]}",
        frame=frame,
        notes=(*_notes(shown, by, whole=whole), *legend),
        marks=cells,
        labels=1 + (by == "organ"),
        colours=first.styles.colours(methods),
    )


def _notes(shown: Sequence[ComparisonColumn], by: By, *, whole: bool) -> Iterator[str]:
    first = shown[0]
    better = "higher" if first.higher_is_better else "lower"
    organs = sorted({organ for column in shown for organ in column.organs})
    over = first.patient_noun
    if first.unit == "fold":
        over = "fold"
        value = f"the mean over the {first.patient_noun}s of the fold"
        if by != "organ" and len(organs) > 1:
            value = f"the unweighted mean over organs of {value}"
    else:
        value = "the unweighted mean over its organs" if by != "organ" and len(organs) > 1 else ""
    what = f"; the value of a {over} is {value}" if value else ""
    yield (
        f"{heading(first)}, {better} is better. Mean ± standard deviation (n − 1) over {over}s"
        f"{what}."
    )
    patients = len({patient for column in shown for patient in column.rows["patient"]})
    named = f", {counted(len(organs), 'organ')}: {', '.join(organs)}" if len(organs) > 1 else ""
    yield f"{counted(patients, first.patient_noun)}{named}. n: those with a value."
    if by == "method":
        yield from (f"{phrase}." for phrase in missing.substitutes(first))
        if first.rows["seed"].nunique() > 1:
            yield from noise_floor(shown)
    if not whole:
        yield LACKS


def _cell(column: ComparisonColumn, method: str, digits: int | None) -> str:
    digits = column.digits if digits is None else digits
    values = column.values[method].dropna()
    if values.empty:
        return NONE
    spread = f" ± {number(float(values.std()), digits)}" if len(values) > 1 else ""
    return f"{number(float(values.mean()), digits)}{spread}"


def _patients(column: ComparisonColumn, method: str) -> int:
    rows = column.rows
    own = rows[(rows["method"] == method) & rows["value"].notna()]
    return int(own["patient"].nunique())
