"""Worker processes on one machine: one or more per GPU, or sharing the CPU; one for light stages.

A worker imports torch once and runs many stages. If it dies, the stage it was running fails and the
next one gets a new worker: a crash costs one stage, never the run.
"""

from __future__ import annotations

import os
import queue
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.engine.claim import LEASE_SECONDS
from bench.engine.devices import VARIABLE, visible_gpus
from bench.engine.graph import Frontier, StageGraph
from bench.engine.launcher import StageEvent, settle
from bench.engine.process import Answer, WorkerProcess
from bench.engine.sharing import even, waiting
from bench.engine.store import Store
from bench.errors import BenchError
from bench.machine import memory
from bench.machine.processor import cores
from bench.stage import Stage

STOP_SECONDS = 90.0
"""Time that workers get to save their state; less than Slurm gives a job at its time limit."""
KILL_SECONDS = 5.0
"""Time for killed workers to be gone. One that waits for a dead network file system is left."""
LOOK_SECONDS = 5.0
"""Interval between two looks at the workers that compute."""
START_SECONDS = 10.0
"""Age of a stage at which another worker is started beside it."""
MAX_WORKERS = 256
"""Trainings side by side on one device; there is no machine on which more would end sooner."""
STALL_SECONDS = 30.0
"""Time without any work after which a worker that cannot go on is reported."""


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
    began: float = 0.0
    """When the stage was given to it."""
    worker: WorkerProcess | None = None
    served: threading.Event | None = None
    """Set when the thread that serves the slot has ended; None before its first stage."""
    stalled: bool = False
    """Whether it has been reported that the worker cannot go on."""


Answers = queue.SimpleQueue[tuple[Slot, Answer | dict[str, Any]]]
"""How stages ended, and their progress meanwhile."""


