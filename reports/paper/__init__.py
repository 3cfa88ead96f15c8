"""Paper: the tables and figures of the INERRANT paper, published and measured numbers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain

import pandas as pd
from typing_extensions import override

from bench.reporting import board
from bench.reporting.board import Board
from bench.reporting.comparison import Compared, compare
from bench.reporting.drawing import Drawing
from bench.reporting.report import Document, Later, Report
from bench.reporting.scored import Scored
from bench.reporting.scores import require_rows
from bench.reporting.sentences import domains
from bench.reporting.style import MethodStyles
from bench.reporting.text import counted
from bench.results.aggregate import Values, final_models, lacking_pairs
from bench.results.files import Tables
from bench.results.tables import grouped

from .._figures import boxplots, rendering, standings
from . import claims, descriptions, panels
from .layout import (
    CELLS,
    HERE,
    PUBLISHED,
    PUBLISHED_STYLES,
    SAME_DATA,
    Layout,
    fitting,
    measured,
    published,
    to_board,
)

HEADING = "Tables of Petit, Thome & Soler, Comput. Med. Imaging Graph. 2021"
CITED = (
    "Published: Petit, Thome & Soler, Comput. Med. Imaging Graph. 2021, mean ± standard deviation "
    "over five folds where printed. Labelled: share of the training volumes that keep an organ's "
    "label; the paper's text calls the missing share by the same letter."
)
OF_ROUNDS = (
    "Added: share of the candidates to relabel by the end of a round. Precision and recall are of "
    "the voxels added in the round, recall relative to all hidden voxels of the organ. The "
    "published table has three rounds and no standard deviation."
)
OF_RANKING = (
    "Over the voxels predicted as a missing organ in the first round: INERRANT ranks them by its "
    "learned confidence, INERRANT (MCP) by the predicted probability."
)


class Paper(Report):
    """Tables 1 to 11 and Figures 4 to 8, as far as they fit the data sets that were run."""

    @override
    def build(self, tables: Tables) -> Document:
        drawn = list(_drawings(tables.results))  # while the tables are filled
        found = list(_filled(tables))
        numbers = pd.concat([cells.assign(data=data) for data, _, cells in found])
        shown = [*(filled for _, filled, _ in found), *descriptions.table_11(tables.layers)]
        last = claims.to_board()

        def files() -> Mapping[str, str | bytes]:
            found = board.files(
                "paper",
                [*shown, last],
                HEADING,
                numbers[["data", "table", *CELLS]],
                drawings={last.title: drawn},
            )
            return found | dict(_figure_files(tables))

        return Document(Later(files), shown)


def _drawings(results: pd.DataFrame) -> Iterator[Drawing]:
    """Yield Figure 4 and, of the methods that were run, who beats whom."""
    scored = Scored.of_results(require_rows(results))
    for number, own in enumerate(grouped(scored.scores, ["task"]), start=1):
        task = own["task"].iloc[0]
        draw = partial(boxplots.boxes, own[list(boxplots.OF_BOXES)], scored.styles)
        caption = boxplots.BOXES.format("DSC")
        yield rendering.drawing(draw, f"figure4-{number}", f"{task}: DSC (Figure 4)", caption)
    compared = [
        Compared(column, compare(column, column.pairs, thorough=False)) for column in scored.columns
    ]
    yield from chain.from_iterable(standings.comparisons(compared, "paper").values())


def _figure_files(tables: Tables) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of Figures 5 to 8, given pictures."""
    count: Counter[int] = Counter()
    for number, figure in panels.figures(tables.pictures):
        count[number] += 1
        yield f"figure{number}-{count[number]}.png", rendering.to_png(figure)


