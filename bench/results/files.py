"""Read and write the tables of a set of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from bench.results.tables import AUDIT, CURVES, LAYERS, PICTURES, RESULTS, TARGETS

if TYPE_CHECKING:
    import pandas as pd

BESIDE = (AUDIT, CURVES, PICTURES, TARGETS, LAYERS)
"""Stored beside ``NAME.parquet`` as ``NAME.<name of the schema>.parquet``."""


class Tables(NamedTuple):
    """The tables of a set of runs; a table may have no rows."""

    results: pd.DataFrame
    audit: pd.DataFrame
    curves: pd.DataFrame
    pictures: pd.DataFrame
    targets: pd.DataFrame
    layers: pd.DataFrame

    @classmethod
    def of(cls, **given: pd.DataFrame) -> Self:
        """Return the given tables, the others without rows."""
        return cls(**{schema.name: schema.frame([]) for schema in (RESULTS, *BESIDE)} | given)

    @classmethod
    def read(cls, paths: Sequence[Path]) -> Self:
        """Read several sets of tables as one, each named by any of its files."""
        sets = dict.fromkeys(map(_results_path, paths))
        others = {
            schema.name: schema.load_all(
                [found for path in sets if (found := _beside(path, schema.name)).is_file()]
            )
            for schema in BESIDE
        }
        return cls(results=RESULTS.load_all(list(sets)), **others)

    def save(self, path: Path) -> None:
        """Check and write the results to ``path`` and the other tables beside it."""
        RESULTS.save(self.results, path)
        for schema in BESIDE:
            schema.save(getattr(self, schema.name), _beside(path, schema.name))


def _results_path(path: Path) -> Path:
    """Return the path of the results table that belongs to a table, or the path itself."""
    endings = tuple(f".{schema.name}" for schema in BESIDE)
    if not path.stem.endswith(endings):
        return path
    return path.with_name(path.stem).with_suffix(".parquet")


def _beside(path: Path, table: str) -> Path:
    return path.with_suffix(f".{table}.parquet")
