"""One self-contained web page of chapters: opens offline and prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

TEMPLATE = Path(__file__).with_name("page.html.j2")


@dataclass(frozen=True)
class Chapter:
    """A chapter; its parts are HTML. The title is empty on a page that has only one."""

    title: str
    parts: tuple[str, ...]


def render(heading: str, chapters: Sequence[Chapter], lead: Sequence[str] = ()) -> str:
    """Return the self-contained page; several chapters get a line of links."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(heading=heading, chapters=chapters, lead=lead) + "\n"


def figure(svg: str, caption: str, title: str = "") -> str:
    """Return a figure with its SVG embedded in the page."""
    return _figure(svg[svg.index("<svg") :], caption, title)  # without the XML declaration


def picture(png: str, size: tuple[int, int], caption: str, title: str, *, instead: str) -> str:
    """Return a figure with a PNG in base 64 embedded in the page.

    Parameters
    ----------
    size
        Width and height in pixels.
    instead
        Words for who cannot see it.
    """
    drawing = (
        f"<img width='{size[0]}' height='{size[1]}' style='max-width: 100%; height: auto'"
        f" alt='{escape(instead)}'"
        f" src='data:image/png;base64,{escape(png)}'>"
    )
    return _figure(drawing, caption, title)


def _figure(drawing: str, caption: str, title: str) -> str:
    heading = f"<h3>{escape(title)}</h3>\n" if title else ""
    return f"{heading}<figure>\n{drawing}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"
