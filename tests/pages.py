"""The pages of the documentation, as tests read them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]


def table(text: str, header: str) -> dict[str, list[str]]:
    """Return the rows of the table whose first heading is ``header``: first cell -> other cells."""
    rows: dict[str, list[str]] = {}
    inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")] if line[:1] == "|" else []
        if not cells:
            inside = False
        elif cells[0] == header:
            inside = True
        elif inside and not set(cells[0]) <= set(":-"):
            rows[cells[0].strip("`")] = cells[1:]
    assert rows, f"no table with the heading {header!r}"
    return rows
