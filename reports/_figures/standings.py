"""Who beats whom: differences to one method with their intervals, and a matrix of all pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from bench.reporting.comparison import Compared, Comparison
from bench.reporting.drawing import Drawing, Format
from bench.reporting.marks import ranked
from bench.reporting.text import listed, signed

from .rendering import drawing, names_as_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHORT = 26
"""Characters of a name beside a line of a forest plot or a matrix."""
ROW = 0.2
"""Height of such a line, in inches."""
NUMBERED = 9
"""Methods of a matrix whose cells have numbers."""
CORNERS = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5]])
"""Of a cell of a matrix."""
BETTER, WORSE, UNTESTED = "#0067A5", "#B04A00", "#8A8A8A40"
ON_COLOUR = "#FEFEFE"
"""Text on these; a page draws black and white in its own colours, which this is not."""
FOREST = (
    "Mean difference with its corrected 95 % interval. Filled: significant after Holm's "
    "correction. Hollow: may be chance."
)
ARROWS = "Arrows: the interval goes on beyond the axis."
MATRIX = (
    "Line against column. Blue: better, orange: worse, both significant after Holm's correction. "
    "Without colour: may be chance. Grey: not tested."
)


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
    def of(cls, compared: Compared, digits: int | None = None) -> Self:
        """Return what is drawn of a column and its comparisons; decimals by default its own."""
        column, places = compared.column, ranked(compared.column, digits)
        return cls(
            tuple(places),
            tuple(places.values()),
            tuple(_numbered(column.styles.name(method), place) for method, place in places.items()),
            column.styles.colours(places),
            tuple(compared.comparisons),
            column.cells.largest,
            column.measure,
            column.difference_unit,
            column.digits if digits is None else digits,
            column.higher_is_better,
        )


def comparisons(
    found: Iterable[Compared],
    stem: str,
    formats: Sequence[Format] = ("svg", "pdf"),
    digits: int | None = None,
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
    digits
        Decimals by which methods are alike; by default those of each column.
    """
    drawn: dict[str, list[Drawing]] = {}
    for number, compared in enumerate((one for one in found if one.comparisons), 1):
        column, shown = compared.column, Standings.of(compared, digits)
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


@names_as_text
def forest(shown: Standings, base: str) -> Figure:
    """Draw the mean difference of every method to one, with its interval.

    An interval ends in an arrow where it is wider than the scores measured.

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
        tested = not np.isnan(found.p_holm)
        for line, place, diff in ((a, b, found.primary.diff), (b, a, -found.primary.diff)):
            better = (diff > 0) == shown.higher_is_better
            colour = BETTER if better else WORSE
            if found.significant or not tested:
                cell = Path(CORNERS + np.array([place, line]), closed=True)
                filled.setdefault(colour if tested else UNTESTED, []).append(cell)
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


def _numbered(name: str, place: str) -> str:
    """Return name and place of a method, a long name cut."""
    short = name if len(name) <= SHORT else f"{name[: SHORT - 1]}…"
    return f"{short}\u2002{place}"
