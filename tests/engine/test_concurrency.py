"""Any number of processes on one store: every stage is computed once."""

from __future__ import annotations

import json
import multiprocessing
import re
from collections import Counter
from pathlib import Path

import pytest
import walk
from helpers import Toy, events_of, outcomes, ran, workers_find_helpers

from bench.engine.launchers.local import Local
from bench.engine.store import Store
from bench.results.files import BESIDE


def tower(ledger: Path) -> list[Toy]:
    """Return thirty stages in three layers, for as many processes to quarrel about."""
    ground = [Toy(name=f"ground{n}", seconds=0.01, ledger=ledger) for n in range(10)]
    first = [
        Toy(name=f"first{n}", needs=(ground[n], ground[n - 1]), seconds=0.01, ledger=ledger)
        for n in range(10)
    ]
    return [
        Toy(name=f"second{n}", needs=(first[n], ground[0]), seconds=0.01, ledger=ledger)
        for n in range(10)
    ]


def work(root: Path, ledger: Path, start: object, answers: object) -> None:
    wanted = tower(ledger)
    start.wait()  # type: ignore[attr-defined]
    answers.put(Counter(outcomes(events_of(wanted, Store(root))).values()))  # type: ignore[attr-defined]


def assert_done_once(store: Store, ledger: Path) -> None:
    assert Counter(ran(ledger)) == dict.fromkeys((s.title for s in store.stages()), 1)
    assert len(ran(ledger)) == 30
    for stage in store.stages():
        log = store.log(stage).read_text()
        assert log.count("--- ") == 1, stage.title
        assert store.receipt(stage)["key"] == stage.key


@pytest.mark.parametrize("processes", [2, 4])
def test_inline_launchers_share_the_work(processes: int, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, answers = context.Event(), context.Queue()
    crew = [
        context.Process(target=work, args=(tmp_path / "store", tmp_path / "ledger", start, answers))
        for _ in range(processes)
    ]
    for process in crew:
        process.start()
    start.set()
    counts = [answers.get(timeout=120) for _ in crew]
    for process in crew:
        process.join(timeout=30)
        assert process.exitcode == 0
    assert counts == [{"done": 30}] * processes
    assert_done_once(Store(tmp_path / "store"), tmp_path / "ledger")


def test_two_local_launchers_share_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    workers_find_helpers(monkeypatch, tmp_path)
    store = Store(tmp_path / "store")
    results = []

    def one() -> None:
        results.append(outcomes(events_of(tower(tmp_path / "ledger"), store, Local())))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert [Counter(result.values()) for result in results] == [{"done": 30}] * 2
    assert_done_once(store, tmp_path / "ledger")


def test_two_commands_on_one_store_compute_each_stage_once(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "store"
    words = ["run", "-m", "naive,inerrant", "-d", folder, "-p", "smoke[steps=4]", "-l", "50"]
    pair = [
        walk.Started(*words, "--store", root, "--launcher", name) for name in ("inline", "local")
    ]
    said = [command.ended(0) for command in pair]
    store = Store(root)
    stages = list(store.stages())
    assert len(stages) > 15
    for stage in stages:
        assert store.is_done(stage), stage.title
        log = store.log(stage).read_text()
        assert log.count("--- ") == 1, (stage.title, log)
    assert len(list((root / "results").glob("*.parquet"))) == 1 + len(BESIDE)
    assert not list(root.rglob("*.tmp"))
    computed = [re.findall(r"(\d+) done(?! elsewhere)", out) for out, _ in said]
    assert sum(int(count) for counts in computed for count in counts[-1:]) == len(stages), said
    assert json.loads((root / "digests.json").read_text())
