"""Base class of reports: pure functions of the results tables."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bench.errors import BenchError
from bench.params import Params

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType


TableName = Literal["results", "audit", "curves"]


class Report(Params, abc.ABC):
    """Base of the report plugins; the fields of a subclass are its options.

    A report reads one table only (see ``bench.results.tables``), perhaps with the tables beside it,
    so building it again takes seconds and gives the same bytes.
    """

    summary: ClassVar[str]
    reads: ClassVar[TableName] = "results"
    """The table it is built from: scores of test cases, the audit of relabelled voxels, or what
    trainings logged."""

    def read(self, paths: Sequence[Path]) -> Any:
        """Read the files of a store as one table; of a run that stands in several, the newest."""
        from bench.results.files import Tables

        return getattr(Tables.read(paths), self.reads)

    def read_csv(self, path: Path) -> pd.DataFrame:
        """Read somebody's own CSV instead, if the report takes one."""
        raise BenchError(f"{path}: this report reads results of `bench run`, not a CSV")

    @abc.abstractmethod
    def build(self, table: Any, out: Path) -> list[Path]:
        """Write the report's files into ``out``, which exists, and return their paths."""

    def show(self, table: Any) -> RenderableType:
        """Return what to print once the report is built; nothing by default."""
        del table
        return ""
