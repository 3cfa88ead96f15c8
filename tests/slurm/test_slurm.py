"""Jobs of a real Slurm finish a grid whatever happens to them, and compute nothing twice."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from helpers import wait_for
from onenode import Cluster, ask, start_now, state
from walk import Answer, bench, saved

pytestmark = pytest.mark.slurm

GRID = ["-m", "naive,inerrant0", "-l", "50", "-p", "smoke[steps=400]", "-f", "all"]
JOBS = "gpus=0,cpus=1,mem=1G"


@dataclass
class Story:
    """A grid whose jobs were queued again, cancelled, stopped by a limit and lost."""

    store: Path
    submitted: Answer
    joined: Answer
    """The same command, given while the first jobs were at work."""
    watched: Answer
    broken: set[str] = field(default_factory=set)
    """Trainings that were at work when their job ended."""

    def receipts(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self.store.glob("*/*/out/DONE")]


def at_work(store: Path, name: str, number: int) -> set[str]:
    """Return the trainings that a job computes now, from its journal."""
    running: set[str] = set()
    for line in (store / f"slurm/{name}.{number}.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["kind"] == "begin":
            running.clear()
        elif event["kind"] in ("started", "progress"):
            running.add(event["key"])
        else:
            running.discard(event["key"])
    return {key for key in running if key.startswith("Train-")}


def record(store: Path, number: int) -> dict[str, Any]:
    """Return the record of the first, second ... submission."""
    records = [json.loads(path.read_text()) for path in store.glob("slurm/*.json")]
    return sorted(records, key=lambda one: int(one["job_id"]))[number]


def trains(store: Path, name: str, number: int) -> bool:
    """Tell whether a job is in the middle of a training, whose state was saved."""
    if not (store / f"slurm/{name}.{number}.jsonl").is_file():
        return False
    resumable = {f"Train-{path.parents[1].name[-12:]}" for path in saved(store)}
    return bool(at_work(store, name, number) & resumable)


@pytest.fixture(scope="module")
def story(cluster: Cluster, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Story:
    store = tmp_path_factory.mktemp("cluster") / "store"
    command = ["run", *GRID, "-d", folder, "--store", store, "--launcher"]
    environment = {"BENCH_CHECKPOINT_SECONDS": "2"}
    broken: set[str] = set()

    submitted = bench(*command, f"slurm[jobs=2,{JOBS}]", **environment)
    first = record(store, 0)
    requeued, limited = (f"{first['job_id']}_{number}" for number in range(2))
    for number in range(2):
        wait_for("both jobs to train", lambda n=number: trains(store, first["name"], n))

    # Slurm looks for jobs near their limit twice a minute; meanwhile the other one is queued again.
    ask("scontrol", "update", f"job={limited}", "TimeLimit=2")
    for number in range(2):
        broken |= at_work(store, first["name"], number)
    ask("scontrol", "requeue", requeued)

    joined = bench(*command, f"slurm[jobs=1,{JOBS}]", **environment)
    second = record(store, 1)
    start_now(requeued)
    wait_for("the job that joined to train", lambda: trains(store, second["name"], 0))
    broken |= at_work(store, second["name"], 0)
    ask("scancel", second["job_id"])

    wait_for("the limit", lambda: state(limited) != "RUNNING")
    wait_for("the job to be queued again", lambda: state(limited) == "PENDING")
    ask("scontrol", "update", f"job={limited}", "TimeLimit=60")
    start_now(limited)

    for number in range(2):
        wait_for("the jobs to go on", lambda n=number: trains(store, first["name"], n))
        broken |= at_work(store, first["name"], number)
    cluster.lose_power()
    for job in (requeued, limited):
        start_now(job)

    watched = bench("status", "--watch", "--store", store)
    return Story(store, submitted, joined, watched, broken)


def test_the_command_ends_at_once_and_says_what_follows(story: Story) -> None:
    ids = f"{record(story.store, 0)['job_id']}_[0-1]"
    said = story.submitted.out
    assert f"jobs      {ids}, each with gpus=0, cpus=1, mem=1G, time=24h\n" in said
    for command in ("bench status --watch", "bench report leaderboard", "bench cancel"):
        assert f"{command} --store {story.store}" in said


def test_the_same_command_adds_workers(story: Story) -> None:
    assert "2 submitted before are queued or running; these join them" in story.joined.out
    job = f"{record(story.store, 1)['job_id']}"
    assert job in {receipt["slurm_job"] for receipt in story.receipts()} | {job}


def test_the_watch_ends_when_all_is_done(story: Story) -> None:
    first, *_, last = story.watched.out.splitlines()
    assert re.search(r"jobs: .*running; remaining: ", first)
    assert re.search(r" (\d+)/\1 stages done; remaining: nothing$", last)


def test_nothing_is_computed_twice(story: Story) -> None:
    """A stage begins again only if its job ended while it was at work."""
    for log in story.store.glob("*/*/log.txt"):
        begun = log.read_text().count("--- ")
        key = f"{log.parent.parent.name}-{log.parent.name[-12:]}"
        if key.startswith("Train-"):
            assert (begun > 1) <= (key in story.broken), key
        events = log.parent / "out" / "events.jsonl"
        if events.is_file():
            assert events.read_text().count('"step": 0,') <= 1, key
    assert len(story.broken) >= 2


def test_receipts_name_the_job_and_how_often_it_was_queued_again(story: Story) -> None:
    first = record(story.store, 0)["job_id"]
    found = {(receipt["slurm_job"], int(receipt["slurm_restarts"])) for receipt in story.receipts()}
    assert max(restarts for job, restarts in found if job.startswith(f"{first}_")) >= 2


def test_the_last_job_writes_the_results(story: Story) -> None:
    answer = bench("report", "leaderboard", "--store", story.store, "-o", story.store / "board")
    assert "INERRANT" in answer.out


def test_interruptions_change_no_byte(story: Story, folder: Path, tmp_path: Path) -> None:
    calm = tmp_path / "store"
    bench("run", *GRID[:-1], "0", "-d", folder, "--store", calm, "--launcher", "local[workers=2]")
    weights = [path.relative_to(calm) for path in calm.glob("Train/*/out/*.safetensors")]
    assert len(weights) == 2
    for path in weights:
        assert (calm / path).read_bytes() == (story.store / path).read_bytes()
