"""Stages that do next to nothing, and experiments small enough to run in a test.

A worker process of a test finds this module through ``PYTHONPATH`` (:func:`workers_find_helpers`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import nibabel as nib
import numpy as np
import pytest
import trees
from typing_extensions import override

from bench.data.catalogue import parse_dataset
from bench.data.dataset import Case, Dataset
from bench.data.simulate import make_split
from bench.engine.graph import StageGraph
from bench.engine.launcher import StageEvent
from bench.engine.launchers.inline import Inline
from bench.engine.store import Store
from bench.errors import BenchError
from bench.experiment.conformance.corrupted import corrupt
from bench.experiment.plan import Run, graph_of
from bench.experiment.selection import (
    ExperimentGrid,
    parse_label_pcts,
    parse_methods,
    parse_profiles,
)
from bench.nets.catalogue import parse_network
from bench.params import RuntimeOnly
from bench.plugins import registry
from bench.stage import Stage, StageContext
from bench.stages.train import Train

ALL_METHODS = registry.names("methods")


class Toy(Stage):
    """Writes its name; may misbehave on request, and keeps a list of who really ran."""

    name: str
    needs: tuple[Stage, ...] = ()
    behaviour: Literal["fine", "raise", "refuse", "die", "hang", "peek"] = "fine"
    heavy: bool = False
    seconds: float = 0.0
    ledger: Annotated[Path, RuntimeOnly()] = Path(os.devnull)
    stranger: Annotated[Path, RuntimeOnly()] = Path(os.devnull)
    """A file that makes the stage behave only while it exists (``hang``, ``die``)."""

    @property
    def title(self) -> str:
        return self.name

    def run(self, ctx: StageContext) -> None:
        with self.ledger.open("a") as file:
            file.write(f"{self.name} {os.getpid()}\n")
        time.sleep(self.seconds)
        (ctx.out / "half").write_text("half written")
        if self.behaviour == "raise":
            raise ValueError("the toy is broken")
        if self.behaviour == "refuse":
            raise BenchError("the toy's data are bad: buy better ones")
        if self.behaviour == "peek":
            ctx.input(Toy(name="stranger"))
        if self.behaviour == "die" and self.stranger.exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if self.behaviour == "hang":
            deadline = time.monotonic() + 60
            while self.stranger.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
        read = [(ctx.input(parent) / "result.txt").read_text() for parent in self.needs]
        (ctx.out / "half").unlink()
        (ctx.out / "result.txt").write_text(" ".join([self.name, *read]))


class Memory(Dataset):
    """Generated scans with one natural gap, whose labels can be made garbage."""

    summary: ClassVar[str] = "for tests"
    source: ClassVar[str] = "tests"
    n_cases: int = 6
    n_organs: int = 4
    change: Annotated[Literal["", "hidden", "visible"], RuntimeOnly()] = ""
    """Labels replaced by garbage, in the cell of fold 0 at 50 %: none; those that training does not
    see; those that it sees."""

    @property
    def name(self) -> str:
        return f"memory{self.n_organs}"

    @property
    def organs(self) -> tuple[str, ...]:
        return trees.ORGANS[: self.n_organs]

    def cases(self) -> tuple[Case, ...]:
        flags = [tuple(self._annotated(n)) for n in range(self.n_cases)]
        return tuple(
            Case(id=f"case{n}", patient=f"case{n}", annotated=annotated)
            for n, annotated in enumerate(flags)
        )

    def _annotated(self, n: int) -> list[bool]:
        return [self.n_organs == 1 or (n, k) != (4, 1) for k in range(self.n_organs)]

    def files(self, case: Case) -> tuple[Path, ...]:
        return ()

    def image(self, case: Case) -> nib.Nifti1Image:
        return nib.Nifti1Image(self._volume(case).image_XYZ, np.diag([2.0, 2.0, 5.0, 1.0]))

    def labels(self, case: Case) -> nib.Nifti1Image:
        labels_XYZ = self._volume(case).labels_XYZ.copy()
        split = make_split(
            self.cases(), self.organs, dataset=self.name, fold=0, n_folds=2, label_pct=50, seed=0
        )
        if case.id in split.test:
            corrupted = [self.change == "hidden"] * self.n_organs
        else:
            asked = {"hidden": False, "visible": True}.get(self.change)
            corrupted = [flag == asked for flag in split.flags[case.id]]
        corrupt(case, labels_XYZ, corrupted)
        return nib.Nifti1Image(labels_XYZ, np.diag([2.0, 2.0, 5.0, 1.0]))

    def _volume(self, case: Case) -> trees.Volume:
        return trees.volume(int(case.id.removeprefix("case")), organs=self.organs)


class HeavyToy(Toy):
    """A toy for the accelerator slot."""

    uses_accelerator = True


class TrainingToy(HeavyToy):
    """A toy that says how long it trains."""

    steps: int = 100

    @property
    @override
    def training_steps(self) -> int:
        return self.steps


def workers_find_helpers(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Register this module as an installed plug-in; its metadata go into ``folder``."""
    metadata = folder / "helpers-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: helpers\nVersion: 0\n")
    (metadata / "entry_points.txt").write_text("[bench.stages]\nhelpers = helpers\n")
    path = os.pathsep.join([str(Path(__file__).parent), str(folder)])
    monkeypatch.setenv("PYTHONPATH", path)


