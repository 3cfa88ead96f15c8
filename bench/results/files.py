"""Read the tables of a set of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bench.results import packs
from bench.results.schema import Schema
from bench.results.tables import (
    AUDIT,
    CURVES,
    LAYERS,
    PICTURES,
    RESULTS,
    SHEETS,
    TARGETS,
    TUNING,
)

if TYPE_CHECKING:
    import pandas as pd

BESIDE = (AUDIT, CURVES, PICTURES, TARGETS, LAYERS, SHEETS, TUNING)
"""Stored beside ``NAME.parquet`` as ``NAME.<name of the schema>.parquet``."""


class Tables:
    """The tables of a set of runs; a table may have no rows.

    Each is read when it is first asked for, so a report reads those that it shows.

    Parameters
    ----------
    load
        Returns the table of a schema.
    """

    def __init__(self, load: Callable[[Schema], pd.DataFrame]) -> None:
        self._load = load

    @classmethod
    def read(cls, paths: Sequence[Path], remark: Callable[[str], None] = lambda _: None) -> Self:
        """Read several sets of tables as one, each named by any of its files.

        ``remark`` is called with a line about runs that are left out (:meth:`Schema.load_all`).
        """
        sets = results_among(paths)

        def load(schema: Schema) -> pd.DataFrame:
            if schema is RESULTS:
                return schema.load_all(sets, remark)
            files = (beside(path, schema) for path in sets)
            return schema.load_all([path for path in files if packs.is_file(path)])

        return cls(load)

    @cached_property
    def results(self) -> pd.DataFrame:
        """Scores: one row per model, test case and organ."""
        return self._load(RESULTS)

    @cached_property
    def audit(self) -> pd.DataFrame:
        """Pseudo-labels against the hidden labels."""
        return self._load(AUDIT)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Values logged in training."""
        return self._load(CURVES)

    @cached_property
    def pictures(self) -> pd.DataFrame:
        """Pictures of predictions and of pseudo-labels."""
        return self._load(PICTURES)

    @cached_property
    def targets(self) -> pd.DataFrame:
        """Right and wrong training targets."""
        return self._load(TARGETS)

    @cached_property
    def layers(self) -> pd.DataFrame:
        """The blocks of the networks."""
        return self._load(LAYERS)

    @cached_property
    def sheets(self) -> pd.DataFrame:
        """Contact sheets of the data."""
        return self._load(SHEETS)

    @cached_property
    def tuning(self) -> pd.DataFrame:
        """Settings that were tried for the methods that `bench tune` chose."""
        return self._load(TUNING)


def beside(path: Path, schema: Schema) -> Path:
    """Return where the table of another schema lies that belongs to the results in ``path``."""
    return path.with_suffix(f".{schema.name}.parquet")


def results_among(paths: Sequence[Path]) -> list[Path]:
    """Return the results tables that some tables belong to, each once."""
    return list(dict.fromkeys(map(_results_path, paths)))


def _results_path(path: Path) -> Path:
    """Return the path of the results table that belongs to a table, or the path itself."""
    endings = tuple(f".{schema.name}" for schema in BESIDE)
    if not path.stem.endswith(endings):
        return path
    return path.with_name(path.stem).with_suffix(".parquet")
