"""Run stages on this machine: worker processes per GPU (or for the CPU), one for light stages.

A worker imports torch once and runs many stages. If it dies, the stage it was running fails and the
next one gets a new worker: a crash costs one stage, never the run.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field
from typing_extensions import override

from bench.engine.devices import VARIABLE, visible_gpus
from bench.engine.graph import Frontier, StageGraph
from bench.engine.launcher import Launcher, StageEvent
from bench.engine.store import LEASE_SECONDS, Store
from bench.stage import Stage


@dataclass
class Slot:
    """A device (and worker process) that runs one stage at a time."""

    name: str
    accelerator: bool
    """Whether it runs stages that train or predict; other slots run the light stages."""
    environment: dict[str, str]
    requests: queue.SimpleQueue[tuple[Stage, float] | None] = field(
        default_factory=queue.SimpleQueue
    )
    stage: Stage | None = None


class Local(Launcher):
    """Worker processes on this machine."""

    workers: int = Field(default=1, ge=1)
    """Trainings side by side on every GPU, or on the CPU, whose cores they share."""

    @override
    def run(self, graph: StageGraph, store: Store) -> Generator[StageEvent]:
        yield from WorkerPool(default_slots(self.workers)).run(graph, store)


class WorkerPool:
    """Slots on one machine, worker processes in them."""

    def __init__(self, slots: list[Slot]) -> None:
        self._slots = slots
        self._threads: list[threading.Thread] = []
        self._workers: set[subprocess.Popen[str]] = set()
        self._stopping = False

    def run(self, graph: StageGraph, store: Store) -> Generator[StageEvent]:
        """Yield events until every stage is done, failed or blocked.

        Closing the generator early (Ctrl-C) makes the workers save their state and waits for them.
        """
        answers: queue.SimpleQueue[tuple[Slot, dict[str, Any]]] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve_slot, args=(slot, store, answers))
            for slot in self._slots
        ]
        for thread in self._threads:
            thread.start()
        try:
            yield from self._schedule(graph, store, answers)
        finally:
            self.stop()

    def stop(self) -> None:
        """Ask the workers to save their state, and return when they have ended."""
        self._stopping = True
        for worker in list(self._workers):
            worker.terminate()
        for slot in self._slots:
            slot.requests.put(None)
        for thread in self._threads:
            thread.join()

    def _schedule(
        self, graph: StageGraph, store: Store, answers: queue.SimpleQueue[tuple[Slot, Any]]
    ) -> Iterator[StageEvent]:
        frontier = Frontier(graph)
        ready: list[Stage] = []
        elsewhere: list[Stage] = []
        while True:
            for stage in _drain(frontier):
                if store.is_done(stage):
                    frontier.done(stage)
                    yield StageEvent("done", stage, message="already done")
                else:
                    ready.append(stage)
            ready.sort(key=graph.position)
            for slot in self._slots:
                if slot.stage is None:
                    yield from self._assign(slot, ready, elsewhere)
            if frontier.finished:
                return
            slot, answer = answers.get()
            assert slot.stage is not None
            stage = slot.stage
            if answer["event"] == "progress":
                yield StageEvent(
                    "progress", stage, slot.name, answer["done"], answer["total"], answer["note"]
                )
                continue
            slot.stage = None
            outcome, message = answer["outcome"], answer["message"]
            if outcome == "busy":
                elsewhere.append(stage)
                yield StageEvent("waiting", stage, slot.name, message=message)
            elif outcome == "done":
                frontier.done(stage)
                yield StageEvent("done", stage, slot.name, message=message)
            else:
                yield StageEvent(outcome, stage, slot.name, message=message)
                for blocked in frontier.failed(stage):
                    yield StageEvent("blocked", blocked, message=f"needs {stage.key}")

    def _assign(
        self, slot: Slot, ready: list[Stage], elsewhere: list[Stage]
    ) -> Iterator[StageEvent]:
        """Give a free slot an unclaimed stage, or let it wait for one that another process runs."""
        for pool, wait_seconds in ((ready, 0.0), (elsewhere, 2 * LEASE_SECONDS)):
            # An accelerator slot with nothing of its own to do helps with the light stages.
            suited = [s for s in pool if s.uses_accelerator <= slot.accelerator]
            if suited:
                stage = max(suited, key=lambda stage: stage.uses_accelerator)
                pool.remove(stage)
                slot.stage = stage
                slot.requests.put((stage, wait_seconds))
                if pool is ready:
                    yield StageEvent("started", stage, slot.name)
                return

    def _serve_slot(
        self, slot: Slot, store: Store, answers: queue.SimpleQueue[tuple[Slot, dict[str, Any]]]
    ) -> None:
        worker: subprocess.Popen[str] | None = None
        while (request := slot.requests.get()) is not None and not self._stopping:
            stage, wait_seconds = request
            if worker is None or worker.poll() is not None:
                worker = self._start_worker(slot, store)
                if self._stopping:  # set while the worker started, so it was not told to stop
                    break
            answers.put((slot, _ask(worker, stage, wait_seconds, slot, answers)))
        if worker is not None:
            assert worker.stdin is not None
            worker.stdin.close()
            worker.wait()
            self._workers.discard(worker)

    def _start_worker(self, slot: Slot, store: Store) -> subprocess.Popen[str]:
        worker = subprocess.Popen(
            # -P keeps the working directory, and a folder called datasets in it, off the path
            [sys.executable, "-P", "-m", "bench.engine.worker", str(store.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | slot.environment,
        )
        self._workers.add(worker)
        return worker


def default_slots(workers: int = 1) -> list[Slot]:
    """Return slots for every visible GPU, or for the CPU, and one for stages that need neither.

    Parameters
    ----------
    workers
        Stages side by side on each GPU, or on the CPU, whose cores they share. Small networks fill
        neither.
    """
    light = Slot("aux", False, {VARIABLE: "", "OMP_NUM_THREADS": "1"})
    places = {f"gpu{gpu}": {VARIABLE: gpu} for gpu in visible_gpus()}
    if not places:
        places = {"cpu": {VARIABLE: ""}}
        if workers > 1 and "OMP_NUM_THREADS" not in os.environ:
            from joblib import cpu_count

            places["cpu"]["OMP_NUM_THREADS"] = str(max(1, cpu_count() // workers))
    names = [""] if workers == 1 else [f".{number}" for number in range(workers)]
    return [
        *(Slot(place + name, True, there) for place, there in places.items() for name in names),
        light,
    ]


def _ask(
    worker: subprocess.Popen[str],
    stage: Stage,
    wait_seconds: float,
    slot: Slot,
    answers: queue.SimpleQueue[tuple[Slot, dict[str, Any]]],
) -> dict[str, Any]:
    """Send one request, pass progress on, and return the final answer."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(json.dumps({"key": stage.key, "wait_seconds": wait_seconds}) + "\n")
        worker.stdin.flush()
        for line in worker.stdout:
            answer: dict[str, Any] = json.loads(line)
            if answer["event"] == "end":
                return answer
            answers.put((slot, answer))
    except BrokenPipeError:
        pass
    code = worker.wait()
    message = f"the worker process died (exit code {code}); out of memory?"
    return {"event": "end", "outcome": "failed", "message": message}


def _drain(frontier: Frontier) -> Iterator[Stage]:
    """Yield ready stages until there are none; marking one done may make others ready."""
    while ready := frontier.take_ready():
        yield from ready
