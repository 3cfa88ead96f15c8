"""What a training logged and what relabelling added, as lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.reporting.style import MethodStyles
from bench.results.tables import PARTS

from .panels import grid, legend_above, shown_name
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
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    own = curves[curves["name"] == SEGMENT_LOSS]
    colours = _colours(own["method"], styles)
    figure, axes = _lines(
        own.assign(
            x=own["round"] + (own["part"] + 0.5) / PARTS,
            y=own["mean"],
            line=own["method"].map(shown_name(styles)),
            panel=own["label_pct"].map(LABELLED.format),
        ),
        _fractions(own),
        colours,
        columns=2,
        size=(4.5, 3),
        units="round",
    )
    for axis in axes:  # numbers, as no formula is drawn
        axis.set(yscale="log", xticks=range(int(own["round"].max()) + 2))
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
    figure.supxlabel("trainings of the segmenter", size="medium")
    figure.supylabel("loss", size="medium")
    legend_above(figure, _handles(colours))
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

    colours = _colours(audit["method"], styles)
    shares = [f"{measure}_cum" for measure in MEASURES]
    long = audit.melt(["method", "label_pct", "round"], shares, "measure", "share")
    figure, axes = _lines(
        long.assign(
            x=long["round"],
            y=100 * long["share"],
            line=long["method"].map(shown_name(styles)),
            measure=long["measure"].str.removesuffix("_cum"),
            panel=long["label_pct"].map(LABELLED.format),
        ),
        _fractions(audit),
        colours,
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
    legend_above(figure, [*_handles(colours), *measures])
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
    import seaborn as sns

    panel = (
        values["method"].map(shown_name(styles))
        + "\n"
        + values["training"]
        + values["round"].map(" r{}: ".format)
        + values["name"].str.rpartition("/")[2]
    )
    fractions = [f"{pct} %" for pct in sorted(values["label_pct"].unique(), reverse=True)]
    colours = dict(zip(fractions, sns.color_palette("viridis", len(fractions)), strict=True))
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
    import seaborn as sns

    figure, axes = grid(len(panels), columns, size, one_scale=one_scale)
    of_panel = dict(iter(values.groupby("panel")))
    for axis, panel in zip(axes, panels, strict=True):
        sns.lineplot(
            of_panel[panel], x="x", y="y", hue="line", hue_order=list(colours),
            palette=dict(colours), estimator=None, errorbar=None, legend=False, ax=axis, **options,
        )  # fmt: skip
        axis.set(xlabel="", ylabel="")
        axis.set_title(panel, size=title_size)
    return figure, axes


def _fractions(values: pd.DataFrame) -> list[str]:
    """Return the panels of label fractions, from the largest down."""
    return [LABELLED.format(pct) for pct in sorted(values["label_pct"].unique(), reverse=True)]


def _colours(methods: Iterable[str], styles: MethodStyles) -> dict[str, str]:
    """Return the colour of the name of every method, in the fixed order."""
    names = shown_name(styles)
    return {names(method): styles.colour(method) for method in styles.sort(methods)}


def _handles(colours: Mapping[str, Any]) -> list[Line2D]:
    """Return the lines of a legend."""
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
