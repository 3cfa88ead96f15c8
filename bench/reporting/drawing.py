"""Drawings of reports: on their pages, and as files for a paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Format = Literal["svg", "pdf"]


@dataclass(frozen=True)
class Drawing:
    """A drawing in the formats that its report needs.

    Attributes
    ----------
    name
        Name of its files, without ending.
    title, caption
        One line each.
    files
        Returns what its files hold, by their ending; a page needs no PDF.
    instead
        Words for who cannot see it; the title if empty.
    """

    name: str
    title: str
    caption: str
    files: Callable[[], Mapping[Format, bytes]]
    instead: str = ""

    @property
    def svg(self) -> str:
        """What a page shows."""
        return self.files()["svg"].decode()


Drawings = Mapping[str, Sequence[Drawing]]
"""What is drawn below a board, by the board's title."""
NOTHING: Drawings = MappingProxyType({})


def finish(drawings: Sequence[Drawing]) -> None:
    """Have all drawings made, the last first: a helper began with the first."""
    for one in reversed(drawings):
        one.files()
