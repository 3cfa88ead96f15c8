"""Worker processes that cannot start, hang, stop or die cost one line and one stage, never a hang.

Most of the workers here are shell scripts: what matters is what the launcher makes of them.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers import HeavyToy, events_of, wait_for, workers_find_helpers

from bench.engine import deaths, worker, workerpool
from bench.engine.graph import StageGraph
from bench.engine.launcher import StageEvent
from bench.engine.process import WorkerProcess
from bench.engine.store import Store
from bench.engine.workerpool import Slot, WorkerPool
from bench.errors import explain
from bench.machine import memory

READY = """echo '{"event": "ready"}'; read request"""
DONE = """echo '{"event": "end", "outcome": "done", "message": ""}'"""
STUBBORN = f"trap '' TERM; {READY}; touch $STARTED; exec sleep 60"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes a shell script the worker of every launcher."""

    def replace(script: str) -> None:
        path = tmp_path / "worker.sh"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return replace


def events_in_one_slot(store: Store) -> list[StageEvent]:
    return events_of([HeavyToy(name="a")], store, WorkerPool([Slot("cpu", True, {})]))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'No module named torch' >&2; exit 3", "exit code 3: No module named torch (log: "),
        ("kill -ILL $$", "could not start: it died of SIGILL"),
        (f"{READY}; kill -SEGV $$", "the worker process died of SIGSEGV"),
        (f"{READY}; kill -KILL $$", "was killed (SIGKILL) (log: "),
        (f"{READY}; kill -BUS $$", "SIGBUS: a file mapped into memory was cut, or its disk is"),
        (f"""{READY}; printf '{{"event": "e'; exit 1""", "ended with exit code 1 (log: "),
        (f"{READY}; exec 1>&-; exit 0", "ended with exit code 0"),
    ],
)
def test_a_worker_that_dies_says_why(
    script: str, message: str, store: Store, pretend: Callable[[str], None]
) -> None:
    pretend(script)
    *_, event = events_in_one_slot(store)
    assert event.kind == "failed"
    assert message in event.message


def test_what_a_dying_worker_printed_is_in_the_log_of_its_stage(
    store: Store, pretend: Callable[[str], None]
) -> None:
    pretend(f"{READY}; echo 'Assertion failed: matrix.cc' >&2; kill -ABRT $$")
    *_, event = events_in_one_slot(store)
    assert "Assertion" in store.log(event.stage).read_text()
    assert str(store.log(event.stage)) in event.message


