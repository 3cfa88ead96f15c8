"""Figures of the reports, in the colours of the methods; equal tables give equal bytes."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial, wraps
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.reporting.comparison import Compared, Comparison
from bench.reporting.drawing import Drawing, Format
from bench.reporting.helper import start
from bench.reporting.marks import ranked
from bench.reporting.style import MethodStyles
from bench.reporting.text import listed, signed
from bench.results.tables import PARTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

OF_BOXES = (
    *("method", "label_pct", "organ", "seed", "patient", "value"),
    *("metric", "unit", "best"),
)
"""Columns of scores that boxes take."""
BOXES_ACROSS = 64
BOX = 0.8
"""Of the distance of two organs, what their boxes fill."""
NAME_WIDTH = 60
SHORT = 26
"""Characters of a name beside a line of a forest plot or a matrix."""
ROW = 0.2
"""Height of such a line, in inches."""
NUMBERED = 9
"""Methods of a matrix whose cells have numbers."""
CORNERS = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5]])
"""Of a cell of a matrix."""
POINTS = 72
"""In an inch."""
MARGIN = 0.1
"""Around what is drawn, in inches."""
BETTER, WORSE, UNTESTED = "#0067A5", "#B04A00", "#8A8A8A80"
ON_COLOUR = "#FEFEFE"
"""Text on these; a page draws black and white in its own colours, which this is not."""
BOXES = (
    "{} per test patient. Boxes: quartiles and median; whiskers: 1.5 interquartile ranges; points: "
    "patients beyond."
)
FOREST = (
    "Mean difference with its corrected 95 % interval. Filled: significant after Holm's "
    "correction. Hollow: may be chance."
)
ARROWS = "Arrows: wider than any possible difference."
MATRIX = (
    "Line against column. Blue: better, orange: worse, both significant after Holm's correction. "
    "Without colour: may be chance. Grey: not tested."
)
HEADINGS = "name", "measure"
"""Columns that tell lines apart; seaborn writes them into a legend of several."""
SEGMENT_LOSS = "segment/loss"
Drawn = ParamSpec("Drawn")
Strokes = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Coordinates of first and of second points."""


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


def drawing(
    draw: Callable[[], Figure],
    name: str,
    title: str,
    caption: str,
    instead: str = "",
    formats: Sequence[Format] = ("svg", "pdf"),
) -> Drawing:
    """Return a drawing that is begun at once where a process is free for it.

    Parameters
    ----------
    draw
        Returns the figure; it is sent to that process, with all that it holds.
    name, title, caption, instead
        As in :class:`Drawing`.
    formats
        Those that are needed.
    """
    return Drawing(name, title, caption, start(partial(_files, draw, tuple(formats))), instead)


def _files(draw: Callable[[], Figure], formats: Sequence[Format]) -> dict[Format, bytes]:
    """Return a figure in several formats and close it."""
    from matplotlib import pyplot as plt

    figure = draw()
    frame = _lay_out(figure)
    write = {"svg": _to_svg, "pdf": _to_pdf}
    files = {ending: write[ending](figure, frame) for ending in formats}
    plt.close(figure)
    return files


