"""How long stages take, from those that have run: estimates of what is left of a plan."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping
from statistics import median

from bench.engine.graph import Frontier, StageGraph
from bench.engine.store import Store
from bench.params import Params
from bench.stage import Stage


class Durations:
    """Measured seconds of finished stages, grouped with those of similar effort."""

    def __init__(self) -> None:
        self._measured: dict[str, dict[str, float]] = defaultdict(dict)

    @classmethod
    def of(cls, store: Store, known: Mapping[str, Stage] | None = None) -> Durations:
        """Return what a store's finished stages took; those ``known`` by key are not read again."""
        durations = cls()
        for stage in store.survey(known)[0]:
            if store.is_done(stage):
                durations.note(stage, store)
        return durations

    def note(self, stage: Stage, store: Store) -> None:
        """Add a finished stage."""
        seconds = float(store.receipt(stage)["wall_seconds"])
        self._measured[_effort(stage)][stage.key] = seconds

    def estimate(self, stage: Stage) -> float | None:
        """Return the median of finished stages of its kind and budget, None if there are none."""
        found = self._measured.get(_effort(stage))
        return median(found.values()) if found else None


def makespan(graph: StageGraph, seconds: Callable[[Stage], float], lanes: int) -> float:
    """Return the time until a plan is done, its stages started in order as soon as they can be.

    Parameters
    ----------
    graph
        The plan.
    seconds
        What a stage still takes, 0 if it is done.
    lanes
        Trainings and predictions side by side; as many light stages run beside them.
    """
    frontier = Frontier(graph)
    free = {True: lanes, False: lanes}
    waiting: dict[bool, list[tuple[int, Stage]]] = {True: [], False: []}
    running: list[tuple[float, int, Stage]] = []
    now = 0.0
    while not frontier.finished:
        for stage in frontier.take_ready():
            heapq.heappush(waiting[stage.uses_accelerator], (graph.position(stage), stage))
        for heavy, queue in waiting.items():
            while queue and free[heavy]:
                position, stage = heapq.heappop(queue)
                free[heavy] -= 1
                heapq.heappush(running, (now + seconds(stage), position, stage))
        now, _, stage = heapq.heappop(running)
        free[stage.uses_accelerator] += 1
        frontier.done(stage)
    return now


def _effort(stage: Stage) -> str:
    """Return a key that groups stages of similar duration."""
    from bench.stages.train import Train

    parts: list[object] = [type(stage).__name__]
    for field in ("dataset", "images", "truth"):
        part = getattr(stage, field, None)
        if part is not None:
            parts.append(part.key if isinstance(part, Stage) else part)
    if isinstance(stage, Train):
        parts += [stage.network, stage.length.steps, stage.objective.label]
    return "|".join(p.model_dump_json() if isinstance(p, Params) else str(p) for p in parts)
