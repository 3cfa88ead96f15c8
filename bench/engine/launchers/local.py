"""Run stages on this machine, on every GPU or on the cores of the CPU."""

from __future__ import annotations

import os
from collections.abc import Generator

from pydantic import Field
from typing_extensions import override

from bench.engine.devices import visible_gpus
from bench.engine.graph import StageGraph
from bench.engine.launcher import Launcher, StageEvent
from bench.engine.sharing import even, share
from bench.engine.store import Store
from bench.engine.workerpool import MAX_WORKERS, WorkerPool, default_slots
from bench.machine.processor import cores


class Local(Launcher):
    """Worker processes on this machine."""

    workers: int | None = Field(default=None, ge=1, le=MAX_WORKERS)
    """Trainings side by side on every GPU, or on the CPU, whose cores they share. If not given: one
    on a GPU; on a CPU as many as bring the plan to its end first, memory permitting."""

    @override
    def run(self, graph: StageGraph, store: Store) -> Generator[StageEvent]:
        patient = self.workers is None and not visible_gpus()
        yield from WorkerPool(default_slots(*self._share(graph)), patient=patient).run(graph, store)

    @override
    def describe(self, graph: StageGraph) -> str:
        workers, threads = self._share(graph)
        if gpus := len(visible_gpus()):
            return f"{workers} on {'the GPU' if gpus == 1 else f'each of {gpus} GPUs'}"
        on = "1 thread" if threads == 1 else f"{threads} threads"
        return f"{workers} on the CPU, {on} each ({cores()} cores)"

    def _share(self, graph: StageGraph) -> tuple[int, int]:
        """Return trainings side by side on each GPU, or on the CPU, and the threads of each."""
        given = os.environ.get("OMP_NUM_THREADS", "")
        threads = int(given) if given.isdigit() and int(given) else None
        if self.workers is None and not visible_gpus():
            return share(graph, cores(), threads)
        workers = self.workers or 1
        return workers, threads or even(cores(), workers * max(1, len(visible_gpus())))