def _lay_out(figure: Figure) -> Bbox:
    """Place the parts of a figure once for all its files and return what these show, in inches."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)  # measures text as it will be drawn
    figure.set_dpi(POINTS)
    with _names_as_text():
        if engine := figure.get_layout_engine():
            engine.execute(figure)
            figure.set_layout_engine(None)
        return figure.get_tightbbox().padded(MARGIN)


def _to_svg(figure: Figure, frame: Bbox) -> bytes:
    data = io.BytesIO()
    # No date, version or random identifiers; text stays text.
    with _names_as_text(**{"svg.hashsalt": "bench", "svg.fonttype": "none"}):
        dated = {"Date": None, "Creator": None}
        figure.savefig(data, format="svg", metadata=dated, bbox_inches=frame)
    return data.getvalue()


@contextmanager
def _fonts_without_layout() -> Iterator[None]:
    """Embed fonts without what lays text out, as it is already: reading that takes longest."""
    from fontTools.subset import Options

    usual = getattr(Options, "_drop_tables_default", [])  # matplotlib passes no options on
    Options._drop_tables_default = [*usual, "GDEF", "GPOS", "GSUB", "MATH"]
    try:
        yield
    finally:
        Options._drop_tables_default = usual


def _to_pdf(figure: Figure, frame: Bbox) -> bytes:
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_fontfeatures(["-liga"])  # each face is cut once; ligatures would be another
    data = io.BytesIO()
    # Letters stay letters. The PDF reads the size of a font from the second.
    kinds = dict.fromkeys(["pdf.fonttype", "ps.fonttype"], 42)
    with _names_as_text(**kinds), _fonts_without_layout():
        dated = {"CreationDate": None, "Creator": None, "Producer": None}
        figure.savefig(data, format="pdf", metadata=dated, bbox_inches=frame)
    return data.getvalue()


class Standings(NamedTuple):
    """What is drawn of a column: little beside its scores, as another process may draw it.

    Attributes
    ----------
    methods
        The competitors from the leader down.
    places
        Their places (:func:`bench.reporting.marks.ranked`).
    names
        Their names and places, a long name cut.
    colours
        Their colours.
    comparisons
        Pairs of them.
    largest
        The largest absolute score.
    measure, unit, digits, higher_is_better
        As of the column; the unit is that of differences.
    """

    methods: tuple[str, ...]
    places: tuple[str, ...]
    names: tuple[str, ...]
    colours: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    largest: float
    measure: str
    unit: str
    digits: int
    higher_is_better: bool

    @classmethod
    def of(cls, compared: Compared) -> Self:
        """Return what is drawn of a column and its comparisons."""
        column, places = compared.column, ranked(compared.column)
        return cls(
            tuple(places),
            tuple(places.values()),
            tuple(_numbered(column.styles.name(method), place) for method, place in places.items()),
            column.styles.colours(places),
            tuple(compared.comparisons),
            column.cells.largest,
            column.measure,
            column.difference_unit,
            column.digits,
            column.higher_is_better,
        )


def comparisons(
    found: Iterable[Compared], stem: str, formats: Sequence[Format] = ("svg", "pdf")
) -> dict[str, list[Drawing]]:
    """Return, by task, the differences and the matrix of every column that has pairs.

    Where all are pairs with one reference, it takes the place of the leader and there is no matrix.

    Parameters
    ----------
    found
        Columns with their comparisons.
    stem
        Start of the names of the files.
    formats
        Formats of the drawings.
    """
    drawn: dict[str, list[Drawing]] = {}
    for number, compared in enumerate((one for one in found if one.comparisons), 1):
        column, shown = compared.column, Standings.of(compared)
        of_all = len(compared.comparisons) == len(column.pairs)
        base = shown.methods[0] if of_all else compared.comparisons[0].b
        where = f"{column.task}, {column.label} labelled" if column.label_pct else column.task
        name = column.styles.name
        first, others = name(base), [name(method) for method in shown.methods if method != base]
        ends = [end for found in compared.comparisons for end in found.interval]
        wide = any(abs(end) > column.cells.largest for end in ends)
        of_task = drawn.setdefault(column.task, [])
        of_task.append(
            drawing(
                partial(forest, shown, base),
                f"{stem}-differences-{number}",
                f"{where}: differences to {first}",
                f"{FOREST} {ARROWS}" if wide else FOREST,
                f"{where}: differences to {first} of {listed(others)}",
                formats,
            )
        )
        if of_all:
            of_task.append(
                drawing(
                    partial(matrix, shown),
                    f"{stem}-matrix-{number}",
                    f"{where}: who beats whom",
                    MATRIX,
                    f"{where}: which of {len(shown.methods)} methods beats which",
                    formats,
                )
            )
    return drawn


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG and close it."""
    from matplotlib import pyplot as plt

    data = io.BytesIO()
    with _names_as_text():
        figure.savefig(data, format="png", dpi=150, metadata={"Software": None})
    plt.close(figure)
    return data.getvalue()


