"""The cores of this process: how many trainings share them, and on how many threads each.

The numbers that a training computes depend on its threads, as those of any program that adds in
another order. So the choice depends on the plan and the machine alone, never on what is done
already or ends first: the same command, continued or not, computes with the same threads.
"""

from __future__ import annotations

import math
import os
from operator import attrgetter

from bench.engine.graph import StageGraph
from bench.engine.makespan import makespan

GAIN = 0.65
"""A step on t threads is about t ** GAIN times as fast as on one (``benchmarks/beside.py``)."""
WAITING = {"GOMP_SPINCOUNT": "5000", "OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""OpenMP threads that wait for each other spin for a fraction of a millisecond, then sleep.

By default they spin for milliseconds: beside any other load the thread that is waited for has no
core, and a step takes several times as long. Where they sleep at once, waking them at each of the
hundreds of parallel parts of a step costs as much as a second thread gains, in a virtual machine.
"""


def waiting() -> dict[str, str]:
    """Return the variables of :data:`WAITING` for workers; none where the user has set one."""
    return {} if any(name in os.environ for name in WAITING) else WAITING


def even(n_cores: int, trainings: int) -> int:
    """Return the threads of each of so many trainings that run at the same time."""
    return max(1, n_cores // trainings)


def share(
    graph: StageGraph, n_cores: int, threads: int | None = None, machines: int = 1
) -> tuple[int, int]:
    """Return (trainings side by side, threads of each) with which a plan ends first.

    Many short chains are done soonest side by side on one thread each, a single chain on all cores.
    Trainings count by their steps, all else by nothing: predictions take seconds.

    Parameters
    ----------
    threads
        Threads of each training, if the user has set them.
    machines
        Equal machines that share the plan; the numbers are those of one.
    """
    trainings = sum(stage.training_steps > 0 for stage in graph.stages.values())
    most = max(1, min(math.ceil(trainings / machines), n_cores // (threads or 1)))
    # Of the numbers of workers that leave each as many threads, the largest ends first.
    candidates = {min(most, n_cores // (n_cores // workers)) for workers in range(1, most + 1)}

    def duration(workers: int) -> float:
        steps = makespan(graph, attrgetter("training_steps"), workers * machines)
        return steps / math.pow(threads or n_cores // workers, GAIN)

    best = min(sorted(candidates), key=duration)
    return best, threads or n_cores // best