def events_of(stages: Iterable[Stage], store: Store, launcher: Any = None) -> list[StageEvent]:
    """Bring stages to their end and return what the launcher said."""
    graph = StageGraph(stages)
    store.register(graph.in_order())
    return list((launcher or Inline()).run(graph, store))


def outcomes(events: Sequence[StageEvent]) -> dict[str, str]:
    """Return stage title -> how it ended."""
    return {
        event.stage.title: event.kind
        for event in events
        if event.kind not in ("started", "progress", "waiting")
    }


def ran(ledger: Path) -> list[str]:
    """Return the names of the toys that really computed, in order."""
    return [line.split()[0] for line in ledger.read_text().splitlines()]


def plan(
    store: Store,
    dataset: Path | str | Dataset,
    methods: str = ",".join(ALL_METHODS),
    *,
    labelled: str = "50",
    folds: str = "0",
    profile: str = "smoke[steps=4]",
    networks: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
) -> list[Run]:
    chosen = dataset if isinstance(dataset, Dataset) else parse_dataset(str(dataset))
    return ExperimentGrid(
        methods=parse_methods([methods]),
        datasets=[chosen],
        label_pcts=parse_label_pcts(labelled),
        folds=folds,
        profiles=parse_profiles([profile]),
        networks=[parse_network(name) for name in networks],
        seeds=seeds,
    ).runs(store)


def compute(runs: Sequence[Run], store: Store, launcher: Any = None) -> list[StageEvent]:
    """Run everything and fail the test at the first stage that does not end well."""
    graph = graph_of(runs)
    store.register(graph.in_order())
    events = list((launcher or Inline()).run(graph, store))
    bad = [e for e in events if e.kind in ("failed", "refused", "interrupted")]
    assert not bad, f"{bad[0].stage.key} {bad[0].stage.title}: {bad[0].message}"
    return events


def trainings(runs: Iterable[Run]) -> list[Train]:
    return [stage for stage in graph_of(runs).in_order() if isinstance(stage, Train)]


def weights(stage: Stage, store: Store) -> dict[str, bytes]:
    """Return the bytes of every weight file of a training."""
    found = {path.name: path.read_bytes() for path in store.out(stage).glob("*.safetensors")}
    assert found, f"{stage.key} wrote no weights"
    return found


def stage_of(runs: Sequence[Run], kind: str) -> Iterator[Any]:
    """Yield the stages of a kind, inputs first."""
    for stage in graph_of(runs).in_order():
        if type(stage).__name__ == kind:
            yield stage


def shared_store(factory: pytest.TempPathFactory, name: str) -> Store:
    """Return a store that the test processes of a session fill together."""
    base = factory.getbasetemp()
    return Store((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name)


def bench(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start the command line in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "bench", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | (environment or {}),
        start_new_session=True,
        # A runner in the background ignores Ctrl-C, and so would everything it starts.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(what: str, condition: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(0.02)
