"""Leaderboard: mean and standard deviation over folds, methods against label fractions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import Field
from typing_extensions import override

from bench.evaluation.metrics import MetricName, find
from bench.reporting import board, scores
from bench.reporting.board import Board
from bench.reporting.column import ComparisonColumn, domain_columns
from bench.reporting.comparison import Compared, compare
from bench.reporting.drawing import Drawing
from bench.reporting.marks import Rule, is_tested
from bench.reporting.marks import marks as marks_of
from bench.reporting.missing import substitutes
from bench.reporting.report import Document, Later, ScoresReport
from bench.reporting.scored import Measured
from bench.reporting.sentences import noise_floor
from bench.reporting.style import MethodStyles
from bench.reporting.text import NONE, duration, span
from bench.reporting.tuned import Tunings
from bench.results.aggregate import final_models, lacking_pairs
from bench.results.columns import CELL, GROUP
from bench.results.files import Tables
from bench.results.tables import group_name, grouped

from .._figures import standings
from . import foreign
from .failures import failure_boards
from .notes import LINE, PARTS, By, Line, bold_notes, few_labels, lines_of, notes_of
from .ranks import rank_boards

if TYPE_CHECKING:
    from bench.reporting.style import Mark

TITLE: dict[By, str] = {
    "method": "",
    "rank": ", ranks",
    "failures": ", zeros and NaN",
    "round": ", after each relabelling round",
    "organ": ", per organ",
    "domain": ", per domain",
}


class Leaderboard(ScoresReport):
    """The leaderboard as Markdown, CSV, LaTeX and HTML."""

    metric: MetricName = "dsc"
    digits: int | None = Field(default=None, ge=0, le=4)
    """Decimals; 1, or 3 for values of a CSV that are fractions."""
    bold: Rule = "holm"
    """Criterion for bold: the corrected test after Holm, the paper's t-test, or the mean alone."""

    @override
    def build(self, tables: Tables) -> Document:
        if self.csv is not None:
            return self._of_csv(tables)
        digits = 1 if self.digits is None else self.digits
        stem = "leaderboard" if self.metric == "dsc" else f"leaderboard-{self.metric}"
        values = Measured(tables.results, self.metric)
        drawn = _drawings(values.scored.columns, stem, digits)
        shown = {
            by: leaderboards(values, by, digits, self.bold, tables.tuning, tables.targets)
            for by in TITLE
        }
        heading = f"Leaderboard: {find(self.metric).title}"
        return _document(shown, drawn, stem, heading, partial(numbers, values))

    def _of_csv(self, tables: Tables) -> Document:
        scored = self.scored(tables)
        drawn = _drawings(scored.columns, "leaderboard", self.digits)
        shown = {
            by: foreign.leaderboards(scored, by, self.digits, self.bold) for by in foreign.TITLE
        }
        behind = partial(foreign.numbers, scored)
        return _document(shown, drawn, "leaderboard", "Leaderboard", behind)


def _drawings(
    shown: Iterable[ComparisonColumn], stem: str, digits: int | None
) -> list[Sequence[Drawing]]:
    """Return what is drawn of each task; it is drawn while the boards are computed."""
    compared = [Compared(column, compare(column, column.pairs, thorough=False)) for column in shown]
    drawn = standings.comparisons(compared, stem, digits=digits)
    return [drawn.get(task, ()) for task in dict.fromkeys(one.column.task for one in compared)]


def _document(
    shown: Mapping[By, list[Board]],
    drawn: Sequence[Sequence[Drawing]],
    stem: str,
    heading: str,
    behind: Callable[[], pd.DataFrame],
) -> Document:
    """Return the boards and, once they are asked for, files with what is drawn of them."""
    boards = list(chain.from_iterable(shown.values()))
    titles = [final.title for final in shown["method"]]

    def files() -> Mapping[str, str | bytes]:
        drawings = dict(zip(titles, drawn, strict=True))
        return board.files(stem, boards, heading, behind(), drawings=drawings)

    return Document(Later(files), boards)


