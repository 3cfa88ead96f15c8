"""Base class of reports: pure functions of the results tables."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import model_validator
from typing_extensions import override

from bench.evaluation.metrics import MetricName
from bench.files import replacing
from bench.params import Params

if TYPE_CHECKING:
    from bench.reporting.board import Board
    from bench.reporting.scored import Scored
    from bench.results.files import Tables


class Later(Mapping[str, str | bytes]):
    """Files that are made when the first is asked for: who wants the boards alone waits for none.

    Parameters
    ----------
    make
        Returns the content of every file by its name.
    """

    def __init__(self, make: Callable[[], Mapping[str, str | bytes]]) -> None:
        self._made = cache(make)

    @override
    def __getitem__(self, name: str) -> str | bytes:
        return self._made()[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._made())

    @override
    def __len__(self) -> int:
        return len(self._made())


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


class ScoresReport(Report):
    """Base of the reports for which scores are enough: those of results, or of a CSV."""

    higher_is_better: bool = True
    """Of a CSV; metrics of results tables know."""
    unit: str = ""
    """Of a CSV; if it is given, methods are not suspected of different units."""
    csv: Path | None = None
    """Scores of your own, instead of results (``bench.reporting.scores``)."""

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        given = self.model_fields_set
        if self.csv is not None and "metric" in given:
            raise ValueError(
                "metric is of results; what the values of a CSV are say unit and higher_is_better"
            )
        if self.csv is None and (of_csv := sorted({"unit", "higher_is_better"} & given)):
            raise ValueError(f"{' and '.join(of_csv)}: of a CSV alone, results know theirs")
        return self

    @property
    @override
    def needs_results(self) -> bool:
        return self.csv is None

    def scored(self, tables: Tables, metric: MetricName = "dsc") -> Scored:
        """Return the scores of the results, or of the CSV.

        Raises
        ------
        BenchError
            There are no results, or the CSV has a fault.
        """
        from bench.reporting.scored import Scored
        from bench.reporting.scores import read_csv
        from bench.reporting.style import MethodStyles

        if self.csv is None:
            return Scored.of_results(tables.results, metric)
        table = read_csv(self.csv, higher_is_better=self.higher_is_better, unit=self.unit)
        return Scored(table, MethodStyles())
