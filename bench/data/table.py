"""Tables of text, as releases bring them."""

from __future__ import annotations

import csv
from pathlib import Path

from bench.errors import BenchError
from bench.files import file_size

MAX_TABLE_BYTES = 2**26


def read_table(path: Path, separator: str = ",") -> list[list[str]]:
    """Return the cells of a table of a release, empty rows left out.

    Raises
    ------
    BenchError
        No file, a larger one than tables are, or no text.
    """
    try:
        if file_size(path) > MAX_TABLE_BYTES:
            raise csv.Error(f"larger than {MAX_TABLE_BYTES} bytes")
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=separator)
            return [[cell.strip() for cell in row] for row in rows if any(row)]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise BenchError(f"{path}: not readable as UTF-8 table ({error})") from None
