"""From finished stages to the tables of a set of runs: results, audit, curves, pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.events import read_events
from bench.params import digest
from bench.plan import RoundResult, Run
from bench.stages.images import slug
from bench.stages.train import Train
from bench.store import Store

if TYPE_CHECKING:
    import pandas as pd


class Tables(NamedTuple):
    """What is known of the finished models of some runs."""

    results: pd.DataFrame
    audits: pd.DataFrame
    curves: pd.DataFrame
    pictures: pd.DataFrame


def collect(runs: Sequence[Run], store: Store) -> Tables:
    """Return the tables of all finished models of ``runs``."""
    from bench.curves import CURVES
    from bench.gallery import PICTURES
    from bench.results import AUDIT, RESULTS

    results: list[dict[str, Any]] = []
    audits: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    pictures: list[dict[str, Any]] = []
    for run in runs:
        finished = [
            (number, result)
            for number, result in enumerate(run.rounds)
            if store.is_done(result.evaluation)
        ]
        for number, result in finished:
            results += _evaluation_rows(run, number, result, store)
        audits += _audit_rows(run, store)
        curves += _curve_rows(run, store)
        pictures += _picture_rows(run, store)
    return Tables(
        RESULTS.frame(results),
        AUDIT.frame(audits),
        CURVES.frame(curves),
        PICTURES.frame(pictures),
    )


def save(runs: Sequence[Run], store: Store) -> Path:
    """Write the tables below ``results/`` of the store and return the path of the results.

    The file is named after what was run, so the same command replaces it.
    """
    from bench.curves import CURVES
    from bench.gallery import PICTURES
    from bench.results import AUDIT, write

    tables = collect(runs, store)
    identity = digest([[run.method, *_cell_columns(run).values()] for run in runs], 8)
    datasets = "-".join(sorted({slug(run.cell.source.dataset.name) for run in runs}))
    path = store.root / "results" / f"{datasets}-{identity}.parquet"
    write(tables.results, path)
    AUDIT.save(tables.audits, path.with_suffix(".audit.parquet"))
    CURVES.save(tables.curves, path.with_suffix(".curves.parquet"))
    PICTURES.save(tables.pictures, path.with_suffix(".pictures.parquet"))
    return path


def _cell_columns(run: Run) -> dict[str, Any]:
    cell = run.cell
    return {
        "dataset": cell.source.dataset.name,
        "label_pct": cell.label_pct,
        "fold": cell.fold,
        "seed": cell.seed,
        "profile": cell.profile.label,
        "backbone": str(cell.backbone),
    }


def _evaluation_rows(
    run: Run, number: int, result: RoundResult, store: Store
) -> list[dict[str, Any]]:
    trainings = run.trainings(result.model)
    receipts = [store.receipt(training) for training in trainings]
    columns = _cell_columns(run) | {
        "dims": run.cell.backbone.dims,
        "n_folds": run.cell.profile.n_folds,
        "method": run.method,
        "round": number,
        "final": number == len(run.rounds) - 1,
        "seg_steps": run.segmentation_steps(result.model),
        **_network_columns(run, result, trainings, store),
        "departs": run.departs,
        "device_s": sum(receipt["wall_seconds"] for receipt in receipts),
        "peak_mb": max(receipt["peak_memory_mb"] for receipt in receipts),
        "device": _joined(receipt["device"] for receipt in receipts),
        "software": _joined(map(_software, receipts)),
        "stage": result.evaluation.key,
        "coverage": math.nan,
        "dsc_inside": math.nan,
    }
    records = json.loads((store.out(result.evaluation) / "cases.json").read_text())
    return [columns | record for record in records]


def _software(receipt: dict[str, Any]) -> str:
    """Name what computed a training: program, commit if it is known, torch."""
    commit, _, changed = receipt["commit"].partition("-")
    at = "" if commit == "unknown" else f" at {commit[:12]}{' with changes' if changed else ''}"
    return f"bench {receipt['bench']}{at}, torch {receipt['torch']}"


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(sorted(set(texts)))


def _network_columns(
    run: Run, result: RoundResult, trainings: list[Train], store: Store
) -> dict[str, Any]:
    """Return how many networks led to a model, their size, and their passes per step of it."""
    parameters: dict[str, int] = {}
    passes = 0.0
    for training in trainings:
        cost = json.loads((store.out(training) / "cost.json").read_text())
        parameters |= cost["parameters"]
        passes += training.optimisation.steps * sum(cost["passes_per_step"].values())
    return {
        "networks": len(parameters),
        "parameters": sum(parameters.values()),
        "passes": passes / run.segmentation_steps(result.model),
    }


def _curve_rows(run: Run, store: Store) -> Iterator[dict[str, Any]]:
    from bench.curves import parts

    columns = _cell_columns(run) | {"method": run.method}
    for training in run.all_trainings():
        if not store.is_done(training):
            continue
        where = {
            "round": training.round,
            "training": training.objective.label,
            "stage": training.key,
        }
        events = read_events(store.folder(training) / "events.jsonl")
        for name, part, value in parts(events, training.optimisation.steps):
            yield columns | where | {"name": name, "part": part, "value": value}


def _picture_rows(run: Run, store: Store) -> Iterator[dict[str, Any]]:
    columns = _cell_columns(run) | {"method": run.method}
    for number, stage in run.pictures():
        if store.is_done(stage):
            where = {"round": number, "stage": stage.key}
            for picture in json.loads((store.out(stage) / "pictures.json").read_text()):
                yield columns | where | picture


def _audit_rows(run: Run, store: Store) -> list[dict[str, Any]]:
    from bench.metrics import relabel_audit

    records: list[tuple[int, float, dict[str, Any]]] = []
    for number, result in enumerate(run.rounds):
        if result.audit is not None and store.is_done(result.audit):
            rows = json.loads((store.out(result.audit) / "audit.json").read_text())
            records += [(number, result.audit.relabelling.gamma, row) for row in rows]
    columns = _cell_columns(run) | {"method": run.method}
    table = []
    for organ in dict.fromkeys(row["organ"] for _, _, row in records):
        rounds = [(n, gamma, row) for n, gamma, row in records if row["organ"] == organ]
        counts = relabel_audit(
            [row["added"] for *_, row in rounds],
            [row["tp"] for *_, row in rounds],
            rounds[0][2]["gt_missing"],
        )
        for (number, gamma, row), quality in zip(rounds, counts, strict=True):
            table.append(columns | row | quality._asdict() | {"round": number, "gamma": gamma})
    return table
