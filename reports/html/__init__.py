"""HTML: everything about a set of results on one page that opens offline and prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from typing_extensions import override

from bench.reporting import board, page, scores
from bench.reporting.board import Board
from bench.reporting.column import columns, domain_columns
from bench.reporting.comparison import MOST_PAIRS, Compared, compare
from bench.reporting.page import Chapter
from bench.reporting.pictures import opened
from bench.reporting.report import Document, Report
from bench.reporting.style import MethodStyles
from bench.reporting.text import counted
from bench.results.aggregate import audit_cell_values, curve_values, final_models
from bench.results.files import Tables
from bench.results.tables import CELL, GROUP, group_name

from .. import _figures, fairness, leaderboard, relabelling, significance, training
from . import gallery

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_PIXELS = 2**24
"""Pixels of a contact sheet; those of the suite have fewer."""
HEADING = "Training methods on partially labelled organs"
MAP = (
    "Mean difference of the fold values, line minus column, in points. Asterisk: significant by "
    "the corrected resampled t-test after Holm's correction for all pairs of the panel."
)
BOXES = (
    "DSC per test patient. Boxes: quartiles and median; whiskers: 1.5 interquartile ranges; "
    "points: patients beyond. n as in the leaderboard."
)
LOSSES = (
    "Loss of the segmentation network, means over a twentieth of a training and over folds. Each "
    "unit on the x axis is one training: the first, then one per relabelling round. Losses of "
    "different methods have different terms: compare shapes, not heights."
)
ROUNDS = (
    "Of all voxels relabelled up to a round: share that is right, and share of the hidden organ "
    "voxels that they cover; mean over organs, then folds."
)
DATA = (
    "Some of the cases, on the grid of training, with what is annotated in them and what the "
    "simulation hides. Other folds hide other labels."
)
TERMS = "Values that the methods' own terms logged, mean over folds; see the table."


class Html(Report):
    """Leaderboard, significance, boxplots, curves, relabelling, cases, provenance on one page."""

    @override
    def build(self, tables: Tables) -> Document:
        shown = leaderboard.leaderboards(tables.results)
        text = page.render(HEADING, list(_chapters(tables, shown)), list(_lead(tables.results)))
        return Document({"report.html": text}, shown)


def _lead(results: pd.DataFrame) -> Iterator[str]:
    styles = MethodStyles.of(results)
    methods = [styles.name(name) for name in styles.sort(results["method"])]
    runs = results[[*CELL, "seed", "fold"]].drop_duplicates()
    patients = results[["dataset", "patient"]].drop_duplicates()
    sizes = (
        counted(len(methods), "method"),
        counted(len(runs), "run"),
        counted(len(patients), "test patient"),
    )
    yield f"{', '.join(sizes)}: {', '.join(methods)}."
    crowded = [
        f"{column.task}, {column.label}"
        for column in columns(scores.of_results(results), styles)
        if len(column.pairs) > MOST_PAIRS
    ]
    if crowded:
        yield (
            f"Not in the chapter on significance, with more than {MOST_PAIRS} pairs of methods: "
            f"{'; '.join(crowded)}. `bench report 'significance[reference=NAME]'` compares with "
            "one."
        )
    yield "Click on a heading to sort a table. Every chapter starts on a new page when printed."


def _chapters(tables: Tables, final: Sequence[Board]) -> Iterator[Chapter]:
    results, styles = tables.results, MethodStyles.of(tables.results)
    every = list(columns(scores.of_results(results), styles))
    compared = [
        Compared(column, compare(column, column.pairs))
        for column in every
        if 0 < len(column.pairs) <= MOST_PAIRS
    ]
    yield Chapter(
        "Leaderboard",
        _parts(
            "leaderboard",
            [
                *final,
                *(
                    found
                    for by in ("rank", "failures", "organ", "domain")
                    for found in leaderboard.leaderboards(results, by=by)
                ),
            ],
        ),
    )
    if compared:
        maps = [
            page.figure(
                _figures.to_svg(_figures.significance_map(group)), MAP, f"{task}: significance map"
            )
            for task, group in significance.by_task(compared).items()
        ]
        domains = [
            Compared(column, compare(column, column.pairs, thorough=False))
            for column in domain_columns(results, "dsc", styles)
            if 0 < len(column.pairs) <= MOST_PAIRS
        ]
        boards = _parts("significance", significance.boards(compared, [], domains))
        yield Chapter("Significance", (*maps, *boards))
    yield Chapter("Boxplots", tuple(_each(final_models(results), _figures.boxes, BOXES, "DSC")))
    if not tables.curves.empty:
        yield Chapter("Training", tuple(_training(tables.curves, styles)))
    if not tables.audit.empty:
        audited = audit_cell_values(tables.audit, (*CELL, "round"))
        yield Chapter(
            "Relabelling",
            (
                *_each(audited, _figures.rounds, ROUNDS, "relabelling by round", styles=styles),
                *_parts("relabelling", relabelling.boards(tables.audit, styles)),
            ),
        )
    if not tables.sheets.empty:
        yield Chapter("Data", tuple(_sheets(tables.sheets)))
    if not tables.pictures.empty:
        yield Chapter(
            "Cases",
            (
                gallery.predictions(tables.pictures, final_models(results), styles),
                gallery.relabelled(tables.pictures, styles),
            ),
        )
    yield Chapter("Fairness", _parts("fairness", fairness.boards(fairness.costs(results), styles)))
    yield Chapter("Provenance", _parts("provenance", [_provenance(results)]))


def _sheets(sheets: pd.DataFrame) -> Iterator[str]:
    """Yield the contact sheet of the first fold of each data set and label fraction."""
    hidden = sheets.assign(hidden=-sheets["label_pct"])
    ordered = hidden.sort_values([*GROUP, "hidden", "seed", "fold"])
    for _, row in ordered.drop_duplicates(["dataset", "profile", "label_pct", "seed"]).iterrows():
        with opened(row["png"], "sheets", MAX_PIXELS) as sheet:
            size = sheet.size
        seed = f", seed {row['seed']}" if row["seed"] else ""
        title = (
            f"{row['dataset']}, profile {row['profile']}, {row['label_pct']} % labelled, fold "
            f"{row['fold']}{seed}"
        )
        yield page.picture(row["png"], size, DATA, title, instead=row["title"])


def _training(curves: pd.DataFrame, styles: MethodStyles) -> Iterator[str]:
    values = curve_values(curves)
    segment = values[values["name"] == _figures.SEGMENT_LOSS]
    yield from _each(segment, _figures.losses, LOSSES, "losses", styles=styles)
    if training.has_own_terms(curves):
        own = training.own_terms(curves, styles)
        yield from _each(own, _figures.terms, TERMS, "what is each method's own", styles=styles)
        yield from _parts("training", training.boards(own, styles))


def _each(
    rows: pd.DataFrame, draw: Callable[..., Figure], caption: str, title: str, **options: Any
) -> Iterator[str]:
    """Yield a figure per data set, profile and network."""
    for _, group in rows.groupby(GROUP):
        yield page.figure(
            _figures.to_svg(draw(group, **options)), caption, f"{group_name(group)}: {title}"
        )


def _parts(name: str, boards: Sequence[Board]) -> tuple[str, ...]:
    return tuple(board.to_part(one, f"{name}{number}") for number, one in enumerate(boards))


def _provenance(results: pd.DataFrame) -> Board:
    """Return the board of runs: one line per data set, profile, network and method."""
    runs = results.groupby([*GROUP, "method"], as_index=False).agg(
        labelled=("label_pct", _percentages),
        folds=("fold", _numbers),
        seeds=("seed", _numbers),
        device=("device", _distinct),
        software=("software", _distinct),
        data=("content", _distinct),
    )
    styles = MethodStyles.of(results)
    runs = runs.sort_values([*GROUP, "method"], key=styles.by_method)
    methods = tuple(runs["method"])
    frame = runs.assign(method=runs["method"].map(styles.name)).reset_index(drop=True)
    frame = frame[["method", *frame.columns.drop("method")]]
    return Board(
        title="What was run, where and with what",
        frame=frame,
        notes=(
            "Every result is computed once for its data, parameters and version of a step. For the "
            "keys in the column `stage` of the results, `bench show KEY` prints them all. Data: "
            "first digits of a fingerprint of the list of cases and all files.",
        ),
        labels=len(frame.columns),
        colours=styles.colours(methods),
    )


def _percentages(values: pd.Series) -> str:
    return ", ".join(f"{value}" for value in sorted(set(values), reverse=True)) + " %"


def _numbers(values: pd.Series) -> str:
    return ", ".join(str(value) for value in sorted(set(values)))


def _distinct(values: pd.Series) -> str:
    return "; ".join(sorted(set(values)))
