"""Jobs share a plan; what they do is followed from elsewhere; none of them is indispensable."""

from __future__ import annotations

import io
import re
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
import walk
from helpers import HeavyToy, Toy, events_of, outcomes, ran, wait_for, workers_find_helpers

from bench.engine.graph import StageGraph
from bench.engine.journal import Follower, Journal
from bench.engine.launcher import StageEvent, parse_launcher
from bench.engine.launchers import slurm
from bench.engine.launchers.slurm import Slurm, Work
from bench.engine.store import Store
from bench.engine.worker import run_stage
from bench.errors import BenchError

NAMES = re.compile(r"`(\w+)`")
HERE = "slurm[cluster=local,gpus=0,cpus=1]"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def registered(store: Store, *wanted: Toy) -> StageGraph:
    graph = StageGraph(wanted)
    store.register(graph.in_order())
    return graph


def told(graph: StageGraph, *events: StageEvent) -> str:
    file = io.StringIO()
    journal = Journal(file)
    for event in events:
        journal.write(event)
    return file.getvalue()


def test_a_plan_is_followed_through_the_store_and_the_journal(store: Store, tmp_path: Path) -> None:
    below = Toy(name="below")
    above, beside = Toy(name="above", needs=(below,)), Toy(name="beside")
    last = Toy(name="last", needs=(above,))
    graph = registered(store, last, beside)
    follower, path = Follower(graph, store), tmp_path / "journal.jsonl"
    assert not list(follower.look({"job": path}))

    lines = told(graph, StageEvent("started", below), StageEvent("progress", below, "", 3, 9, "x"))
    path.write_text(lines[:-5])
    assert [event.kind for event in follower.look({"job": path})] == ["started"]
    path.write_text(lines)
    (event,) = follower.look({"job": path})
    assert event == StageEvent("progress", below, "job", 3, 9, "x")

    run_stage(store, below)
    (event,) = follower.look({"job": path})
    assert event == StageEvent("done", below)
    run_stage(store, beside)
    (event,) = follower.look({"job": path})
    assert (event.stage, event.message) == (beside, "already done")  # by somebody else

    path.write_text(lines + told(graph, StageEvent("failed", above, message="broken")))
    assert [(e.kind, e.stage, e.message) for e in follower.look({"job": path})] == [
        ("failed", above, "broken"),
        ("blocked", last, f"needs {above.key}"),
    ]
    assert follower.finished


def test_a_plan_that_nobody_works_on_is_given_up(store: Store) -> None:
    below = Toy(name="below")
    graph = registered(store, Toy(name="above", needs=(below,)))
    follower = Follower(graph, store)
    list(follower.look())
    assert outcomes(list(follower.give_up("gone"))) == {"below": "interrupted", "above": "blocked"}
    assert follower.finished


def test_no_more_progress_is_written_than_somebody_reads() -> None:
    toy = Toy(name="a")
    lines = told(StageGraph([toy]), *(StageEvent("progress", toy, "", n, 99) for n in range(99)))
    assert len(lines.splitlines()) == 1


def test_two_jobs_compute_every_stage_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers_find_helpers(monkeypatch, tmp_path)
    ledger = tmp_path / "ledger"
    ground = [HeavyToy(name=f"ground{n}", seconds=0.5, ledger=ledger) for n in range(4)]
    top = Toy(name="top", needs=tuple(ground), ledger=ledger)
    events = events_of([top], store, parse_launcher(HERE.replace("[", "[jobs=2,")))
    assert set(outcomes(events).values()) == {"done"}
    assert sorted(ran(ledger)) == [*(f"ground{n}" for n in range(4)), "top"]
    assert len(list((store.root / "slurm").glob("*.jsonl"))) == 2


def test_a_job_leaves_when_others_compute_all_that_is_left(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers_find_helpers(monkeypatch, tmp_path)
    for variable in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")  # a job sets them; set them back
    training = HeavyToy(name="training")
    graph = registered(store, HeavyToy(name="prediction", needs=(training,)))
    work = Work(Slurm(gpus=0), graph, store)
    work.folder.mkdir()
    with store.lease(training).acquire(timeout=0):
        work(0)
    assert not store.is_done(training)
    work(0)
    assert store.is_done(training)


def test_what_ended_the_last_job_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "LOOK_SECONDS", 0.1)
    # The jobs do not find the module of the toys, so they cannot read their stages.
    events = events_of([Toy(name="a")], store, parse_launcher(HERE))
    (event,) = events
    assert event.kind == "interrupted"
    assert "no job is left, job" in event.message
    assert "of another version of the code" in event.message


def test_a_machine_without_slurm_is_one_line(folder: Path, tmp_path: Path) -> None:
    run = ["run", "-m", "naive", "-d", folder, "-p", "smoke", "--store", tmp_path / "store"]
    answer = walk.bench(*run, "--launcher", "slurm", code=2, PATH=str(tmp_path))
    assert answer.err.startswith('error: launcher slurm: Could not detect "srun"')
    assert len(answer.err.splitlines()) == 1


def test_a_time_limit_that_submitit_misreads_is_refused() -> None:
    with pytest.raises(BenchError, match="minutes"):
        parse_launcher("slurm[minutes=5]")


def test_a_job_at_its_time_limit_saves_and_goes_on(folder: Path, tmp_path: Path) -> None:
    run = ["run", "-m", "naive", "-d", folder, "-l", "50", "-p", "smoke[steps=150]"]
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    walk.bench(*run, "--store", straight, "--launcher", "inline", OMP_NUM_THREADS="1")
    started = walk.Started(*run, "--store", stopped, "--launcher", HERE)
    wait_for("the training to begin", lambda: list(stopped.glob("Train/*/events.jsonl")))
    for below in psutil.Process(started.process.pid).children(recursive=True):
        if "submitit.local._local" not in below.cmdline():  # which stands for Slurm itself
            below.send_signal(signal.SIGUSR2)
    started.ended(0)
    (log,), (events,) = stopped.glob("Train/*/log.txt"), stopped.glob("Train/*/out/events.jsonl")
    assert log.read_text().count("--- ") == 2
    assert events.read_text().count('"step": 0,') == 1
    (one,), (other,) = (root.glob("Train/*/out/*.safetensors") for root in (straight, stopped))
    assert one.read_bytes() == other.read_bytes()


def has_slurm() -> bool:
    if shutil.which("sinfo") is None:
        return False
    return subprocess.run(["sinfo"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_slurm(), reason="needs a Slurm controller")
def test_jobs_of_slurm_itself_share_a_plan(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers_find_helpers(monkeypatch, tmp_path)
    ledger = tmp_path / "ledger"
    ground = [HeavyToy(name=f"ground{n}", seconds=0.5, ledger=ledger) for n in range(4)]
    launcher = Slurm(jobs=2, gpus=0, cpus=1, mem_gb=1)
    events = events_of(ground, store, launcher)
    assert set(outcomes(events).values()) == {"done"}
    assert sorted(ran(ledger)) == [f"ground{n}" for n in range(4)]


def test_every_option_is_documented_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs/howto/slurm.md").read_text()
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `")]
    documented = {name: cells[1].strip(" `") for cells in rows for name in NAMES.findall(cells[0])}
    assert set(documented) == set(Slurm.model_fields)
    for name, field in Slurm.model_fields.items():
        if field.get_default() is not None:
            assert documented[name] == str(field.get_default())
