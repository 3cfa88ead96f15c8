"""A report table and its renderers: terminal, Markdown, HTML; LaTeX has a module of its own.

Reports decide the content of a board; this module decides its layout. Equal boards give equal text.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import one_line
from bench.reporting import page
from bench.reporting.drawing import NOTHING, Drawings, finish
from bench.reporting.latex import to_latex
from bench.reporting.style import Mark

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from pandas.io.formats.style_render import CSSDict
    from rich.console import RenderableType

_MARKDOWN = re.compile(r"[\\|*_]|(?<=\])\(")
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_FORMULA = ("=", "+", "-", "@")

CONSOLE: dict[Mark, str] = {
    "": "",
    "best": "bold",
    "best_tied": "bold italic",
    "tied": "underline",
}
MARKDOWN: dict[Mark, str] = {
    "": "{}",
    "best": "**{}**",
    "best_tied": "***{}***",
    "tied": "<u>{}</u>",
}
CSS: dict[Mark, str] = {
    "": "",
    "best": "font-weight: 700;",
    "best_tied": "font-weight: 700; font-style: italic;",
    "tied": "text-decoration: underline;",
}

LABEL_CSS = "text-align: left; white-space: var(--label-space); overflow-wrap: var(--label-wrap);"
"""Style of leading columns; a page says where long names wrap: on paper and on a phone."""


@dataclass(frozen=True)
class Board:
    """One formatted table of a report.

    Attributes
    ----------
    title
        One line above the table.
    frame
        Text cells under unique column names.
    marks
        Highlighting of the cells, in the shape of ``frame`` (``bench.reporting.style.Mark``); none
        by default.
    notes
        One sentence each, below the table.
    labels
        How many leading columns name the line; they are aligned left.
    colours
        The colour of each line's method, ``#RRGGBB``; empty if lines are not methods.
    prose
        Sentences above the table, one each.
    """

    title: str
    frame: pd.DataFrame
    notes: tuple[str, ...]
    marks: NDArray[np.object_] | None = None
    labels: int = 1
    colours: tuple[str, ...] = ()
    prose: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Bring every text into one line without control characters: it may be a stranger's."""
        object.__setattr__(self, "frame", _texts(self.frame, _plain))
        object.__setattr__(self, "title", one_line(self.title))
        object.__setattr__(self, "notes", tuple(map(one_line, self.notes)))
        object.__setattr__(self, "prose", tuple(map(one_line, self.prose)))

    def lines(self) -> list[list[tuple[str, Mark]]]:
        """Return text and mark of every cell, line by line."""
        cells = self.frame.to_numpy()
        marks = np.full(cells.shape, "", object) if self.marks is None else self.marks
        return [
            list(zip(map(str, texts), line, strict=True))
            for texts, line in zip(cells, marks, strict=True)
        ]

    @property
    def names(self) -> list[str]:
        """Column names."""
        return [str(name) for name in self.frame.columns]


def files(
    stem: str,
    boards: Sequence[Board],
    heading: str,
    numbers: pd.DataFrame,
    float_format: str = "%.4f",
    drawings: Drawings = NOTHING,
) -> dict[str, str | bytes]:
    """Return ``stem.md``, ``.csv``, ``.tex`` and ``.html``: boards, and the numbers behind them.

    Texts that a spreadsheet would run as a formula start with an apostrophe in the CSV.

    Parameters
    ----------
    drawings
        Each is also a file of every format that it has.
    """
    cells = _texts(numbers, _no_formula)
    csv = cells.to_csv(index=False, float_format=float_format, lineterminator="\n")
    found: dict[str, str | bytes] = {
        f"{stem}.md": to_markdown(boards, heading, drawings),
        f"{stem}.csv": str(csv),
        f"{stem}.tex": to_latex(boards, drawings),
    }
    found[f"{stem}.html"] = to_html(boards, heading, drawings)
    for one in chain.from_iterable(drawings.values()):
        found |= {f"{one.name}.{ending}": held for ending, held in one.files().items()}
    return found


