"""Write the tables of an experiment whose command has ended, from what the store keeps of it."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.engine.store import Store
from bench.experiment.collect import save
from bench.experiment.request import Request
from bench.plugins import registry


def save_tables(root: Path, experiment: str) -> None:
    """Collect the results of an experiment into its tables, and print what is wrong with them.

    Parameters
    ----------
    root
        Folder of the store.
    experiment
        Name of the request in its ``experiments/`` (:meth:`Request.record`).

    Raises
    ------
    BenchError
        The request, a plug-in or the data set is not there any more.
    """
    file = root / "experiments" / f"{experiment}.toml"
    request = Request.of(file, {"store": root})
    registry.plug_in(request.plugin)
    store = Store(root)
    path, problems = save(request.grid().runs(store), store)
    request.keep_beside(path)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
