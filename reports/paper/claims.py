"""The fold correlation at which the published differences would be significant."""

from __future__ import annotations

import pandas as pd

from bench.reporting.board import Board
from bench.reporting.text import NONE, number, signed
from bench.stats.paired import needed_correlation

from .layout import PUBLISHED_STYLES, published

FOLDS = 5
OURS = "inerrant"
TABLES = (2, 3, 4, 5, 9)
"""Tables with means and standard deviations over folds of several methods."""
NOTES = (
    "The paper marks results that pass a t-test against the other methods; pairing, unit and "
    "correction are not stated, and fold values are not published. Of means and standard "
    "deviations over five folds it can only be said how strongly the folds of both methods must "
    "be correlated for p < 0.05.",
    "Needs: least correlation, for the paired t over folds and for the corrected resampled t "
    "(Nadeau & Bengio 2003), both before any correction for several comparisons. Any: at every "
    "correlation. None: not even at correlation 1.",
)


def to_board() -> Board:
    """Return one line per published comparison of INERRANT with the best other method."""
    cells = published()
    cells = cells[cells["table"].isin(TABLES) & (cells["metric"] == "dsc") & cells["std"].notna()]
    lines = []
    for (table, pct, organ, network), column in cells.groupby(
        ["table", "label_pct", "organ", "network"], sort=False
    ):
        own = column[column["method"] == OURS]
        others = column[column["method"] != OURS]
        if own.empty or others.empty:
            continue
        a, b = own.iloc[0], others.sort_values("mean").iloc[-1]
        diff = float(a["mean"] - b["mean"])
        spread = float(a["std"]), float(b["std"])
        lines.append(
            {
                "table": str(table),
                "labelled": f"{pct} %",
                "organ": NONE if organ == "mean" else str(organ),
                "network": str(network),
                "INERRANT": _cell(a),
                "best other": f"{PUBLISHED_STYLES.name(str(b['method']))} {_cell(b)}",
                "difference": signed(diff, 2),
                "paired t needs": _needed(needed_correlation(diff, *spread, FOLDS)),
                "corrected t needs": _needed(
                    needed_correlation(diff, *spread, FOLDS, 1 / (FOLDS - 1))
                ),
            }
        )
    return Board(
        title="Published differences, and the correlation of folds they need to be significant",
        frame=pd.DataFrame(lines),
        notes=NOTES,
        labels=4,
    )


def _cell(row: pd.Series) -> str:
    return f"{number(float(row['mean']), 2)} ± {number(float(row['std']), 2)}"


def _needed(correlation: float) -> str:
    if correlation >= 1:
        return "none"
    if correlation > 0.99:
        return "> 0.99"
    return "any" if correlation <= -1 else f"≥ {number(correlation, 2)}"
