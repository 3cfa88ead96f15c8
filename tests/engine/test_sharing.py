"""The cores are used whatever there is to train, and the choice depends on nothing but the plan."""

from __future__ import annotations

import time

import pytest
from helpers import HeavyToy, Toy, TrainingToy

from bench.engine.graph import StageGraph
from bench.engine.launchers import local
from bench.engine.launchers.local import Local
from bench.engine.process import WorkerProcess
from bench.engine.sharing import share
from bench.engine.workerpool import Slot, WorkerPool
from bench.machine.processor import cores
from bench.stage import Stage


def chain(name: str, *steps: int) -> Stage:
    """Return an evaluation above a prediction above trainings of so many steps, one by one."""
    below: tuple[Stage, ...] = ()
    for number, length in enumerate(steps):
        below = (TrainingToy(name=f"{name}{number}", steps=length, needs=below),)
    return Toy(name=f"{name}-e", needs=(HeavyToy(name=f"{name}-p", needs=below),))


@pytest.mark.parametrize(
    ("lengths", "n_cores", "threads", "expected"),
    [
        ([1], 2, None, (1, 2)),  # a single training: all cores
        ([3], 16, None, (1, 16)),  # rounds of relabelling wait for each other
        ([1, 1], 2, None, (2, 1)),
        ([1, 3], 2, None, (1, 2)),  # most of the time only the long chain would run
        ([1, 1, 1], 2, None, (1, 2)),  # as would the last of them
        ([1] * 20, 2, None, (2, 1)),
        ([1] * 20, 1, None, (1, 1)),
        ([1] * 64, 8, None, (8, 1)),
        ([1, 1, 1], 8, None, (3, 2)),
        ([1] * 20, 8, 3, (2, 3)),  # the user's threads
        ([1], 2, 5, (1, 5)),
        ([], 4, None, (1, 4)),
    ],
)
def test_a_plan_is_shared_so_that_it_ends_first(
    lengths: list[int], n_cores: int, threads: int | None, expected: tuple[int, int]
) -> None:
    graph = StageGraph([chain(f"c{n}-", *[100] * length) for n, length in enumerate(lengths)])
    assert share(graph, n_cores, threads) == expected


def test_trainings_count_by_their_steps() -> None:
    relabelled = chain("relabelled", 2400, 800)
    assert share(StageGraph([relabelled, chain("long", 3200)]), 2) == (2, 1)
    assert share(StageGraph([relabelled, chain("short", 400)]), 2) == (1, 2)


def test_machines_share_a_plan() -> None:
    graph = StageGraph([chain(f"c{n}", 100) for n in range(8)])
    assert share(graph, 4) == (4, 1)
    assert share(graph, 4, machines=4) == (2, 2)


def test_the_user_s_word_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = StageGraph([chain("a", 100), chain("b", 100)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(local, "cores", lambda: 4)
    assert Local().describe(graph) == "2 on the CPU, 2 threads each (4 cores)"
    assert Local(workers=1).describe(graph) == "1 on the CPU, 4 threads each (4 cores)"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert Local().describe(graph) == "2 on the CPU, 1 thread each (4 cores)"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert Local(workers=3).describe(graph) == "3 on each of 2 GPUs"


def test_cores_are_those_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 32)
    assert cores() == 32
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "16")
    assert cores() == 16
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    assert cores() == 4
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)  # the control group of the job has fewer
    assert cores() == 2


class Busy(WorkerProcess):
    """A worker that holds some memory."""

    def __init__(self, held: int) -> None:
        self._held = held

    def memory(self) -> int:
        return self._held


@pytest.mark.parametrize(
    ("age", "free", "patient", "expected"),
    [
        (60, 501, True, True),
        (60, 499, True, False),  # no memory for another
        (5, 10_000, True, False),  # may be over before another worker has started
        (5, 0, False, True),  # the user has set their number
    ],
)
def test_a_further_worker_waits_until_it_is_worth_its_start_and_has_memory(
    age: float, free: int, patient: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.machine.memory.available", lambda: free)
    first, second, third = (Slot(f"cpu.{n}", True, {}) for n in range(3))
    pool = WorkerPool([first, second, third], patient=patient)
    assert pool._may_begin(first)  # nothing runs yet
    first.stage, first.began, first.worker = Toy(name="a"), time.monotonic() - age, Busy(500)
    assert pool._may_begin(second) == expected


def test_memory_is_kept_for_workers_that_have_just_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    first, second, third = (Slot(f"cpu.{n}", True, {}) for n in range(3))
    first.stage, first.began, first.worker = Toy(name="a"), now - 60, Busy(500)
    second.stage, second.began, second.worker = Toy(name="b"), now, Busy(100)
    pool = WorkerPool([first, second, third], patient=True)
    for free, may in ((899, False), (901, True)):  # 400 for the second to grow, 500 for the third
        monkeypatch.setattr("bench.machine.memory.available", lambda free=free: free)
        assert pool._may_begin(third) == may
    third.worker = Busy(500)  # it waits between two stages and keeps its memory
    monkeypatch.setattr("bench.machine.memory.available", lambda: 401)
    assert pool._may_begin(third)
