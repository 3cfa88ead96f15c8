"""Names, order, colours and highlighting of methods, the same in all reports.

A method declares how it is shown, and the results store it. Without a declaration, the file name is
the name and determines the colour, so the colour does not depend on the other methods of a figure.
The methods of the suite have colours of Okabe and Ito (2008), which are safe for colour blindness.
"""

from __future__ import annotations

import colorsys
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from bench.errors import BenchError
from bench.params import parse_brackets

if TYPE_CHECKING:
    import pandas as pd

Mark = Literal["", "best", "best_tied", "tied"]
"""How a cell is highlighted: plain, bold, bold italic, underlined."""


class MethodStyle(NamedTuple):
    """How a method is shown, as its class declares it (:class:`bench.experiment.method.Method`)."""

    title: str = ""
    colour: str = ""
    order: int = 100
    upper_bound: bool = False


@dataclass(frozen=True)
class MethodStyles:
    """How methods are shown, by their names without parameters."""

    known: Mapping[str, MethodStyle] = field(default_factory=dict)

    @classmethod
    def of(cls, results: pd.DataFrame, known: Mapping[str, MethodStyle] | None = None) -> Self:
        """Return the styles in a results table, and those in ``known`` for other methods.

        Where older results without titles are combined with newer ones, the titles are used.

        Raises
        ------
        BenchError
            A colour is not ``#RRGGBB``.
        """
        found = dict(known or {})
        columns = ["method", *MethodStyle._fields]
        for method, *style in results[columns].drop_duplicates().itertuples(index=False):
            base, _ = parse_brackets(method)
            shown = MethodStyle(*style)
            if shown.colour and not re.fullmatch("#[0-9A-Fa-f]{6}", shown.colour):
                raise BenchError(f"colour {shown.colour} of method {method}: must be #RRGGBB")
            if shown.title or base not in found:
                found[base] = shown
        return cls(found)

    def name(self, method: str) -> str:
        """Return the displayed name of ``name[key=value]``: the title, then the parameters.

        Where several methods have one title, each has its file name behind it.
        """
        base, overrides = parse_brackets(method)
        inner = ", ".join(f"{key}={value}" for key, value in overrides.items())
        shown = self._style(method).title or base
        if self._titles[shown] > 1:
            shown += f" ({base})"
        return f"{shown} [{inner}]" if inner else shown

    @cached_property
    def _titles(self) -> Counter[str]:
        """How many methods have a title."""
        return Counter(style.title or base for base, style in self.known.items())

    def is_upper_bound(self, method: str) -> bool:
        """Tell whether a method sees hidden labels and is therefore left out of comparisons."""
        return self._style(method).upper_bound

    def key(self, method: str) -> tuple[bool, int, str]:
        """Return the sort key of a method: upper bounds last, then ``order``, then variants."""
        return self.is_upper_bound(method), self._style(method).order, method

    def by_method(self, column: pd.Series) -> pd.Series:
        """Return the sort keys of rows, as the ``key`` of :meth:`pandas.DataFrame.sort_values`."""
        return column.map(self.key) if column.name == "method" else column

    def sort(self, methods: Iterable[str]) -> list[str]:
        """Return the distinct methods in the order of every table and legend."""
        return sorted(set(methods), key=self.key)

    def colour(self, method: str) -> str:
        """Return the method's colour as ``#RRGGBB``.

        A variant such as ``name[key=value]`` keeps the hue of its method and differs in lightness.
        """
        base, overrides = parse_brackets(method)
        own = self._style(method).colour
        if not own:
            lightness = 0.35 + 0.3 * _fraction(method, "lightness")
            return _hex(colorsys.hls_to_rgb(_fraction(base, "hue"), lightness, 0.55))
        if not overrides:
            return own
        channels = [int(own[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        towards = 1.0 if sum(channels) < 1.8 else 0.0
        share = 0.25 + 0.3 * _fraction(method, "lightness")
        return _hex([(1 - share) * channel + share * towards for channel in channels])

    def colours(self, methods: Iterable[str]) -> tuple[str, ...]:
        """Return the colours of the lines of a board."""
        return tuple(map(self.colour, methods))

    def _style(self, method: str) -> MethodStyle:
        return self.known.get(parse_brackets(method)[0], MethodStyle())


def _fraction(text: str, purpose: str) -> float:
    return int(hashlib.sha256(f"{purpose}:{text}".encode()).hexdigest()[:8], 16) / 0xFFFFFFFF


def _hex(channels: Iterable[float]) -> str:
    return "#" + "".join(f"{round(255 * channel):02X}" for channel in channels)
