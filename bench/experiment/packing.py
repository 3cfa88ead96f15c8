"""Pack the results of a store: its tables, with the receipts and the scores behind them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.engine.provenance import provenance
from bench.engine.store import Store
from bench.errors import BenchError
from bench.results import packs
from bench.results.files import BESIDE, beside, results_among
from bench.results.tables import PICTURES, RESULTS, SHEETS
from bench.stage import Stage, ancestors
from bench.stages.evaluate import Evaluate

PATIENTS = (PICTURES, SHEETS)
"""Tables that show scans of patients."""
_VERSIONS = ("bench", "commit", "python", "torch", "monai", "numpy", "scipy")


class Packed(NamedTuple):
    """What a pack holds."""

    tables: int
    rows: int
    receipts: int
    without_receipts: list[Path]
    """Results tables that lie in no store."""


def pack(files: Sequence[Path], out: Path, *, pictures: bool = False) -> Packed:
    """Write results tables, and what stands beside and behind them, into one file.

    Parameters
    ----------
    files
        Results tables. Of one below ``results/`` of a store, the receipt of every stage that led to
        it is packed, and the scores as they were evaluated.
    pictures
        Also the tables of pictures, which show slices of the scans.

    Raises
    ------
    BenchError
        Tables that cannot be read or do not belong together, two of one name, a stage that this
        program cannot read, scores that are not those in the store.
    """
    files = results_among(files)
    loaded = {file: RESULTS.load(file) for file in files}
    results = RESULTS.merged(loaded)
    tables: dict[str, Path] = {}
    behind: dict[str, dict[str, Any]] = {packs.RECEIPTS: {}, packs.SCORES: {}}
    outside = []
    for file in files:
        if file.name in tables:
            raise BenchError(
                f"{tables[file.name]} and {file} have one name, and so would be one file of the "
                "pack: rename one of them, or pack each by itself"
            )
        tables[file.name] = file
        for schema in BESIDE:
            other = beside(file, schema)
            if other.is_file() and (pictures or schema not in PATIENTS):
                schema.load(other)
                tables[other.name] = other
        store = Store(file.absolute().parent.parent)
        keys = sorted(set(loaded[file]["stage"]))
        if file.absolute().parent.name == "results" and store.folders():
            _gather(store.find_all(keys), store, behind)
        else:
            outside.append(file)
    if wrong := unlike(results, behind[packs.SCORES]):
        raise BenchError(f"{wrong}: the table was edited; give its `bench run` again")
    versions = {name: text for name in _VERSIONS if (text := provenance().get(name))}
    packs.write(out, tables, behind, versions)
    return Packed(len(tables), len(results), len(behind[packs.RECEIPTS]), outside)


def _gather(stages: Sequence[Stage], store: Store, behind: dict[str, dict[str, Any]]) -> None:
    for last in stages:
        if not store.is_done(last):
            raise BenchError(
                f"{store.folder(last)}: has no result any more; give the `bench run` that wrote "
                "the table again"
            )
        if damage := store.damage(last):
            raise BenchError(f"{store.folder(last)}: {damage}; `bench verify --repair` mends it")
        for stage in ancestors(last):
            if store.is_done(stage):  # what only led to later stages may have been freed
                behind[packs.RECEIPTS][stage.key] = store.receipt(stage)
        scores = (store.out(last) / Evaluate.file).read_text()
        behind[packs.SCORES][last.key] = scores


def unlike(results: Any, scores: dict[str, Any]) -> str:
    """Return the first row that is not what its stage evaluated; empty if all are.

    Parameters
    ----------
    results
        A results table; rows of stages that are not in ``scores`` are passed over.
    scores
        Key of a stage -> the text of its file.

    Raises
    ------
    ValueError, KeyError, TypeError
        A text that no stage wrote.
    """
    import pandas as pd

    key, rounded = ["stage", "case", "organ"], 1e-9
    records = [
        {"stage": stage} | record for stage, text in scores.items() for record in json.loads(text)
    ]
    if not records:
        return ""
    evaluated = pd.DataFrame(records)
    names = [name for name in evaluated if name in results and name not in key]
    rows = results[results["stage"].isin(scores)]
    both = rows[[*key, *names]].merge(
        evaluated[[*key, *names]], on=key, how="left", suffixes=("", "_evaluated"), indicator="_in"
    )
    for name in names:
        told, was = both[name], both[f"{name}_evaluated"]
        if pd.api.types.is_numeric_dtype(told) and not pd.api.types.is_bool_dtype(told):
            wrong = ~((told - was.astype(float)).abs() <= rounded) & ~(told.isna() & was.isna())
        else:
            wrong = told != was
        if (wrong := wrong | (both["_in"] == "left_only")).any():
            row = both[wrong].iloc[0]
            return (
                f"case {row['case']}, {row['organ']} of {row['stage']} has {name} {row[name]}, "
                f"but was evaluated as {row[f'{name}_evaluated']}"
            )
    return ""