def to_console(boards: Sequence[Board]) -> RenderableType:
    """Return the boards for rich, which prints plain text without a terminal.

    A note that several boards share is printed once, under the first.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    printed: set[str] = set()
    for board in boards:
        fresh = [note for note in board.notes if note not in printed]
        printed.update(fresh)
        shown = Table(
            box=SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            collapse_padding=True,
        )
        for position, name in enumerate(board.names):
            # Folding keeps every digit where the terminal is narrow.
            shown.add_column(
                Text(name),
                justify="left" if position < board.labels else "right",
                overflow="fold",
            )
        for line in board.lines():
            shown.add_row(
                *(
                    Text(
                        cell if position < board.labels else cell.replace(" (", "\n("),
                        CONSOLE[mark],
                    )
                    for position, (cell, mark) in enumerate(line)
                )
            )
        parts += [
            Text(board.title, style="bold"),
            *map(Text, board.prose),
            shown,
            *(Padding(Text(note, style="dim"), (0, 0, 0, 2)) for note in fresh),
            "",
        ]
    return Group(*parts)


def to_markdown(boards: Sequence[Board], heading: str, drawings: Drawings = NOTHING) -> str:
    """Return the boards as Markdown tables, notes as lists, and what is drawn below them."""
    sections = []
    for board in boards:
        rule = [":--"] * board.labels + ["--:"] * (len(board.names) - board.labels)
        lines = [
            [_markdown(name) for name in board.names],
            rule,
            *(
                [MARKDOWN[mark].format(_markdown(cell)) for cell, mark in line]
                for line in board.lines()
            ),
        ]
        rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        notes = "\n".join(f"- {_markdown(note)}" for note in board.notes)
        prose = "".join(f"{_markdown(sentence)}\n\n" for sentence in board.prose)
        sections.append(f"## {_markdown(board.title)}\n\n{prose}{rows}\n\n{notes}\n")
        sections += [
            f"![{_markdown(one.instead or one.title)}]({one.name}.svg)\n\n"
            f"*{_markdown(one.title)}.* {_markdown(one.caption)}\n"
            for one in drawings.get(board.title, ())
        ]
    return f"# {_markdown(one_line(heading))}\n\n" + "\n".join(sections)


def to_html(boards: Sequence[Board], heading: str, drawings: Drawings = NOTHING) -> str:
    """Return one self-contained page with all boards and drawings, which are finished last."""
    tables = [to_part(board, f"board{number}") for number, board in enumerate(boards)]
    finish(list(chain.from_iterable(drawings.values())))
    parts = []
    for board, table in zip(boards, tables, strict=True):
        parts.append(table)
        if drawn := drawings.get(board.title):
            parts.append(page.drawings(drawn))
    return page.render(heading, [page.Chapter("", tuple(parts))])


def to_part(board: Board, name: str) -> page.Part:
    """Return a board as part of a page; ``name`` must be unique on the page."""
    prose = "".join(f"<p>{html.escape(sentence)}</p>\n" for sentence in board.prose)
    title = html.escape(board.title)
    return page.Part(f"<h3>{title}</h3>\n{prose}{to_table(board, name)}", board.notes)


def to_table(board: Board, name: str) -> str:
    """Return the table of a board as HTML that scrolls sideways, its title as the table's name."""
    left: list[CSSDict] = [{"selector": "", "props": LABEL_CSS}]
    table = (
        board.frame.style.hide(axis="index")
        .format(escape="html")
        .format_index(escape="html", axis="columns")
        .set_uuid(name)
        .apply(_properties, board=board, axis=None)
        .set_table_styles(dict.fromkeys(board.names[: board.labels], left))
    )
    return (
        f"<div class='scroll' tabindex='0' role='region' aria-label='{html.escape(board.title)}'"
        f" data-labels='{board.labels}'>\n{table.to_html()}</div>"
    )


def _properties(frame: pd.DataFrame, *, board: Board) -> pd.DataFrame:
    """Return the Styler's properties of every cell: its mark and the method's colour."""
    import pandas as pd

    cells = [[CSS[mark] for _, mark in line] for line in board.lines()]
    for line, colour in zip(cells, board.colours, strict=False):
        shown = "currentColor" if colour == "#000000" else colour  # black on dark is nothing
        line[0] += f"border-left: 6px solid {shown};"
    return pd.DataFrame(cells, index=frame.index, columns=frame.columns)


def _texts(frame: pd.DataFrame, change: Callable[[Any], Any]) -> pd.DataFrame:
    """Return the table with every text, column names included, changed."""
    from pandas.api.types import is_numeric_dtype

    changed = frame.copy()
    for name in frame.columns:
        if not is_numeric_dtype(frame[name]):
            changed[name] = frame[name].map(change)
    return changed.rename(columns=change)


def _plain(value: Any) -> Any:
    return one_line(value) if isinstance(value, str) else value


def _no_formula(value: Any) -> Any:
    """Return a cell that no spreadsheet runs; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _markdown(text: str) -> str:
    """Escape what Markdown would take for a table, emphasis, a link or a tag."""
    return _TAG.sub("&lt;", _MARKDOWN.sub(r"\\\g<0>", text))