class WorkerPool:
    """Slots on one machine, worker processes in them.

    Parameters
    ----------
    patient
        Start a further worker for the accelerator only when it is worth its start and has memory.
    """

    def __init__(self, slots: list[Slot], *, patient: bool = False) -> None:
        self._slots, self._patient = slots, patient
        self._most_memory = 0
        self._stopping = False

    def run(self, graph: StageGraph, store: Store) -> Generator[StageEvent]:
        """Yield events until every stage is done, failed or blocked.

        Closing the generator early (Ctrl-C) makes the workers save their state and waits for them;
        a second Ctrl-C meanwhile kills them.
        """
        answers: Answers = queue.SimpleQueue()
        try:
            yield from self._schedule(graph, store, answers)
        finally:
            self.stop()

    def stop(self) -> None:
        """Ask the workers to save their state, and return when they have ended.

        Those that have not within ``STOP_SECONDS``, or when Ctrl-C is pressed again, are killed.
        """
        self._stopping = True
        try:
            for slot in self._slots:
                if slot.worker is not None:
                    slot.worker.ask_to_stop()
                slot.requests.put(None)
            self._wait(STOP_SECONDS)
        finally:
            for slot in self._slots:
                if slot.worker is not None:
                    slot.worker.kill()
            self._wait(KILL_SECONDS)

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for slot in self._slots:
            if slot.served is not None:
                slot.served.wait(max(0.0, deadline - time.monotonic()))

    def _schedule(self, graph: StageGraph, store: Store, answers: Answers) -> Iterator[StageEvent]:
        frontier = Frontier(graph)
        ready: list[Stage] = []
        elsewhere: list[Stage] = []
        looked_at = time.monotonic()

        def begin(slot: Slot) -> None:
            if slot.served is None:
                self._begin_to_serve(slot, store, answers)

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
                    yield from self._assign(slot, ready, elsewhere, begin)
            if frontier.finished:
                return
            if time.monotonic() - looked_at >= LOOK_SECONDS:
                looked_at = time.monotonic()
                yield from self._look_at_workers(store)
            try:
                slot, answer = answers.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                continue
            assert slot.stage is not None
            stage = slot.stage
            if not isinstance(answer, Answer):
                yield StageEvent(
                    "progress", stage, slot.name, answer["done"], answer["total"], answer["note"]
                )
                continue
            slot.stage, slot.stalled = None, False
            outcome, message = answer
            if outcome in ("failed", "interrupted") and store.is_done(stage):
                # Another process took over from a worker that was suspended, and has finished.
                outcome, message = "done", "already done"
            if outcome == "busy":
                elsewhere.append(stage)
                yield StageEvent("waiting", stage, slot.name, message=message)
            else:
                yield from settle(frontier, store, stage, outcome, message, slot.name)

    def _look_at_workers(self, store: Store) -> Iterator[StageEvent]:
        """Report workers that cannot go on; one whose stage another process has done is ended."""
        for slot in self._slots:
            if slot.stage is None or slot.worker is None:
                continue
            reason = slot.worker.stalled(STALL_SECONDS)
            if reason is not None and store.is_done(slot.stage):
                slot.worker.kill()
            elif reason is not None and not slot.stalled:
                yield StageEvent("stalled", slot.stage, slot.name, message=reason)
            slot.stalled = reason is not None

    def _assign(
        self,
        slot: Slot,
        ready: list[Stage],
        elsewhere: list[Stage],
        begin: Callable[[Slot], None],
    ) -> Iterator[StageEvent]:
        """Give a free slot an unclaimed stage, or let it wait for one that another process runs."""
        for pool, wait_seconds in ((ready, 0.0), (elsewhere, 2 * LEASE_SECONDS)):
            # An accelerator slot with nothing of its own to do helps with the light stages.
            suited = [s for s in pool if s.uses_accelerator <= slot.accelerator]
            if suited and self._may_begin(slot):
                stage = max(suited, key=lambda stage: stage.uses_accelerator)
                pool.remove(stage)
                slot.stage, slot.began = stage, time.monotonic()
                slot.requests.put((stage, wait_seconds))
                begin(slot)
                if pool is ready:
                    yield StageEvent("started", stage, slot.name)
                return

    def _may_begin(self, slot: Slot) -> bool:
        """Tell whether a stage may begin beside those that run.

        A worker takes seconds to start, which short trainings do not repay. By then the first has
        shown how much memory one takes.
        """
        if not self._patient or not slot.accelerator:
            return True
        others = [s for s in self._slots if s.accelerator and s.stage is not None]
        if not others:
            return True
        now = time.monotonic()
        held = [0 if other.worker is None else other.worker.memory() for other in others]
        self._most_memory = max(self._most_memory, *held)
        if slot.worker is None and now - min(other.began for other in others) < START_SECONDS:
            return False
        # What each of those that began just now, and this one, will take.
        growing = [
            self._most_memory - mine
            for mine, other in zip(held, others, strict=True)
            if now - other.began < START_SECONDS
        ]
        mine = 0 if slot.worker is None else slot.worker.memory()
        return memory.available() > sum(growing) + self._most_memory - mine

    def _begin_to_serve(self, slot: Slot, store: Store, answers: Answers) -> None:
        """Start the thread that gives a slot's stages to its worker."""
        # Not joined: in Python 3.11 a join that Ctrl-C interrupts takes the thread for ended.
        served = threading.Event()
        # No thread outlives the command: its worker may hang in a way that nothing ends.
        threading.Thread(
            target=self._serve_slot, args=(slot, store, answers, served), daemon=True
        ).start()
        slot.served = served

    def _serve_slot(
        self, slot: Slot, store: Store, answers: Answers, served: threading.Event
    ) -> None:
        try:
            while (request := slot.requests.get()) is not None and not self._stopping:
                try:
                    answer = self._run(slot, store, *request, answers)
                except BenchError as error:
                    answer = Answer("refused", str(error))
                except Exception as error:  # or the launcher would wait for ever
                    traceback.print_exc()
                    answer = Answer("failed", f"{type(error).__name__}: {error}")
                answers.put((slot, answer))
            if slot.worker is not None:
                slot.worker.close()
        finally:
            served.set()

    def _run(
        self, slot: Slot, store: Store, stage: Stage, wait_seconds: float, answers: Answers
    ) -> Answer:
        if slot.worker is None or not slot.worker.alive:
            if slot.worker is not None:
                slot.worker.close()
            slot.worker = WorkerProcess(store, slot.environment)
        if self._stopping:  # set while the worker started, so it was not told to stop
            return Answer("interrupted", "stopped before it began")
        return slot.worker.ask(stage, wait_seconds, lambda said: answers.put((slot, said)))


def default_slots(workers: int = 1, threads: int | None = None) -> list[Slot]:
    """Return slots for every visible GPU, or for the CPU, and one for stages that need neither.

    Parameters
    ----------
    workers
        Stages side by side on each GPU, or on the CPU, whose cores they share. Small networks fill
        neither.
    threads
        Threads of each on the CPU; its part of the cores if not given.
    """
    # joblib's name: threads that read and inflate
    common = waiting() | {"LOKY_MAX_CPU_COUNT": str(cores())}
    light = Slot("aux", False, common | {VARIABLE: "", "OMP_NUM_THREADS": "1"})
    places = {f"gpu{gpu}": common | {VARIABLE: gpu} for gpu in visible_gpus()}
    places = places or {"cpu": common | {VARIABLE: ""}}
    if "OMP_NUM_THREADS" not in os.environ:
        each = threads or even(cores(), workers * len(places))
        places = {name: there | {"OMP_NUM_THREADS": str(each)} for name, there in places.items()}
    names = [""] if workers == 1 else [f".{number}" for number in range(workers)]
    return [
        *(Slot(place + name, True, there) for place, there in places.items() for name in names),
        light,
    ]


def _drain(frontier: Frontier) -> Iterator[Stage]:
    """Yield ready stages until there are none; marking one done may make others ready."""
    while ready := frontier.take_ready():
        yield from ready
