"""Processes that die or lose their power leave a store that the next run completes."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crashes
import pytest
from crashes import FORK, contents
from helpers import Toy, wait_for

from bench.engine import claim
from bench.engine.store import Store
from bench.engine.worker import run_stage
from bench.stage import Stage


@pytest.mark.parametrize("before", [crashes.failed_before, crashes.damaged_input])
def test_whatever_step_is_the_last_the_next_run_completes_the_store(
    before: Callable[[Store], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the steps; ``python tests/crashes.py`` takes all."""
    monkeypatch.setenv("BENCH_CHECKPOINT_SECONDS", "0")
    assert crashes.crash(before, tmp_path, slice(None, None, 7)) == []


MOMENTS: dict[str, tuple[Any, str]] = {
    "before the lease is looked at": (claim, "is_ours"),
    "before the commit": (Store, "commit"),
    "before the rename": (Path, "rename"),
}


def compute_and_stop(root: Path, stage: Stage, moment: str, said: Any) -> None:
    """Run a stage in this process, which suspends itself at a moment."""
    owner, name = MOMENTS[moment]
    function = getattr(owner, name)

    def stops(*given: Any) -> Any:
        os.kill(os.getpid(), signal.SIGSTOP)
        return function(*given)

    setattr(owner, name, stops)
    said.put((moment, run_stage(Store(root), stage)))


def test_suspended_processes_find_their_stages_done_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(claim, "HEARTBEAT_SECONDS", 0.1)
    store, said = Store(tmp_path / "store"), FORK.SimpleQueue()
    toys = {moment: Toy(name=moment) for moment in MOMENTS}
    store.register(toys.values())
    processes = [
        FORK.Process(target=compute_and_stop, args=(store.root, toy, moment, said))
        for moment, toy in toys.items()
    ]
    for process in processes:
        process.start()
        wait_for("it to stop", functools.partial(stopped, process.pid))
    try:
        for toy in toys.values():
            assert run_stage(store, toy, wait_seconds=30) == ("done", "")
        before = contents(store.root)
        receipts = [(store.out(toy) / "DONE").read_bytes() for toy in toys.values()]
    finally:
        for process in processes:
            os.kill(process.pid or 0, signal.SIGCONT)
    assert dict(said.get() for _ in processes) == dict.fromkeys(MOMENTS, ("done", "already done"))
    for process in processes:
        process.join(30)
    assert [(store.out(toy) / "DONE").read_bytes() for toy in toys.values()] == receipts
    assert contents(store.root) == before
    for toy in toys.values():
        assert (store.out(toy) / "result.txt").read_text() == toy.name
        assert store.damage(toy, thorough=True) is None
        assert store.log(toy).read_text().count("--- ") == 2


def stopped(pid: int) -> bool:
    import psutil

    return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
