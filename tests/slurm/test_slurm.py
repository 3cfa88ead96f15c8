"""Jobs of a real Slurm finish a grid whatever happens to them, and compute nothing twice."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from onenode import Cluster, ask, state
from walk import Answer, Started, bench, saved
from warm import COMMAND

pytestmark = pytest.mark.slurm

PLUGIN = Path(__file__).with_name("slow.py")
GRID = ["-m", "slow,slow[pause=0.26]", "--plugin", PLUGIN, "-l", "50", "-p", "smoke[steps=120]"]
JOBS = "gpus=0,cpus=1,mem=1G"


@dataclass
class Story:
    """A grid whose jobs were queued again, cancelled, stopped by a limit and lost."""

    store: Path
    submitted: Answer
    joined: Answer
    """The same command, given while the first jobs were at work."""
    watched: Answer
    calm: Path
    """A store with fold 0 of the grid, to whose jobs nothing happened."""
    plain: Path
    """A store with the first training, computed by the script of the manual."""

    def broken(self) -> set[str]:
        """Return the trainings that were at work when their job ended."""
        journals = self.store.glob("slurm/*.jsonl")
        return {key for path in journals for running in attempts(path) for key in running}

    def receipts(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self.store.glob("*/*/out/DONE")]


def attempts(journal: Path) -> list[set[str]]:
    """Return, for each time that a job has begun, the trainings at work when it ended, or now."""
    found: list[set[str]] = []
    for line in journal.read_text().splitlines() if journal.is_file() else ():
        event = json.loads(line)
        if event["kind"] == "begin":
            found.append(set())
        elif not event["key"].startswith("Train-"):
            continue
        elif event["kind"] in ("started", "progress"):
            found[-1].add(event["key"])
        else:
            found[-1].discard(event["key"])
    return found


def record(store: Path, number: int) -> dict[str, Any]:
    """Return the record of the first, second ... submission."""
    records = [json.loads(path.read_text()) for path in store.glob("slurm/*.json")]
    return sorted(records, key=lambda one: int(one["job_id"]))[number]


def script(folder: Path, data: Path, store: Path) -> Path:
    """Return the script of the manual, for this machine and data."""
    page = (Path(__file__).parents[2] / "docs/howto/slurm.md").read_text()
    text = next(block for block in page.split("```")[1::2] if "save_and_queue_again" in block)
    run = map(str, [COMMAND, "run", *GRID[:1], "slow", *GRID[2:], "-d", data, "--store", store])
    for old, new in [
        ("bash\n#!", "#!"),
        ("--array=0-7", "--array=0"),
        ("--gres=gpu:1 --cpus-per-task=8 --mem=32G", "--cpus-per-task=1 --mem=1G"),
        ("--output=bench", f"--output={folder}/bench"),
        ("bench run -m naive,inerrant0,inerrant -d lits -l 30,10 -f all -p fast", shlex.join(run)),
    ]:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "script.sh").write_text(text)
    return folder / "script.sh"


@pytest.fixture(scope="module")
def story(cluster: Cluster, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Story:
    place = tmp_path_factory.mktemp("cluster")
    store, calm, plain = (place / name for name in ("store", "calm", "plain"))
    command = ["run", *GRID, "-f", "all", "-d", folder, "--store", store, "--launcher"]
    environment = {"BENCH_CHECKPOINT_SECONDS": "2"}

    def note(name: str, number: int, attempt: int) -> None:
        """Wait until a job is in the middle of a training, whose state was saved."""

        def trains() -> bool:
            found = attempts(store / f"slurm/{name}.{number}.jsonl")
            resumable = {f"Train-{path.parents[1].name[-12:]}" for path in saved(store)}
            return len(found) == attempt and bool(found[-1] & resumable)

        cluster.wait_for(f"attempt {attempt} of {name}.{number} to train", trains)

    undisturbed = Started(
        *["run", *GRID, "-d", folder, "--store", calm, "--launcher", "local[workers=2]"]
    )
    by_hand = ask("sbatch", "--parsable", str(script(place, folder, plain))).strip() + "_0"
    submitted = bench(*command, f"slurm[jobs=2,{JOBS}]", **environment)
    first = record(store, 0)
    requeued, limited = (f"{first['job_id']}_{number}" for number in range(2))
    for number in range(2):
        note(first["name"], number, attempt=1)

    # Slurm looks for jobs near their limit twice a minute; meanwhile others are queued again.
    ask("scontrol", "update", f"job={limited}", "TimeLimit=2")
    ask("scontrol", "requeue", requeued)
    joined = bench(*command, f"slurm[jobs=1,{JOBS}]", **environment)
    second = record(store, 1)
    cluster.wait_for("the script to train", lambda: list(plain.glob("Train/*/events.jsonl")))
    ask("scancel", "--batch", "--signal=TERM", by_hand)
    cluster.start_now(requeued)
    note(second["name"], 0, attempt=1)
    ask("scancel", second["job_id"])

    cluster.wait_for("the limit", lambda: state(limited) != "RUNNING")
    cluster.wait_for("the job to be queued again", lambda: state(limited) == "PENDING")
    ask("scontrol", "update", f"job={limited}", "TimeLimit=60")
    for job in (limited, by_hand):
        cluster.start_now(job)
    for number in range(2):
        note(first["name"], number, attempt=2)
    cluster.preempt()
    for job in (requeued, limited, by_hand):
        cluster.start_now(job)
    for number in range(2):
        note(first["name"], number, attempt=3)
    cluster.lose_power()
    for job in (requeued, limited, by_hand):
        cluster.start_now(job)

    watched = bench("status", "--watch", "--store", store, "--plugin", PLUGIN)
    undisturbed.ended(0)
    cluster.wait_for("the script to end", lambda: not state(by_hand))
    return Story(store, submitted, joined, watched, calm, plain)


def test_the_command_ends_at_once_and_says_what_follows(story: Story) -> None:
    ids = f"{record(story.store, 0)['job_id']}_[0-1]"
    said = story.submitted.out
    assert f"jobs      {ids}, each with gpus=0, cpus=1, mem=1G, time=24h: " in said
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
    broken = story.broken()
    for log in story.store.glob("*/*/log.txt"):
        begun = log.read_text().count("--- ")
        key = f"{log.parent.parent.name}-{log.parent.name[-12:]}"
        if key.startswith("Train-"):
            assert (begun > 1) <= (key in broken), key
        events = log.parent / "out" / "events.jsonl"
        if events.is_file():
            assert events.read_text().count('"step": 0,') <= 1, key
    assert len(broken) >= 2


def test_receipts_name_the_job_and_how_often_it_was_queued_again(story: Story) -> None:
    first = record(story.store, 0)["job_id"]
    found = {(receipt["slurm_job"], int(receipt["slurm_restarts"])) for receipt in story.receipts()}
    assert max(restarts for job, restarts in found if job.startswith(f"{first}_")) >= 3


def test_the_last_job_writes_the_results(story: Story) -> None:
    answer = bench("report", "leaderboard", "--store", story.store, "-o", story.store / "board")
    assert "slow [pause=0.26]" in answer.out


def test_interruptions_change_no_byte(story: Story) -> None:
    weights = [path.relative_to(story.calm) for path in trained(story.calm)]
    assert len(weights) == 2
    for path in weights:
        assert (story.calm / path).read_bytes() == (story.store / path).read_bytes()


def test_the_script_of_the_manual_goes_on_where_it_was(story: Story) -> None:
    (weights,) = trained(story.plain)
    assert weights.read_bytes() == (story.calm / weights.relative_to(story.plain)).read_bytes()
    (log,) = story.plain.glob("Train/*/log.txt")
    assert log.read_text().count("--- ") >= 2  # stopped as near its limit, preempted, lost
    assert list(story.plain.glob("results/*.parquet"))


def trained(store: Path) -> list[Path]:
    return list(store.glob("Train/*/out/*.safetensors"))
