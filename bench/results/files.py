"""Read and write the tables of a set of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.results.curves import CURVES
from bench.results.descriptions import LAYERS, TARGETS
from bench.results.pictures import PICTURES
from bench.results.tables import AUDIT, RESULTS, read_all, write

if TYPE_CHECKING:
    import pandas as pd

BESIDE = (AUDIT, CURVES, PICTURES, TARGETS, LAYERS)
"""Stored beside ``NAME.parquet`` as ``NAME.<name of the schema>.parquet``."""


class Tables(NamedTuple):
    """What is known of some runs; a table without rows where there is nothing."""

    results: pd.DataFrame
    audit: pd.DataFrame
    curves: pd.DataFrame
    pictures: pd.DataFrame
    targets: pd.DataFrame
    layers: pd.DataFrame


def table_files(paths: Sequence[Path], table: str) -> list[Path]:
    """Return one table's file for every set of files that ``paths`` name by any of its members."""
    endings = tuple(f".{schema.name}" for schema in BESIDE)
    named = dict.fromkeys(
        path.with_name(path.stem).with_suffix(".parquet") if path.stem.endswith(endings) else path
        for path in paths
    )
    return [path if table == RESULTS.name else beside(path, table) for path in named]


def beside(path: Path, table: str) -> Path:
    """Return the file of a table that is stored beside the results at ``path``."""
    return path.with_suffix(f".{table}.parquet")


def save_tables(tables: Tables, path: Path) -> None:
    """Check and write the results to ``path`` and the other tables beside it."""
    write(tables.results, path)
    for schema in BESIDE:
        schema.save(getattr(tables, schema.name), beside(path, schema.name))


def read_tables(paths: Sequence[Path]) -> Tables:
    """Read several results tables as one, and all that lies beside them."""
    others = {
        schema.name: schema.load_all(
            [found for path in paths if (found := beside(path, schema.name)).is_file()]
        )
        for schema in BESIDE
    }
    return Tables(read_all(paths), **others)