@names_as_text
def boxes(scores: pd.DataFrame, styles: MethodStyles, anchors: pd.Series | None = None) -> Figure:
    """Draw Figure 4 of the paper: a row per label fraction, organs side by side, methods as boxes.

    Boxes show the scores of patients; whiskers reach 1.5 interquartile ranges, and points are
    patients beyond, and those whose pictures the page has. More than ``BOXES_ACROSS`` boxes of one
    fraction are split into several rows.

    Parameters
    ----------
    scores
        Scores of one task (``bench.reporting.scores``), of which it takes ``OF_BOXES``.
    styles
        How the methods are shown.
    anchors
        For rows of patients with pictures, where the page shows them; the point is a link there.
    """
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    methods = styles.sort(scores["method"].unique())
    organs = sorted(scores["organ"].unique())
    n_lines = -(-len(organs) * len(methods) // BOXES_ACROSS)
    lines = [list(line) for line in np.array_split(organs, min(n_lines, len(organs)))]
    fractions = sorted(scores["label_pct"].unique(), reverse=True)
    facets = list(product(fractions, lines))
    boxed = {pct: _boxed(scores[scores["label_pct"] == pct], anchors) for pct in fractions}
    width = max(5.8, 0.17 * len(lines[0]) * len(methods))
    figure, axes = plt.subplots(
        len(facets), figsize=(width, 2.4 * len(facets)), squeeze=False, layout="constrained"
    )
    label, limits = _scale(scores)
    for axis, (pct, line) in zip(axes.flat, facets, strict=True):
        summaries, points = (_placed(rows, line, methods) for rows in boxed[pct])
        if not summaries.empty:
            _draw_boxes(axis, summaries, BOX / len(methods), styles)
        _draw_points(axis, points)
        axis.set(title=f"{pct} % labelled" if pct else "", ylabel=label, ylim=limits)
        axis.set_xticks(range(len(line)), line)  # also where no organ of the row has results
        axis.set_xlim(-0.5, len(lines[0]) - 0.5)  # as wide boxes in a shorter last row
        axis.spines[["top", "right"]].set_visible(False)
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


def _scale(scores: pd.DataFrame) -> tuple[str, tuple[float, float] | None]:
    """Return the label of an axis of scores, and its limits where the scale is known."""
    first = scores.iloc[0]
    label = f"{first['metric']} ({first['unit']})" if first["unit"] else str(first["metric"])
    low, high = scores["value"].min(), scores["value"].max()
    most = 100.0 if first["best"] == 100 else 1.0 if low >= 0 and high <= 1 else None
    return label, None if most is None else (-0.02 * most, 1.02 * most)


def _boxed(scores: pd.DataFrame, anchors: pd.Series | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the boxes of a label fraction, and the patients shown as points.

    Of a box these are the quartiles, and the ends of the whiskers ``least`` and ``most``. Points
    are the patients beyond the whiskers, and those with an anchor.
    """
    box, patient = ["organ", "method"], ["organ", "method", "seed", "patient"]
    values = scores.groupby(patient, observed=True)["value"].mean().dropna().to_frame()
    if anchors is not None:
        linked = scores[patient].assign(anchor=anchors).dropna()
        values["anchor"] = linked.groupby(patient, observed=True)["anchor"].first()
    values = values.reindex(columns=["value", "anchor"]).reset_index()
    boxes = values.groupby(box, observed=True)["value"]
    low, high = boxes.quantile(0.25), boxes.quantile(0.75)
    reach, number = 1.5 * (high - low), boxes.ngroup()
    least, most = (end.to_numpy()[number] for end in (low - reach, high + reach))
    within = values["value"].between(least, most)
    ends = values[within].groupby(box, observed=True)["value"]
    found = {
        "least": ends.min().clip(upper=low),
        "low": low,
        "median": boxes.median(),
        "high": high,
        "most": ends.max().clip(lower=high),
    }
    return pd.DataFrame(found).reset_index(), values[~within | values["anchor"].notna()]


def _placed(rows: pd.DataFrame, organs: Sequence[str], methods: Sequence[str]) -> pd.DataFrame:
    """Return the rows of some organs with the places of their boxes, the methods side by side."""
    organ, method = (
        pd.Index(names).get_indexer(pd.Index(rows[name]))
        for names, name in ((organs, "organ"), (methods, "method"))
    )
    aside = BOX / len(methods) * (method - (len(methods) - 1) / 2)
    return rows.assign(place=organ + aside)[organ >= 0]


def _draw_boxes(axis: Axes, found: pd.DataFrame, width: float, styles: MethodStyles) -> None:
    """Draw boxes, all their whiskers as one line and all medians as another: so many take long."""
    from matplotlib import patheffects
    from matplotlib.collections import PolyCollection

    place = found["place"].to_numpy()
    least, low, median, high, most = found[["least", "low", "median", "high", "most"]].to_numpy().T
    left, right = place - width / 2, place + width / 2
    corners = np.array([[left, low], [right, low], [right, high], [left, high]])
    black: Any = {"color": "black", "linewidth": 0.7}
    for ends in ((least, low), (high, most)):
        _draw_strokes(axis, (place, place), ends, **black)
    for end in (least, most):
        _draw_strokes(axis, (place - width / 4, place + width / 4), (end, end), **black)
    axis.add_collection(
        PolyCollection(
            list(corners.transpose(2, 0, 1)),
            facecolors=styles.colours(found["method"]),
            edgecolors="black",
            linewidths=0.7,
        )
    )
    outlined = [patheffects.withStroke(linewidth=2.4, foreground="black")]
    white: Any = {"color": "white", "linewidth": 1.2, "path_effects": outlined}
    _draw_strokes(axis, (left, right), (median, median), **white)


def _draw_strokes(axis: Axes, x: Strokes, y: Strokes, **looks: Any) -> None:
    """Draw strokes from first to second points, as one line with gaps."""
    gap = np.full_like(x[0], np.nan)
    axis.plot(*(np.stack([*ends, gap], axis=1).ravel() for ends in (x, y)), **looks)


def _draw_points(axis: Axes, points: pd.DataFrame) -> None:
    """Draw patients, and as links those that have an anchor."""
    linked = points["anchor"].notna()
    others = points[~linked]
    _draw_circles(axis, others["place"], others["value"])
    alone = points.loc[linked, ["place", "value", "anchor"]]
    for place, height, anchor in alone.itertuples(index=False, name=None):
        _draw_circles(axis, [place], [height]).set_url(f"#{anchor}")


def _draw_circles(axis: Any, places: Collection[float], heights: Collection[float]) -> Any:
    """Draw points."""
    (drawn,) = axis.plot(
        places, heights, "o",
        markersize=3, color="white", markeredgecolor="black", mew=0.7, zorder=3,
    )  # fmt: skip
    return drawn


@names_as_text
def forest(shown: Standings, base: str) -> Figure:
    """Draw the mean difference of every method to one, with its interval.

    An interval ends in an arrow where it is wider than any possible difference.

    Parameters
    ----------
    shown
        A column with all pairs of ``base`` compared.
    base
        One of its methods.
    """
    from matplotlib import patheffects
    from matplotlib import pyplot as plt

    outlined = [patheffects.withStroke(linewidth=3.2, foreground="black")]
    order, most = shown.methods, shown.largest
    figure, axis = plt.subplots(figsize=(4.3, 0.75 + ROW * len(order)), layout="constrained")
    axis.axvline(0, color="black", linewidth=0.8)
    first = order.index(base)
    colour = shown.colours[first]
    axis.plot(0, first, "D", color=colour, markeredgecolor="black", markersize=5)
    for found in shown.comparisons:
        if base not in (found.a, found.b):
            continue
        method, sign = (found.a, 1) if found.b == base else (found.b, -1)
        line = order.index(method)
        colour = shown.colours[line]
        ends = sorted(sign * bound for bound in found.interval)
        axis.plot(np.clip(ends, -most, most), [line, line], color="black", linewidth=1.2)
        for end, beyond in zip(ends, "<>", strict=True):
            mark = "|" if abs(end) <= most else beyond
            axis.plot(np.clip(end, -most, most), line, mark, color="black", markersize=4)
        axis.plot(
            sign * found.primary.diff,
            line,
            "o",
            color=colour if found.significant else "white",
            markeredgecolor="black" if found.significant else colour,
            markeredgewidth=0.7 if found.significant else 2,
            markersize=5.5,
            path_effects=[] if found.significant else outlined,  # a dark ring, on a dark page
        )
    axis.set_ylim(len(order) - 0.4, -0.6)
    axis.locator_params(axis="x", nbins=6)
    axis.set_yticks(range(len(order)), shown.names)
    axis.tick_params(labelsize=8)
    axis.tick_params(axis="y", length=0)
    within = f" in {shown.unit}" if shown.unit else ""
    place = shown.places[first].rstrip("=")
    axis.set_xlabel(f"{shown.measure}: difference to {place}{within}", size=8)
    axis.grid(axis="x", linewidth=0.4, alpha=0.5)
    axis.spines[["top", "right", "left"]].set_visible(False)
    return figure


@names_as_text
def matrix(shown: Standings) -> Figure:
    """Draw which method beats which: line against column, coloured where significant.

    Up to ``NUMBERED`` methods have the differences in the cells, more have signs where these are
    significant.

    Parameters
    ----------
    shown
        A column with all its pairs compared.
    """
    from matplotlib import pyplot as plt
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    order, size = shown.methods, len(shown.methods)
    side = ROW if size > NUMBERED else 2 * ROW
    figure, axis = plt.subplots(
        figsize=(1.7 + side * size, 0.4 + side * size), layout="constrained"
    )
    filled: dict[str, list[Path]] = {}
    for found in shown.comparisons:
        a, b = order.index(found.a), order.index(found.b)
        for line, place, diff in ((a, b, found.primary.diff), (b, a, -found.primary.diff)):
            better = (diff > 0) == shown.higher_is_better
            colour = BETTER if better else WORSE
            if np.isnan(diff) or found.significant:
                cell = Path(CORNERS + np.array([place, line]), closed=True)
                filled.setdefault(UNTESTED if np.isnan(diff) else colour, []).append(cell)
            sign = ("+" if better else "−") if found.significant else ""
            axis.text(
                place,
                line,
                sign if size > NUMBERED else signed(diff, shown.digits),
                ha="center",
                va="center",
                size=7.5 if shown.digits == 1 else 6,
                color=ON_COLOUR if found.significant else "black",
                weight="bold" if found.significant else "normal",
            )
    for colour, cells in sorted(filled.items()):
        whole = Path.make_compound_path(*cells)
        axis.add_patch(PathPatch(whole, facecolor=colour, edgecolor="none"))
    edges = np.arange(size + 1) - 0.5
    for draw in (axis.hlines, axis.vlines):
        draw(edges, edges[0], edges[-1], color="black", linewidth=0.3)
    axis.plot([-0.5, size - 0.5], [-0.5, size - 0.5], color="black", linewidth=0.3)
    axis.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), aspect="equal")
    axis.xaxis.tick_top()
    axis.set_xticks(range(size), [place.rstrip("=") for place in shown.places])
    axis.set_yticks(range(size), shown.names)
    axis.tick_params(labelsize=8, length=0)
    axis.spines[:].set_visible(False)
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
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    own = curves[curves["name"] == SEGMENT_LOSS]
    methods = styles.sort(own["method"].unique())
    figure, axes = _lines(
        own.assign(
            where=own["round"] + (own["part"] + 0.5) / PARTS,
            name=own["method"].map(_names(styles)),
            panel=own["label_pct"].map("{} % labelled".format),
        ),
        [f"{pct} % labelled" for pct in sorted(own["label_pct"].unique(), reverse=True)],
        x="where",
        y="mean",
        columns=2,
        size=(4.5, 3),
        units="round",
        **_methods_as_hue(methods, styles),
    )
    for axis in axes:  # numbers, as no formula is drawn
        axis.set(yscale="log", xticks=range(int(own["round"].max()) + 2))
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
    figure.supxlabel("trainings of the segmenter", size="medium")
    figure.supylabel("loss", size="medium")
    _legend(figure, axes[0])
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
    methods = styles.sort(audit["method"])
    long = audit.melt(
        ["method", "label_pct", "round"], ["precision_cum", "recall_cum"], "measure", "share"
    )
    figure, axes = _lines(
        long.assign(
            name=long["method"].map(_names(styles)),
            measure=long["measure"].map({"precision_cum": "precision", "recall_cum": "recall"}),
            panel=long["label_pct"].map("{} % labelled".format),
            percent=100 * long["share"],
        ),
        [f"{pct} % labelled" for pct in sorted(audit["label_pct"].unique(), reverse=True)],
        x="round",
        y="percent",
        columns=4,
        size=(2.8, 2.8),
        style="measure",
        style_order=["precision", "recall"],
        markers=True,
        **_methods_as_hue(methods, styles),
    )
    for axis in axes:
        axis.set(ylim=(0, 102), xticks=sorted(audit["round"].unique()))
    figure.supxlabel("round", size="medium")
    figure.supylabel("%", size="medium")
    _legend(figure, axes[0])
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
        values["method"].map(_names(styles))
        + "\n"
        + values["training"]
        + values["round"].map(" r{}: ".format)
        + values["name"].str.rpartition("/")[2]
    )
    fractions = [f"{pct} %" for pct in sorted(values["label_pct"].unique(), reverse=True)]
    figure, axes = _lines(
        values.assign(
            panel=panel,
            share=(values["part"] + 0.5) / PARTS,
            labelled=values["label_pct"].map("{} %".format),
        ),
        list(panel.unique()),
        x="share",
        y="mean",
        columns=4,
        size=(2.9, 2.4),
        one_scale=False,
        title_size=8,
        hue="labelled",
        hue_order=fractions,
        palette="viridis",
    )
    figure.supxlabel("share of training", size="medium")
    _legend(figure, axes[0], "labelled")
    return figure


def _lines(
    values: pd.DataFrame,
    panels: Sequence[str],
    *,
    x: str,
    y: str,
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
        A point per row; ``panel`` names its panel.
    panels
        The panels in their order.
    x, y
        Columns of the points.
    columns
        Panels side by side, at most.
    size
        Width and height of a panel, in inches.
    one_scale
        Whether all have one vertical axis.
    title_size
        Of their names, in points.
    options
        For ``seaborn.lineplot``. The legend of the first panel is left to the caller.
    """
    import seaborn as sns
    from matplotlib import pyplot as plt

    columns = min(columns, len(panels))
    n_lines = -(-len(panels) // columns)
    figure, grid = plt.subplots(
        n_lines, columns, figsize=(size[0] * columns, size[1] * n_lines), squeeze=False,
        sharex=True, sharey=one_scale, layout="constrained",
    )  # fmt: skip
    axes = list(grid.flat)
    for axis in axes[len(panels) :]:
        axis.remove()
    del axes[len(panels) :]
    of_panel = dict(iter(values.groupby("panel")))
    for axis, panel in zip(axes, panels, strict=True):
        legend = "auto" if axis is axes[0] else False
        sns.lineplot(
            of_panel[panel], x=x, y=y, **options,
            estimator=None, errorbar=None, legend=legend, ax=axis,
        )  # fmt: skip
        axis.set(xlabel="", ylabel="")
        axis.set_title(panel, size=title_size)
        sns.despine(ax=axis)
    for axis in axes[-columns:]:
        axis.tick_params(labelbottom=True)  # also where the line below has no panel
    return figure, axes


def _legend(figure: Figure, axis: Axes, title: str = "") -> None:
    """Make the legend of a panel that of the figure, above it and without headings."""
    lines = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    if own := axis.get_legend():
        own.remove()
    for heading in HEADINGS:
        lines.pop(heading, None)
    figure.legend(
        list(lines.values()), list(lines),
        loc="outside upper center", ncol=min(5, len(lines)), title=title, frameon=False,
    )  # fmt: skip


def _numbered(name: str, place: str) -> str:
    """Return name and place of a method, a long name cut."""
    short = name if len(name) <= SHORT else f"{name[: SHORT - 1]}…"
    return f"{short}\u2002{place}"


def _names(styles: MethodStyles) -> Callable[[str], str]:
    """Return the function that names a method in a figure, a long name in several lines."""
    return cache(lambda method: textwrap.fill(styles.name(method), NAME_WIDTH))


def _methods_as_hue(methods: Sequence[str], styles: MethodStyles) -> dict[str, Any]:
    """Return seaborn's options to colour the column ``name`` by method, in the fixed order."""
    names = list(map(_names(styles), methods))
    colours = dict(zip(names, map(styles.colour, methods), strict=True))
    return {"hue": "name", "hue_order": names, "palette": colours}
