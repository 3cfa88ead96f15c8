"""Slurm as seen by its users: its commands, and the jobs that were submitted for a store.

Only ``sbatch``, ``squeue``, ``scancel`` and ``scontrol`` are needed: many sites keep no accounting,
and what is done the store knows better than the queue.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from bench.engine.store import Store
from bench.errors import BenchError
from bench.files import write_atomically

ANSWER_SECONDS = 60.0
"""How long a command of Slurm may take."""
_FOREIGN = re.compile(r"SLURM_(CPU_BIND|MEM_PER_).*")


@dataclass(frozen=True)
class Submission:
    """An array of equal jobs that share a plan, as recorded in the store."""

    name: str
    """Of the jobs in the queue; the same for no two submissions."""
    job_id: str
    jobs: int
    slots: int
    """Trainings side by side in a job."""
    wanted: tuple[str, ...]
    """Keys of the stages that nothing else in the plan needs."""
    submitted: str

    @property
    def ids(self) -> str:
        """The jobs as Slurm writes them."""
        return self.job_id if self.jobs == 1 else f"{self.job_id}_[0-{self.jobs - 1}]"

    def journal(self, store: Store, number: int) -> Path:
        """Return the journal of a job."""
        return journal_of(store, self.name, number)

    def record(self, store: Store) -> None:
        """Write the record that :func:`submissions` reads."""
        text = json.dumps(asdict(self), indent=1)
        write_atomically(folder_of(store) / f"{self.name}.json", text)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a record.

        Raises
        ------
        BenchError
            A file that is no record.
        """
        try:
            fields = json.loads(path.read_text())
            return cls(**fields | {"wanted": tuple(fields["wanted"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BenchError(f"{path}: is no record of jobs ({error!r}): remove it") from None


@dataclass(frozen=True)
class Job:
    """A job in the queue."""

    id: str
    name: str
    state: str
    reason: str
    """Why it does not run."""
    node: str
    elapsed: str
    left: str
    """Until its time limit."""

    @property
    def number(self) -> int:
        """Its place in the array."""
        return int(self.id.partition("_")[2] or 0)


def folder_of(store: Store) -> Path:
    """Return the folder of records, journals, scripts and printed output of jobs."""
    return store.root / "slurm"


def journal_of(store: Store, name: str, number: int) -> Path:
    """Return the journal of a job of a submission."""
    return folder_of(store) / f"{name}.{number}.jsonl"


def submissions(store: Store) -> list[Submission]:
    """Return what was submitted for a store, oldest first."""
    found = map(Submission.read, folder_of(store).glob("*.json"))
    return sorted(found, key=lambda submission: (submission.submitted, submission.name))


def forget_ended(store: Store) -> None:
    """Remove the records of submissions that have no job in the queue any more."""
    recorded = submissions(store)
    queued = {job.name for job in queue(recorded)}
    for submission in recorded:
        if submission.name not in queued:
            (folder_of(store) / f"{submission.name}.json").unlink(missing_ok=True)


def queue(recorded: Iterable[Submission]) -> list[Job]:
    """Return the jobs of submissions that are queued or running.

    Raises
    ------
    BenchError
        Slurm is not here, or does not answer.
    """
    names = ",".join(submission.name for submission in recorded)
    if not names:
        return []
    asked = ["--array", "--noheader", f"--name={names}", "--format=%i|%j|%T|%r|%N|%M|%L"]
    lines = call("squeue", *asked).splitlines()
    return [Job(*(cell.strip() for cell in line.split("|"))) for line in lines if line.strip()]


def cancel(jobs: Sequence[Job]) -> None:
    """Cancel jobs; running ones are told first and save their state.

    Raises
    ------
    BenchError
        As :func:`queue`, or the jobs of another user.
    """
    if jobs:
        call("scancel", *sorted({job.id.partition("_")[0] for job in jobs}))


def largest_array() -> int | None:
    """Return how many jobs an array may have here, None if Slurm does not say."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", call("scontrol", "show", "config"), re.M)
    return int(found[1]) if found else None


def forget_allocation() -> None:
    """Remove what Slurm told an allocation around this process about cores and memory.

    A job that is submitted inside another one inherits it, and ``srun`` refuses the contradiction
    with what the job itself was given.
    """
    for name in filter(_FOREIGN.fullmatch, list(os.environ)):
        del os.environ[name]


def call(command: str, *arguments: str) -> str:
    """Run a command of Slurm and return what it prints.

    Raises
    ------
    BenchError
        It is not installed, fails, or does not answer.
    """
    if shutil.which(command) is None:
        raise BenchError(
            f"slurm: there is no {command} on this machine; give the command where Slurm is, such "
            "as the cluster's login node"
        )
    try:
        done = subprocess.run(
            [command, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=ANSWER_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"slurm: {command} has not answered for {ANSWER_SECONDS:.0f} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise BenchError(f"slurm: {said[-1]}")
    return done.stdout
