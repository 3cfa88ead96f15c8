"""Collect the results of finished stages into the tables of a set of runs, and write them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.data.simulate import Split
from bench.engine.events import read_events
from bench.engine.provenance import UNKNOWN
from bench.engine.store import Store
from bench.errors import BenchError
from bench.experiment import basis
from bench.experiment.plan import Round, Run
from bench.files import cut, slug
from bench.params import digest
from bench.stage import Stage
from bench.stages.labels import Labels
from bench.stages.records import RecordsStage
from bench.stages.train import Train

if TYPE_CHECKING:
    from bench.results.files import Tables


class Saved(NamedTuple):
    """The results table of a set of runs, and one line for each table beside it that failed."""

    path: Path
    problems: list[str]


class _Setting(NamedTuple):
    """What rows of a condition say about its cases."""

    test_to_train: float
    """Test patients over training patients, which the corrected t-test needs."""
    domains: dict[str, str]
    """Case -> source, of data sets that are joined."""


def collect(runs: Sequence[Run], store: Store) -> Tables:
    """Return the tables of all finished models of ``runs``, each collected when asked for."""
    from bench.results.files import Tables
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

    rows: dict[str, Callable[[], Iterable[dict[str, Any]]]] = {
        RESULTS.name: lambda: _result_rows(runs, store),
        AUDIT.name: lambda: (row for run in runs for row in _audit_rows(run, store)),
        CURVES.name: lambda: (row for run in runs for row in _curve_rows(run, store)),
        PICTURES.name: lambda: (row for run in runs for row in _picture_rows(run, store)),
        TARGETS.name: lambda: _target_rows(runs, store),
        LAYERS.name: lambda: _layer_rows(runs, store),
        SHEETS.name: lambda: _sheet_rows(runs, store),
        TUNING.name: lambda: _tuning_rows(runs, store),
    }
    return Tables(lambda schema: schema.frame(rows[schema.name]()))


def save(runs: Sequence[Run], store: Store) -> Saved:
    """Write the tables of all finished models of ``runs`` below ``results/`` of the store.

    The file is named after what was run on which data, so the same command replaces it. The results
    are written first: what goes wrong with a table beside them costs that table alone.

    Raises
    ------
    BenchError
        An output that the results need is damaged.
    """
    from bench.results.files import BESIDE, beside
    from bench.results.tables import RESULTS

    said = [
        [run.method, run.condition.source.content, *_condition_columns(run).values()]
        for run in runs
    ]
    datasets = cut("-".join(sorted({slug(run.condition.source.dataset.name) for run in runs})))
    path = store.root / "results" / f"{datasets}-{digest(said, 8)}.parquet"
    tables = collect(runs, store)
    RESULTS.save(tables.results, path)
    problems = []
    for schema in BESIDE:
        other = beside(path, schema)
        try:
            schema.save(getattr(tables, schema.name), other)
        except Exception as error:  # whatever it is, the results are complete without it
            with contextlib.suppress(OSError):
                other.unlink()  # of an earlier run, perhaps on other rows
            why = " ".join(str(error).split()) or type(error).__name__
            problems.append(f"{other}: not written, reports will lack it: {why}")
    return Saved(path, problems)


@contextlib.contextmanager
def _reading(store: Store, stage: Stage) -> Iterator[None]:
    """Name the folder of a stage whose output cannot be read, and what to do."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = " ".join(str(error).split())
        raise BenchError(
            f"{store.folder(stage)}: its output cannot be read ({type(error).__name__}: {why:.100})"
            ": delete this folder and give the command again, which computes it anew"
        ) from None


def _condition_columns(run: Run) -> dict[str, Any]:
    cell = run.condition
    return {
        "dataset": cell.source.dataset.label,
        "label_pct": cell.label_pct,
        "fold": cell.fold,
        "seed": cell.seed,
        "profile": cell.profile.label,
        "backbone": str(cell.network),
    }


def _basis_columns(run: Run, stage: Stage) -> dict[str, str]:
    given = run.targets
    return basis.of_condition(given.images, given.truth, given.labels, stage)


def _receipt(store: Store, stage: Stage) -> dict[str, Any]:
    with _reading(store, stage):
        return store.receipt(stage)


