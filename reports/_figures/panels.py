"""What figures of several panels share: their grid, the legend above it and the names in it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from bench.reporting.style import MethodStyles

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

NAME_WIDTH = 60
"""Characters of a line of a name."""


def grid(
    n: int,
    columns: int,
    size: tuple[float, float],
    *,
    one_scale: bool = True,
    beside: tuple[float, float] = (0.0, 0.0),
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its panels, line by line, which are open at the top and the right.

    Parameters
    ----------
    n
        Number of panels.
    columns
        Panels side by side, at most.
    size
        Width and height of a panel, in inches.
    one_scale
        Whether all have one vertical axis. They always have one horizontal axis.
    beside
        Width and height that all else takes, in inches.
    """
    from matplotlib import pyplot as plt

    columns = min(columns, n)
    lines = -(-n // columns)
    figure, axes = plt.subplots(
        lines,
        columns,
        figsize=(size[0] * columns + beside[0], size[1] * lines + beside[1]),
        squeeze=False,
        sharex=True,
        sharey=one_scale,
        layout="constrained",
    )
    panels, empty = list(axes.flat[:n]), axes.flat[n:]
    for axis in empty:
        axis.remove()
    for axis in panels:
        axis.spines[["top", "right"]].set_visible(False)
    for axis in panels[-columns:]:
        axis.tick_params(labelbottom=True)  # also where the line below has no panel
    return figure, panels


def legend_above(figure: Figure, handles: Sequence[Artist], title: str = "") -> None:
    """Add a legend above all panels."""
    figure.legend(
        handles=list(handles),
        loc="outside upper center",
        ncol=min(5, len(handles)),
        title=title or None,
        frameon=False,
    )


def number_log_scale(scale: Axis, subs: Sequence[float] = (1,)) -> None:
    """Give a logarithmic axis numbers at these multiples of powers of ten, and no formulas."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    scale.set_major_locator(LogLocator(subs=subs))
    scale.set_major_formatter(StrMethodFormatter("{x:g}"))
    scale.set_minor_formatter(NullFormatter())


def shown_name(styles: MethodStyles) -> Callable[[str], str]:
    """Return the function that names a method in a figure, a long name in several lines."""
    return cache(lambda method: textwrap.fill(styles.name(method), NAME_WIDTH))
