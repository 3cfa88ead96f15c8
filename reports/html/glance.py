"""The first screen: per condition the answer, the leaderboard, differences and who beats whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from bench.reporting import board, page
from bench.reporting.board import Board
from bench.reporting.column import ComparisonColumn
from bench.reporting.comparison import Compared
from bench.reporting.drawing import Drawing
from bench.reporting.marks import ranked, standing
from bench.reporting.sentences import alone, sentence, sentences

from .._figures import standings
from ..leaderboard import foreign

TEMPLATE = Path(__file__).with_name("glance.html.j2")
SCRIPT = Path(__file__).with_name("glance.js")
STYLE = Path(__file__).with_name("glance.css")


@dataclass(frozen=True)
class Panel:
    """What the first screen shows of a condition; table and figures are HTML."""

    title: str
    task: str
    choice: str
    answer: list[str]
    table: str
    figures: list[str]


def drawings(compared: Sequence[Compared]) -> list[Sequence[Drawing]]:
    """Return what the first screen draws of each column; it is drawn while that is computed."""
    return [standings.comparisons([one], "", ["svg"]).get(one.column.task, ()) for one in compared]


def opening(
    compared: Sequence[Compared], drawn: Sequence[Sequence[Drawing]], boards: Mapping[str, Board]
) -> str:
    """Return the first screen as HTML.

    Parameters
    ----------
    compared
        Every column with all its comparisons; a column of one method has none.
    drawn
        The drawings of each.
    boards
        The leaderboard of every task.
    """
    from jinja2 import Environment

    lines: dict[str, set[str]] = {}  # of the leaderboard of a task: all methods of its columns
    for one in compared:
        lines.setdefault(one.column.task, set()).update(one.column.methods)
    shortened = _shortened(list(boards))
    panels = []
    for number, (one, pictures) in enumerate(zip(compared, drawn, strict=True)):
        task, styles = one.column.task, one.column.styles
        ranking = _ranking(one.column, boards[task], styles.sort(lines[task]))
        table = board.to_table(ranking, f"glance{number}")
        panels.append(_panel(one, table, pictures, shortened[task]))
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    choices = [(task, list(own)) for task, own in groupby(panels, key=lambda panel: panel.task)]
    return template.render(panels=panels, choices=choices)


def answer(compared: Compared) -> list[str]:
    """Return the verdict on a column, and its leader beside the next and the first of the methods.

    The sentences are those of the significance report.
    """
    column = compared.column
    order = list(ranked(column))
    if len(order) < 2:
        return [alone(column)]
    leader, second = order[:2]
    others = [second, *(m for m in column.competitors if m not in (leader, second))][:2]
    beside = [
        sentence(found, column)
        for other in others
        for found in compared.comparisons
        if {found.a, found.b} == {leader, other}
    ]
    told = sentences(compared)
    verdict = [text for text in told[:1] if not text.endswith(tuple(beside))]
    return [*verdict, *beside]


def _shortened(tasks: Sequence[str]) -> dict[str, str]:
    """Return each task without the profile and the network that all share; empty if it is alone."""
    if len(tasks) == 1:
        return {tasks[0]: ""}
    ends = [tuple(task.rsplit(", ", 2)[1:]) for task in tasks]
    shared = ends[0] if len(set(ends)) == 1 else ()
    return {task: task.removesuffix(", ".join(("", *shared))) for task in tasks}


def _panel(compared: Compared, table: str, pictures: Sequence[Drawing], task: str) -> Panel:
    column = compared.column
    title = f"{column.task}, {column.label} labelled" if column.label else column.task
    figures = [page.figure(one.svg, one.caption, instead=one.instead).html for one in pictures]
    who = standing(column)
    leaders = who.leaders or who.alike
    best = "nobody leads"
    if leaders:
        tied = f"{len(leaders)} methods alike"
        best = column.styles.name(leaders[0]) if len(leaders) == 1 else tied
    return Panel(
        title,
        task,
        f"{column.label}: {best}" if column.label else best,
        answer(compared),
        table,
        figures,
    )


def _ranking(column: ComparisonColumn, whole: Board, methods: Sequence[str]) -> Board:
    """Return the column of the leaderboard by itself, the best first, the upper bounds last.

    Parameters
    ----------
    whole
        The leaderboard, a line for each of ``methods``.
    """
    places = ranked(column)
    order = [*places, *(m for m in column.methods if m not in places)]
    lines = [methods.index(method) for method in order]
    measured = foreign.heading(column)
    means = f"{column.label_pct} %" if column.label_pct else measured
    chosen = [whole.names.index(name) for name in ("method", means, "n")]
    frame = whole.frame.iloc[lines, chosen].reset_index(drop=True)
    frame = frame.rename(columns={means: measured})
    frame.insert(0, "#", [places.get(method, "") for method in order])
    assert whole.marks is not None
    marks = np.insert(whole.marks[np.ix_(lines, chosen)], 0, "", axis=1)
    return Board(
        title=f"{column.task}, {column.label}: {column.measure}".replace(", :", ":"),
        frame=frame,
        notes=(),
        marks=marks,
        labels=2,
        colours=column.styles.colours(order),
    )
