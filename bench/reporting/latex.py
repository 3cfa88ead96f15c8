"""Boards as LaTeX tables that fit on the page of an article."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bench.reporting.drawing import NOTHING, Drawings
from bench.reporting.style import Mark

if TYPE_CHECKING:
    import pandas as pd

    from bench.reporting.board import Board

LINES = 32
"""Lines of a table, which fill a page; a longer one is given in parts."""
NAME = 30
"""Characters of a label in one line; longer ones are wrapped."""
WRAPPED = r">{\raggedright\arraybackslash}p{0.4\linewidth}"
FIT = r"max width=\linewidth,max totalheight=0.7\textheight"
"""Of a table or figure, with its caption and notes on the same page."""
MARKS: dict[Mark, str] = {
    "": "",
    "best": "textbf:--rwrap;",
    "best_tied": "textbf:--rwrap;textit:--rwrap;",
    "tied": "underline:--rwrap;",
}
SIGNS = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "−": "$-$",
        "⁰": r"\textsuperscript{0}",
        "–": "--",
    }
)


def to_latex(boards: Sequence[Board], drawings: Drawings = NOTHING) -> str:
    """Return the boards as tables no wider than the text, and what is drawn.

    The first line names the packages that they need.
    """
    parts = ["% Needs \\usepackage[export]{adjustbox} and \\usepackage{array,booktabs}."]
    for board in boards:
        prose = "".join(f"{escaped(sentence)}\n\n" for sentence in board.prose)
        parts.append(prose + "\n\n".join(_tables(board)))
        parts += [
            f"\\begin{{figure}}[htbp]\n\\centering\n"
            f"\\includegraphics[{FIT}]{{{one.name}.pdf}}\n"
            f"\\caption{{{escaped(one.title)}. {escaped(one.caption)}}}\n\\end{{figure}}"
            for one in drawings.get(board.title, ())
        ]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Return a text as LaTeX prints it."""
    return str(text).translate(SIGNS)


def _cell(text: str) -> str:
    """Return a text as LaTeX prints it after the end of a line, which takes ``[`` and ``*``."""
    return ("{}" if str(text).startswith(("[", "*")) else "") + escaped(text)


def _tables(board: Board) -> Iterator[str]:
    """Yield the table of a board, or its parts; the notes stand below the last."""
    lines = board.lines()
    marks = [[MARKS[mark] for _, mark in line] for line in lines]
    starts = range(0, max(len(lines), 1), LINES)
    labels = board.frame.iloc[:, : board.labels]
    columns = [WRAPPED if _longest(labels[name]) > NAME else "l" for name in labels]
    columns += "r" * (len(board.names) - board.labels)
    for number, start in enumerate(starts, 1):
        frame = board.frame[start : start + LINES].map(_cell).rename(columns=escaped)
        shown = marks[start : start + LINES]
        tabular = (
            frame.style.hide(axis="index")
            .apply(_marked, marks=shown, axis=None)
            .to_latex(hrules=True, column_format="".join(columns))
        )
        part = f", part {number} of {len(starts)}" if len(starts) > 1 else ""
        notes = "\n".join(map(escaped, board.notes)) if number == len(starts) else ""
        below = (
            f"\n\\smallskip\n\\parbox{{\\linewidth}}{{\\footnotesize {notes}}}\n" if notes else ""
        )
        yield (
            f"\\begin{{table}}[htbp]\n\\centering\n\\caption{{{escaped(board.title)}{part}}}\n"
            f"\\begin{{adjustbox}}{{{FIT}}}\n{tabular}\\end{{adjustbox}}\n"
            f"{below}\\end{{table}}"
        )


def _longest(labels: pd.Series) -> int:
    return int(labels.astype(str).map(len).max()) if len(labels) else 0


def _marked(frame: pd.DataFrame, *, marks: Sequence[Sequence[str]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(marks, index=frame.index, columns=frame.columns)
