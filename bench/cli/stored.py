"""What commands find or leave in a store, as data: ``bench run``, ``status``, ``show``, ``gc``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.answers import Answer
from bench.engine.store import Store
from bench.experiment.plan import Run, graph_of

if TYPE_CHECKING:
    from bench.engine.graph import StageGraph
    from bench.engine.upkeep import Free
    from bench.stage import Stage


@dataclass(frozen=True)
class UnfinishedRun:
    """A run whose last model is not evaluated, and its stages by state."""

    method: str
    dataset: str
    profile: str
    network: str
    label_pct: int
    fold: int
    seed: int
    counts: dict[str, int]


def unfinished(runs: Sequence[Run], store: Store) -> tuple[UnfinishedRun, ...]:
    """Return the runs that are not finished, and how far each is."""
    found = []
    for run in runs:
        if store.is_done(run.rounds[-1].evaluation):
            continue
        cell, stages = run.condition, graph_of([run], pictures=False).stages.values()
        found.append(
            UnfinishedRun(
                method=run.method,
                dataset=cell.source.dataset.label,
                profile=cell.profile.label,
                network=str(cell.network),
                label_pct=cell.label_pct,
                fold=cell.fold,
                seed=cell.seed,
                counts=stages_by_state(stages, store),
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class FailedStage:
    """A stage that failed when it was last tried."""

    key: str
    title: str
    problem: str


@dataclass(frozen=True)
class RunAnswer(Answer):
    """``bench run``."""

    command = "run"

    store: Path
    runs: int
    unfinished: tuple[UnfinishedRun, ...]
    counts: dict[str, int]
    failed: tuple[FailedStage, ...]
    results: Path | None
    problems: tuple[str, ...]


def run_of(
    runs: Sequence[Run],
    graph: StageGraph,
    store: Store,
    results: Path | None,
    problems: Sequence[str],
) -> RunAnswer:
    """Return how far an experiment is when the command ends, and where its results are."""
    stages = graph.in_order()
    return RunAnswer(
        store=store.root,
        runs=len(runs),
        unfinished=unfinished(runs, store),
        counts=stages_by_state(stages, store),
        failed=failed_stages(stages, store),
        results=results,
        problems=tuple(problems),
    )


def failed_stages(stages: Iterable[Stage], store: Store) -> tuple[FailedStage, ...]:
    """Return the stages that failed when they were last tried, and why."""
    return tuple(
        FailedStage(stage.key, stage.title, problem)
        for stage in stages
        if not store.is_done(stage) and (problem := store.attempts(stage).why_failed()) is not None
    )


def stages_by_state(stages: Iterable[Stage], store: Store) -> dict[str, int]:
    """Return how many stages are in each state."""
    return dict(sorted(Counter(map(store.state, stages)).items()))


@dataclass(frozen=True)
class StoredStage:
    """A stage of the store."""

    key: str
    kind: str
    title: str
    state: str
    seconds: float | None
    finished: str | None
    problem: str | None


@dataclass(frozen=True)
class UnreadStage:
    """A folder of the store from which no stage can be read."""

    key: str
    title: str
    reason: str
    detail: str
    in_doubt: bool


@dataclass(frozen=True)
class StatusAnswer(Answer):
    """``bench status``."""

    command = "status"

    store: Path
    counts: dict[str, int]
    stages: tuple[StoredStage, ...]
    unread: tuple[UnreadStage, ...]


def status_of(store: Store) -> StatusAnswer:
    """Return every stage of the store with its state, finished ones last."""
    found, unread = store.survey()
    stages = []
    for stage in found:
        state = store.state(stage)
        receipt = store.receipt(stage) if state == "done" else {}
        problem = store.damage(stage) if state == "damaged" else None
        if state == "failed":
            problem = store.attempts(stage).why_failed()
        stages.append(
            StoredStage(
                key=stage.key,
                kind=type(stage).__name__,
                title=stage.title,
                state=state,
                seconds=receipt.get("wall_seconds"),
                finished=receipt.get("finished"),
                problem=problem,
            )
        )
    return StatusAnswer(
        store=store.root,
        counts=dict(sorted(Counter(stage.state for stage in stages).items())),
        stages=tuple(sorted(stages, key=lambda stage: stage.finished or "")),
        unread=tuple(
            UnreadStage(
                key=each.key,
                title=each.title,
                reason=each.cause.reason,
                detail=each.cause.detail,
                in_doubt=each.in_doubt,
            )
            for each in unread
        ),
    )


@dataclass(frozen=True)
class InputStage:
    """A stage that another one reads."""

    key: str
    title: str


@dataclass(frozen=True)
class StoredFile:
    """A file of an output, as the receipt lists it."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShowAnswer(Answer):
    """``bench show``."""

    command = "show"

    key: str
    kind: str
    title: str
    state: str
    folder: Path
    inputs: tuple[InputStage, ...]
    parameters: dict[str, Any]
    receipt: dict[str, str | float]
    files: tuple[StoredFile, ...]
    damage: str | None
    failure: str | None


def show_of(stage: Stage, store: Store) -> ShowAnswer:
    """Return parameters, inputs, receipt and files of one stage."""
    receipt = store.receipt(stage) if store.is_done(stage) else {}
    sizes, digests = receipt.get("bytes", {}), receipt.get("sha256", {})
    return ShowAnswer(
        key=stage.key,
        kind=type(stage).__name__,
        title=stage.title,
        state=store.state(stage),
        folder=store.folder(stage),
        inputs=tuple(InputStage(parent.key, parent.title) for parent in stage.inputs()),
        parameters={name: value for name, value in stage.identity().items() if name != "kind"},
        receipt={
            name: value for name, value in receipt.items() if isinstance(value, str | float | int)
        },
        files=tuple(StoredFile(name, size, digests[name]) for name, size in sizes.items()),
        damage=store.damage(stage),
        failure=store.attempts(stage).why_failed() or None,
    )


@dataclass(frozen=True)
class Freeable:
    """What can be freed of one kind; ``option`` frees it too, if it is kept without."""

    kind: str
    what: str
    items: int
    bytes: int
    option: str | None
    chosen: bool


@dataclass(frozen=True)
class GcAnswer(Answer):
    """``bench gc``."""

    command = "gc"

    store: Path
    kinds: tuple[Freeable, ...]
    chosen_bytes: int
    freed_bytes: int | None


def freeable(found: Sequence[Free], asked: dict[str, bool]) -> tuple[Freeable, ...]:
    """Return what can be freed by kind; those in ``asked`` only where their option is given."""
    from bench.engine.upkeep import WASTE

    kinds = []
    for kind, what in WASTE.items():
        sizes = [item.size for item in found if item.kind == kind]
        option = f"--{kind}" if kind in asked else None
        kinds.append(Freeable(kind, what, len(sizes), sum(sizes), option, asked.get(kind, True)))
    return tuple(kinds)
