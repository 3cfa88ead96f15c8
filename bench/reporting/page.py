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
    heading = f"<h3>{escape(title)}</h3>\n" if title else ""
    drawing = svg[svg.index("<svg") :]  # without the XML declaration
    return f"{heading}<figure>\n{drawing}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"
