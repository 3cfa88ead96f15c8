"""Figure 4 of the paper: scores of patients as boxes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.reporting.style import MethodStyles

from .panels import legend_above, shown_name
from .rendering import names_as_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OF_BOXES = (
    *("method", "label_pct", "organ", "seed", "patient", "value"),
    *("metric", "unit", "best"),
)
"""Columns of scores that boxes take."""
BOXES_ACROSS = 64
BOX = 0.8
"""Of the distance of two organs, what their boxes fill."""
BOXES = (
    "{} per test patient. Boxes: quartiles and median; whiskers: 1.5 interquartile ranges; points: "
    "patients beyond."
)
Strokes = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Coordinates of first and of second points."""


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
    name = shown_name(styles)
    legend_above(
        figure,
        [
            Patch(facecolor=styles.colour(method), edgecolor="black", label=name(method))
            for method in methods
        ],
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
    points = (np.stack([*ends, gap], axis=1).ravel() for ends in (x, y))
    axis.plot(*points, solid_capstyle="butt", **looks)


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
