"""Where results tables are taken from: files, folders, stores and packs, alone or together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.results import packs
from bench.results.columns import SPLIT

if TYPE_CHECKING:
    import pandas as pd

COSTS = ("device_s", "peak_mb", "device", "software")
"""Columns in which two computations of the same run may differ."""


def tables_of(source: Path) -> list[Path]:
    """Return the results tables of a file, a pack, a store or a folder of files and packs.

    The file beside a results table that says how to compute it again stands for the table.

    Raises
    ------
    BenchError
        There are none.
    """
    if packs.is_pack(source):
        found = packs.tables_in(source)
    elif source.is_dir():
        folder = source / "results" if (source / "results").is_dir() else source
        found = sorted(folder.glob(f"*{packs.TABLE}"))
        for pack in sorted(folder.glob(f"*{packs.SUFFIX}")):
            found += packs.tables_in(pack)
    elif source.suffix.lower() == ".csv":
        raise BenchError(f"{source}: a CSV of scores is given as --csv {source}")
    elif source.suffix.lower() == ".toml" and (table := source.with_suffix(packs.TABLE)).is_file():
        return [table]
    elif source.is_file() and source.suffix.lower() != packs.TABLE:
        raise BenchError(f"{source}: is no results table (*.parquet) and no pack (*.zip)")
    else:
        return [source]
    if not found:
        raise BenchError(f"{source}: holds no results tables (*.parquet) and no packs (*.zip)")
    return found


def contradiction(
    table: pd.DataFrame, files: Sequence[Path], run: Sequence[str], key: Sequence[str]
) -> str:
    """Return how the results of several sources contradict each other; empty if they do not.

    A source is a folder or a pack. Within one, the newer of two tables replaces the older; of two
    sources neither is right, so a run that is in both has to have the same scores in both, and all
    have to be scored on the same cases and truths.

    Parameters
    ----------
    table
        Rows with the column ``_file``, the position in ``files`` of the file that they are from.
    run, key
        Columns that name a run and a row.
    """
    if len({file.parent for file in files}) < 2:
        return ""
    origin = {file.parent: number for number, file in enumerate(files)}
    table = table.assign(_source=table["_file"].map(lambda n: origin[files[n].parent]))
    run, key = list(run), list(key)
    newest = table.groupby([*run, "_source"])["_file"].transform("min")
    table = table[table["_file"] == newest]
    clashes = (_other_truths(table), _other_cases(table), _other_rows(table, run, key))
    for first, second, what in chain.from_iterable(clashes):
        return f"{files[first]} and {files[second]} {what}: leave out one of them"
    return ""


_Clash = tuple[int, int, str]


def _other_truths(table: pd.DataFrame) -> Iterator[_Clash]:
    """Find cases of which the complete labels or the patient are others in another file."""
    for name, within in (
        ("n_gt", ["dataset", "profile", "case", "organ"]),
        ("patient", ["dataset", "case"]),
    ):
        distinct = table.drop_duplicates([*within, name, "_source"])
        first = distinct.groupby(within, sort=False)[[name, "_file"]].transform("first")
        wrong = distinct[distinct[name] != first[name]]
        for position in wrong.index[:1]:
            row, other = distinct.loc[position], first.loc[position]
            yield (
                int(other["_file"]),
                int(row["_file"]),
                f"were not scored on the same truth: {_where(row, within)} has {name} "
                f"{other[name]} and {row[name]}",
            )


def _other_cases(table: pd.DataFrame) -> Iterator[_Clash]:
    """Find cases that one source tests and another, with the same split, does not."""
    cell = [*SPLIT, "labels"]
    known = table.loc[table["labels"] != "", [*cell, "case", "_source", "_file"]]
    files = known.drop_duplicates([*cell, "_source"])
    cases = known.drop_duplicates([*cell, "case", "_source"])
    lacking = (
        files[[*cell, "_source", "_file"]]
        .merge(cases[[*cell, "case", "_source", "_file"]], on=cell, suffixes=("", "_has"))
        .merge(
            cases[[*cell, "case", "_source"]].assign(tested=True),
            on=[*cell, "case", "_source"],
            how="left",
        )
    )
    lacking = lacking[lacking["tested"].isna()]
    for _, row in lacking.head(1).iterrows():
        yield (
            int(row["_file_has"]),
            int(row["_file"]),
            f"have other lists of cases: {_where(row, [*SPLIT, 'case'])} is in the first only",
        )


def _other_rows(table: pd.DataFrame, run: list[str], key: list[str]) -> Iterator[_Clash]:
    """Find rows of one run that are others in another file."""
    sources = table.drop_duplicates([*run, "_source"])
    shared = sources.loc[sources.duplicated(run, keep=False), run].drop_duplicates()
    if shared.empty:
        return
    rows = table.merge(shared, on=run)
    first = rows.groupby(run)["_file"].transform("min")
    kept, others = rows[rows["_file"] == first], rows[rows["_file"] != first]
    apart = {"_file", "_source", *key, *COSTS}
    names = [name for name in table.columns if name not in apart]
    for _, other in others.groupby("_file"):
        theirs = kept.merge(other[run].drop_duplicates(), on=run)
        both = theirs.merge(other, on=key, how="outer", suffixes=("", "_other"), indicator="_in")
        second = int(other["_file"].iloc[0])
        for _, row in both[both["_in"] != "both"].head(1).iterrows():
            inside = "first" if row["_in"] == "left_only" else "second"
            what = f"hold other rows of one run: {_where(row, key)} is in the {inside}"
            yield int(theirs["_file"].iloc[0]), second, what
        for name in names:
            one, two = both[name], both[f"{name}_other"]
            wrong = (one != two) & ~(one.isna() & two.isna())
            for _, row in both[wrong].head(1).iterrows():
                values = f"{name} {_shown(row[name])} and {_shown(row[f'{name}_other'])}"
                what = f"hold other results of one run: {_where(row, key)} has {values}"
                yield int(row["_file"]), second, what


def _where(row: pd.Series, names: Sequence[str]) -> str:
    return ", ".join(f"{name}={row[name]}" for name in names)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