def _records(store: Store, stage: RecordsStage) -> list[dict[str, Any]]:
    if damage := store.damage(stage):
        raise BenchError(f"{store.folder(stage)}: {damage}; `bench verify --repair` mends it")
    with _reading(store, stage):
        return stage.records(store.out(stage))


def _result_rows(runs: Sequence[Run], store: Store) -> Iterator[dict[str, Any]]:
    settings: dict[str, _Setting] = {}  # once per split: listing cases may be slow
    defined: dict[tuple[Any, ...], dict[str, str]] = {}
    for run in runs:
        where = _condition_columns(run)
        asked = (run.method, *(where[name] for name in where if name not in ("fold", "seed")))
        for number, result in enumerate(run.rounds):
            if store.is_done(result.evaluation):
                labels = result.evaluation.prediction.labels
                if labels.key not in settings:
                    settings[labels.key] = _setting(run, labels, store)
                if asked not in defined:
                    defined[asked] = _defined(run)
                given = settings[labels.key], defined[asked]
                yield from _evaluation_rows(run, number, result, *given, store)


def _defined(run: Run) -> dict[str, str]:
    """Return what the rows of a run say of its profile and its method."""
    return {
        "recipe": basis.recipe(run.condition.profile),
        "definition": basis.definition(run.rounds[-1].evaluation.prediction),
    }


def _evaluation_rows(
    run: Run,
    number: int,
    result: Round,
    setting: _Setting,
    defined: dict[str, str],
    store: Store,
) -> list[dict[str, Any]]:
    trainings = run.trainings(result.model)
    receipts = [_receipt(store, training) for training in trainings]
    columns = _condition_columns(run) | {
        "dims": run.condition.network.dims,
        "test_to_train": setting.test_to_train,
        "method": run.method,
        "round": number,
        "final": number == len(run.rounds) - 1,
        "seg_steps": run.segmentation_steps(result.model),
        **_network_columns(run, result, trainings, store),
        "departs": run.definition.deviations(),
        "title": run.definition.title,
        "colour": run.definition.colour,
        "order": run.definition.order,
        "upper_bound": run.definition.upper_bound,
        "device_s": sum(receipt["wall_seconds"] for receipt in receipts),
        "peak_mb": max(receipt["peak_memory_mb"] for receipt in receipts),
        "device": _joined(receipt["device"] for receipt in receipts),
        "software": _joined(map(_software, receipts)),
        "stage": result.evaluation.key,
        **_basis_columns(run, result.evaluation),
        **defined,
        "spacing_known": True,
        "coverage": math.nan,
        "dsc_inside": math.nan,
    }
    return [
        columns | {"domain": setting.domains.get(record["case"], "")} | record
        for record in _records(store, result.evaluation)
    ]


def _setting(run: Run, labels: Labels, store: Store) -> _Setting:
    """Return what is known of a split, from the labels that were computed with a result.

    Those of the condition may not have been, for methods that no label is hidden from.
    """
    cases = run.condition.source.dataset.cases()
    domains = {case.id: case.domain for case in cases if case.domain is not None}
    if all(case.trains_in is None for case in cases):
        return _Setting(1.0 / (run.condition.profile.n_folds - 1), domains)
    with _reading(store, labels):
        split = Split.read(store.out(labels))
    patient = {case.id: case.patient for case in cases}
    n_test, n_train = (len({patient[i] for i in ids}) for ids in (split.test, split.train))
    return _Setting(n_test / n_train, domains)


def _software(receipt: dict[str, Any]) -> str:
    """Name what computed a training: program, commit if it is known, torch."""
    commit, _, changed = receipt["commit"].partition("-")
    at = "" if commit == UNKNOWN else f" at {commit[:12]}{' with changes' if changed else ''}"
    return f"bench {receipt['bench']}{at}, torch {receipt['torch']}"


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(sorted(set(texts)))


