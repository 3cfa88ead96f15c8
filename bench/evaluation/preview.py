"""A picture of a label map over its scan: axial slices with organ outlines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

COLOURS = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#ffffff",
)  # fmt: skip
"""Okabe and Ito's colour-blind safe palette; organs beyond the last start over."""


def overlay(
    image_XYZ: NDArray[np.float32],
    labels_XYZ: NDArray[np.uint8],
    spacing_mm: Sequence[float],
    organs: Sequence[str],
    value_range: tuple[float, float],
    path: Path,
    *,
    title: str = "",
    n_slices: int = 8,
) -> None:
    """Write a PNG of the axial slices that hold the label map, evenly spaced.

    Radiological view: the patient's right on the left, front on top. Both arrays are canonical
    (RAS); ``value_range`` are the values shown as black and white.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

    held = np.flatnonzero(labels_XYZ.any(axis=(0, 1)))
    first, last = (held[0], held[-1]) if len(held) else (0, image_XYZ.shape[2] - 1)
    chosen = np.unique(np.linspace(first, last, n_slices).round().astype(int))
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    x, y, _ = image_XYZ.shape
    aspect = (y * spacing_mm[1]) / (x * spacing_mm[0])
    figure = Figure(figsize=(3.2 * columns, 3.2 * aspect * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    extent = (0.0, x * spacing_mm[0], 0.0, y * spacing_mm[1])
    for axis in axes:
        axis.set_axis_off()
    for axis, z in zip(axes, chosen, strict=False):
        shown = _radiological(image_XYZ[:, :, z])
        low, high = value_range
        axis.imshow(shown, "gray", vmin=low, vmax=high, origin="lower", extent=extent)
        for k in range(1, len(organs) + 1):
            mask = np.equal(_radiological(labels_XYZ[:, :, z]), k)
            if mask.any():
                colour = COLOURS[(k - 1) % len(COLOURS)]
                axis.contour(mask, [0.5], colors=colour, linewidths=1.2, extent=extent)
        axis.set_title(f"slice {z}", fontsize=8)
    handles = [
        Line2D([], [], color=COLOURS[k % len(COLOURS)], label=organ)
        for k, organ in enumerate(organs)
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(7, len(organs)), fontsize=8
    )
    if title:
        figure.suptitle(title, fontsize=9)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a dollar sign in a name starts no formula
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})


def _radiological(slice_XY: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return a slice as image rows, lowest first: X grows to the patient's right, so turn it."""
    return slice_XY[::-1].T
