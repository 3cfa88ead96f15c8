"""One self-contained web page of chapters: opens offline and prints."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from bench.reporting.drawing import Drawing

TEMPLATE = Path(__file__).with_name("page.html.j2")
STYLE = Path(__file__).with_name("page.css")
SCRIPT = Path(__file__).with_name("page.js")
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
    "base-uri 'none'; form-action 'none'"
)
"""The browser loads nothing, and runs no script but the page's own, whatever a name holds."""
_PAINT = re.compile(r"\b(fill|stroke): #(000000|333333|ffffff)")
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_INK = {"000000": "currentColor", "333333": "currentColor", "ffffff": "var(--paper)"}


@dataclass(frozen=True)
class Part:
    """HTML, and notes on it as plain text, one sentence each."""

    html: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chapter:
    """A chapter. The title is empty on a page that has only one."""

    title: str
    parts: tuple[Part, ...]


def render(
    heading: str,
    chapters: Sequence[Chapter],
    lead: Sequence[str] = (),
    *,
    opening: str = "",
    scripts: Sequence[str] = (),
    styles: Sequence[str] = (),
) -> str:
    """Return the self-contained page; several chapters get a line of links and open on demand.

    Notes are printed once, at the end of the page, and have numbers.

    Parameters
    ----------
    lead
        Sentences below the heading.
    opening
        HTML of the first screen, above the chapters.
    scripts, styles
        Added to those of every page; they hold nothing that comes from results.
    """
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    script = "\n".join([SCRIPT.read_text(encoding="utf-8"), *scripts])
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    notes = dict.fromkeys(n for chapter in chapters for part in chapter.parts for n in part.notes)
    numbers = {note: number for number, note in enumerate(notes, 1)}
    text = template.render(
        heading=heading,
        chapters=chapters,
        lead=lead,
        opening=opening,
        numbers=numbers,
        policy=POLICY.format(digest=digest),
        style="\n".join([STYLE.read_text(encoding="utf-8").rstrip(), *styles]),
        script=script,
    )
    return text + "\n"


def figure(svg: str, caption: str, title: str = "", *, instead: str = "") -> Part:
    """Return a figure with its SVG embedded in the page, black and white in the page's colours.

    Parameters
    ----------
    instead
        Words for who cannot see it; the title, or else the caption, if not given.
    """
    inner = _METADATA.sub("", svg[svg.index("<svg") :])  # without the XML declaration
    painted = _PAINT.sub(lambda found: f"{found[1]}: {_INK[found[2]]}", inner)
    role = "group" if "<a " in painted else "img"  # what is inside an image cannot be reached
    words = escape(instead or title or caption)
    named = painted.replace("<svg", f"<svg role='{role}' aria-label='{words}'", 1)
    return _figure(named, caption, title)


def drawings(drawn: Sequence[Drawing]) -> Part:
    """Return drawings side by side; their captions are notes, which are printed once."""
    figures = [figure(one.svg, one.title, instead=one.instead).html for one in drawn]
    inside = "\n".join(figures)
    return Part(f"<div class='drawn'>\n{inside}\n</div>", tuple(one.caption for one in drawn))


def picture(png: str, size: tuple[int, int], caption: str, title: str, *, instead: str) -> Part:
    """Return a figure with a PNG in base 64 embedded in the page.

    Parameters
    ----------
    size
        Width and height in pixels.
    instead
        Words for who cannot see it.
    """
    image = (
        f"<img width='{size[0]}' height='{size[1]}' style='max-width: 100%; height: auto'"
        f" alt='{escape(instead)}'"
        f" src='data:image/png;base64,{escape(png)}'>"
    )
    return _figure(image, caption, title)


def _figure(content: str, caption: str, title: str) -> Part:
    heading = f"<h3>{escape(title)}</h3>\n" if title else ""
    below = f"<figcaption>{escape(caption)}</figcaption>\n" if caption else ""
    return Part(f"{heading}<figure>\n{content}\n{below}</figure>")
