"""Collect the results of finished stages into the tables of a set of runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data.simulate import Split
from bench.engine.events import read_events
from bench.engine.store import Store
from bench.experiment.plan import Round, Run
from bench.params import digest
from bench.stages.images import slug
from bench.stages.train import Train

if TYPE_CHECKING:
    from bench.results.files import Tables


def collect(runs: Sequence[Run], store: Store) -> Tables:
    """Return the tables of all finished models of ``runs``."""
    from bench.results.files import Tables
    from bench.results.tables import AUDIT, CURVES, LAYERS, PICTURES, RESULTS, TARGETS

    return Tables(
        results=RESULTS.frame(_result_rows(runs, store)),
        audit=AUDIT.frame(row for run in runs for row in _audit_rows(run, store)),
        curves=CURVES.frame(row for run in runs for row in _curve_rows(run, store)),
        pictures=PICTURES.frame(row for run in runs for row in _picture_rows(run, store)),
        targets=TARGETS.frame(_target_rows(runs, store)),
        layers=LAYERS.frame(_layer_rows(runs, store)),
    )


def save(runs: Sequence[Run], store: Store) -> Path:
    """Write the tables below ``results/`` of the store and return the path of the results.

    The file is named after what was run, so the same command replaces it.
    """
    identity = digest([[run.method, *_condition_columns(run).values()] for run in runs], 8)
    datasets = "-".join(sorted({slug(run.condition.source.dataset.name) for run in runs}))
    path = store.root / "results" / f"{datasets}-{identity}.parquet"
    collect(runs, store).save(path)
    return path


def _condition_columns(run: Run) -> dict[str, Any]:
    cell = run.condition
    return {
        "dataset": cell.source.dataset.name,
        "label_pct": cell.label_pct,
        "fold": cell.fold,
        "seed": cell.seed,
        "profile": cell.profile.label,
        "backbone": str(cell.network),
    }


def _result_rows(runs: Sequence[Run], store: Store) -> Iterator[dict[str, Any]]:
    ratios: dict[str, float] = {}  # once per condition: listing cases may be slow
    for run in runs:
        cell = run.targets.labels.key
        for number, result in enumerate(run.rounds):
            if store.is_done(result.evaluation):
                if cell not in ratios:
                    ratios[cell] = _test_to_train(run, store)
                yield from _evaluation_rows(run, number, result, ratios[cell], store)


def _evaluation_rows(
    run: Run, number: int, result: Round, test_to_train: float, store: Store
) -> list[dict[str, Any]]:
    trainings = run.trainings(result.model)
    receipts = [store.receipt(training) for training in trainings]
    columns = _condition_columns(run) | {
        "dims": run.condition.network.dims,
        "test_to_train": test_to_train,
        "method": run.method,
        "round": number,
        "final": number == len(run.rounds) - 1,
        "seg_steps": run.segmentation_steps(result.model),
        **_network_columns(run, result, trainings, store),
        "departs": run.definition.departs,
        "title": run.definition.title,
        "colour": run.definition.colour,
        "order": run.definition.order,
        "upper_bound": run.definition.upper_bound,
        "device_s": sum(receipt["wall_seconds"] for receipt in receipts),
        "peak_mb": max(receipt["peak_memory_mb"] for receipt in receipts),
        "device": _joined(receipt["device"] for receipt in receipts),
        "software": _joined(map(_software, receipts)),
        "stage": result.evaluation.key,
        "coverage": math.nan,
        "dsc_inside": math.nan,
    }
    records = result.evaluation.records(store.out(result.evaluation))
    return [columns | record for record in records]


def _test_to_train(run: Run, store: Store) -> float:
    """Return test patients over training patients, which the corrected t-test needs."""
    cases = run.condition.source.dataset.cases()
    if all(case.trains_in is None for case in cases):
        return 1.0 / (run.condition.profile.n_folds - 1)
    split = Split.read(store.out(run.targets.labels))
    patient = {case.id: case.patient for case in cases}
    n_test, n_train = (len({patient[i] for i in ids}) for ids in (split.test, split.train))
    return n_test / n_train


def _software(receipt: dict[str, Any]) -> str:
    """Name what computed a training: program, commit if it is known, torch."""
    commit, _, changed = receipt["commit"].partition("-")
    at = "" if commit == "unknown" else f" at {commit[:12]}{' with changes' if changed else ''}"
    return f"bench {receipt['bench']}{at}, torch {receipt['torch']}"


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(sorted(set(texts)))


def _network_columns(
    run: Run, result: Round, trainings: list[Train], store: Store
) -> dict[str, Any]:
    """Return how many networks a model was trained with, their size and passes per step."""
    parameters: dict[str, int] = {}
    passes = 0.0
    for training in trainings:
        cost = training.cost(store.out(training))
        parameters |= cost["parameters"]
        passes += training.length.steps * sum(cost["passes_per_step"].values())
    return {
        "networks": len(parameters),
        "parameters": sum(parameters.values()),
        "passes": passes / run.segmentation_steps(result.model),
    }


def _curve_rows(run: Run, store: Store) -> Iterator[dict[str, Any]]:
    from bench.results.aggregate import parts

    columns = _condition_columns(run) | {"method": run.method}
    for training in run.all_trainings():
        if not store.is_done(training):
            continue
        where = {
            "round": training.round,
            "training": training.objective.label,
            "stage": training.key,
        }
        events = read_events(store.events(training))
        for name, part, value in parts(events, training.length.steps):
            yield columns | where | {"name": name, "part": part, "value": value}


def _picture_rows(run: Run, store: Store) -> Iterator[dict[str, Any]]:
    columns = _condition_columns(run) | {"method": run.method}
    for number, stage in run.pictures():
        if store.is_done(stage):
            where = {"round": number, "stage": stage.key}
            for picture in stage.records(store.out(stage)):
                yield columns | where | picture


def _target_rows(runs: Sequence[Run], store: Store) -> Iterator[dict[str, Any]]:
    cells = {run.targets.key: run for run in runs if store.is_done(run.targets)}
    for run in cells.values():
        records = run.targets.records(store.out(run.targets))
        columns = _condition_columns(run)
        yield from (columns | record for record in records)


def _layer_rows(runs: Sequence[Run], store: Store) -> Iterator[dict[str, Any]]:
    from bench.results.tables import LAYERS

    networks = {}
    for run in runs:
        columns = _condition_columns(run)
        where = {name: columns[name] for name in LAYERS.run}
        if store.is_done(run.layers):
            networks[tuple(where.values())] = where, run.layers
    for where, stage in networks.values():
        records = stage.records(store.out(stage))
        for position, record in enumerate(records):
            yield where | {"position": position} | record


def _audit_rows(run: Run, store: Store) -> list[dict[str, Any]]:
    from bench.evaluation.audit import relabel_audit

    records: list[tuple[int, float, dict[str, Any]]] = []
    for number, result in enumerate(run.rounds):
        if result.audit is not None and store.is_done(result.audit):
            rows = result.audit.records(store.out(result.audit))
            records += [(number, result.audit.relabelling.gamma, row) for row in rows]
    columns = _condition_columns(run) | {"method": run.method}
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
