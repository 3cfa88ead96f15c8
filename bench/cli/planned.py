"""What ``bench plan`` would compute, as data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cli.answers import Answer
from bench.engine.store import Store
from bench.experiment.durations import Durations
from bench.experiment.plan import Run, graph_of, requests
from bench.stage import Stage


@dataclass(frozen=True)
class PlannedConditions:
    """The conditions of a plan that differ in fold and method only."""

    dataset: str
    profile: str
    network: str
    label_pct: int
    folds: tuple[int, ...]
    methods: tuple[str, ...]


@dataclass(frozen=True)
class PlannedStages:
    """The stages of one kind."""

    kind: str
    stages: int
    requested: int
    shared: int
    done: int
    new: int
    seconds: float | None


@dataclass(frozen=True)
class PlanAnswer(Answer):
    """``bench plan``."""

    command = "plan"

    store: Path
    conditions: tuple[PlannedConditions, ...]
    kinds: tuple[PlannedStages, ...]
    stages: int
    new: int
    seconds: float
    seconds_complete: bool


def plan_of(runs: Sequence[Run], store: Store, *, pictures: bool = False) -> PlanAnswer:
    """Return conditions, and per kind of stage: how many, shared between runs, done, new, time."""
    graph = graph_of(runs, pictures=pictures)
    asked = requests(runs, pictures=pictures)
    missing = {key for key, stage in graph.stages.items() if not store.is_done(stage)}
    estimate = Durations.of(store, graph.stages).estimate
    by_kind: dict[str, list[Stage]] = defaultdict(list)
    for stage in graph.in_order():
        by_kind[type(stage).__name__].append(stage)
    kinds, total = [], 0.0
    for kind, stages in by_kind.items():
        new = [stage for stage in stages if stage.key in missing]
        known = [s for stage in new if (s := estimate(stage)) is not None]
        total += sum(known)
        kinds.append(
            PlannedStages(
                kind=kind,
                stages=len(stages),
                requested=sum(asked[stage.key] for stage in stages),
                shared=sum(asked[stage.key] > 1 for stage in stages),
                done=len(stages) - len(new),
                new=len(new),
                seconds=sum(known) if len(known) == len(new) else None,
            )
        )
    grouped: dict[tuple[str, str, str, int], list[Run]] = defaultdict(list)
    for run in runs:
        at = run.condition
        network = str(at.network)
        grouped[at.source.dataset.label, at.profile.label, network, at.label_pct].append(run)
    return PlanAnswer(
        store=store.root,
        conditions=tuple(
            PlannedConditions(
                dataset=dataset,
                profile=profile,
                network=network,
                label_pct=label_pct,
                folds=tuple(sorted({run.condition.fold for run in members})),
                methods=tuple(dict.fromkeys(run.method for run in members)),
            )
            for (dataset, profile, network, label_pct), members in grouped.items()
        ),
        kinds=tuple(kinds),
        stages=len(graph),
        new=len(missing),
        seconds=total,
        seconds_complete=all(kind.seconds is not None for kind in kinds),
    )