def leaderboards(
    values: Measured,
    by: By = "method",
    digits: int = 1,
    bold: Rule = "holm",
    tuning: pd.DataFrame | None = None,
    targets: pd.DataFrame | None = None,
) -> list[Board]:
    """Return one board per (data set, profile, backbone) of a results table.

    Parameters
    ----------
    values
        What the boards show.
    by
        ``method``: the final models; ``rank``: their ranks; ``failures``: their zeros and NaN;
        ``round``: every round of the methods that have several; ``organ``, ``domain``: the final
        models, organ by organ, or domain by domain of the test cases, where there are several.
    digits
        Decimals of mean and standard deviation.
    bold
        The criterion for a better method (``bench.reporting.marks``).
    tuning
        What `bench tune` tried for methods of the table, which the board of final models says.
    targets
        Counts of training targets, which tell the organs with next to no label.

    Returns
    -------
    list of Board
        Sorted by data set, profile and backbone; empty where ``by`` does not apply.

    Raises
    ------
    BenchError
        The table has no row.
    """
    return [
        found
        for group in grouped(scores.require_rows(values.table))
        for found in _boards_of(group, values, by, digits, bold, tuning, targets)
    ]


def _boards_of(
    group: pd.DataFrame,
    values: Measured,
    by: By,
    digits: int,
    bold: Rule,
    tuning: pd.DataFrame | None,
    targets: pd.DataFrame | None,
) -> Iterator[Board]:
    last, metric = final_models(group), values.metric
    title = f"{group_name(group)}: {find(metric).title}{TITLE[by]}"
    if by == "rank":
        own = _columns(last, values, by)
        yield from rank_boards(own, MethodStyles.of(last), title)
    elif by == "failures":
        yield from failure_boards(last, metric, title)
    elif by == "round":
        if not (rows := _several_rounds(group)).empty:
            yield _board(group, rows, values, by, digits, bold)
    elif by == "method":
        found = _board(group, last, values, by, digits, bold, targets)
        if tuning is not None and not tuning.empty:
            found = _with_tuning(found, last, Tunings(tuning, last))
        yield found
    elif group[by].nunique() > 1:
        yield _board(group, last, values, by, digits, bold, targets)


def numbers(values: Measured) -> pd.DataFrame:
    """Return the numbers behind the boards, one line per cell.

    ``round`` is ``final`` for the last models, ``organ`` is ``mean`` for the mean over organs,
    ``domain`` is ``all`` for the mean over all patients.
    """
    final, mean, whole = {"round": "final"}, {"organ": "mean"}, {"domain": "all"}
    cells = pd.concat(
        [
            values.cells().assign(**final, **mean, **whole),
            values.cells("organ").assign(**final, **whole),
            values.cells("round").assign(**mean, **whole),
            values.cells("domain").assign(**final, **mean),
            values.cells("domain", "organ").assign(**final),
        ],
        ignore_index=True,
    )
    leading = [*CELL, "organ", "domain", "round"]
    cells["round"] = cells["round"].astype(str)
    cells = cells.sort_values(leading, ignore_index=True)
    cells = cells[[*leading, *cells.columns.drop(leading)]]
    cells.insert(len(leading), "metric", values.metric)
    return cells


def _board(
    group: pd.DataFrame,
    rows: pd.DataFrame,
    values: Measured,
    by: Line,
    digits: int,
    bold: Rule,
    targets: pd.DataFrame | None = None,
) -> Board:
    line, metric = LINE[by], values.metric
    styles = MethodStyles.of(group)
    lines = lines_of(rows if by == "round" else group, line, styles)
    fractions = sorted(map(int, group["label_pct"].unique()), reverse=True)
    cells = values.cells(*(name for name in line if name != "method"))
    here = (cells[list(GROUP)] == group[list(GROUP)].iloc[0]).all(axis=1)
    cells = cells[here & cells["method"].isin(rows["method"].unique())]
    by_place = {
        (*(cell[name] for name in line), cell["label_pct"]): cell
        for cell in cells.to_dict("records")
    }
    methods = tuple(str(keys[line.index("method")]) for keys in lines)
    expected = _expected_runs(group, by)
    pairs = lacking_pairs(rows)
    lacking = set(pairs[[*line, "label_pct"]].itertuples(index=False, name=None))

    runs_name = "folds" if group["seed"].nunique() == 1 else "runs"
    text: list[dict[str, str]] = []
    for keys in lines:
        shown = [by_place.get((*keys, pct)) for pct in fractions]
        found = [cell for cell in shown if cell is not None]
        wanted = expected[keys[0] if by in PARTS else ""]
        text.append(
            {
                name: styles.name(str(key)) if name == "method" else str(key)
                for name, key in zip(line, keys, strict=True)
            }
            | {
                f"{pct} %": _cell_text(
                    cell, wanted, runs_name, digits, lacking=(*keys, pct) in lacking
                )
                for pct, cell in zip(fractions, shown, strict=True)
            }
            | {
                "n": _range([cell["patients"] for cell in found]),
                "folds": _range([cell["folds"] for cell in found]),
            }
            | ({} if by in PARTS else _cost_text(found))
        )
    frame = pd.DataFrame(text)
    marks = np.full(frame.shape, "", object)
    own = _columns(rows, values, by)
    if own:
        marked = _marks(own, bold, digits)
        for position, pct in enumerate(fractions, start=len(line)):
            marks[:, position] = [marked.get((pct, *keys), "") for keys in lines]
    measured = find(metric)
    runs = len(group[["seed", "fold"]].drop_duplicates())
    legend = bold_notes(
        by,
        bold,
        marks,
        tested=any(is_tested(column, bold) for column in own),
        upper_bound=bool(group["upper_bound"].any()),
        runs=runs,
        run_noun=runs_name.removesuffix("s"),
    )
    return Board(
        title=f"{group_name(group)}: {measured.title} in {measured.unit}{TITLE[by]}",
        frame=frame,
        notes=(
            *notes_of(group, rows, cells, pairs, styles, metric, by),
            *(few_labels(targets, rows) if targets is not None and by != "domain" else []),
            *(noise_floor(own) if by == "method" else []),
            *(f"{text}." for column in own if by == "method" for text in substitutes(column)),
            *legend,
        ),
        marks=marks,
        labels=len(line),
        colours=styles.colours(methods),
    )


