"""A stopped training goes on bit for bit, however it was stopped."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import walk
from conftest import Finished
from helpers import bench, compute, plan, shared_store, trainings, wait_for, weights

from bench.engine.events import read_events
from bench.engine.store import Store
from bench.engine.worker import RunContext, run_stage
from bench.experiment.plan import Run
from bench.stages.train import Train
from bench.training.trainer import _ResumeState

PROFILE = "smoke[steps=40,round_share=1.0,confidence_share=1.0]"
METHOD = "inerrant[rounds=1]"
LONG = "smoke[steps=100]"


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Run]]:
    """The experiment without any interruption."""
    store = shared_store(tmp_path_factory, "uninterrupted-store")
    runs = plan(store, folder, METHOD, profile=PROFILE)
    compute(runs, store)
    return store, runs


def test_a_state_of_a_cpu_is_gone_on_with_on_a_gpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Events:
        def written(self) -> str:
            return ""

        def restore(self, _text: str) -> None:
            pass

    def state(kind: str) -> _ResumeState:
        ctx = SimpleNamespace(
            scratch=tmp_path, key="Train-1", device=torch.device(kind), events=Events()
        )
        return _ResumeState(ctx, SimpleNamespace(modules={}), [], [])  # type: ignore[arg-type]

    state("cpu").save(7)
    assert state("cpu").load() == 7
    assert not capsys.readouterr().out
    assert state("cuda").load() == 7
    assert "with other random numbers there" in capsys.readouterr().out


@pytest.fixture(scope="module")
def long(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Run]]:
    """A single training, long enough to be asked to stop."""
    store = shared_store(tmp_path_factory, "long-store")
    runs = plan(store, folder, "inerrant0", profile=LONG)
    compute(runs, store)
    return store, runs


def command(folder: Path, store: Path, method: str, profile: str) -> list[str]:
    words = ["run", "-m", method, "-d", str(folder), "-p", profile, "-l", "50", "-f", "0"]
    return [*words, "--store", str(store)]


def assert_equal_weights(store: Store, whole: tuple[Store, list[Run]]) -> None:
    reference, runs = whole
    for training in trainings(runs):
        assert weights(training, store) == weights(training, reference), training.title


def sessions(store: Store, stage: Train) -> int:
    return store.log(stage).read_text().count("--- ")


def first_steps(store: Store, stage: Train) -> int:
    """Return how often a training began at its first step."""
    lines = store.events(stage).read_text().splitlines()
    return sum('"step": 0,' in line for line in lines)


def test_a_killed_run_goes_on_where_it_was(
    folder: Path, whole: tuple[Store, list[Run]], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    segmenter, confidence, round_ = trainings(whole[1])
    words = command(folder, store.root, METHOD, PROFILE)
    for training, launcher in ((segmenter, "local"), (round_, "inline")):
        run = walk.Started(*words, "--launcher", launcher, BENCH_CHECKPOINT_SECONDS="0")
        state = store.scratch(training) / "resume.pt"
        wait_for(f"{training.title} to save its state", state.is_file, 120)
        assert run.process.pid
        os.killpg(run.process.pid, signal.SIGKILL)
        run.ended(-signal.SIGKILL)
        assert state.is_file()
        assert not store.is_done(training)
    walk.bench(*words, "--launcher", "inline")
    assert [sessions(store, stage) for stage in (segmenter, confidence, round_)] == [2, 1, 2]
    assert [first_steps(store, stage) for stage in (segmenter, confidence, round_)] == [1, 1, 1]
    assert_equal_weights(store, whole)


def interrupt_group(process: Any) -> None:
    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C reaches every process of the terminal


def terminate_command(process: Any) -> None:
    process.send_signal(signal.SIGTERM)


def kill_command(process: Any) -> None:
    process.kill()


@pytest.mark.parametrize(
    ("stop", "code"),
    [
        (interrupt_group, 130),
        (terminate_command, 130),
        (kill_command, -signal.SIGKILL),
    ],
)
def test_a_run_asked_to_stop_saves_first(
    stop: Callable[[Any], None],
    code: int,
    folder: Path,
    long: tuple[Store, list[Run]],
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "store")
    (first,) = trainings(long[1])
    process = bench(*command(folder, store.root, "inerrant0", LONG))
    log = store.events(first)
    wait_for("the training to begin", log.is_file)
    stop(process)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, out + err
    assert "Traceback" not in out + err
    if code == 130:
        assert err.splitlines() == [
            "stopping: what runs saves its state; Ctrl-C again ends it without",
            "interrupted; give the same command to go on from the last checkpoint",
        ]
    state = store.scratch(first) / "resume.pt"
    wait_for("the worker to save its state", state.is_file)  # an orphan notices within a second
    assert not store.is_done(first)
    compute(long[1], store)
    assert (sessions(store, first), first_steps(store, first)) == (2, 1)
    assert_equal_weights(store, long)


@pytest.mark.parametrize("kind", ["masked-r0", "confidence-r1", "masked-r1"])
@pytest.mark.parametrize("saves", [1, 25])
def test_a_training_that_fails_goes_on_from_its_checkpoint(
    kind: str,
    saves: int,
    whole: tuple[Store, list[Run]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reference, runs = whole
    (training,) = [t for t in trainings(runs) if t.title.endswith(kind)]
    store = Store(tmp_path / "store")
    for parent in training.inputs():
        shutil.copytree(reference.folder(parent), store.folder(parent))
    store.register([training])
    monkeypatch.setenv("BENCH_CHECKPOINT_SECONDS", "0")
    saved = RunContext.saved
    count = [0]

    def breaks(self: RunContext) -> None:
        saved(self)
        count[0] += 1
        if count[0] == saves:
            raise OSError("the cable was pulled")

    monkeypatch.setattr(RunContext, "saved", breaks)
    outcome, message = run_stage(store, training)
    assert outcome == "failed"
    assert "cable" in message
    assert run_stage(store, training)[0] == "done"
    assert weights(training, store) == weights(training, reference)
    steps = [event["step"] for event in read_events(store.events(training))]
    assert steps[-1] == training.length.steps - 1
    assert count[0] == training.length.steps - 1  # no step was done twice


def test_time_before_an_interruption_counts(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = finished.of("inerrant0").rounds[0].model
    store = Store(tmp_path / "store")
    for parent in training.inputs():
        shutil.copytree(finished.store.folder(parent), store.folder(parent))
    store.register([training])
    scratch = store.scratch(training)
    scratch.mkdir()
    (scratch / "seconds.json").write_text("1000.0")
    assert run_stage(store, training)[0] == "done"
    assert 1000 < store.receipt(training)["wall_seconds"] < 1060
