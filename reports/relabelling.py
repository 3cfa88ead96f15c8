"""Relabelling: precision and recall of pseudo-labels, ranking quality of the confidence."""

from __future__ import annotations

import pandas as pd
from typing_extensions import override

from bench.errors import BenchError
from bench.reporting import board
from bench.reporting.board import Board
from bench.reporting.report import Document, Report
from bench.reporting.style import MethodStyles
from bench.reporting.text import number
from bench.results.aggregate import audit_cell_values, left_out_values
from bench.results.columns import CELL
from bench.results.files import Tables
from bench.results.tables import group_name, grouped

HEADING = "Relabelling of the organs that training volumes lack"
SHOWN = {
    "gamma": "target",
    "added_share": "added",
    "precision": "P",
    "recall": "R",
    "precision_cum": "P all",
    "recall_cum": "R all",
    "candidate_error": "error",
    "auc": "AUC",
    "ap_success": "AP succ",
    "ap_error": "AP err",
}
LEFT_OUT = {
    "precision": "P kept",
    "precision_left_out": "P out",
    "dsc_kept": "DSC kept",
    "dsc_left_out": "DSC out",
}
NOTES = (
    "All values in %, voxels of the training volumes in which the organ was hidden, compared with "
    "the hidden labels; mean over organs, then over runs: the folds of each seed.",
    "Target: share of the candidates to relabel by the end of the round. Added: voxels added in "
    "the round, relative to the organ's true voxels. P, R: precision and recall of the voxels "
    "added in the round; P all, R all: of all rounds so far (Table 7 of the paper).",
    "Error: share of the candidates that are wrong. AUC, AP succ, AP err: how well the score "
    "separates right from wrong candidates (Table 6); the chance level of AP err is the error.",
)
LEFT_OUT_NOTES = (
    "Volumes: pseudo-labels of an organ in a volume, in all runs; left out: those that are not "
    "trained on. What follows in %, compared with the hidden labels; mean over the organs that "
    "have both, then over runs.",
    "P kept, P out: share of the voxels that are right, of what is trained on and of what is left "
    "out. DSC kept, DSC out: mean over volumes, 0 where the organ is missed, so that a gate is "
    "seen to work without voxels, too. A gate works if what it keeps is the better part.",
)


class Relabelling(Report):
    """Precision, recall and ranking quality per round, in the form of Tables 6, 7 and 10."""

    @override
    def build(self, tables: Tables) -> Document:
        if tables.audit.empty:
            raise BenchError(
                "rounds were run, but no label was hidden from them (100 % labelled): there is no"
                " truth to compare pseudo-labels with; run them with a lower -l"
                if (tables.results["round"] > 0).any()
                else "no relabelling among the results: run a method with rounds first"
            )
        shown = boards(tables.audit, MethodStyles.of(tables.results))
        values = audit_cell_values(tables.audit, (*CELL, "round", "organ"))
        return Document(board.files("relabelling", shown, HEADING, values, "%.6f"), shown)


def boards(audit: pd.DataFrame, styles: MethodStyles) -> list[Board]:
    """Return two boards per data set, profile and network: the mean over organs, and per organ.

    Two more if methods left out pseudo-labels of whole organs.
    """
    return [
        made
        for group in grouped(audit)
        for make in (_board, _left_out)
        for by in ((), ("organ",))
        if (made := make(group, by, styles)) is not None
    ]


def _left_out(group: pd.DataFrame, by: tuple[str, ...], styles: MethodStyles) -> Board | None:
    """Return the board of the pseudo-labels that gates left out, None without any."""
    cells = left_out_values(group, (*CELL, *by, "round"))
    if cells.empty:
        return None
    cells = _ordered(cells, by, styles)
    labels = _labels(cells, by, styles)
    values = pd.DataFrame(
        {
            title: (100 * cells[name]).map(lambda percent: number(percent, 1))
            for name, title in LEFT_OUT.items()
        }
    )
    counts = cells[["volumes", "left_out"]].rename(columns={"left_out": "left out"})
    return Board(
        title=f"{group_name(group)}: pseudo-labels left out{', per organ' if by else ''}",
        frame=pd.concat([labels, counts, values], axis=1),
        notes=LEFT_OUT_NOTES,
        labels=labels.shape[1],
        colours=styles.colours(cells["method"]),
    )


def _board(group: pd.DataFrame, by: tuple[str, ...], styles: MethodStyles) -> Board:
    cells = audit_cell_values(group, (*CELL, *by, "round"))
    cells = _ordered(cells, by, styles)
    labels = _labels(cells, by, styles)
    values = pd.DataFrame(
        {
            title: (100 * cells[name]).map(lambda percent: number(percent, 1))
            for name, title in SHOWN.items()
        }
    )
    frame = pd.concat([labels, values, cells["runs"]], axis=1)
    return Board(
        title=f"{group_name(group)}: relabelling{', per organ' if by else ''}",
        frame=frame,
        notes=NOTES,
        labels=labels.shape[1],
        colours=styles.colours(cells["method"]),
    )


def _ordered(cells: pd.DataFrame, by: tuple[str, ...], styles: MethodStyles) -> pd.DataFrame:
    return cells.sort_values(
        ["label_pct", *by, "method", "round"],
        ascending=[False, *(True for _ in by), True, True],
        ignore_index=True,
        key=styles.by_method,
    )


def _labels(cells: pd.DataFrame, by: tuple[str, ...], styles: MethodStyles) -> pd.DataFrame:
    return pd.DataFrame(
        {"labelled": cells["label_pct"].map("{} %".format)}
        | {name: cells[name] for name in by}
        | {"method": cells["method"].map(styles.name), "round": cells["round"]}
    )
