"""What methods have no score for, by kind: phrases and counts of reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.reporting.board import Board
from bench.reporting.cells import ABSENT, EMPTY, FAILED, SCORED
from bench.reporting.column import ComparisonColumn
from bench.reporting.text import counted, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES = {
    "missed": "missed",
    "hallucinated": "hallucinated",
    "failed": "undefined",
    "absent": "correct absences",
    "gaps": "no value",
    "zeros": "zeros",
}
NOTES = (
    "(Case, organ) pairs. Missed: the organ is present, nothing is predicted. Hallucinated: "
    "predicted where it is absent. Undefined: missed or hallucinated, without a score of its own. "
    "Correct absences: absent, and nothing predicted; nothing to score. No value: another method "
    "has one, this one was not run or does not say why.",
)


class Counts(NamedTuple):
    """(Case, organ) pairs of one method in a column.

    Attributes
    ----------
    scored
        Pairs with a score; those of the next two that have one are among them.
    missed, hallucinated
        The organ is present and nothing is predicted; it is absent and something is.
    failed
        Missed or hallucinated pairs without a score of their own.
    absent
        The organ is absent, and nothing is predicted: right, and nothing to score.
    gaps
        Pairs that another method has and this one lacks.
    zeros
        Pairs with a score of 0.
    """

    scored: int
    missed: int
    hallucinated: int
    failed: int
    absent: int
    gaps: int
    zeros: int


def counts(column: ComparisonColumn) -> dict[str, Counts]:
    """Return the counts of every competitor."""
    status = column.rows.groupby(["method", "status"], observed=True).size()
    gaps = column.incomplete
    found = {}
    for method in column.competitors:
        at = column.cells.methods.index(method)
        kinds = column.cells.kinds_CM[:, at]
        found[method] = Counts(
            int(np.isin(kinds, [EMPTY, FAILED, ABSENT], invert=True).sum()),
            int(status.get((method, "missed"), 0)),
            int(status.get((method, "hallucinated"), 0)),
            int((kinds == FAILED).sum()),
            int((kinds == ABSENT).sum()),
            int(gaps[method].sum()) if method in gaps else 0,
            int((column.cells.values_CM[:, at] == 0).sum()),
        )
    return found


def gaps(column: ComparisonColumn) -> list[str]:
    """Name the seeds, folds, organs and patients that competitors lack, one phrase per method."""
    return [
        f"{column.styles.name(method)} {', '.join(_lacks(column, method, lacking))}"
        for method, lacking in column.incomplete.items()
    ]


def _lacks(column: ComparisonColumn, method: str, lacking: NDArray[np.bool_]) -> Iterator[str]:
    """Yield what a method lacks: whole seeds, then of the rest whole folds, organs, patients."""
    index, cells = column.cells.index, column.cells
    has = cells.kinds_CM[:, cells.methods.index(method)] != EMPTY
    rest = lacking
    for kind in (name for name in ("seed", "fold", "organ") if index[name].nunique() > 1):
        run = ["seed", "fold"] if kind == "fold" else [kind]
        number_of = index.groupby(run, sort=False).ngroup().to_numpy()
        whole = rest & ~np.isin(number_of, number_of[has])
        yield from (f"{kind} {name}" for name in dict.fromkeys(index[kind][whole]))
        rest = rest & ~whole
    if rest.any():
        names = list(map(str, np.unique(index["patient"][rest])))
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        yield f"{counted(len(names), column.patient_noun)} ({some})"


def substitutes(column: ComparisonColumn) -> list[str]:
    """Say what failures and correct absences count as, where there are some."""
    cells, unit = column.cells, column.measure_unit
    unit = f" {unit}" if unit else ""
    chosen = [cells.methods.index(method) for method in column.competitors]
    kinds = cells.kinds_CM[:, chosen]
    where = f"{column.label}: " if column.label else ""
    found = []
    if failed := int((kinds == FAILED).sum()):
        found.append(
            f"{where}{counted(failed, 'failure')} without an own score "
            f"{'counts' if failed == 1 else 'count'} as "
            f"{number(cells.worst, column.digits)}{unit}, {_why(column)}"
        )
    elif column.terms.failure is not None:
        found.append(
            f"{where}failure={column.terms.failure:g} changes nothing: no failure is without a "
            "score (in a CSV the column status says which empty values are failures)"
        )
    disputed = (kinds == ABSENT).any(axis=1) & ~np.isin(kinds, [ABSENT, EMPTY]).all(axis=1)
    if absent := int((kinds[disputed] == ABSENT).sum()):
        count = "counts" if absent == 1 else "count"
        found.append(
            f"{where}{counted(absent, 'correct absence')}, where another method predicts an organ "
            f"that is not there, {count} as {number(cells.best, column.digits)}{unit} against it"
        )
    return found


def _why(column: ComparisonColumn) -> str:
    """Say where the value that stands for failures is from, and what is measured beyond it."""
    if column.terms.failure is None:
        return "the worst measured"
    cells = column.cells
    scores = cells.values_CM[cells.kinds_CM == SCORED]
    worse = scores < cells.worst if column.higher_is_better else scores > cells.worst
    beyond = f"; {counted(int(worse.sum()), 'score')} measured worse" if worse.any() else ""
    return f"as asked for with failure={column.terms.failure:g}{beyond}"


def boards(columns: Sequence[ComparisonColumn]) -> Iterator[Board]:
    """Yield a table of what the methods of a task have no score for; none where all have all."""
    import pandas as pd

    lines, colours, kinds = [], [], set()
    for column in columns:
        for method, found in counts(column).items():
            kinds |= {name for name in NAMES if getattr(found, name)}
            colours.append(column.styles.colour(method))
            lines.append((column.label, column.styles.name(method), found))
    if not kinds:
        return
    shown = [name for name in Counts._fields if name == "scored" or name in kinds]
    frame = pd.DataFrame(
        [
            {"column": label, "method": name}
            | {NAMES.get(kind, kind): str(getattr(found, kind)) for kind in shown}
            for label, name, found in lines
        ]
    )
    if not any(column.label for column in columns):
        frame = frame.drop(columns="column")
    yield Board(
        title=f"{columns[0].task}: what has no score, and why",
        frame=frame,
        notes=NOTES,
        labels=list(frame.columns).index("method") + 1,
        colours=tuple(colours),
    )
