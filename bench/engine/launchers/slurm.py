"""Submit Slurm jobs: each is a worker that takes ready stages from the shared store.

Jobs are workers, not stages: thousands of stages need a handful of jobs, no dependencies between
jobs and no accounting. Leases keep the jobs apart; what a lost job had begun goes on in another.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from datetime import datetime
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field
from typing_extensions import override

from bench.engine import cluster
from bench.engine.cluster import Submission
from bench.engine.devices import use_device
from bench.engine.graph import StageGraph
from bench.engine.journal import Journal
from bench.engine.launcher import Submitter
from bench.engine.provenance import slurm_job
from bench.engine.sharing import even, share
from bench.engine.store import Store
from bench.engine.worker import SUBMISSION
from bench.engine.workerpool import MAX_WORKERS, WorkerPool, default_slots
from bench.errors import BenchError

if TYPE_CHECKING:
    from submitit import SlurmExecutor
    from submitit.helpers import DelayedSubmission

SAVE_SECONDS = 120
"""Time a job has to save its state before its time limit."""
MAX_TIMEOUTS = 50
"""How often a job that reached its time limit is queued again."""
LEAST_MINUTES = 20
GRACE_SECONDS = 900.0
"""How long a job that is being preempted waits to be ended."""
PAUSES = (5, 10, 20, 40)
"""Seconds before the attempts to submit again while the controller is overloaded."""
_DEAF = """sh -c 'trap "" TERM; exec "$@"' sh"""
"""Runs what follows with SIGTERM ignored: a job that is preempted before :meth:`Work._end` listens
must not end by itself, or Slurm would not queue it again."""
_BUSY = re.compile(
    r"temporarily|unexpected message|timed out|unable to contact|connection refused|"
    r"zero bytes|standby|try again",
    re.IGNORECASE,
)
_MINUTES = {"m": 1, "h": 60, "d": 24 * 60}


def _minutes(time: str) -> int:
    return int(time[:-1]) * _MINUTES[time[-1]]


def _long_enough(time: str) -> str:
    if not re.fullmatch(r"\d+[mhd]", time):
        raise ValueError("write minutes, hours or days: 90m, 24h, 2d")
    if _minutes(time) < LEAST_MINUTES:
        raise ValueError(
            f"at least {LEAST_MINUTES}m: of a shorter job it cannot be told whether it was "
            "preempted or reached its time limit"
        )
    return time


class Slurm(Submitter):
    """Jobs of equal size, which share the stages; at its time limit a job is queued again."""

    jobs: int = Field(default=1, ge=1)
    """Jobs side by side, submitted as one array."""
    gpus: int = Field(default=1, ge=0)
    """GPUs of a job."""
    gpu_type: str | None = None
    """Type of GPU, such as ``a100``, at sites that require it."""
    workers: int | None = Field(default=None, ge=1, le=MAX_WORKERS)
    """Trainings side by side on every GPU, or on the CPU. If not given: one on a GPU; with
    ``gpus=0`` as many as bring the plan to its end first on the cores of a job."""
    cpus: int = Field(default=8, ge=1)
    """Cores of a job."""
    mem: str = Field(default="32G", pattern=r"^\d+[MGT]$")
    """Memory of a job."""
    time: Annotated[str, AfterValidator(_long_enough)] = "24h"
    """Time limit of a job."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None

    def share(self, graph: StageGraph) -> tuple[int, int]:
        """Return trainings side by side on each GPU of a job, or on its CPU, and their threads."""
        if self.workers is None and not self.gpus:
            return share(graph, self.cpus, machines=self.jobs)
        workers = self.workers or 1
        return workers, even(self.cpus, workers * max(1, self.gpus))

    def slots(self, graph: StageGraph) -> int:
        """Return the number of trainings side by side in a job."""
        return max(1, self.gpus) * self.share(graph)[0]

    @override
    def submit(
        self, graph: StageGraph, store: Store, finish: Callable[[], object]
    ) -> Iterator[str]:
        cluster.forget_allocation()
        limit = cluster.largest_array()
        cluster.forget_ended(store)
        earlier = cluster.queue(cluster.submissions(store))
        if earlier:
            yield f"{len(earlier)} submitted before are queued or running; these join them"
        n_jobs, width, slots = self.jobs, _width(graph, store), self.slots(graph)
        if n_jobs > (useful := -(-width // slots)):
            yield (
                f"{useful} of {n_jobs} jobs are submitted, more would be idle: only {width} "
                f"trainings or predictions can run side by side, {slots} in a job"
            )
            n_jobs = useful
        if limit is not None and n_jobs > limit:
            yield (
                f"{limit} of {n_jobs} jobs are submitted, the longest array of this cluster; "
                "the same command adds more"
            )
            n_jobs = limit
        name = f"bench-{secrets.token_hex(4)}"
        work = Work(self, name, graph, store, finish)
        job_id = yield from _submitted(self._executor(store, name), work, n_jobs)
        submission = Submission(
            name, job_id, n_jobs, slots, work.wanted, datetime.now().isoformat("T", "seconds")
        )
        submission.record(store)
        given = f"gpus={self.gpus}, cpus={self.cpus}, mem={self.mem}, time={self.time}"
        workers, threads = self.share(graph)
        place = "each GPU" if self.gpus else "the CPU"
        on = "1 thread" if threads == 1 else f"{threads} threads"
        yield f"{submission.ids}, each with {given}: {workers} on {place}, {on} each"

    def _executor(self, store: Store, name: str) -> SlurmExecutor:
        try:
            import submitit
        except ImportError:
            raise BenchError(
                "launcher slurm: needs submitit, pip install 'organ-bench[slurm]'"
            ) from None
        executor = submitit.SlurmExecutor(
            cluster.folder_of(store),
            max_num_timeout=MAX_TIMEOUTS,
            # -P keeps a folder called bench off the path
            python=f"{_DEAF} {shlex.quote(sys.executable)} -P",
        )
        gpus = f"{self.gpu_type}:{self.gpus}" if self.gpu_type else self.gpus
        executor.update_parameters(
            job_name=name,
            time=_minutes(self.time),
            cpus_per_task=self.cpus,
            mem=self.mem,
            nodes=1,
            ntasks_per_node=1,
            gpus_per_node=gpus if self.gpus else None,
            partition=self.partition,
            account=self.account,
            qos=self.qos,
            constraint=self.constraint,
            signal_delay_s=SAVE_SECONDS,
            array_parallelism=max(1, self.jobs),
            additional_parameters={"requeue": True},  # some sites forbid it unless a job asks
        )
        return executor


def _submitted(executor: SlurmExecutor, work: Work, n_jobs: int) -> Generator[str, None, str]:
    """Submit the jobs, several times if the controller is overloaded; return the array's id."""
    for pause in (*PAUSES, None):
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):  # submitit prints what it raises
                jobs = executor.map_array(work, range(n_jobs))
            return jobs[0].job_id.partition("_")[0]
        except (RuntimeError, OSError) as error:
            reason = (said.getvalue() or str(error)).strip().splitlines()[-1]
            if pause is None or not _BUSY.search(reason):
                raise BenchError(f"launcher slurm: {reason}; nothing was submitted") from error
        yield f"{reason}; again in {pause} s"
        sleep(pause)
        # sbatch may have lost the answer only.
        cluster.call("scancel", f"--name={work.name}")
    raise AssertionError


class Work:
    """The work of one job: run stages of a plan until none is left that it could run."""

    def __init__(
        self,
        launcher: Slurm,
        name: str,
        graph: StageGraph,
        store: Store,
        finish: Callable[[], object],
    ) -> None:
        self.name = name
        inputs = {parent.key for stage in graph.stages.values() for parent in stage.inputs()}
        # Keys, because a job reads stages from the store: plug-ins cannot be pickled.
        self.wanted = tuple(key for key in graph.stages if key not in inputs)
        self._root, self._finish = store.root, finish
        self._has_gpus = launcher.gpus > 0
        self._workers, self._threads = launcher.share(graph)
        self._patient = launcher.workers is None and not self._has_gpus
        # Sites may start jobs with an empty environment.
        self._environment = {k: v for k, v in os.environ.items() if k.startswith("BENCH_")}
        self._pool: WorkerPool | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pool": None}

    def __call__(self, number: int) -> None:
        """Run stages in a job until the plan is finished or other jobs run all that is left."""
        os.environ.update(self._environment | {SUBMISSION: self.name})
        cluster.forget_allocation()
        if not self._has_gpus:
            use_device("cpu")  # the node may have GPUs, but this job was given none
        os.environ.setdefault("OMP_NUM_THREADS", str(self._threads))
        store = Store(self._root)
        graph = StageGraph(store.find_all(self.wanted))
        self._pool = WorkerPool(default_slots(self._workers), patient=self._patient)
        signal.signal(signal.SIGTERM, self._end)
        if self._run(graph, store, number):
            self._finish()

    def _run(self, graph: StageGraph, store: Store, number: int) -> bool:
        """Run stages; return whether the plan is finished."""
        assert self._pool is not None
        at_work: set[str] = set()
        journal = Journal(cluster.journal_of(store, self.name, number))
        with contextlib.closing(self._pool.run(graph, store)) as events:
            for event in events:
                journal.write(event)
                if event.kind == "started":
                    at_work.add(event.stage.key)
                elif event.kind not in ("progress", "stalled"):
                    at_work.discard(event.stage.key)
                if event.kind == "waiting" and not at_work and _is_taken(graph, store):
                    return False
        return True

    def checkpoint(self, number: int) -> DelayedSubmission:
        """Save the state of running stages; submitit calls it before it queues the job again."""
        from submitit.helpers import DelayedSubmission

        if self._pool is not None:
            self._pool.stop()
        return DelayedSubmission(self, number)

    def _end(self, *_signal: object) -> None:
        """Save the state of running stages, and end as Slurm wants: SIGTERM is its first word.

        A job that is preempted has a time of grace in which it still counts as running. If it ended
        then by itself, Slurm would take it for finished and not queue it again.
        """
        assert self._pool is not None
        self._pool.stop()
        deadline = monotonic() + GRACE_SECONDS
        while _counts_as_running() and monotonic() < deadline:
            sleep(2.0)
        sys.exit(128 + signal.SIGTERM)


def _counts_as_running() -> bool:
    asked = ["--array", "--noheader", f"--jobs={slurm_job()}", "--format=%T"]
    try:
        return cluster.call("squeue", *asked).strip() == "RUNNING"
    except BenchError:
        return True  # nobody knows


def _width(graph: StageGraph, store: Store) -> int:
    """Return how many of the missing trainings and predictions can run side by side."""
    level: dict[str, int] = {}
    for stage in graph.in_order():
        below = max((level[parent.key] for parent in stage.inputs()), default=0)
        level[stage.key] = below + (stage.uses_accelerator and not store.is_done(stage))
    sizes = Counter(
        level[key]
        for key, stage in graph.stages.items()
        if stage.uses_accelerator and not store.is_done(stage)
    )
    return max(sizes.values(), default=1)


def _is_taken(graph: StageGraph, store: Store) -> bool:
    """Tell whether other processes run every stage that an accelerator could run next."""
    behind: set[str] = set()
    for stage in graph.in_order():
        if store.is_done(stage):
            continue
        waits = any(parent.key in behind for parent in stage.inputs())
        if stage.uses_accelerator and not waits and store.state(stage) != "running":
            return False
        if waits or stage.uses_accelerator:
            behind.add(stage.key)
    return True
