"""What ``bench report`` wrote and shows, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.answers import Answer

if TYPE_CHECKING:
    from bench.reporting.board import Board


@dataclass(frozen=True)
class ReportedTable:
    """A table as the terminal shows it."""

    title: str
    prose: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ReportAnswer(Answer):
    """``bench report``."""

    command = "report"

    report: str
    files: tuple[Path, ...]
    tables: tuple[ReportedTable, ...]


def report_of(name: str, files: Sequence[Path], boards: Sequence[Board]) -> ReportAnswer:
    """Return the files that a report wrote and the tables that it shows."""
    tables = (
        ReportedTable(
            title=board.title,
            prose=board.prose,
            columns=tuple(board.names),
            rows=tuple(tuple(text for text, _ in line) for line in board.lines()),
            notes=board.notes,
        )
        for board in boards
    )
    return ReportAnswer(report=name, files=tuple(files), tables=tuple(tables))
