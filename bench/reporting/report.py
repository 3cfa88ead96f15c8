"""Base class of reports: pure functions of the results tables."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.files import replacing
from bench.params import Params

if TYPE_CHECKING:
    from bench.reporting.board import Board
    from bench.results.files import Tables


@dataclass(frozen=True)
class Document:
    """The output of a report.

    Attributes
    ----------
    files
        Content of every file by its name; :func:`bench.reporting.board.files` renders boards.
    boards
        The tables that the terminal shows.
    """

    files: Mapping[str, str | bytes]
    boards: Sequence[Board] = ()

    def write(self, out: Path) -> list[Path]:
        """Write the files into a folder, created if necessary, and return their paths."""
        out.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            data = content.encode() if isinstance(content, str) else content
            with replacing(out / name) as unfinished:
                unfinished.write_bytes(data)
        return [out / name for name in self.files]


class Report(Params, abc.ABC):
    """Base of the report plugins; the fields of a subclass are its options.

    A report reads only the tables of a set of runs, so building it again takes seconds and gives
    the same bytes.
    """

    @property
    def needs_results(self) -> bool:
        """Whether it needs results of ``bench run``; if not, it gets tables without rows."""
        return True

    @abc.abstractmethod
    def build(self, tables: Tables) -> Document:
        """Return the files and boards of the report for these tables.

        Raises
        ------
        BenchError
            The tables lack the rows that it reports.
        """
