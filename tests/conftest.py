"""Small experiments that many tests look at, computed once a session."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

# One thread each: tests run side by side, and workers have to compute what this process computes.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest

from bench.engine.store import Store
from bench.experiment.plan import Run


@dataclass(frozen=True)
class Finished:
    """A store in which every registered method has run in one condition."""

    store: Store
    root: Path
    """The data set, six cases in the nnU-Net layout; gaps in its annotations."""
    runs: list[Run]

    def of(self, method: str) -> Run:
        (run,) = [run for run in self.runs if run.method == method]
        return run


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases of four organs in the nnU-Net layout; one case lacks an annotation by nature."""
    import trees

    return trees.nnunet(tmp_path_factory.mktemp("data") / "tiny", 6, hidden={4: ("spleen",)})


@pytest.fixture(scope="session")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Every registered method at 50 %, and two at 100 %, in one store that test processes share."""
    import helpers

    store = helpers.shared_store(tmp_path_factory, "finished-store")
    runs = helpers.plan(store, folder)
    full = helpers.plan(store, folder, "naive,inerrant0", labelled="100")
    helpers.compute([*runs, *full], store)
    return Finished(store, folder, runs)
