"""What every report is: a pure function of the results table that writes files."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from bench.params import Params

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType


TableName = Literal["results", "audit", "curves"]


class Report(Params, abc.ABC):
    """Base of the report plugins; the fields of a subclass are its options.

    A report reads one table only (see ``bench.results``), so building it again takes seconds and
    gives the same bytes.
    """

    summary: ClassVar[str]
    reads: ClassVar[TableName] = "results"
    """The table it is built from: scores of test cases, the audit of relabelled voxels, or what
    trainings logged."""

    @abc.abstractmethod
    def build(self, table: pd.DataFrame, out: Path) -> list[Path]:
        """Write the report's files into ``out``, which exists, and return their paths."""

    def show(self, _table: pd.DataFrame) -> RenderableType:
        """Return what to print once the report is built; nothing by default."""
        return ""