def _network_columns(
    run: Run, result: Round, trainings: list[Train], store: Store
) -> dict[str, Any]:
    """Return how many networks a model was trained with, their size and passes per step.

    Slices that a relabelling sees count as passes of the batches that they would fill.
    """
    parameters: dict[str, int] = {}
    passes = 0.0
    for training in trainings:
        with _reading(store, training):
            cost = training.cost(store.out(training))
        parameters |= cost["parameters"]
        passes += training.length.steps * sum(cost["passes_per_step"].values())
    for relabelling in run.relabellings(result.model):
        with _reading(store, relabelling):
            seen = relabelling.slices(store.out(relabelling))
        passes += seen / relabelling.model.batch_size
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
            **_basis_columns(run, training),
        }
        events = read_events(store.events(training))
        for name, part, value in parts(events, training.length.steps):
            yield columns | where | {"name": name, "part": part, "value": value}


def _picture_rows(run: Run, store: Store) -> Iterator[dict[str, Any]]:
    columns = _condition_columns(run) | {"method": run.method}
    for number, stage in run.pictures():
        if store.is_done(stage):
            where = {"round": number, "stage": stage.key, **_basis_columns(run, stage)}
            for picture in _records(store, stage):
                yield columns | where | picture


def _target_rows(runs: Sequence[Run], store: Store) -> Iterator[dict[str, Any]]:
    cells = {run.targets.key: run for run in runs if store.is_done(run.targets)}
    for run in cells.values():
        columns = _condition_columns(run) | _basis_columns(run, run.targets)
        yield from (columns | record for record in _records(store, run.targets))


def _sheet_rows(runs: Sequence[Run], store: Store) -> Iterator[dict[str, Any]]:
    cells = {run.sheet.key: run for run in runs if store.is_done(run.sheet)}
    for run in cells.values():
        where = {"stage": run.sheet.key, **_basis_columns(run, run.sheet)}
        columns = _condition_columns(run) | where
        yield from (columns | record for record in _records(store, run.sheet))


def _tuning_rows(runs: Sequence[Run], store: Store) -> Iterator[dict[str, Any]]:
    """Return what was tried to choose the settings of runs, for their data set."""
    from bench.results.tables import TUNING

    known = TUNING.load_all(sorted((store.root / "tuning").glob("*.parquet")))
    chosen = known[known["chosen"]]
    wanted = {(run.condition.source.dataset.label, run.method) for run in runs}
    names = zip(chosen["dataset"], chosen["setting"], strict=True)
    tunings = chosen.loc[[name in wanted for name in names], list(TUNING.run)]
    led = known.merge(tunings, on=list(TUNING.run))
    for row in led.itertuples(index=False, name=None):
        yield dict(zip(led.columns, row, strict=True))


def _layer_rows(runs: Sequence[Run], store: Store) -> Iterator[dict[str, Any]]:
    from bench.results.tables import LAYERS

    networks = {}
    for run in runs:
        columns = _condition_columns(run)
        where = {name: columns[name] for name in LAYERS.run}
        if store.is_done(run.layers):
            networks[tuple(where.values())] = where, run.layers
    for where, stage in networks.values():
        stands = basis.of_images(stage.images, stage)
        for position, record in enumerate(_records(store, stage)):
            yield where | stands | {"position": position} | record


def _audit_rows(run: Run, store: Store) -> list[dict[str, Any]]:
    from bench.evaluation.audit import relabel_audit

    records: list[tuple[dict[str, Any], dict[str, Any]]] = []
    afresh = set[int]()
    for number, result in enumerate(run.rounds):
        if result.audit is not None and store.is_done(result.audit):
            relabelling = result.audit.relabelling
            if relabelling.previous is None:
                afresh.add(number)
            basis_columns = _basis_columns(run, result.audit)
            where = {"round": number, "gamma": relabelling.gamma, **basis_columns}
            records += [(where, row) for row in _records(store, result.audit)]
    columns = _condition_columns(run) | {"method": run.method}
    table = []
    for organ in dict.fromkeys(row["organ"] for _, row in records):
        rounds = [(where, row) for where, row in records if row["organ"] == organ]
        counts = relabel_audit(
            [row["added"] for _, row in rounds],
            [row["tp"] for _, row in rounds],
            rounds[0][1]["gt_missing"],
            [where["round"] in afresh for where, _ in rounds],
        )
        for (where, row), quality in zip(rounds, counts, strict=True):
            table.append(columns | row | quality._asdict() | where)
    return table
