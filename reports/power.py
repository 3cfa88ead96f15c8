"""Power: the smallest difference that folds and patients can show, and how many it takes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field
from typing_extensions import override

from bench.errors import BenchError
from bench.evaluation.metrics import MetricName
from bench.reporting import board
from bench.reporting.board import Board
from bench.reporting.column import ComparisonColumn, refuse_unknown
from bench.reporting.drawing import Drawing
from bench.reporting.marks import ranked
from bench.reporting.report import Document, ScoresReport
from bench.reporting.text import NONE, number, signed
from bench.results.files import Tables
from bench.stats.multiple import ALPHA
from bench.stats.power import needed, standard_errors

from ._figures import rendering
from ._figures.panels import grid, number_log_scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

HEADING = "What differences this comparison can show"
USUAL = "inerrant0"
"""The reference, where it is among the methods."""
PATIENTS = np.unique(np.geomspace(5, 1000, 40).astype(int))
"""Numbers of test patients on the figure's x axis."""
CURVES = "The difference that a paired t-test over so many patients finds with the stated power."
OVER_FOLDS = (
    "Over folds: the smallest true difference that the corrected resampled t-test (Nadeau & Bengio "
    "2003) finds with the stated power, from the standard deviation of the paired differences of "
    "folds. It says what to expect of another such cross-validation."
)
NOTES = (
    "Bold: the observed difference is at least as large as the smallest detectable one. Below it, "
    "that a difference is not significant says little about whether there is one.",
    OVER_FOLDS,
    "Over patients: the same for the paired t-test over test patients, who share the trained "
    "models: training again is not in it, so it is as a rule the smaller.",
    "Both assume normal differences and take the estimated standard deviation as the true one; "
    "with few folds that is rough. The observed difference takes no part: power at the observed "
    "difference would repeat its p value.",
)


class Detectable(NamedTuple):
    """A comparison of two methods, and the differences it can detect.

    Attributes
    ----------
    label_pct, a, b
        Label fraction in percent, method and reference.
    diff
        Observed mean difference a - b over folds, or over patients where folds are unknown.
    folds, over_folds
        Number of folds and seeds, and the smallest detectable difference of their values.
    patients, sd, over_patients
        Number of patients, standard deviation (n - 1) of their differences, and the smallest
        detectable difference.
    needed
        Patients needed to detect a difference of the requested size.
    """

    label_pct: int
    a: str
    b: str
    diff: float
    folds: int
    over_folds: float
    patients: int
    sd: float
    over_patients: float
    needed: float


class _Task(NamedTuple):
    """The columns of a task, and in each the comparisons with the reference, none without it."""

    reference: str
    columns: Sequence[ComparisonColumn]
    found: Sequence[list[Detectable]]

    @property
    def name(self) -> str:
        return self.columns[0].task


