"""HTML: everything about a set of results on one page that opens offline and prints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import chain
from typing import TYPE_CHECKING, Any

import pandas as pd
from typing_extensions import override

from bench.reporting import board, page
from bench.reporting.board import Board
from bench.reporting.column import columns, domain_columns
from bench.reporting.comparison import MOST_PAIRS, Compared, compare
from bench.reporting.page import Chapter, Part
from bench.reporting.pictures import opened
from bench.reporting.report import Document, ScoresReport
from bench.reporting.style import MethodStyles
from bench.reporting.text import counted, listed
from bench.results.aggregate import audit_cell_values, curve_values, final_models
from bench.results.files import Tables
from bench.results.tables import CELL, GROUP, group_name, grouped

from .. import _figures, fairness, leaderboard, relabelling, significance, training
from ..leaderboard import foreign
from ..leaderboard.notes import By
from . import gallery, glance

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_PIXELS = 2**24
"""Pixels of a contact sheet; those of the suite have fewer."""
_LINK = re.compile(r'<a xlink:href="#(case-\d+-\d+)" target="_blank">')
"""A link as matplotlib draws it."""
HEADING = "Training methods on partially labelled organs"
HEADING_OF_SCORES = "Methods compared"
BOARDS: tuple[By, ...] = ("method", "rank", "failures", "organ", "domain")
LEADS = "A point with pictures leads to them at a click. n as in the leaderboard."
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


class Html(ScoresReport):
    """Leaderboard, significance, boxplots, curves, relabelling, cases, provenance on one page."""

    @override
    def build(self, tables: Tables) -> Document:
        table, styles = self.scored(tables)
        compared = list(_compared(table, styles))
        if self.csv is None:
            standings = {
                by: leaderboard.leaderboards(tables.results, by=by, tuning=tables.tuning)
                for by in BOARDS
            }
        else:
            standings = {by: foreign.leaderboards(table, styles, by) for by in foreign.TITLE}
        final = standings["method"]
        tasks = [str(rows["task"].iloc[0]) for rows in grouped(table, ["task"])]
        text = page.render(
            HEADING if self.csv is None else HEADING_OF_SCORES,
            [
                Chapter("Leaderboard", _parts("leaderboard", list(chain(*standings.values())))),
                *_chapters(tables, table, styles, compared),
            ],
            list(_lead(table, tables, compared)),
            opening=glance.opening(compared, dict(zip(tasks, final, strict=True))),
            scripts=[path.read_text(encoding="utf-8") for path in (gallery.SCRIPT, glance.SCRIPT)],
            styles=[path.read_text(encoding="utf-8") for path in (gallery.STYLE, glance.STYLE)],
        )
        return Document({"report.html": text}, final)


def _compared(table: pd.DataFrame, styles: MethodStyles) -> Iterator[Compared]:
    """Yield every column with all pairs compared, thoroughly where they are not too many."""
    for column in columns(table, styles):
        thorough = len(column.pairs) <= MOST_PAIRS
        yield Compared(column, compare(column, column.pairs, thorough=thorough))


def _lead(table: pd.DataFrame, tables: Tables, compared: Sequence[Compared]) -> Iterator[str]:
    """Yield how much there is, and what there is not."""
    results, first = tables.results, compared[0].column
    sizes = [counted(table["method"].nunique(), "method")]
    if results.empty:
        patients = table[["task", "patient"]].drop_duplicates()
        sizes.append(counted(len(patients), first.patient_noun))
    else:
        patients = results[["dataset", "patient"]].drop_duplicates()
        sizes.append(counted(len(results[[*CELL, "seed", "fold"]].drop_duplicates()), "run"))
        sizes.append(counted(len(patients), "test patient"))
    said = f"{', '.join(sizes)}."
    if lacking := list(_lacking(tables)):
        said += f" Not in these results, and so not on this page: {listed(lacking)}."
    yield said
    crowded = [
        f"{column.task}, {column.label}".removesuffix(", ")
        for column in (one.column for one in compared)
        if len(column.pairs) > MOST_PAIRS
    ]
    if crowded:
        yield (
            f"Not in the chapter on significance, with more than {MOST_PAIRS} pairs of methods: "
            f"{'; '.join(crowded)}. `bench report 'significance[reference=NAME]'` compares with "
            "one."
        )


def _lacking(tables: Tables) -> Iterator[str]:
    """Name what a page shows of complete tables and not of these."""
    if tables.curves.empty:
        yield "training curves"
    if tables.audit.empty and (tables.results.empty or tables.results["round"].any()):
        yield "relabelling by round"
    if tables.sheets.empty and tables.pictures.empty:
        yield "pictures" if tables.results.empty else "pictures (`bench run --pictures`)"
    if tables.results.empty:
        yield from ("costs", "provenance")


def _chapters(
    tables: Tables, table: pd.DataFrame, styles: MethodStyles, every: Sequence[Compared]
) -> Iterator[Chapter]:
    """Yield the chapters after the leaderboard: those of which there is something."""
    results = tables.results
    compared = [one for one in every if 0 < len(one.comparisons) <= MOST_PAIRS]
    if compared:
        domains = [
            Compared(column, compare(column, column.pairs, thorough=False))
            for column in ([] if results.empty else domain_columns(results, "dsc", styles))
            if 0 < len(column.pairs) <= MOST_PAIRS
        ]
        yield Chapter(
            "Significance", _parts("significance", significance.boards(compared, [], domains))
        )
    yield Chapter("Boxplots", tuple(_boxplots(table, styles, tables)))
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
                Part(gallery.predictions(tables.pictures, final_models(results), styles)),
                Part(gallery.relabelled(tables.pictures, styles)),
            ),
        )
    if not results.empty:
        costs = fairness.boards(fairness.costs(results, tables.tuning), styles)
        yield Chapter("Fairness", _parts("fairness", costs))
        yield Chapter("Provenance", _parts("provenance", [_provenance(results)]))


def _boxplots(table: pd.DataFrame, styles: MethodStyles, tables: Tables) -> Iterator[Part]:
    """Yield the boxplots, in which the point of a pictured patient leads to the worst case."""
    anchors, cases = None, dict[str, str]()
    if not tables.pictures.empty:
        final = final_models(tables.results)
        where = gallery.anchors(tables.pictures, final)
        key = [*gallery.CELL, "case"]
        anchors = final[key].merge(where, how="left", on=key)["anchor"].set_axis(final.index)
        cases = dict(zip(where["anchor"], where["case"], strict=True))
    for scores in grouped(table, ["task"]):
        task, measure = scores["task"].iloc[0], scores["metric"].iloc[0]
        figure = _figures.boxes(scores, styles, anchors)
        caption = _figures.BOXES.format(measure)
        if anchors is not None:
            caption += f" {LEADS}"
        part = page.figure(_figures.to_svg(figure), caption, f"{task}: {measure}")
        yield Part(_LINK.sub(lambda found: _named(found[1], cases[found[1]]), part.html))


def _named(anchor: str, case: str) -> str:
    """Return the start of a link on the same page, with a name where a pointer rests on it."""
    return f'<a xlink:href="#{anchor}"><title>case {escape(case)}</title>'


def _sheets(sheets: pd.DataFrame) -> Iterator[Part]:
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


def _training(curves: pd.DataFrame, styles: MethodStyles) -> Iterator[Part]:
    values = curve_values(curves)
    segment = values[values["name"] == _figures.SEGMENT_LOSS]
    yield from _each(segment, _figures.losses, LOSSES, "losses", styles=styles)
    if training.has_own_terms(curves):
        own = training.own_terms(curves, styles)
        title = "what is each method's own"
        yield from _each(own, _figures.terms, training.TERMS, title, styles=styles)
        yield from _parts("training", training.boards(own, styles))


def _each(
    rows: pd.DataFrame, draw: Callable[..., Figure], caption: str, title: str, **options: Any
) -> Iterator[Part]:
    """Yield a figure per data set, profile and network."""
    for group in grouped(rows):
        yield page.figure(
            _figures.to_svg(draw(group, **options)), caption, f"{group_name(group)}: {title}"
        )


def _parts(name: str, boards: Sequence[Board]) -> tuple[Part, ...]:
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
