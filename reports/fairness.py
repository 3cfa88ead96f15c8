"""Fairness: cost of each method, and its deviations from the recipe that all share."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import override

from bench.reporting import board
from bench.reporting.board import Board
from bench.reporting.report import Document, Report
from bench.reporting.scores import require_rows
from bench.reporting.style import MethodStyles
from bench.reporting.text import number
from bench.reporting.tuned import Tunings
from bench.results.aggregate import final_models
from bench.results.columns import CONDITION, GROUP, RUN
from bench.results.files import Tables
from bench.results.tables import group_name, grouped

HEADING = "What each method cost"
REFERENCE = "inerrant0"
NOTES = (
    "One row per method: the largest value over its runs or their mean. All methods share network, "
    "initial weights, folds, labels, augmentation, batch size, learning rate and precision; "
    "deviations are listed below.",
    "Networks: all that are in memory in training, frozen and averaged ones included; M: their "
    "parameters in millions. At test time one network remains.",
    "Steps: optimiser steps of the segmentation network. Passes: forward passes of any network per "
    "such step, for one batch; slices that a relabelling sees are counted in batches, once for "
    "every view, network and gate.",
    "Time: mean training time of a model on its device, without relabelling, and as a multiple of "
    "INERRANT⁰'s, over the runs that both have on one device. Memory: largest peak, of the device "
    "on a GPU and of the process on a CPU, where memory of earlier trainings counts as well.",
)
TUNING_NOTE = (
    "Tried: settings among which `bench tune` chose this one, its default among them; tuning: the "
    "time of all their stages, shared ones once, on top of the training time."
)


class Fairness(Report):
    """Networks, parameters, steps, passes, time, memory and deviations per method."""

    @override
    def build(self, tables: Tables) -> Document:
        styles = MethodStyles.of(tables.results)
        found = costs(tables.results, tables.tuning)
        shown = boards(found, styles)
        return Document(board.files("fairness", shown, HEADING, found), shown)


def costs(table: pd.DataFrame, tuning: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return one row per data set, profile, network and method.

    Parameters
    ----------
    table
        A results table.
    tuning
        What `bench tune` tried for methods of it.

    Returns
    -------
    pandas.DataFrame
        ``networks``, ``parameters``, ``seg_steps`` and ``peak_mb`` (largest over the cells),
        ``passes`` and ``device_s`` (mean over the runs), ``times`` (``device_s`` relative to
        `inerrant0`, over the runs that both have on one device; NaN without one), ``departs``. If a
        method was tuned, also ``trials`` and ``tuning_s`` (time of all trials), NaN for methods
        that were not.
    """
    last = final_models(require_rows(table))
    styles = MethodStyles.of(table)
    runs = last.drop_duplicates(list(RUN))
    found = runs.groupby([*GROUP, "method"], as_index=False).agg(
        networks=("networks", "max"),
        parameters=("parameters", "max"),
        seg_steps=("seg_steps", "max"),
        passes=("passes", "mean"),
        device_s=("device_s", "mean"),
        peak_mb=("peak_mb", "max"),
        departs=("departs", "first"),
    )
    found.insert(len(found.columns) - 1, "times", _times(runs, found))
    if tuning is not None:
        found = _with_tuning(found, tuning)
    return found.sort_values([*GROUP, "method"], key=styles.by_method)


def _times(runs: pd.DataFrame, found: pd.DataFrame) -> NDArray[np.float64]:
    """Return how many times as long as the reference each line takes, where both ran."""
    alike = [*CONDITION, "device"]
    reference = runs.loc[runs["method"] == REFERENCE, [*alike, "device_s"]]
    pairs = runs.merge(reference, on=alike, suffixes=("", "_reference"))
    pairs = pairs.dropna(subset=["device_s", "device_s_reference"])
    line = [*GROUP, "method"]
    total = pairs.groupby(line)[["device_s", "device_s_reference"]].sum()
    times = total["device_s"] / total["device_s_reference"]
    return times.reindex(pd.MultiIndex.from_frame(found[line])).to_numpy(np.float64)


def _with_tuning(found: pd.DataFrame, tuning: pd.DataFrame) -> pd.DataFrame:
    """Return the costs with those of tuning, unchanged if no method was tuned."""
    choices = {
        (*keys, method): choice
        for keys, rows in found.groupby(list(GROUP))
        for method in rows["method"]
        if (choice := Tunings(tuning, rows).of(method))
    }
    if not choices:
        return found
    rows = found[[*GROUP, "method"]].itertuples(index=False, name=None)
    tried = [choices.get(row) for row in rows]
    return found.assign(
        trials=[float("nan") if one is None else one.trials for one in tried],
        tuning_s=[float("nan") if one is None else one.device_s for one in tried],
    )


def boards(found: pd.DataFrame, styles: MethodStyles) -> list[Board]:
    """Return one board per data set, profile and network of :func:`costs`."""
    return [_board(group, styles) for group in grouped(found)]


def _board(rows: pd.DataFrame, styles: MethodStyles) -> Board:
    tuned = "trials" in rows and rows["trials"].notna().any()
    tuning = (
        {
            "tried": rows["trials"].map(lambda trials: number(trials, 0)),
            "tuning": rows["tuning_s"].map(lambda seconds: number(seconds, 0, " s")),
        }
        if tuned
        else {}
    )
    frame = pd.DataFrame(
        {
            "method": rows["method"].map(styles.name),
            "networks": rows["networks"].map(str),
            "M": (rows["parameters"] / 1e6).map("{:.2f}".format),
            "steps": rows["seg_steps"].map(str),
            "passes": rows["passes"].map("{:.1f}".format),
            "time": rows["device_s"].map(lambda seconds: number(seconds, 0, " s")),
            "× INERRANT⁰": rows["times"].map(lambda times: number(times, 1)),
            "peak MB": rows["peak_mb"].map(lambda mb: number(mb, 0)),
            **tuning,
        }
    ).reset_index(drop=True)
    deviations = tuple(
        f"Deviations of {styles.name(method)}: {departs}."
        for method, departs in zip(rows["method"], rows["departs"], strict=True)
    )
    return Board(
        title=f"{group_name(rows)}: what each method cost",
        frame=frame,
        notes=(*NOTES, *([TUNING_NOTE] if tuned else []), *deviations),
        colours=styles.colours(rows["method"]),
    )