def _with_tuning(found: Board, last: pd.DataFrame, tunings: Tunings) -> Board:
    """Return a board of final models with a column that says which of them were tuned."""
    if not tunings:
        return found
    lines = lines_of(last, LINE["method"], MethodStyles.of(last))
    methods = [str(keys[0]) for keys in lines]
    frame = found.frame.assign(tuned=[tunings.text(method) or NONE for method in methods])
    marks = np.full(frame.shape, "", object)
    if found.marks is not None:
        marks[:, :-1] = found.marks
    return replace(found, frame=frame, marks=marks, notes=(*found.notes, *tunings.notes()))


def _several_rounds(group: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the methods that were evaluated after several rounds."""
    return group[group.groupby("method")["round"].transform("nunique") > 1]


def _expected_runs(group: pd.DataFrame, by: Line) -> dict[str, int]:
    """Return how many (seed, fold) a complete cell has: those of any method in its part."""
    part = [by] if by in PARTS else []
    runs = group[[*part, "seed", "fold"]].drop_duplicates()
    if not part:
        return {"": len(runs)}
    return {str(name): int(count) for name, count in runs[by].value_counts().items()}


def _cell_text(
    cell: Mapping[Any, Any] | None, expected: int, runs_name: str, digits: int, *, lacking: bool
) -> str:
    if cell is None or not cell["runs"]:
        return NONE
    runs = int(cell["runs"])
    text = f"{cell['mean']:.{digits}f}"
    if runs > 1:
        text += f" ± {cell['std']:.{digits}f}"
    if runs < expected:
        return f"{text} ({runs}/{expected} {runs_name})"
    return f"{text} (incomplete)" if lacking else text


def _cost_text(cells: Sequence[Mapping[Any, Any]]) -> dict[str, str]:
    seconds = [float(cell["device_s"]) for cell in cells if not np.isnan(cell["device_s"])]
    steps = [cell[name] for cell in cells for name in ("seg_steps_min", "seg_steps_max")]
    return {
        "steps": _range(steps),
        "time": duration(float(np.mean(seconds))) if seconds else NONE,
    }


def _range(values: Sequence[float]) -> str:
    if not values:
        return NONE
    return span(int(min(values)), int(max(values)))


def _marks(
    shown: Iterable[ComparisonColumn], bold: Rule, digits: int
) -> dict[tuple[Any, ...], Mark]:
    """Return the marks of the cells: (label fraction, line) -> mark."""
    found: dict[tuple[Any, ...], Mark] = {}
    for column in shown:
        part = column.organ or column.domain
        for method, mark in marks_of(column, bold, digits).items():
            found[(column.label_pct, *([part] if part else []), method)] = mark
    return found


def _columns(rows: pd.DataFrame, values: Measured, by: By) -> list[ComparisonColumn]:
    """Return what the marks of a board are about; nothing for rounds, of which none is marked."""
    if rows.empty or by == "round":
        return []
    if by == "domain":
        return list(domain_columns(rows, values.metric, values.scored.styles))
    return values.scored.of_task(group_name(rows), per_organ=by == "organ")
