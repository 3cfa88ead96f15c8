"""Run stages in Slurm jobs: each job is a worker that takes ready stages from the shared store.

Jobs are workers, not stages: thousands of stages need a handful of jobs, no dependencies between
jobs and no accounting. Leases keep the jobs apart; what a lost job had begun goes on in another.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from typing_extensions import override

from bench.engine.devices import use_device
from bench.engine.graph import StageGraph
from bench.engine.journal import Follower, Journal
from bench.engine.launcher import Launcher, StageEvent
from bench.engine.launchers.local import WorkerPool, default_slots
from bench.engine.store import Store
from bench.errors import BenchError

if TYPE_CHECKING:
    from submitit import Job
    from submitit.helpers import DelayedSubmission

LOOK_SECONDS = 1.0
"""Interval between two reads of the store."""
QUEUE_SECONDS = 30.0
"""Interval between two queries to Slurm, which serves the whole site."""
SAVE_SECONDS = 120
"""Time a job has to save its state before its time limit."""
MAX_TIMEOUTS = 50
"""How often a job that reached its time limit is queued again."""


class Slurm(Launcher):
    """Jobs of equal size, which share the stages; at its time limit a job is queued again."""

    jobs: int = Field(default=1, ge=1)
    """Jobs side by side, submitted as one array."""
    gpus: int = Field(default=1, ge=0)
    """GPUs of a job."""
    gpu_type: str | None = None
    """Type of GPU, such as ``a100``, at sites that require it."""
    workers: int = Field(default=1, ge=1)
    """Trainings side by side on every GPU, or on the CPU."""
    cpus: int = Field(default=8, ge=1)
    """Cores of a job."""
    mem_gb: int = Field(default=32, ge=1)
    """Memory of a job."""
    minutes: int = Field(default=24 * 60, ge=20)
    """Time limit of a job. With shorter limits submitit takes any signal for the time limit."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    cluster: Literal["slurm", "local"] = "slurm"
    """``local`` starts the jobs on this machine, without a queue, for a trial."""

    @override
    def run(self, graph: StageGraph, store: Store) -> Generator[StageEvent]:
        follower = Follower(graph, store)
        yield from follower.look()
        if follower.finished:
            return
        n_open = sum(s.uses_accelerator and not store.is_done(s) for s in graph.stages.values())
        work = Work(self, graph, store)
        jobs = self._submit(work, min(self.jobs, max(1, n_open)))
        journals = {job.job_id: work.journal(number) for number, job in enumerate(jobs)}
        have_ended = self._end_of(jobs)
        try:
            while not follower.finished:
                is_over = have_ended()  # before the read: it then sees their last events
                yield from follower.look(journals)
                if is_over and not follower.finished:
                    yield from follower.give_up(f"no job is left, {_last_words(jobs)}")
                time.sleep(LOOK_SECONDS)
        except BaseException:  # Ctrl-C, or the caller closes the generator: jobs save and end
            for job in jobs:
                job.cancel(check=False)
            raise

    def _submit(self, work: Work, n_jobs: int) -> list[Job[None]]:
        """Submit the jobs of a plan.

        Raises
        ------
        BenchError
            submitit or Slurm is not installed, or Slurm refuses the jobs.
        """
        try:
            import submitit
        except ImportError:
            raise BenchError(
                "launcher slurm: needs submitit, pip install 'organ-bench[slurm]'"
            ) from None
        python = f"{shlex.quote(sys.executable)} -P"  # keeps a folder called bench off the path
        said = io.StringIO()
        try:
            executor = submitit.AutoExecutor(
                work.folder,
                cluster=self.cluster,
                slurm_max_num_timeout=MAX_TIMEOUTS,
                slurm_python=python,
                local_max_num_timeout=MAX_TIMEOUTS,
                local_python=python,
            )
            gpus = f"{self.gpu_type}:{self.gpus}" if self.gpu_type else self.gpus
            executor.update_parameters(
                name="bench",
                timeout_min=self.minutes,
                cpus_per_task=self.cpus,
                mem_gb=self.mem_gb,
                tasks_per_node=1,
                slurm_gpus_per_node=gpus if self.gpus else None,
                local_gpus_per_node=self.gpus,
                slurm_partition=self.partition,
                slurm_account=self.account,
                slurm_qos=self.qos,
                slurm_constraint=self.constraint,
                slurm_signal_delay_s=SAVE_SECONDS,
            )
            with contextlib.redirect_stderr(said):  # submitit prints what it raises
                return executor.map_array(work, range(n_jobs))
        except (RuntimeError, OSError) as error:
            reason = (said.getvalue() or str(error)).strip().splitlines()[-1]
            raise BenchError(f"launcher slurm: {reason}") from error

    def _end_of(self, jobs: list[Job[None]]) -> Callable[[], bool]:
        """Return a function that tells whether every job has ended, for any reason.

        It needs only ``squeue``: many sites run Slurm without accounting.
        """
        if self.cluster == "local":
            return lambda: all(job.done() for job in jobs)
        array = jobs[0].job_id.partition("_")[0]
        asked = time.monotonic()

        def ended() -> bool:
            nonlocal asked
            if time.monotonic() - asked < QUEUE_SECONDS:
                return False
            asked = time.monotonic()
            queue = subprocess.run(
                ["squeue", "--noheader", "--jobs", array],
                capture_output=True,
                text=True,
                check=False,
            )
            # Slurm forgets jobs that have ended; any other error says nothing about them.
            forgotten = "Invalid job id" in queue.stderr
            return forgotten or (queue.returncode == 0 and not queue.stdout.strip())

        return ended