class Power(ScoresReport):
    """Smallest detectable difference to a reference method, and the patients needed for one."""

    metric: MetricName = "dsc"
    reference: str | None = None
    """Compared with each other method: `inerrant0` where it is there, else the first of a task."""
    power: float = Field(default=0.8, gt=0.5, lt=1)
    difference: float | None = Field(default=None, gt=0)
    """The smallest difference that matters, in the unit of the metric; 1, or 0.01 of fractions."""

    @override
    def build(self, tables: Tables) -> Document:
        found_columns = self.scored(tables, self.metric).columns
        tasks = [
            self._against(list(columns))
            for _, columns in groupby(found_columns, key=lambda one: one.task)
        ]
        lacking = [task.name for task in tasks if not any(task.found)]
        tasks = [task for task in tasks if any(task.found)]
        if not tasks:
            refuse_unknown(self.reference, found_columns)
            raise BenchError("nothing to compare: no board holds a second method")
        whom = f"{self.reference} or others" if self.reference else "a second method"
        left_out = [f"Left out, without {whom}: {task}." for task in lacking]
        shown = [self._board(task, left_out) for task in tasks]
        rows = [
            {"task": task.name, **one._asdict()}
            for task in tasks
            for found in task.found
            for one in found
        ]
        stem = "power" if self.metric == "dsc" else f"power-{self.metric}"
        drawings = {
            drawn.title: [self._drawing(task, f"{stem}-{count}", drawn.title)]
            for count, (task, drawn) in enumerate(zip(tasks, shown, strict=True), start=1)
            if any(one.sd > 0 for found in task.found for one in found)  # else there is no curve
        }
        numbers = pd.DataFrame(rows)
        return Document(board.files(stem, shown, HEADING, numbers, "%.6g", drawings), shown)

    def _wanted(self, column: ComparisonColumn) -> float:
        if self.difference is not None:
            return self.difference
        return 0.01 if column.digits > 1 else 1.0

    def _against(self, columns: Sequence[ComparisonColumn]) -> _Task:
        reference = self._reference(columns[0])
        return _Task(reference, columns, [self._detectable(one, reference) for one in columns])

    def _reference(self, first: ComparisonColumn) -> str:
        if self.reference is not None:
            return self.reference
        return USUAL if USUAL in first.competitors else next(iter(ranked(first)))

    def _detectable(self, column: ComparisonColumn, reference: str) -> list[Detectable]:
        if reference not in column.competitors:
            return []
        pairs = column.pairs_with(reference)
        return [self._one(column, a, b, ALPHA / len(pairs)) for a, b in pairs]

    def _one(self, column: ComparisonColumn, a: str, b: str, alpha: float) -> Detectable:
        pair = column.pair(a, b)
        values, of_patients = pair.values[:, 0] - pair.values[:, 1], pair.patients
        sd = _sd(of_patients)
        error = np.sqrt(1 / max(len(values), 1) + column.test_to_train) * _sd(values)
        mean = values if column.unit == "fold" and len(values) else of_patients
        return Detectable(
            label_pct=column.label_pct,
            a=a,
            b=b,
            diff=float(mean.mean()) if len(mean) else float("nan"),
            folds=len(values),
            over_folds=error * standard_errors(len(values) - 1, alpha, self.power),
            patients=len(of_patients),
            sd=sd,
            over_patients=sd
            / np.sqrt(max(len(of_patients), 1))
            * standard_errors(len(of_patients) - 1, alpha, self.power),
            needed=needed(self._wanted(column) / sd, alpha, self.power) if sd > 0 else float("nan"),
        )

    def _board(self, task: _Task, left_out: Sequence[str]) -> Board:
        column, styles = task.columns[0], task.columns[0].styles
        wanted = self._wanted(column)
        lines, bold = [], []
        for shown, found in zip(task.columns, task.found, strict=True):
            for one in found:
                lines.append(
                    {
                        "column": shown.label,
                        "comparison": f"{styles.name(one.a)} − {styles.name(one.b)}",
                        "difference": signed(one.diff, shown.digits),
                        "detectable over folds": _within_scale(one.over_folds, shown),
                        "folds": str(one.folds),
                        "over patients": _within_scale(one.over_patients, shown),
                        "patients": str(one.patients),
                        "sd": number(one.sd, shown.digits),
                        f"patients for {wanted:g}": NONE
                        if np.isnan(one.needed)
                        else f"{np.ceil(one.needed):.0f}",
                    }
                )
                bold.append(abs(one.diff) >= one.over_folds > 0)
        frame = pd.DataFrame(lines)
        if column.unit == "patient":
            frame = frame.drop(columns=["detectable over folds", "folds"])
        marks = np.full(frame.shape, "", object)
        marks[:, list(frame.columns).index("difference")] = np.where(bold, "best", "")
        unit = f" in {column.measure_unit}" if column.measure_unit else ""
        family = max(len(found) for found in task.found)
        level = (
            f"{ALPHA:g} divided by the {family} comparisons of a column (Bonferroni, the first "
            "step of Holm's correction)"
            if family > 1
            else f"{ALPHA:g}"
        )
        return Board(
            title=f"{task.name}: detectable differences",
            frame=frame,
            notes=(
                f"{column.measure}{unit}; power {100 * self.power:g} %, two-sided, p below "
                f"{level}. sd: standard deviation of the differences of patients. Patients for "
                f"{wanted:g}: how many test patients it takes to find a true difference of that "
                "size.",
                *(note for note in NOTES if note != OVER_FOLDS or column.unit == "fold"),
                *left_out,
            ),
            marks=marks,
            labels=2,
        )

    def _drawing(self, task: _Task, name: str, title: str) -> Drawing:
        column = task.columns[0]
        reference = column.styles.name(task.reference)
        wanted, unit = self._wanted(column), column.measure_unit
        draw = partial(_curves, self._panels(task), reference, wanted, unit)
        return rendering.drawing(draw, name, title, CURVES)

    def _panels(self, task: _Task) -> list[_Panel]:
        """Return what is drawn of a task, a panel a column."""
        styles, panels = task.columns[0].styles, []
        for column, found in zip(task.columns, task.found, strict=True):
            level = ALPHA / max(len(found), 1)
            errors = np.array([standard_errors(n - 1, level, self.power) for n in PATIENTS])
            lines = [
                _Line(
                    styles.name(one.a),
                    styles.colour(one.a),
                    one.sd / np.sqrt(PATIENTS) * errors,
                    (one.patients, one.over_patients),
                )
                for one in found
            ]
            panels.append(_Panel(column.label, lines))
        return panels


class _Line(NamedTuple):
    """A comparison over numbers of patients: what each detects, and what those there are do."""

    name: str
    colour: str
    detects: NDArray[np.float64]
    point: tuple[int, float]


class _Panel(NamedTuple):
    title: str
    lines: Sequence[_Line]


@rendering.names_as_text
def _curves(panels: Sequence[_Panel], reference: str, wanted: float, unit: str) -> Figure:
    """Draw the smallest detectable difference over the number of patients."""
    figure, axes = grid(len(panels), 2, (4.2, 3.6), beside=(2.8, 0.6))
    drawn = {}
    for axis, panel in zip(axes, panels, strict=True):
        for one in panel.lines:
            (drawn[one.name],) = axis.plot(PATIENTS, one.detects, color=one.colour, label=one.name)
            axis.plot(*one.point, "o", color=one.colour)
        axis.axhline(wanted, color="black", linewidth=0.8, linestyle=":")
        axis.set(title=panel.title, xscale="log", yscale="log")
        number_log_scale(axis.xaxis)
        number_log_scale(axis.yaxis, subs=(1, 2, 5))  # also within a decade
    figure.supxlabel("test patients; points: as many as there are", size=10)
    figure.supylabel(f"detectable difference{f' ({unit})' if unit else ''}", size=10)
    figure.legend(
        handles=list(drawn.values()),
        title=f"against {reference}\ndotted: {wanted:g} {unit}",
        loc="outside right upper",
        frameon=False,
    )
    return figure


def _within_scale(difference: float, column: ComparisonColumn) -> str:
    """Return a difference, or that it is larger than any can be."""
    most = column.cells.best
    if column.higher_is_better and difference > most:
        return f"> {most:g}"
    return number(difference, column.digits)


def _sd(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")
