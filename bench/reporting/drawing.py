"""Drawings of reports: on their pages, and as files for a paper."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Drawing:
    """A drawing in two formats.

    Attributes
    ----------
    name
        Name of its files, without ending.
    title, caption
        One line each.
    svg, pdf
        What the files hold.
    instead
        Words for who cannot see it; the title if empty.
    """

    name: str
    title: str
    caption: str
    svg: str
    pdf: bytes
    instead: str = ""
