"""Counts of zeros and NaN by cause: missed, false-positive and empty organs."""

from __future__ import annotations

import pandas as pd

from bench.evaluation.metrics import Metric, MetricName, find
from bench.reporting.board import Board
from bench.reporting.style import MethodStyles

STATES = {
    "missed": "missed",
    "hallucinated": "hallucinated",
    "ok": "apart",
    "both_empty": "both empty",
}


UNMEASURED = "not measurable"
UNMEASURED_NOTE = "the release gives no true voxel size of the scan; NaN, left out"


def failed(rows: pd.DataFrame, metric: MetricName) -> pd.DataFrame:
    """Return the (case, organ) pairs that are NaN or, where that is the worst value, 0."""
    values = rows[metric]
    if find(metric).zero_is_failure:
        return rows[values.isna() | (values == 0)]
    return rows[values.isna()]


def failure_boards(rows: pd.DataFrame, metric: MetricName, title: str) -> list[Board]:
    """Return the number of failed pairs of each method by cause; no board if there is none.

    Parameters
    ----------
    rows
        Final models of one data set, profile and network.
    """
    lost = failed(rows, metric)
    if lost.empty:
        return []
    styles = MethodStyles.of(rows)
    methods = styles.sort(rows["method"].unique())
    cells = {"method": [styles.name(method) for method in methods]}
    for pct in sorted(rows["label_pct"].unique(), reverse=True):
        counts, pairs = (
            _per_method(table[table["label_pct"] == pct], methods) for table in (lost, rows)
        )
        cells[f"{pct} %"] = [f"{count}/{n}" for count, n in zip(counts, pairs, strict=True)]
    unmeasured = _unmeasured(lost, metric)
    states = {name: lost[~unmeasured & (lost["status"] == state)] for state, name in STATES.items()}
    for name, found in (states | {UNMEASURED: lost[unmeasured]}).items():
        if not found.empty:
            cells[name] = list(map(str, _per_method(found, methods)))
    if not find(metric).zero_is_failure:
        what, why = "NaN", "All are NaN: left out."
    else:
        what = "0 or NaN"
        why = f"Apart: both, without a common voxel. {_undefined(find(metric))}"
    notes = (
        f"How many (case, organ) pairs are {what}, of how many; then why, all label fractions "
        "together.",
        "Missed: the organ is present, nothing is predicted. Hallucinated: a false-positive organ, "
        f"predicted where it is absent. {why}",
        *([f"{UNMEASURED.capitalize()}: {UNMEASURED_NOTE}."] if unmeasured.any() else []),
    )
    return [
        Board(title=title, frame=pd.DataFrame(cells), notes=notes, colours=styles.colours(methods))
    ]


def _unmeasured(rows: pd.DataFrame, metric: MetricName) -> pd.Series:
    """Tell of which pairs the metric needs a voxel size that the scan does not have."""
    return ~rows["spacing_known"] & find(metric).needs_spacing


def _per_method(rows: pd.DataFrame, methods: list[str]) -> list[int]:
    return [int(count) for count in rows["method"].value_counts().reindex(methods, fill_value=0)]


def _undefined(metric: Metric) -> str:
    """Return a sentence on the failures that are NaN."""
    values = {"missed": metric.missed, "hallucinated": metric.hallucinated}
    names = [STATES[state] for state, value in values.items() if value != value]
    names.append(STATES["both_empty"])
    verb = "is" if len(names) == 1 else "are"
    return f"{' and '.join(names).capitalize()} {verb} NaN, left out; all others are 0."
