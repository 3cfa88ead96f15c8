"""Run every stage in this process, one after the other: for debugging and tests."""

from __future__ import annotations

from collections.abc import Generator

from typing_extensions import override

from bench.engine.claim import LEASE_SECONDS
from bench.engine.graph import Frontier, StageGraph
from bench.engine.launcher import Launcher, StageEvent, settle
from bench.engine.store import Store
from bench.engine.worker import run_stage


class Inline(Launcher):
    """One stage at a time, no subprocess."""

    @override
    def run(self, graph: StageGraph, store: Store) -> Generator[StageEvent]:
        frontier = Frontier(graph)
        ready = frontier.take_ready()
        while ready:
            stage = ready.pop(0)
            if not store.is_done(stage):
                yield StageEvent("started", stage, "inline")
            outcome, message = run_stage(store, stage, wait_seconds=2 * LEASE_SECONDS)
            if outcome == "busy":
                yield StageEvent("waiting", stage, message=message)
                ready.append(stage)
            else:
                yield from settle(frontier, store, stage, outcome, message)
            ready.extend(frontier.take_ready())
            ready.sort(key=graph.position)