class Work:
    """The work of one job: run stages of a plan until none is left that it could run."""

    def __init__(self, launcher: Slurm, graph: StageGraph, store: Store) -> None:
        self.folder = store.root / "slurm"
        self._root, self._name = store.root, secrets.token_hex(4)
        inputs = {parent.key for stage in graph.stages.values() for parent in stage.inputs()}
        # Keys, because a job reads stages from the store: plug-ins cannot be pickled.
        self._keys = [key for key in graph.stages if key not in inputs]
        self._workers, self._has_gpus = launcher.workers, launcher.gpus > 0
        self._threads = max(1, launcher.cpus // launcher.workers)
        self._pool: WorkerPool | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pool": None}

    def journal(self, number: int) -> Path:
        """Return the journal file of a job."""
        return self.folder / f"{self._name}.{number}.jsonl"

    def __call__(self, number: int) -> None:
        """Run stages in a job until the plan is finished or other jobs run all that is left."""
        if not self._has_gpus:
            use_device("cpu")  # the node may have GPUs, but this job was given none
        os.environ.setdefault("OMP_NUM_THREADS", str(self._threads))
        store = Store(self._root)
        graph = StageGraph(store.find_all(self._keys))
        self._pool = WorkerPool(default_slots(self._workers))
        at_work: set[str] = set()
        with (
            self.journal(number).open("a", buffering=1) as file,
            contextlib.closing(self._pool.run(graph, store)) as events,
        ):
            journal = Journal(file)
            for event in events:
                journal.write(event)
                if event.kind == "started":
                    at_work.add(event.stage.key)
                elif event.kind not in ("progress", "stalled"):
                    at_work.discard(event.stage.key)
                if event.kind == "waiting" and not at_work and _is_taken(graph, store):
                    return

    def checkpoint(self, number: int) -> DelayedSubmission:
        """Save the state of running stages; submitit calls it before it queues the job again."""
        from submitit.helpers import DelayedSubmission

        if self._pool is not None:
            self._pool.stop()
        return DelayedSubmission(self, number)


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


def _last_words(jobs: list[Job[None]]) -> str:
    """Return the last error line of one of the jobs, and the path of its log."""
    for job in jobs:
        lines = (job.stderr() or "").strip().splitlines()
        if said := [line for line in lines if not line.startswith("submitit ")]:
            return f"job {job.job_id}: {said[-1]} (log: {job.paths.stderr})"
    return f"their logs are in {jobs[0].paths.folder}"
