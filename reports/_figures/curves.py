"""What a training logged and what relabelling added, as lines."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.reporting.style import MethodStyles
from bench.results.tables import PARTS

from .panels import grid, legend_above, number_log_scale, shown_name
from .rendering import names_as_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

SEGMENT_LOSS = "segment/loss"
LABELLED = "{} % labelled"
MEASURES: dict[str, tuple[str, tuple[float, ...]]] = {
    "precision": ("o", ()),
    "recall": ("X", (4, 1.5)),
}
"""Marker and dashes of what is measured of relabelled voxels."""


@names_as_text
def losses(curves: pd.DataFrame, styles: MethodStyles) -> Figure:
    """Draw the training loss of segmentation networks, one panel per label fraction.

    Parameters
    ----------
    curves
        Curves of one data set, profile and network, averaged over folds
        (``bench.results.aggregate.curve_values``).
    styles
        How the methods are shown.
    """
    own = curves[curves["name"] == SEGMENT_LOSS]
    figure, axes, methods = _lines_of_methods(
        own.assign(x=own["round"] + (own["part"] + 0.5) / PARTS, y=own["mean"]),
        styles,
        columns=2,
        size=(4.5, 3),
        units="round",
    )
    for axis in axes:
        axis.set(yscale="log", xticks=range(int(own["round"].max()) + 2))
        number_log_scale(axis.yaxis, subs=(1, 2, 3, 5))
    figure.supxlabel("trainings of the segmenter", size="medium")
    figure.supylabel("loss", size="medium")
    legend_above(figure, methods)
    return figure


@names_as_text
def rounds(audit: pd.DataFrame, styles: MethodStyles) -> Figure:
    """Draw precision and recall of all voxels relabelled up to a round, per method.

    Parameters
    ----------
    audit
        Cell values (``bench.results.aggregate.audit_cell_values``) of one data set, profile and
        network.
    styles
        How the methods are shown.
    """
    from matplotlib.lines import Line2D

    shares = [f"{measure}_cum" for measure in MEASURES]
    long = audit.melt(["method", "label_pct", "round"], shares, "measure", "share")
    figure, axes, methods = _lines_of_methods(
        long.assign(
            x=long["round"],
            y=100 * long["share"],
            measure=long["measure"].str.removesuffix("_cum"),
        ),
        styles,
        columns=4,
        size=(2.8, 2.8),
        style="measure",
        markers={name: marker for name, (marker, _) in MEASURES.items()},
        dashes={name: dashes for name, (_, dashes) in MEASURES.items()},
    )
    for axis in axes:
        axis.set(ylim=(0, 102), xticks=sorted(audit["round"].unique()))
    figure.supxlabel("round", size="medium")
    figure.supylabel("%", size="medium")
    measures = [
        Line2D(
            [], [], color="black", marker=marker, markeredgecolor="white", label=name,
            linestyle=(0, dashes) if dashes else "-",
        )
        for name, (marker, dashes) in MEASURES.items()
    ]  # fmt: skip
    legend_above(figure, [*methods, *measures])
    return figure


@names_as_text
def terms(values: pd.DataFrame, styles: MethodStyles) -> Figure:
    """Draw method-specific logged values: a panel per method and quantity, lines per fraction.

    Parameters
    ----------
    values
        Mean curves of one data set, profile and network (``bench.results.aggregate.curve_values``).
    styles
        How the methods are shown.
    """
    panel = (
        values["method"].map(shown_name(styles))
        + "\n"
        + values["training"]
        + values["round"].map(" r{}: ".format)
        + values["name"].str.rpartition("/")[2]
    )
    fractions = [f"{pct} %" for pct in sorted(values["label_pct"].unique(), reverse=True)]
    colours = dict(zip(fractions, _seaborn().color_palette("viridis", len(fractions)), strict=True))
    figure, _ = _lines(
        values.assign(
            x=(values["part"] + 0.5) / PARTS,
            y=values["mean"],
            line=values["label_pct"].map("{} %".format),
            panel=panel,
        ),
        list(panel.unique()),
        colours,
        columns=4,
        size=(2.9, 2.4),
        one_scale=False,
        title_size=8,
    )
    figure.supxlabel("share of training", size="medium")
    legend_above(figure, _handles(colours), "labelled")
    return figure


def _lines_of_methods(
    values: pd.DataFrame, styles: MethodStyles, **options: Any
) -> tuple[Figure, list[Axes], list[Line2D]]:
    """Draw a panel per label fraction, from the largest down, and in it a line per method.

    Parameters
    ----------
    values
        A point per row, ``x`` and ``y``, with its method and label fraction.
    styles
        How the methods are shown.
    options
        For :func:`_lines`.

    Returns
    -------
    figure, panels, handles
        The handles are the methods, for a legend.
    """
    name = shown_name(styles)
    colours = {name(method): styles.colour(method) for method in styles.sort(values["method"])}
    fractions = sorted(values["label_pct"].unique(), reverse=True)
    figure, axes = _lines(
        values.assign(
            line=values["method"].map(name), panel=values["label_pct"].map(LABELLED.format)
        ),
        list(map(LABELLED.format, fractions)),
        colours,
        **options,
    )
    return figure, axes, _handles(colours)


def _lines(
    values: pd.DataFrame,
    panels: Sequence[str],
    colours: Mapping[str, Any],
    *,
    columns: int,
    size: tuple[float, float],
    one_scale: bool = True,
    title_size: int = 10,
    **options: Any,
) -> tuple[Figure, list[Axes]]:
    """Draw lines in panels, as ``seaborn.relplot`` does, which lays them out three times.

    Parameters
    ----------
    values
        A point per row: ``x`` and ``y``, and the names of its ``line`` and its ``panel``.
    panels
        The panels in their order.
    colours
        Colour of each line.
    columns, size, one_scale
        As of :func:`grid`.
    title_size
        Of the names of the panels, in points.
    options
        For ``seaborn.lineplot``.
    """
    lineplot = _seaborn().lineplot
    figure, axes = grid(len(panels), columns, size, one_scale=one_scale)
    of_panel = dict(iter(values.groupby("panel")))
    for axis, panel in zip(axes, panels, strict=True):
        lineplot(
            of_panel[panel], x="x", y="y", hue="line", hue_order=list(colours),
            palette=dict(colours), estimator=None, errorbar=None, legend=False, ax=axis, **options,
        )  # fmt: skip
        axis.set(xlabel="", ylabel="")
        axis.set_title(panel, size=title_size)
    return figure, axes


@cache
def _seaborn() -> ModuleType:
    """Import seaborn as where scipy is not installed, which it needs for densities and trees alone.

    Those parts of scipy take 1.5 of the 1.6 seconds of processor time that the import takes.
    """
    apart: dict[str, Any] = {
        name: sys.modules.get(name) for name in ("scipy.stats", "scipy.cluster")
    }
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(apart))  # None: what imports it is told that it is not there
    try:
        return importlib.import_module("seaborn")
    finally:
        for name, module in apart.items():
            del modules[name]
            if module is not None:
                modules[name] = module


def _handles(colours: Mapping[str, Any]) -> list[Line2D]:
    """Return the lines of a legend."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
