"""What ``run``, ``plan`` and ``tune`` share: the request, its plan, and jobs that compute it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from bench.cli.codes import ExitCode
from bench.cli.console import Console, remark
from bench.cli.execute import execute, register
from bench.cli.stores import plug_in
from bench.engine.devices import use_device
from bench.engine.provenance import EXPERIMENT
from bench.files import check_folder

if TYPE_CHECKING:
    from bench.engine.graph import StageGraph
    from bench.engine.launcher import Launcher, Submitter
    from bench.engine.store import Store
    from bench.experiment.plan import Run
    from bench.experiment.request import Request

RequestT = TypeVar("RequestT", bound="Request")


def carry_out(
    request: Request,
    graph: StageGraph,
    store: Store,
    launched: Launcher | Submitter,
    console: Console,
    *,
    outset: Sequence[str] = (),
    sizes: str,
    finish: Callable[[Path, str], None],
    results: str,
    collect_only: bool,
) -> int:
    """Say what is planned, compute what is missing of it, here or in jobs; return the exit code.

    Parameters
    ----------
    outset
        Lines to print before that of the plan.
    sizes
        How much is planned, in words.
    finish, results
        As jobs take them, see :func:`submit`.
    collect_only
        Compute nothing.
    """
    from bench.engine.launcher import Submitter

    n_done = sum(store.is_done(stage) for stage in graph.stages.values())
    # A finished experiment can be shown from a read-only store.
    if n_done < len(graph) and not collect_only:
        check_folder(store.root)
        os.environ[EXPERIMENT] = request.record()
    for line in outset:
        console.print(line, soft_wrap=True)
    console.print(f"plan      {sizes}: {n_done} done, {len(graph) - n_done} to compute")
    if collect_only:
        return ExitCode.DONE
    if isinstance(launched, Submitter):
        show = Console(stderr=console.stderr)  # where to look is said even if asked to be quiet
        return submit(graph, store, launched, request, finish, results, show)
    return execute(graph, store, launched, console)


def submit(
    graph: StageGraph,
    store: Store,
    launched: Submitter,
    request: Request,
    finish: Callable[[Path, str], None],
    results: str,
    console: Console,
) -> int:
    """Submit jobs for what is missing, and say how to follow them.

    Parameters
    ----------
    finish
        Called by the last job with the folder of the store and the name of the request in it.
    results
        The command that shows the results when all is done.
    """
    register(graph, store)
    if all(store.is_done(stage) for stage in graph.stages.values()):
        return ExitCode.DONE
    last = partial(finish, store.root, request.record())
    for line in launched.submit(graph, store, last):
        console.print(f"jobs      {line}", soft_wrap=True)
    where = shlex.join(["--store", str(store.root)])
    console.print(
        f"watch     bench status --watch {where}\n"
        f"results   {results}, when all is done\n"
        f"cancel    bench cancel {where}",
        soft_wrap=True,
    )
    return ExitCode.DONE


def requested(ctx: typer.Context, kind: type[RequestT]) -> RequestT:
    """Return the request of the command line and its file; load plug-ins and set the device."""
    params = ctx.params | {"store": ctx.params["store_root"]}
    given = {name: value for name, value in params.items() if name in kind.model_fields}
    request = kind.of(params["experiment"], given)
    use_device(request.device)
    plug_in(request.plugin)
    return request


def planned(
    request: Request, console: Console, *, remember: bool = True
) -> tuple[Store, list[Run]]:
    """Return the store of a request and its runs; data that lie in doubt are remarked.

    ``remember`` keeps the digests of files in the store, which is made if there is none.
    """
    from bench.engine.store import Store

    store = Store(request.store)
    if remember and not store.root.is_dir():
        check_folder(store.root)
    remember = remember and (not store.root.exists() or os.access(store.root, os.W_OK))
    grid = request.grid()
    with console.status("reading the list of cases") as spinner:
        runs = grid.runs(
            store,
            lambda done, total: spinner.update(f"reading files {done}/{total}"),
            remember=remember,
            guard=remember and not request.accept_twins,
        )
    for dataset in grid.datasets:
        for doubt in dataset.doubts():
            remark(f"{dataset.label}: {doubt}")
    return store, runs


def sizes_of(runs: Sequence[Run], graph: StageGraph) -> str:
    """Return how many runs, conditions and stages are planned."""
    from bench.reporting.text import counted

    sizes = (
        counted(len(runs), "run"),
        counted(len({run.condition for run in runs}), "condition"),
        counted(len(graph), "stage"),
    )
    return ", ".join(sizes)