def _filled(tables: Tables) -> Iterator[tuple[str, Board, pd.DataFrame]]:
    """Yield the data set, board and cells of every table that fits a data set and profile."""
    rows = require_rows(tables.results)
    yield from descriptions.table_1(tables.targets)
    for results in grouped(rows, ["dataset", "profile"]):
        dataset, profile = results[["dataset", "profile"]].iloc[0]
        audit = tables.audit
        audit = audit[(audit["dataset"] == dataset) & (audit["profile"] == profile)]
        organs, values = sorted(results["organ"].unique()), Values(results)
        for layout in fitting(str(dataset), len(organs)):
            theirs = published()[published()["table"] == layout.number]
            for network, rows in _by_network(results, layout):
                ours = measured(values, audit, layout, rows["backbone"].unique())
                cells = pd.concat([theirs[list(CELLS)], ours], ignore_index=True)
                styles = MethodStyles.of(results, PUBLISHED_STYLES.known)
                shown = to_board(layout, cells, styles)
                where = ", ".join(
                    part for part in (str(dataset), f"profile {profile}", network) if part
                )
                yield (
                    where,
                    dataclasses.replace(
                        shown,
                        title=f"{where}. {shown.title}",
                        notes=tuple(_notes(layout, str(dataset), organs, rows, cells, styles)),
                    ),
                    cells.assign(table=layout.number),
                )


def _by_network(results: pd.DataFrame, layout: Layout) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield all results where lines name networks, else those of one network at a time."""
    if "network" in layout.lines:
        yield "", results
        return
    for rows in grouped(results, ["backbone"]):
        yield str(rows["backbone"].iloc[0]), rows


def _notes(
    layout: Layout,
    dataset: str,
    organs: list[str],
    results: pd.DataFrame,
    cells: pd.DataFrame,
    styles: MethodStyles,
) -> Iterator[str]:
    same = SAME_DATA.get(dataset.partition("[")[0]) == layout.data
    yield (
        f"Same data: {'yes' if same else 'no'}. Published on {layout.data}; here on {dataset}, "
        f"{results['patient'].nunique()} patients, {counted(len(organs), 'organ')}: "
        f"{', '.join(organs)}. All values in %."
    )
    yield CITED
    folds = results[["seed", "fold"]].drop_duplicates().shape[0]
    yield f"Here: mean ± standard deviation (n − 1) over up to {folds} folds and seeds."
    if layout.number == 8:
        yield from domains(results)
        yield from _steps(results, styles)
    if "gamma" in layout.metrics:
        yield OF_ROUNDS
    if "auc" in layout.metrics:
        yield OF_RANKING
    lacking = lacking_pairs(final_models(results))
    for (method, pct), pairs in lacking.groupby(["method", "label_pct"]):
        name, some = styles.name(str(method)), ", ".join(sorted(set(pairs["case"]))[:3])
        yield f"{name} at {pct} % was not scored on cases that others were: {some}."
    if missing := list(_missing(layout, cells, styles)):
        yield f"Not run here: {'; '.join(missing)}."


def _steps(results: pd.DataFrame, styles: MethodStyles) -> Iterator[str]:
    """Say how long each row of Table 8 was trained, unless all were trained alike."""
    longest = final_models(results).groupby("method")["seg_steps"].max()
    if longest.nunique() > 1:
        named = {
            steps: ", ".join(map(styles.name, styles.sort(of_length.index)))
            for steps, of_length in longest.groupby(longest)
        }
        yield (
            f"Steps of training: {'; '.join(f'{steps} {names}' for steps, names in named.items())}."
            " Rows of unequal steps differ by more than their data and relabelling:"
            " inerrant0[budget=long] trains as long as INERRANT and relabels nothing."
        )


def _missing(layout: Layout, cells: pd.DataFrame, styles: MethodStyles) -> Iterator[str]:
    """Name the published methods and fractions that have no number here."""
    ours, theirs = cells[cells["source"] == HERE], cells[cells["source"] == PUBLISHED]
    methods = [m for m in layout.methods if m in set(theirs["method"])]
    if "label_pct" not in (*layout.lines, layout.column):
        yield from (styles.name(m) for m in methods if m not in set(ours["method"]))
        return
    for method in methods:
        wanted = theirs.loc[theirs["method"] == method, "label_pct"]
        found = ours.loc[ours["method"] == method, "label_pct"]
        lacking = sorted(set(wanted) - set(found), reverse=True)
        if lacking and found.empty:
            yield styles.name(method)
        elif lacking:
            yield f"{styles.name(method)} at {', '.join(map(str, lacking))} %"
    in_3d = "network" in layout.lines and theirs["network"].str.endswith("3D").any()
    if in_3d and not ours["network"].str.endswith("(3D)").any():
        yield "a 3D network"
