"""Figures of the reports, in the colours of the methods; equal tables give equal bytes."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
import pandas as pd

from bench.reporting.comparison import Compared
from bench.reporting.style import MethodStyles
from bench.reporting.text import NONE, signed
from bench.results.tables import PARTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BOXES_ACROSS = 64
NAME_WIDTH = 60
SEGMENT_LOSS = "segment/loss"
Drawn = ParamSpec("Drawn")


@contextmanager
def _names_as_text(**params: Any) -> Iterator[None]:
    """Draw names as they are: a dollar sign in one starts no formula, a long one is no warning."""
    import matplotlib as mpl

    chosen: Any = {"text.parse_math": False} | params
    with mpl.rc_context(chosen), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def names_as_text(draw: Callable[Drawn, Figure]) -> Callable[Drawn, Figure]:
    """Let a function draw names as they are, whatever they hold."""

    @wraps(draw)
    def drawn(*args: Drawn.args, **options: Drawn.kwargs) -> Figure:
        with _names_as_text():
            return draw(*args, **options)

    return drawn


def to_svg(figure: Figure) -> str:
    """Return a figure as SVG and close it."""
    from matplotlib import pyplot as plt

    text = io.StringIO()
    # No date and no random identifiers; text stays text.
    with _names_as_text(**{"svg.hashsalt": "bench", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
    return text.getvalue()


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG and close it."""
    from matplotlib import pyplot as plt

    data = io.BytesIO()
    with _names_as_text():
        figure.savefig(data, format="png", dpi=150, metadata={"Software": None})
    plt.close(figure)
    return data.getvalue()


