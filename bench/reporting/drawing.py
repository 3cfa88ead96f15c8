"""Drawings of reports: on their pages, and as files for a paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Drawing:
    """A drawing in two formats.

    Attributes
    ----------
    name
        Name of its files, without ending.
    title, caption
        One line each.
    svg
        What the first file holds.
    to_pdf
        Returns what the second holds, which takes longer; a page needs none.
    instead
        Words for who cannot see it; the title if empty.
    """

    name: str
    title: str
    caption: str
    svg: str
    to_pdf: Callable[[], bytes]
    instead: str = ""


Drawings = Mapping[str, Sequence[Drawing]]
"""What is drawn below a board, by the board's title."""
NOTHING: Drawings = MappingProxyType({})
