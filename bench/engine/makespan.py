"""How long a plan takes whose stages take so long: to foretell its end, and to share the cores."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from bench.engine.graph import Frontier, StageGraph
from bench.stage import Stage


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
