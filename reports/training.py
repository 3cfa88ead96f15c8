"""Training: training curves of each method's own loss terms."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from typing_extensions import override

from bench.errors import BenchError
from bench.reporting import board
from bench.reporting.board import Board
from bench.reporting.report import Document, Report
from bench.reporting.style import MethodStyles
from bench.reporting.text import NONE
from bench.results.aggregate import curve_values
from bench.results.columns import CURVE, GROUP
from bench.results.files import Tables
from bench.results.tables import PARTS, group_name, grouped

from ._figures import curves, rendering

HEADING = "What trainings logged"
SHOWN = {"start": 0, "1/4": PARTS // 4, "1/2": PARTS // 2, "end": PARTS - 1}
"""The parts of a training in the table."""
COMMON = ("lr", "loss", "supervised", "known_share")
"""Quantities that are not specific to a method."""
NOTES = (
    "Means over a twentieth of a training, then over folds: its first, the ones from a quarter and "
    "from a half on, its last.",
    "Shares are fractions of the (voxel, organ) pairs of unknown target; a precision is that of "
    "positives that pass the same gate where the target is known. A mean over nothing is 0.",
)


TERMS = "Values that the methods' own terms logged, mean over folds; see the table."


class Training(Report):
    """Shares, precisions and losses of each method's own terms, as a table and as curves."""

    @override
    def build(self, tables: Tables) -> Document:
        styles = MethodStyles.of(tables.results)
        values = own_terms(tables.curves, styles)
        shown = boards(values, styles)
        groups = list(grouped(values))
        drawings = {
            drawn.title: [
                rendering.drawing(
                    partial(curves.terms, group, styles), f"training-{number}", drawn.title, TERMS
                )
            ]
            for number, (group, drawn) in enumerate(zip(groups, shown, strict=True), start=1)
        }
        files = board.files("training", shown, HEADING, values, "%.6g", drawings)
        return Document(files, shown)


def has_own_terms(table: pd.DataFrame) -> bool:
    """Tell whether any method logs values of its own."""
    return bool(_is_own(table).any())


def own_terms(table: pd.DataFrame, styles: MethodStyles) -> pd.DataFrame:
    """Return the mean curves of method-specific values, ordered by method."""
    if table.empty:
        raise BenchError(
            "no training curves beside the results: NAME.curves.parquet belongs beside NAME.parquet"
        )
    own = table[_is_own(table)]
    if own.empty:
        raise BenchError("no method among the results logs a term of its own; run uamt, say")
    values = curve_values(own)
    order = [*GROUP, "method", "round", "training", "name", "label_pct", "part"]
    ascending = [name != "label_pct" for name in order]
    return values.sort_values(order, ascending=ascending, ignore_index=True, key=styles.by_method)


def _is_own(table: pd.DataFrame) -> pd.Series:
    return ~table["name"].str.rpartition("/")[2].isin(COMMON)


def boards(values: pd.DataFrame, styles: MethodStyles) -> list[Board]:
    """Return one board per data set, profile and network of :func:`own_terms`."""
    return [_board(group, styles) for group in grouped(values)]


def _board(group: pd.DataFrame, styles: MethodStyles) -> Board:
    wide = group.pivot_table(index=list(CURVE), columns="part", values="mean")
    # The curves come in order, but a pivot table sorts.
    names = group[list(CURVE)].drop_duplicates(ignore_index=True)
    wide = wide.loc[pd.MultiIndex.from_frame(names)]
    labels = pd.DataFrame(
        {
            "method": names["method"].map(styles.name),
            "training": names["training"] + names["round"].map(" r{}".format),
            "quantity": names["name"].str.rpartition("/")[2],
            "labelled": names["label_pct"].map("{} %".format),
        }
    )
    cells = pd.DataFrame(
        {title: _at(wide, part).map(_number).to_numpy() for title, part in SHOWN.items()}
    )
    frame = pd.concat([labels, cells], axis=1)
    return Board(
        title=f"{group_name(group)}: training",
        frame=frame,
        notes=NOTES,
        labels=labels.shape[1],
        colours=styles.colours(names["method"]),
    )


def _at(wide: pd.DataFrame, part: int) -> pd.Series:
    """Return the values of a part; a short training may have logged only in a neighbouring one."""
    filled = wide.reindex(columns=range(PARTS)).bfill(axis=1).ffill(axis=1)
    return filled[part]


def _number(value: float) -> str:
    return NONE if np.isnan(value) else f"{value:.3g}"
