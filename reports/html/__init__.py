"""HTML: everything about a set of results on one page that opens offline and prints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from html import escape
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from typing_extensions import override

from bench.reporting import board, page
from bench.reporting.board import Board
from bench.reporting.column import domain_columns
from bench.reporting.comparison import MOST_PAIRS, Compared, compare
from bench.reporting.drawing import Drawing, finish
from bench.reporting.page import Chapter, Part
from bench.reporting.pictures import opened
from bench.reporting.report import Document, ScoresReport
from bench.reporting.scored import Measured, Scored
from bench.reporting.style import MethodStyles
from bench.reporting.text import counted, listed
from bench.results.aggregate import audit_cell_values, curve_values, final_models
from bench.results.columns import CELL, CONDITION, GROUP, RUN
from bench.results.files import Tables
from bench.results.tables import group_name, grouped

from .. import fairness, relabelling, significance, training
from .._figures import boxplots, curves, rendering
from ..leaderboard import foreign, leaderboards
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


class _Drawings(NamedTuple):
    """The drawings of the page, and the cases behind links in boxplots."""

    boxes: list[Drawing]
    cases: dict[str, str]
    losses: list[Drawing]
    terms: list[Drawing]
    rounds: list[Drawing]
    first: list[Sequence[Drawing]]
    """Those of the first screen, column by column."""

    @property
    def all(self) -> list[Drawing]:
        """All of them, as they were begun."""
        return [*self.boxes, *self.losses, *self.terms, *self.rounds, *chain(*self.first)]


class Html(ScoresReport):
    """Leaderboard, significance, boxplots, curves, relabelling, cases, provenance on one page."""

    @override
    def build(self, tables: Tables) -> Document:
        values = Measured(tables.results)
        scored = values.scored if self.csv is None else self.scored(tables)
        table, styles = scored.scores, scored.styles
        own = _own_terms(tables, styles)
        drawn = _drawings(tables, table, styles, own)
        if self.csv is None:
            standings = {by: leaderboards(values, by, tuning=tables.tuning) for by in BOARDS}
        else:
            standings = {by: foreign.leaderboards(scored, by) for by in foreign.TITLE}
        compared = list(_compared(scored))
        drawn.first.extend(glance.drawings(compared))
        final = standings["method"]
        tasks = [str(rows["task"].iloc[0]) for rows in grouped(table, ["task"])]
        boards = {"Leaderboard": list(chain(*standings.values()))}
        boards |= _boards(tables, styles, compared, own)
        parts = {chapter: _parts(chapter.lower(), shown) for chapter, shown in boards.items()}
        lead = list(_lead(table, tables, compared))
        finish(drawn.all)
        text = page.render(
            HEADING if self.csv is None else HEADING_OF_SCORES,
            [
                Chapter(title, tuple(shown))
                for title, shown in _chapters(tables, styles, parts, drawn)
                if shown
            ],
            lead,
            opening=glance.opening(compared, drawn.first, dict(zip(tasks, final, strict=True))),
            scripts=[path.read_text(encoding="utf-8") for path in (gallery.SCRIPT, glance.SCRIPT)],
            styles=[path.read_text(encoding="utf-8") for path in (gallery.STYLE, glance.STYLE)],
        )
        return Document({"report.html": text}, final)


def _compared(scored: Scored) -> Iterator[Compared]:
    """Yield every column with all pairs compared, thoroughly where they are not too many."""
    for column in scored.columns:
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
        sizes.append(counted(len(results[list(RUN)].drop_duplicates()), "run"))
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
            f"{'; '.join(crowded)}. `bench report 'significance[reference=NAME]'"
            f"{' --csv FILE' if results.empty else ''}` compares with one."
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


def _own_terms(tables: Tables, styles: MethodStyles) -> pd.DataFrame | None:
    """Return the mean curves of method-specific values, if any is logged."""
    curves = tables.curves
    if curves.empty or not training.has_own_terms(curves):
        return None
    return training.own_terms(curves, styles)


def _boards(
    tables: Tables, styles: MethodStyles, every: Sequence[Compared], own: pd.DataFrame | None
) -> dict[str, list[Board]]:
    """Return the boards of the chapters after the leaderboard that have some."""
    results, boards = tables.results, {}
    compared = [one for one in every if 0 < len(one.comparisons) <= MOST_PAIRS]
    if compared:
        domains = [
            Compared(column, compare(column, column.pairs, thorough=False))
            for column in ([] if results.empty else domain_columns(results, "dsc", styles))
            if 0 < len(column.pairs) <= MOST_PAIRS
        ]
        boards["Significance"] = significance.boards(compared, [], domains)
    if own is not None:
        boards["Training"] = training.boards(own, styles)
    if not tables.audit.empty:
        boards["Relabelling"] = relabelling.boards(tables.audit, styles)
    if not results.empty:
        costs = fairness.costs(results, tables.tuning)
        boards["Fairness"] = fairness.boards(costs, styles)
        boards["Provenance"] = [_provenance(results)]
    return boards


def _chapters(
    tables: Tables, styles: MethodStyles, boards: Mapping[str, Sequence[Part]], drawn: _Drawings
) -> Iterator[tuple[str, Sequence[Part]]]:
    """Yield what the chapters show, in their order."""

    def with_boards(title: str, *shown: Part) -> tuple[str, Sequence[Part]]:
        return title, (*shown, *boards.get(title, ()))

    yield with_boards("Leaderboard")
    yield with_boards("Significance")
    yield "Boxplots", list(_boxplots(drawn))
    yield with_boards("Training", *map(_shown, (*drawn.losses, *drawn.terms)))
    yield with_boards("Relabelling", *map(_shown, drawn.rounds))
    if not tables.sheets.empty:
        yield "Data", list(_sheets(tables.sheets))
    if not tables.pictures.empty:
        final = final_models(tables.results)
        predictions = Part(gallery.predictions(tables.pictures, final, styles))
        yield "Cases", [predictions, Part(gallery.relabelled(tables.pictures, styles))]
    yield with_boards("Fairness")
    yield with_boards("Provenance")


def _drawings(
    tables: Tables, table: pd.DataFrame, styles: MethodStyles, own: pd.DataFrame | None
) -> _Drawings:
    """Return what the chapters show; it is drawn while they are computed."""
    drawn = _Drawings([], {}, [], [], [], [])
    anchors, caption = None, boxplots.BOXES
    if not tables.pictures.empty:
        final = final_models(tables.results)
        where = gallery.anchors(tables.pictures, final)
        key = [*CONDITION, "case"]
        anchors = final[key].merge(where, how="left", on=key)["anchor"].set_axis(final.index)
        drawn.cases.update(zip(where["anchor"], where["case"], strict=True))
        caption += f" {LEADS}"
    for scores in grouped(table, ["task"]):
        task, measure = scores["task"].iloc[0], scores["metric"].iloc[0]
        draw = partial(boxplots.boxes, scores[list(boxplots.OF_BOXES)], styles, anchors)
        drawn.boxes.append(_drawing(draw, f"{task}: {measure}", caption.format(measure)))
    if not tables.curves.empty:
        values = curve_values(tables.curves)
        segment = values[values["name"] == curves.SEGMENT_LOSS]
        drawn.losses.extend(_each(segment, curves.losses, styles, "losses", LOSSES))
    if own is not None:
        title = "what is each method's own"
        drawn.terms.extend(_each(own, curves.terms, styles, title, training.TERMS))
    if not tables.audit.empty:
        audited = audit_cell_values(tables.audit, (*CELL, "round"))
        title = "relabelling by round"
        drawn.rounds.extend(_each(audited, curves.rounds, styles, title, ROUNDS))
    return drawn


def _each(
    rows: pd.DataFrame,
    draw: Callable[[pd.DataFrame, MethodStyles], Figure],
    styles: MethodStyles,
    title: str,
    caption: str,
) -> Iterator[Drawing]:
    """Yield a drawing per data set, profile and network."""
    for group in grouped(rows):
        yield _drawing(partial(draw, group, styles), f"{group_name(group)}: {title}", caption)


def _drawing(draw: Callable[[], Figure], title: str, caption: str) -> Drawing:
    return rendering.drawing(draw, "", title, caption, formats=["svg"])


def _shown(drawn: Drawing) -> Part:
    return page.figure(drawn.svg, drawn.caption, drawn.title)


def _boxplots(drawn: _Drawings) -> Iterator[Part]:
    """Yield the boxplots, in which the point of a pictured patient leads to the worst case."""
    for part in map(_shown, drawn.boxes):
        yield Part(_LINK.sub(lambda found: _named(found[1], drawn.cases[found[1]]), part.html))


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


def _parts(name: str, boards: Sequence[Board]) -> tuple[Part, ...]:
    return tuple(board.to_part(one, f"{name}{number}") for number, one in enumerate(boards))


def _provenance(results: pd.DataFrame) -> Board:
    """Return the board of runs: one line per data set, profile, network and method."""
    columns = ["software", "label_pct", "fold", "seed", "device", "content"]
    different = results[[*GROUP, "method", *columns]].drop_duplicates()
    runs = different.groupby([*GROUP, "method"], as_index=False).agg(
        software=("software", _distinct),
        labelled=("label_pct", _percentages),
        folds=("fold", _numbers),
        seeds=("seed", _numbers),
        device=("device", _distinct),
        data=("content", _distinct),
    )
    styles = MethodStyles.of(results)
    runs = runs.sort_values([*GROUP, "method"], key=styles.by_method)
    methods = tuple(runs["method"])
    frame = runs.assign(method=runs["method"].map(styles.name)).reset_index(drop=True)
    names = ["method", *GROUP, "software"]
    frame = frame[[*names, *frame.columns.drop(names)]]
    return Board(
        title="What was run, where and with what",
        frame=frame,
        notes=(
            "Every result is computed once for its data, parameters and version of a step. For the "
            "keys in the column `stage` of the results, `bench show KEY` prints them all. Data: "
            "first digits of a fingerprint of the list of cases and all files.",
        ),
        labels=len(names),
        colours=styles.colours(methods),
    )


def _percentages(values: pd.Series) -> str:
    return ", ".join(f"{value}" for value in sorted(set(values), reverse=True)) + " %"


def _numbers(values: pd.Series) -> str:
    return ", ".join(str(value) for value in sorted(set(values)))


def _distinct(values: pd.Series) -> str:
    return "; ".join(sorted(set(values)))
