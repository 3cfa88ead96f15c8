"""Figures 5 to 8 of the paper from the pictures table: strips of slices, labelled."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from bench.params import parse_brackets
from bench.reporting.pictures import opened
from bench.results.columns import GROUP

from .._figures import rendering
from .layout import JOINED, PUBLISHED_STYLES

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

SCORES = ("inerrant_mcp", "inerrant")
OPACITY = 0.65
MAX_PIXELS = 2**22
"""Pixels of one picture; those of the suite have fewer."""
CAPTION_WIDTH = 100
"""Characters that fit below one column of panels."""


class Panel(NamedTuple):
    """A strip of slices and its title."""

    title: str
    row: pd.Series


def figures(pictures: pd.DataFrame) -> Iterator[tuple[int, Figure]]:
    """Yield number and figure for every figure that the pictures allow.

    5: scores of the candidates and selected voxels, by probability and by learned confidence;
    6: relabelled voxels after each round; 7: relabelled voxels of a fusion's partial cases; 8:
    complete labels, `inerrant0` and `inerrant`. All but 7 of the first case; each in the first
    fold, at the label fraction of the paper's figure or the nearest.
    """
    for (dataset, _, _), group in pictures.groupby(list(GROUP)):
        if parse_brackets(str(dataset))[0] in JOINED and (found := _fused(group)):
            yield 7, _draw(found)
            continue
        for number, fraction, panels in ((5, 50, _ranking), (6, 50, _rounds), (8, 30, _methods)):
            chosen = _first_case(_near(group, fraction, number))
            if found := panels(chosen):
                yield number, _draw(found)


def _ranking(rows: pd.DataFrame) -> list[Panel]:
    first = rows[rows["round"] == 1]
    panels = [
        Panel(f"{PUBLISHED_STYLES.name(method)}: {what}", row)
        for method in SCORES
        for kind, what in (("confidence", "score"), ("relabelling", "relabelled in round 1"))
        for _, row in first[(first["method"] == method) & (first["kind"] == kind)].iterrows()
    ]
    return panels if len(panels) == 2 * len(SCORES) else []


def _rounds(rows: pd.DataFrame) -> list[Panel]:
    own = rows[(rows["method"] == "inerrant") & (rows["kind"] == "relabelling")]
    return [
        Panel(f"INERRANT: relabelled up to round {row['round']}", row)
        for _, row in own.sort_values("round").iterrows()
    ]


def _fused(rows: pd.DataFrame) -> list[Panel]:
    own = rows[(rows["method"] == "inerrant") & (rows["kind"] == "relabelling")]
    for name in ("seed", "fold"):
        own = own[own[name] == own[name].min()]
    last = own[own["round"] == own["round"].max()]
    return [
        Panel(f"INERRANT, {row['case']}: relabelled up to round {row['round']}", row)
        for _, row in last.sort_values("case").iterrows()
    ]


def _methods(rows: pd.DataFrame) -> list[Panel]:
    truth = rows[rows["kind"] == "truth"].head(1)
    panels = [Panel("Complete labels", row) for _, row in truth.iterrows()]
    for method in ("inerrant0", "inerrant"):
        own = rows[(rows["method"] == method) & (rows["kind"] == "prediction")]
        panels += [Panel(PUBLISHED_STYLES.name(method), row) for _, row in own.iterrows()]
    return panels if len(panels) == 3 else []


def _near(rows: pd.DataFrame, fraction: int, number: int) -> pd.DataFrame:
    """Return the rows at the label fraction nearest to that of a figure."""
    kinds = ("prediction", "truth") if number == 8 else ("relabelling", "confidence")
    plain = rows["method"].map(lambda method: not parse_brackets(method)[1])
    own = rows[rows["kind"].isin(kinds) & plain]
    if own.empty:
        return rows.head(0)
    nearest = min(own["label_pct"].unique(), key=lambda pct: (abs(pct - fraction), pct))
    found: pd.DataFrame = own[own["label_pct"] == nearest]
    return found


def _first_case(rows: pd.DataFrame) -> pd.DataFrame:
    for name in ("seed", "fold", "case"):
        rows = rows[rows[name] == rows[name].min()]
    return rows


@rendering.names_as_text
def _draw(panels: Sequence[Panel]) -> Figure:
    from matplotlib import pyplot as plt

    pictures = [_composed(panel.row) for panel in panels]
    height, width, _ = pictures[0].shape
    across = 2 if len(panels) == 4 else 1
    down = -(-len(panels) // across)
    figure, axes = plt.subplots(
        down,
        across,
        figsize=(6 * across, (6 * height / width + 0.3) * down + 0.3),
        squeeze=False,
        layout="constrained",
    )
    for axis, panel, picture in zip(axes.flat, panels, pictures, strict=True):
        axis.imshow(picture, interpolation="nearest")
        axis.set_title(panel.title, size=9)
        axis.axis("off")
    row = panels[0].row
    shown = [f"{panel.row['case']}, slices {panel.row['slices']}" for panel in panels]
    lines = (
        f"{row['dataset']}, {row['label_pct']} % labelled.",
        f"{'; '.join(dict.fromkeys(shown))}.",
        "Cyan: right; red: wrong; yellow: missed; violet: truth unknown. "
        "Scores: red 0.5 and below, blue 1.",
    )
    wrapped = [textwrap.fill(line, CAPTION_WIDTH * across) for line in lines]
    figure.supxlabel("\n".join(wrapped), size=7)
    return figure


def _composed(row: pd.Series) -> NDArray[np.float64]:
    """Return the overlay over the CT, RGB in 0..1."""
    scan, over = (_pixels(str(row[name])) for name in ("scan", "overlay"))
    alpha = OPACITY * over[..., 3:]
    composed: NDArray[np.float64] = (1 - alpha) * scan[..., :3] + alpha * over[..., :3]
    return composed


def _pixels(text: str) -> NDArray[np.float64]:
    with opened(text, "pictures", MAX_PIXELS) as picture:
        return np.asarray(picture.convert("RGBA"), dtype=np.float64) / 255
