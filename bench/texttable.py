"""Tables of text, such as CSV, as spreadsheets and programs write them; or one line why it is none.

Separator and encoding are never guessed from what is likely, as ``csv.Sniffer`` does, on which
pandas relies: a table that could be read in two ways is refused.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.errors import BenchError, explain, neutral
from bench.files import file_size
from bench.labels import composed

if TYPE_CHECKING:
    from _csv import Reader

MAX_TABLE_BYTES = 2**28
"""Of a file; its cells take several times as much memory."""

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""What spreadsheets put between columns, according to the country and the kind of file."""

_DECLARATION = re.compile(r"sep=([,;\t]) *(?:\r\n?|\n|\Z)", re.IGNORECASE)
"""A first line that tells spreadsheets the separator."""

_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_DECIMAL_POINT = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?")


class Row(NamedTuple):
    """A row with text in it."""

    number: int
    """As an editor counts lines: from 1, blank ones too."""
    cells: list[str]
    """Without blanks around them."""


@dataclass(frozen=True)
class TextTable:
    """A table; every row has as many cells as the header."""

    path: Path
    separator: str
    header: Row
    rows: list[Row]

    def names(self) -> list[str]:
        """Return the names of the columns; that of the first one, of row names, may be blank.

        Raises
        ------
        BenchError
            Two columns of one name, or one without a name.
        """
        names = self.header.cells
        for place, name in enumerate(names):
            if place and not name:
                raise self.fault(self.header, f"column {place + 1} has no name; name or remove it")
            if name in names[:place]:
                raise self.fault(self.header, f"two columns are called {name}; keep one")
        return names

    def numbers(self, column: int) -> list[str]:
        """Return the cells of a column, with decimal points where they are numbers.

        Where semicolons separate the columns a comma may be the decimal point; elsewhere it could
        part thousands.

        Raises
        ------
        BenchError
            A comma in a number that is not known to be a decimal point.
        """
        cells = [row.cells[column] for row in self.rows]
        commas = [
            n for n, cell in enumerate(cells) if "," in cell and _DECIMAL_COMMA.fullmatch(cell)
        ]
        if commas and (self.separator != ";" or any(map(_DECIMAL_POINT.fullmatch, cells))):
            cell = cells[commas[0]]
            problem = f"'{cell}' has a comma; write {cell.replace(',', '.')} if it is decimal"
            name = self.header.cells[column]
            raise self.fault(self.rows[commas[0]], problem, column=name)
        for place in commas:
            cells[place] = cells[place].replace(",", ".")
        return cells

    def fault(self, row: Row, problem: str, *, column: str | None = None) -> BenchError:
        """Return the error of a row, or of a cell in it."""
        return _fault(self.path, row.number, problem, column)


def read_table(path: Path) -> TextTable:
    """Read a table whose first row with text holds the names of its columns.

    Commas, semicolons or tabs separate the columns, or what a first line ``sep=;`` says; the text
    is UTF-8, or UTF-16 with its mark. Rows without text are left out, and blank cells behind the
    last name.

    Raises
    ------
    BenchError
        No such file, no text, no row; a row of more or fewer cells than the header; quotation
        marks that are not closed; control characters; a header that two separators part.
    """
    text = _text(path)
    declaration = _DECLARATION.match(text)
    if declaration:
        return _parsed(path, text[declaration.end() :], declaration[1], first=2)
    separators = _separators(text)
    if len(separators) == 1:
        return _parsed(path, text, separators[0])
    tables = [table for mark in separators if (table := _fitting(path, text, mark))]
    if len(tables) != 1:
        marks = " and ".join(_SEPARATORS[mark] for mark in separators)
        raise BenchError(
            f"{path}: the names of the columns hold {marks}; put names that hold one into quotation"
            f" marks, or write the separator into a first line, such as sep={separators[-1]}"
        )
    return tables[0]


def _text(path: Path) -> str:
    """Return the text of a file."""
    if file_size(path) > MAX_TABLE_BYTES:
        raise BenchError(f"{path}: is larger than {MAX_TABLE_BYTES} bytes; is it a table?")
    try:
        content = path.read_bytes()
    except OSError as error:
        error.filename = None
        raise BenchError(f"{path}: cannot be read: {explain(error)}") from None
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if wide else "utf-8-sig"
    anew = "is no UTF-8 text; save the table anew as CSV in UTF-8"
    if b"\0" in content and not wide:
        raise BenchError(f"{path}: {anew}")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(encoding, "replace")
        raise _fault(path, len(f"{before}?".splitlines()), anew) from None


def _separators(text: str) -> list[str]:
    """Return what may part the cells of the header; a comma if it is a single cell."""
    return [mark for mark in _SEPARATORS if _cells_of_header(text, mark) > 1] or [","]


def _cells_of_header(text: str, separator: str) -> int:
    """Return how many cells the header has, 0 if this separator would part a quoted one."""
    try:
        cells = next(filter(any, _reader(text, separator)), [])
    except csv.Error:
        return 0
    return 0 if any(cell.count('"') % 2 for cell in cells) else len(cells)


def _reader(text: str, separator: str) -> Reader:
    lines = io.StringIO(text, newline="")
    return csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)


def _fitting(path: Path, text: str, separator: str) -> TextTable | None:
    try:
        return _parsed(path, text, separator)
    except BenchError:
        return None


def _parsed(path: Path, text: str, separator: str, first: int = 1) -> TextTable:
    """Return the table whose first line has a number."""
    rows = _rows(path, text, separator, first)
    if not rows:
        raise BenchError(f"{path}: is empty; write the names of the columns into its first row")
    width = _width(rows[0].cells)
    header, *body = (_of_width(path, row, width) for row in rows)
    return TextTable(path, separator, header, body)


def _of_width(path: Path, row: Row, width: int) -> Row:
    """Return a row without blank cells behind the last name."""
    if len(row.cells) == width:
        return row
    if len(row.cells) < width:
        raise _fault(path, row.number, f"has {len(row.cells)} of {width} cells; complete it")
    if (held := _width(row.cells)) > width:
        raise _fault(
            path,
            row.number,
            f"has {held} cells, the header {width}; put text that holds a separator into quotation"
            " marks, or name the column",
        )
    return Row(row.number, row.cells[:width])


def _rows(path: Path, text: str, separator: str, first: int) -> list[Row]:
    """Return the rows with text."""
    reader, number = _reader(text, separator), first
    spelt = str if text.isascii() else composed
    rows = []
    try:
        for line in reader:
            cells = [spelt(cell).strip() for cell in line]
            _refuse_controls(path, number, cells)
            if any(cells):
                rows.append(Row(number, cells))
            number = first + reader.line_num
    except csv.Error as error:
        problem = f"not readable as CSV ({error}); correct the quotation marks in it"
        raise _fault(path, number, problem) from None
    return rows


def _refuse_controls(path: Path, number: int, cells: Sequence[str]) -> None:
    text = "".join(cells)
    if not text.isprintable() and neutral(text) != text:
        raise _fault(
            path,
            number,
            "holds control characters, or a line break inside a cell; remove them, or correct the"
            " quotation marks",
        )


def _width(cells: Sequence[str]) -> int:
    """Return the number of cells without the blank ones at the end."""
    return next((place for place in range(len(cells), 0, -1) if cells[place - 1]), 0)


def _fault(path: Path, number: int, problem: str, column: str | None = None) -> BenchError:
    where = "" if column is None else f", column {column}"
    return BenchError(f"{path} row {number}{where}: {problem}")