def test_a_python_that_is_gone_is_something_to_fix(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/gone/python")
    *_, event = events_in_one_slot(store)
    assert event.kind == "refused"
    assert "no worker process can be started: /gone/python: No such file" in event.message


def test_only_the_kernel_s_count_makes_a_kill_a_lack_of_memory() -> None:
    assert "out of memory" in deaths.reason(-9, out_of_memory=True)
    assert "out of memory" not in deaths.reason(-9, out_of_memory=False)
    assert "out of memory" not in deaths.reason(-11, out_of_memory=True)
    assert deaths.reason(-60, out_of_memory=False).endswith("signal 60")


@pytest.mark.parametrize("names", [memory.V1, memory.V2])
def test_the_memory_of_a_job_is_that_of_its_control_group(
    names: tuple[str, str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = memory._Group(tmp_path, "/job/step", *names)
    monkeypatch.setattr(memory, "_groups", lambda: [group])
    step = tmp_path / "job/step"
    step.mkdir(parents=True)
    free = memory.available()
    (step / group.limit).write_text("max\n")  # the limit is that of the job above
    (step / group.usage).write_text("500\n")
    (step.parent / group.limit).write_text("1000\n")
    (step.parent / group.usage).write_text("700\n")
    (step.parent / "memory.stat").write_text(f"file 300\n{group.reclaimable} 200\n")
    assert memory.available() == 500 < free
    (step / group.events).write_text("oom 4\noom_kill 3\noom_group_kill 9\n")
    assert memory.kills() == 3


def running(store: Store, started: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the events of a pool whose only worker has begun its stage."""
    monkeypatch.setenv("STARTED", str(started))
    toy = HeavyToy(name="a")
    store.register([toy])
    events = WorkerPool([Slot("cpu", True, {})]).run(StageGraph([toy]), store)
    assert next(events).kind == "started"
    wait_for("the worker to begin", started.exists)
    return events


def children() -> list[str]:
    return [child.name() for child in psutil.Process().children() if child.name() == "sleep"]


def test_a_worker_that_does_not_stop_in_time_is_killed(
    store: Store, pretend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(STUBBORN)
    events = running(store, tmp_path / "started", monkeypatch)
    monkeypatch.setattr(workerpool, "STOP_SECONDS", 0.2)
    events.close()
    assert not children()


def test_a_second_ctrl_c_kills_the_workers_at_once(
    store: Store, pretend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(STUBBORN)
    events = running(store, tmp_path / "started", monkeypatch)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    again = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    again.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            events.close()  # as the first one does
    finally:
        again.join()
        signal.signal(signal.SIGINT, handler)
    assert time.monotonic() - began < workerpool.KILL_SECONDS
    assert not children()


def test_a_stopped_worker_is_reported_and_goes_on_when_continued(
    store: Store, pretend: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(f"{READY}; kill -STOP $$; {DONE}")
    monkeypatch.setattr(workerpool, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(workerpool, "STALL_SECONDS", 0.1)
    toy = HeavyToy(name="a")
    store.register([toy])
    kinds = []
    for event in WorkerPool([Slot("cpu", True, {})]).run(StageGraph([toy]), store):
        kinds.append(event.kind)
        if event.kind == "stalled":
            pid = int(event.message.partition("kill -CONT ")[2].split()[0])
            time.sleep(0.3)  # it is reported once
            os.kill(pid, signal.SIGCONT)
    assert kinds == ["started", "stalled", "done"]


def test_a_stopped_worker_whose_stage_is_done_elsewhere_is_not_waited_for(
    store: Store, pretend: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(f"{READY}; kill -STOP $$")
    monkeypatch.setattr(workerpool, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(workerpool, "STALL_SECONDS", 0.1)
    toy = HeavyToy(name="a")
    store.register([toy])
    events = WorkerPool([Slot("cpu", True, {})]).run(StageGraph([toy]), store)
    assert [next(events).kind, next(events).kind] == ["started", "stalled"]
    with pytest.MonkeyPatch.context() as patch:  # another process has finished it
        patch.setattr(Store, "is_done", lambda *_: True)
        (event,) = events
    assert (event.kind, event.message) == ("done", "already done")


def test_ctrl_c_in_the_first_second_of_a_worker_is_the_launcher_s(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers_find_helpers(monkeypatch, tmp_path)
    toy = HeavyToy(name="a")
    store.register([toy])
    process = WorkerProcess(store, {})
    for _ in range(5):
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGHUP)
        time.sleep(0.01)
    assert process.ask(toy, 0.0, print) == ("done", "")
    process.close()


def answers_of(store: Store, toy: HeavyToy) -> list[dict[str, Any]]:
    """Return what a worker answers to the request for one stage."""
    answers = io.StringIO()
    worker.serve(store, io.StringIO(json.dumps({"key": toy.key, "wait_seconds": 0.0})), answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("error", "outcome", "message"),
    [
        (OSError(28, "No space left on device", "/s/CLAIM"), "refused", "/s/CLAIM: No space left"),
        (RuntimeError("lock"), "failed", "RuntimeError: lock"),
    ],
)
def test_what_fails_around_a_stage_is_an_answer(
    error: Exception, outcome: str, message: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(worker, "run_stage", broken)
    toy = HeavyToy(name="a")
    store.register([toy])
    ready, end = answers_of(store, toy)
    assert ready == {"event": "ready"}
    assert end["outcome"] == outcome
    assert end["message"].startswith(message)


def test_every_worker_has_the_same_order_of_sets(
    store: Store,
    pretend: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    pretend(f"echo $PYTHONHASHSEED > {tmp_path}/seen")
    events_in_one_slot(store)
    assert (tmp_path / "seen").read_text() == "0\n"


@pytest.mark.parametrize("given", ["abc", "-1", "nan", ""])
def test_a_wrong_interval_of_checkpoints_is_one_line(
    given: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CHECKPOINT_SECONDS", given)
    toy = HeavyToy(name="a")
    store.register([toy])
    _, end = answers_of(store, toy)
    assert end["outcome"] == "refused"
    assert end["message"] == f"BENCH_CHECKPOINT_SECONDS={given}: write seconds, such as 60"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(30, "Read-only file system", "a"), "a: Read-only file system; name a folder that"),
        (OSError(18, "Invalid link", "a", None, "b"), "a -> b: Invalid link"),
        (OSError("of a library\n in two lines"), "of a library in two lines"),
        (OSError(), "OSError"),
    ],
)
def test_errors_of_the_system_are_one_line(error: OSError, line: str) -> None:
    assert explain(error).startswith(line)
    assert "\n" not in explain(error)