@names_as_text
def boxes(rows: pd.DataFrame) -> Figure:
    """Draw Figure 4 of the paper: a row per label fraction, organs side by side, methods as boxes.

    Boxes show the patients' DSC; whiskers reach 1.5 interquartile ranges, and points are patients
    beyond. More than ``BOXES_ACROSS`` boxes of one fraction are split into several rows.

    Parameters
    ----------
    rows
        Final models of one data set, profile and network.
    """
    import seaborn as sns
    from matplotlib import patheffects
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    outlined = [patheffects.withStroke(linewidth=2.4, foreground="black")]
    styles = MethodStyles.of(rows)
    methods = styles.sort(rows["method"])
    patient = ["method", "label_pct", "organ", "seed", "patient"]
    values = rows.groupby(patient, as_index=False).agg(DSC=("dsc", "mean"))
    values["name"] = values["method"].map(_names(styles))
    organs = sorted(rows["organ"].unique())
    n_lines = -(-len(organs) * len(methods) // BOXES_ACROSS)
    lines = [list(line) for line in np.array_split(organs, min(n_lines, len(organs)))]
    facets = [
        (pct, line) for pct in sorted(rows["label_pct"].unique(), reverse=True) for line in lines
    ]
    width = max(5.8, 0.17 * len(lines[0]) * len(methods))
    figure, axes = plt.subplots(
        len(facets), figsize=(width, 2.4 * len(facets)), squeeze=False, layout="constrained"
    )
    for axis, (pct, line) in zip(axes.flat, facets, strict=True):
        sns.boxplot(
            values[(values["label_pct"] == pct) & values["organ"].isin(line)],
            x="organ",
            y="DSC",
            order=line,
            **_methods_as_hue(methods, styles),
            fliersize=1.5,
            linewidth=0.7,
            saturation=1,
            medianprops={"color": "white", "linewidth": 1.2, "path_effects": outlined},
            legend=False,
            ax=axis,
        )
        axis.set(title=f"{pct} % labelled", xlabel="", ylabel="DSC (%)", ylim=(-2, 102))
        axis.set_xticks(range(len(line)), line)  # also where no organ of the row has results
        axis.set_xlim(-0.5, len(lines[0]) - 0.5)  # as wide boxes in a shorter last row
        sns.despine(ax=axis)
    figure.legend(
        handles=[
            Patch(facecolor=styles.colour(name), edgecolor="black", label=_names(styles)(name))
            for name in methods
        ],
        loc="outside upper center",
        ncol=min(5, len(methods)),
        frameon=False,
    )
    return figure


@names_as_text
def significance_map(group: Sequence[Compared]) -> Figure:
    """Draw every pair of methods, one panel per column: line minus column.

    Parameters
    ----------
    group
        The columns of one task, with all pairs compared.
    """
    import seaborn as sns
    from matplotlib import pyplot as plt

    largest = max(len(compared.column.competitors) for compared in group)
    side = 1.6 + 0.62 * largest
    across = min(2, len(group))
    down = -(-len(group) // across)
    figure, axes = plt.subplots(
        down, across, figsize=(side * across, side * down), squeeze=False, layout="constrained"
    )
    for axis, compared in zip(axes.flat, group, strict=False):
        differences, texts = _matrix(compared)
        limit = float(np.nanmax(np.abs(differences.to_numpy()), initial=1e-9))
        sns.heatmap(
            differences,
            annot=texts,
            fmt="",
            cmap="PuOr_r" if compared.column.higher_is_better else "PuOr",
            center=0,
            vmin=-limit,
            vmax=limit,
            cbar=False,
            square=True,
            linewidths=0.5,
            ax=axis,
            annot_kws={"size": 7},
        )
        axis.set_title(compared.column.label or compared.column.task, size=9)
        axis.set(xlabel="", ylabel="")
        axis.tick_params(labelsize=8, length=0)
        axis.tick_params(axis="x", rotation=90)
        axis.tick_params(axis="y", rotation=0)
    for axis in axes.flat[len(group) :]:
        axis.axis("off")
    return figure


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
    import seaborn as sns
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    own = curves[curves["name"] == SEGMENT_LOSS]
    methods = styles.sort(own["method"])
    grid = sns.relplot(
        own.assign(
            where=own["round"] + (own["part"] + 0.5) / PARTS,
            name=own["method"].map(_names(styles)),
            labelled=own["label_pct"].map("{} % labelled".format),
        ),
        x="where",
        y="mean",
        **_methods_as_hue(methods, styles),
        col="labelled",
        col_order=[f"{pct} % labelled" for pct in sorted(own["label_pct"].unique(), reverse=True)],
        col_wrap=2,
        kind="line",
        errorbar=None,
        units="round",
        estimator=None,
        height=3,
        aspect=1.5,
    )
    grid.set(yscale="log", xticks=range(int(own["round"].max()) + 2))
    for axis in grid.axes.flat:  # numbers, as no formula is drawn
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
    grid.set_titles("{col_name}")
    grid.set_axis_labels("trainings of the segmenter", "loss")
    return _legend_on_top(grid, len(methods))


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
    import seaborn as sns

    methods = styles.sort(audit["method"])
    long = audit.melt(
        ["method", "label_pct", "round"], ["precision_cum", "recall_cum"], "measure", "share"
    )
    grid = sns.relplot(
        long.assign(
            name=long["method"].map(_names(styles)),
            measure=long["measure"].map({"precision_cum": "precision", "recall_cum": "recall"}),
            labelled=long["label_pct"].map("{} % labelled".format),
            percent=100 * long["share"],
        ),
        x="round",
        y="percent",
        **_methods_as_hue(methods, styles),
        style="measure",
        markers=True,
        col="labelled",
        col_order=[
            f"{pct} % labelled" for pct in sorted(audit["label_pct"].unique(), reverse=True)
        ],
        col_wrap=min(4, audit["label_pct"].nunique()),
        kind="line",
        height=2.8,
        aspect=1,
    )
    grid.set(ylim=(0, 102), xticks=sorted(audit["round"].unique()))
    grid.set_titles("{col_name}")
    grid.set_axis_labels("round", "%")
    return _figure(grid)


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

    quantity = values["name"].str.rpartition("/")[2]
    panel = (
        values["method"].map(_names(styles))
        + "\n"
        + values["training"]
        + values["round"].map(" r{}: ".format)
        + quantity
    )
    grid = sns.relplot(
        values.assign(
            panel=panel,
            share=(values["part"] + 0.5) / PARTS,
            labelled=values["label_pct"].map("{} %".format),
        ),
        x="share",
        y="mean",
        hue="labelled",
        col="panel",
        col_wrap=min(4, panel.nunique()),
        kind="line",
        height=2.2,
        aspect=1.3,
        palette="viridis",
        facet_kws={"sharey": False},
    )
    grid.set_titles("{col_name}", size=8)
    grid.set_axis_labels("share of training", "")
    return _figure(grid)


def _matrix(compared: Compared) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return differences (line minus column) and their texts, an asterisk where significant."""
    column, styles = compared.column, compared.column.styles
    name = _names(styles)
    names = [name(method) for method in column.competitors]
    differences = pd.DataFrame(np.nan, names, names)
    texts = pd.DataFrame("", names, names)
    for found in compared.comparisons:
        a, b = name(found.a), name(found.b)
        star = " *" if found.significant else ""
        for line, other, diff in ((a, b, found.primary.diff), (b, a, -found.primary.diff)):
            differences.loc[line, other] = diff
            text = signed(diff, column.digits)
            texts.loc[line, other] = text if text == NONE else text + star
    return differences, texts


def _names(styles: MethodStyles) -> Callable[[str], str]:
    """Return the function that names a method in a figure, a long name in several lines."""
    return lambda method: textwrap.fill(styles.name(method), NAME_WIDTH)


def _methods_as_hue(methods: Sequence[str], styles: MethodStyles) -> dict[str, Any]:
    """Return seaborn's options to colour the column ``name`` by method, in the fixed order."""
    names = list(map(_names(styles), methods))
    colours = dict(zip(names, map(styles.colour, methods), strict=True))
    return {"hue": "name", "hue_order": names, "palette": colours}


def _legend_on_top(grid: Any, entries: int) -> Figure:
    import seaborn as sns

    sns.move_legend(grid, "lower center", bbox_to_anchor=(0.5, 1), ncol=min(5, entries), title=None)
    return _figure(grid)


def _figure(grid: Any) -> Figure:
    figure: Figure = grid.figure
    return figure
