"""Names, order, colours and highlighting of methods, the same everywhere.

The colours follow Figure 4 of the paper (naive blue, INERRANT⁰ red, INERRANT green) in the palette
of Okabe and Ito (2008), which stays distinguishable under colour blindness. A method that is not
listed gets a colour from its name, so it keeps it whatever else is drawn.
"""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

from bench.params import parse_brackets

if TYPE_CHECKING:
    import pandas as pd

Mark = Literal["", "best", "best_tied", "tied"]
"""How a cell stands out: not, bold, bold italic, underlined."""


class MethodStyle(NamedTuple):
    """How a method is shown."""

    name: str
    colour: str


METHODS: dict[str, MethodStyle] = {
    "naive": MethodStyle("Naive", "#0072B2"),
    "inerrant0": MethodStyle("INERRANT⁰", "#D55E00"),
    "inerrant": MethodStyle("INERRANT", "#009E73"),
    "inerrant_plus": MethodStyle("INERRANT+", "#00634A"),
    "inerrant_mcp": MethodStyle("INERRANT (MCP)", "#8CD9BE"),
    "bai": MethodStyle("Bai et al.", "#E69F00"),
    "asdnet": MethodStyle("ASDNet", "#CC79A7"),
    "uamt": MethodStyle("UA-MT", "#56B4E9"),
    "mean_teacher": MethodStyle("Mean teacher", "#2E4A7D"),
    "cps": MethodStyle("CPS", "#8B5A2B"),
    "entropy_min": MethodStyle("Entropy min.", "#9A9A9A"),
    "marginal": MethodStyle("Marginal loss", "#F0E442"),
    "dodnet": MethodStyle("DoDNet", "#7A4FB5"),
    "full": MethodStyle("Full labels", "#000000"),
}
UPPER_BOUNDS = frozenset({"full"})
_ORDER = {method: position for position, method in enumerate(METHODS)}


def display_name(method: str) -> str:
    """Return what people read for ``name[key=value]``: the method's name, then its overrides."""
    base, overrides = parse_brackets(method)
    shown = METHODS[base].name if base in METHODS else base
    inner = ", ".join(f"{key}={value}" for key, value in overrides.items())
    return f"{shown} [{inner}]" if inner else shown


def is_upper_bound(method: str) -> bool:
    """Tell whether a method sees labels that the others do not, so that it is no competitor."""
    return parse_brackets(method)[0] in UPPER_BOUNDS


def sort_key(method: str) -> tuple[int, str]:
    """Order the listed methods as they are listed, their variants after them, others at the end."""
    base, _ = parse_brackets(method)
    return _ORDER.get(base, len(_ORDER)), method


def by_method(column: pd.Series) -> pd.Series:
    """Return what rows are sorted by: the ``key`` of :meth:`pandas.DataFrame.sort_values`."""
    return column.map(sort_key) if column.name == "method" else column


def sort_methods(methods: Iterable[str]) -> list[str]:
    """Return the distinct methods in the order of every table and legend."""
    return sorted(set(methods), key=sort_key)


def colour(method: str) -> str:
    """Return the method's colour as ``#RRGGBB``.

    A variant such as ``inerrant[rounds=3]`` keeps the hue of its method and differs in lightness.
    """
    base, overrides = parse_brackets(method)
    if base not in METHODS:
        lightness = 0.35 + 0.3 * _fraction(method, "lightness")
        return _hex(colorsys.hls_to_rgb(_fraction(base, "hue"), lightness, 0.55))
    if not overrides:
        return METHODS[base].colour
    channels = [int(METHODS[base].colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    towards = 1.0 if sum(channels) < 1.8 else 0.0
    share = 0.25 + 0.3 * _fraction(method, "lightness")
    return _hex([(1 - share) * channel + share * towards for channel in channels])


def palette(methods: Iterable[str]) -> dict[str, str]:
    """Return the colour of each method, in the fixed order; fits seaborn's ``palette``."""
    return {method: colour(method) for method in sort_methods(methods)}


def _fraction(text: str, purpose: str) -> float:
    return int(hashlib.sha256(f"{purpose}:{text}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF


def _hex(channels: Iterable[float]) -> str:
    return "#" + "".join(f"{round(255 * channel):02X}" for channel in channels)
