"""The method under test, and the small experiments on it that several checks share."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Literal

from bench.data.dataset import Dataset
from bench.data.fingerprint import fingerprint
from bench.engine.launchers.inline import Inline
from bench.engine.store import Store
from bench.experiment.conformance.corrupted import LABEL_PCT, PROFILE, Corrupted, Sealed
from bench.experiment.conformance.verdict import CheckFailed
from bench.experiment.method import Condition, Source
from bench.experiment.plan import Run, graph_of
from bench.experiment.profiles import parse_profile
from bench.experiment.selection import parse_methods
from bench.nets.catalogue import parse_network
from bench.nets.network import Network
from bench.plugins import registry

N_CASES = 6
SLICES = parse_network("unet_t11[width=4,bn_momentum=0.1]")


class MethodUnderTest:
    """A method and the small experiments on it, each computed once.

    Parameters
    ----------
    name
        A registered method, perhaps with parameters in brackets.
    folder
        Folder for the stores of the experiments; several methods may share it.
    network
        A small network; with a 3D one the checks run in 3D.
    """

    def __init__(self, name: str, folder: Path, network: Network = SLICES) -> None:
        ((self.label, self.definition),) = parse_methods([name])
        self.network = network
        self._folder = folder

    def run(self, change: Literal["", "hidden"] = "") -> Run:
        """Return the plan on the generated data."""
        dataset = Corrupted(base=self._data, change=change)
        content = fingerprint(dataset, dataset.cases(), self._folder / "unused", remember=False)
        return self._planned(dataset, content)

    def finished(self, change: Literal["", "hidden"] = "") -> tuple[Run, Store]:
        """Return the plan and a store that holds all its results."""
        run, store = self.run(change), Store(self._folder / f"store-{change or 'clean'}")
        self.compute(run, store)
        return run, store

    def compute(self, run: Run, store: Store) -> int:
        """Run the plan's stages and return how many were computed."""
        graph = graph_of([run])
        store.register(graph.in_order())
        computed = 0
        for event in Inline().run(graph, store):
            computed += event.kind == "started"
            if event.kind in ("failed", "refused"):
                raise CheckFailed(f"{event.stage.title}: {event.message}")
        return computed

    def planned_unread(self, root: Path) -> Run:
        """Return the plan on data that cannot be read."""
        return self._planned(Sealed(base=self._data, root=root), "unread")

    def scratch_store(self, stack: ExitStack) -> Store:
        """Return an empty store that lives as long as ``stack``."""
        return Store(Path(stack.enter_context(tempfile.TemporaryDirectory(dir=self._folder))))

    def _planned(self, dataset: Dataset, content: str) -> Run:
        source = Source(dataset, content)
        condition = Condition(source, 0, LABEL_PCT, self.network, parse_profile(PROFILE))
        return Run.of(self.definition, self.label, condition)

    @cached_property
    def _data(self) -> Dataset:
        plugin = registry.load("datasets", "phantom", Dataset)  # type: ignore[type-abstract]
        options = {"n_cases": str(N_CASES), "scale": "0.25"}
        return plugin.from_overrides("data set", "phantom", options)
