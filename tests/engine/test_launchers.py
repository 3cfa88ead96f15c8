"""Launchers bring a graph to its end; a failure costs what depends on it and nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import trees
import walk
from conftest import Finished
from helpers import (
    HeavyToy,
    Toy,
    compute,
    events_of,
    outcomes,
    ran,
    trainings,
    wait_for,
    weights,
    workers_find_helpers,
)

from bench.engine import workerpool
from bench.engine.devices import torch_device, visible_gpus
from bench.engine.graph import StageGraph
from bench.engine.launcher import StageEvent, parse_launcher
from bench.engine.launchers import local
from bench.engine.launchers.local import Local
from bench.engine.launchers.slurm import Slurm
from bench.engine.store import Store
from bench.engine.workerpool import Slot, WorkerPool, default_slots
from bench.errors import BenchError
from bench.experiment.collect import collect
from bench.results.files import BESIDE
from bench.results.tables import RESULTS

TIMING = ["device_s", "peak_mb"]
LAUNCHERS = ["inline", "local"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    workers_find_helpers(monkeypatch, tmp_path)
    return Store(tmp_path / "store")


def family(ledger: Path, behaviour: str = "fine", stranger: Path = Path(os.devnull)) -> list[Toy]:
    """Return two wanted stages: one above a stage that may misbehave, one beside it."""
    root = Toy(name="root", ledger=ledger)
    bad = HeavyToy(
        name="bad",
        needs=(root,),
        behaviour=behaviour,
        ledger=ledger,
        stranger=stranger,
    )
    child = Toy(name="child", needs=(bad,), ledger=ledger)
    grandchild = HeavyToy(name="grandchild", needs=(child, root), ledger=ledger)
    sibling = HeavyToy(name="sibling", needs=(root,), ledger=ledger)
    niece = Toy(name="niece", needs=(sibling,), ledger=ledger)
    return [grandchild, niece]


@pytest.mark.parametrize("name", LAUNCHERS)
def test_everything_runs_once_and_after_its_inputs(name: str, store: Store, tmp_path: Path) -> None:
    wanted = family(tmp_path / "ledger")
    events = events_of(wanted, store, parse_launcher(name))
    assert outcomes(events) == dict.fromkeys(
        ["root", "bad", "child", "grandchild", "sibling", "niece"], "done"
    )
    order = ran(tmp_path / "ledger")
    assert len(order) == len(set(order)) == 6
    for below, above in [("root", "bad"), ("bad", "child"), ("child", "grandchild")]:
        assert order.index(below) < order.index(above)
    assert (store.out(wanted[0]) / "result.txt").read_text() == "grandchild child bad root root"
    again = events_of(wanted, store, parse_launcher(name))
    assert {(event.kind, event.message) for event in again} == {("done", "already done")}
    assert len(ran(tmp_path / "ledger")) == 6


@pytest.mark.parametrize("name", LAUNCHERS)
@pytest.mark.parametrize(("behaviour", "kind"), [("raise", "failed"), ("refuse", "refused")])
def test_a_failure_blocks_its_descendants_only(
    name: str, behaviour: str, kind: str, store: Store, tmp_path: Path
) -> None:
    wanted = family(tmp_path / "ledger", behaviour)
    events = events_of(wanted, store, parse_launcher(name))
    assert outcomes(events) == {
        "root": "done",
        "bad": kind,
        "child": "blocked",
        "grandchild": "blocked",
        "sibling": "done",
        "niece": "done",
    }
    (failure,) = [event for event in events if event.kind == kind]
    assert "the toy" in failure.message
    assert failure.stage.key in next(e for e in events if e.kind == "blocked").message
    assert sorted(ran(tmp_path / "ledger")) == ["bad", "niece", "root", "sibling"]


def test_a_killed_worker_costs_one_stage_and_is_replaced(store: Store, tmp_path: Path) -> None:
    deadly = tmp_path / "deadly"
    deadly.touch()
    wanted = family(tmp_path / "ledger", "die", deadly)
    events = events_of(wanted, store, Local())
    (failure,) = [event for event in events if event.kind == "failed"]
    assert failure.stage.title == "bad"
    assert "the worker process was killed (SIGKILL) (log: " in failure.message
    assert outcomes(events)["sibling"] == outcomes(events)["niece"] == "done"
    assert outcomes(events)["grandchild"] == "blocked"
    deadly.unlink()
    # The dead worker's lease stands in the way of nobody.
    again = events_of(wanted, store, Local())
    assert outcomes(again) == dict.fromkeys(outcomes(again), "done")
    assert ran(tmp_path / "ledger").count("bad") == 2


def test_a_worker_killed_from_outside_is_noticed(store: Store, tmp_path: Path) -> None:
    waiting = tmp_path / "waiting"
    waiting.touch()
    ledger = tmp_path / "ledger"
    hanging = HeavyToy(name="hanging", behaviour="hang", stranger=waiting, ledger=ledger)
    after = HeavyToy(name="zafter", ledger=ledger)
    graph = StageGraph([hanging, after])
    store.register(graph.in_order())
    ended = {}
    for event in Local().run(graph, store):
        if event.kind == "started" and event.stage.title == "hanging":
            wait_for("the stage to start", lambda: ledger.exists() and ran(ledger))
            pid = next(line for line in ledger.read_text().splitlines() if "hanging" in line)
            os.kill(int(pid.split()[1]), signal.SIGKILL)
        ended |= outcomes([event])
    assert ended == {"hanging": "failed", "zafter": "done"}


def test_leaving_early_stops_the_workers(store: Store, tmp_path: Path) -> None:
    toys = [HeavyToy(name=f"toy{n}", seconds=0.2, ledger=tmp_path / "ledger") for n in range(20)]
    graph = StageGraph(toys)
    store.register(graph.in_order())
    pool = WorkerPool(default_slots())
    events = pool.run(graph, store)
    next(event for event in events if event.kind == "done")
    events.close()
    assert not any(slot.worker.alive for slot in pool._slots if slot.worker is not None)
    done = [toy.name for toy in toys if store.is_done(toy)]
    assert 1 <= len(done) < 20
    for toy in toys:
        with store.lease(toy).acquire(timeout=0):
            pass


def test_both_launchers_give_the_same_tables_and_weights(finished: Finished, store: Store) -> None:
    chosen = [run for run in finished.runs if run.method in ("naive", "inerrant")]
    compute(chosen, store, Local())
    tables = collect(chosen, finished.store), collect(chosen, store)
    for name in (RESULTS.name, *(schema.name for schema in BESIDE)):
        one, other = (getattr(side, name) for side in tables)
        assert one.empty == (name in ("pictures", "sheets", "tuning"))
        columns = [name for name in TIMING if name in one]
        pd.testing.assert_frame_equal(one.drop(columns=columns), other.drop(columns=columns))
    for training in trainings(chosen):
        assert weights(training, store) == weights(training, finished.store), training.title


def test_one_slot_per_gpu_or_one_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    slots = default_slots()
    assert [(slot.name, slot.accelerator) for slot in slots] == [
        ("gpu2", True),
        ("gpu5", True),
        ("aux", False),
    ]
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["2", "5", ""]
    for nothing in ("", "-1", "NoDevFiles"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
        assert visible_gpus() == []
        assert [slot.name for slot in default_slots()] == ["cpu", "aux"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-5a1e, 1,-1,2")
    assert visible_gpus() == ["GPU-5a1e", "1"]


class Nothing:
    """A pool of workers that has nothing to do."""

    def run(self, graph: StageGraph, store: Store) -> Iterator[StageEvent]:
        return iter(())


def test_gpus_share_the_cores(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(local, "cores", lambda: 16)
    graph = StageGraph([HeavyToy(name=str(number)) for number in range(8)])
    asked: list[list[Slot]] = []
    monkeypatch.setattr(local, "WorkerPool", lambda slots, **_: asked.append(slots) or Nothing())
    list(Local(workers=2).run(graph, store))
    threads = [slot.environment["OMP_NUM_THREADS"] for slot in asked[0]]
    assert threads == ["4", "4", "4", "4", "1"]
    assert Slurm(gpus=4, cpus=32, workers=2).share(graph) == (2, 4)


def test_a_gpu_that_torch_cannot_use_is_no_reason_to_compute_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert torch_device().type == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr("torch.version.cuda", None)
    with pytest.raises(BenchError, match=r"GPU 1 .* built without CUDA.*--device cpu"):
        torch_device()
    monkeypatch.setattr("torch.version.cuda", "13.0")
    with pytest.raises(BenchError, match=r"its driver is missing or too old for it"):
        torch_device()


@pytest.mark.parametrize("name", ["local", "slurm"])
def test_more_workers_than_any_machine_has_use_for_are_refused(name: str) -> None:
    with pytest.raises(BenchError, match="workers='1000000' must be at most 256"):
        parse_launcher(f"{name}[workers=1000000]")


def test_no_more_threads_are_started_than_there_are_stages(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = []
    serve = WorkerPool._serve_slot

    def counted(pool: WorkerPool, slot: Slot, *rest: Any) -> None:
        served.append(slot.name)
        serve(pool, slot, *rest)

    monkeypatch.setattr(WorkerPool, "_serve_slot", counted)
    toys = [HeavyToy(name="a", ledger=tmp_path / "ledger")]
    assert outcomes(events_of(toys, store, Local(workers=100))) == {"a": "done"}
    assert len(served) == 1
    events_of(toys, store, Local(workers=100))
    assert len(served) == 1


def test_workers_share_a_gpu_or_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert [slot.name for slot in default_slots(2)] == ["gpu3.0", "gpu3.1", "aux"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(workerpool, "cores", lambda: 8)
    slots = default_slots(3)
    assert [slot.name for slot in slots] == ["cpu.0", "cpu.1", "cpu.2", "aux"]
    assert [slot.environment["OMP_NUM_THREADS"] for slot in slots] == ["2", "2", "2", "1"]
    assert default_slots()[0].environment["OMP_NUM_THREADS"] == "8"
    assert {slot.environment["GOMP_SPINCOUNT"] for slot in slots} == {"5000"}
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")  # the user's choice is not mixed with ours
    assert not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & default_slots()[0].environment.keys()
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert "OMP_NUM_THREADS" not in default_slots(2)[0].environment


def test_an_unknown_launcher_gets_a_suggestion() -> None:
    with pytest.raises(BenchError, match="did you mean local"):
        parse_launcher("locale")


def spoil_image(root: Path) -> None:
    (root / "imagesTr/case_001_0000.nii.gz").write_bytes(b"no scan at all")


def spoil_nothing(root: Path) -> None:
    del root


@pytest.mark.parametrize(
    ("spoil", "arguments", "code", "message"),
    [
        (spoil_image, [], 2, "case_001"),
        # The learning rate lets the loss overflow, and a lower one is what the user can give.
        (spoil_nothing, ["-p", "smoke[steps=24,lr=1e6,precision=fp32]"], 2, "not finite"),
        (spoil_nothing, ["-f", "7"], 2, "fold 7 is impossible"),
        (spoil_nothing, ["-m", "inerant"], 2, "did you mean inerrant"),
    ],
)
def test_exit_code_and_message_of_the_command(
    spoil: Callable[[Path], None],
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
) -> None:
    root = trees.nnunet(tmp_path / "data", 4)
    spoil(root)
    given = ["-m", "inerrant0", "-d", str(root), "-p", "smoke", "-f", "0"]
    for option, value in zip(arguments[::2], arguments[1::2], strict=True):
        given[given.index(option) + 1] = value
    store = str(tmp_path / "store")
    out, err = walk.bench("run", *given, "--launcher", "inline", "--store", store, code=code)
    assert message in err
    assert "Traceback" not in out + err
    assert all(line.startswith("error: ") for line in err.splitlines()), err


BROKEN = """
from bench.api import Loss, Method


class Broken(Method, Loss):
    label = "broken"
    streams = ("supervised",)

    def plan(self, recipe):
        yield recipe.segmenter(self)

    def loss(self, net, batch, progress, shared):
        raise LookupError("a fault in the code")
"""


def test_a_fault_in_the_code_is_one_line_that_names_the_log_and_exit_code_1(
    tmp_path: Path,
) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    given = ["-m", "broken", "--plugin", str(tmp_path / "broken.py"), "-p", "smoke", "-f", "0"]
    given += ["-d", str(trees.nnunet(tmp_path / "data", 4)), "--store", str(tmp_path / "store")]
    out, err = walk.bench("run", *given, "--launcher", "inline", code=1)
    assert "LookupError: a fault in the code (log: " in err
    assert "Traceback" not in out + err
