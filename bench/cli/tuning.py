"""``bench tune``: equal numbers of settings for every method, chosen on training patients alone."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.codes import ExitCode
from bench.cli.console import Console
from bench.cli.experiments import carry_out, planned, requested
from bench.cli.options import (
    AcceptTwins,
    AsJson,
    Collect,
    DataRoot,
    Datasets,
    Device,
    ExperimentFile,
    Labelled,
    Launchers,
    Methods,
    Networks,
    Plugins,
    Profiles,
    Quiet,
    StoreRoot,
)
from bench.reporting.text import counted

if TYPE_CHECKING:
    from bench.data.dataset import Case
    from bench.experiment.plan import Run
    from bench.experiment.tuning import Tuned, TuneRequest

Fold = Annotated[
    str | None,
    typer.Option(
        "--fold",
        "-f",
        metavar="NUMBER",
        help="Fold on whose training patients settings are chosen. Default: 0.",
    ),
]
Seed = Annotated[
    str | None,
    typer.Option(
        "--seed", metavar="NUMBER", help="Replicate, as in --seeds of `bench run`. Default: 0."
    ),
]
Trials = Annotated[
    int | None,
    typer.Option(
        "--trials", min=1, max=1000, help="Settings per method, its own first. Default: 8."
    ),
]
On = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="NAME",
        help="Choose on this data set instead, which shares no patient: settings for every fold.",
    ),
]


def tune(
    ctx: typer.Context,
    experiment: ExperimentFile = None,
    method: Methods = None,
    dataset: Datasets = None,
    labelled: Labelled = None,
    trials: Trials = None,
    folds: Fold = None,
    on: On = None,
    profile: Profiles = None,
    backbone: Networks = None,
    seeds: Seed = None,
    plugin: Plugins = None,
    data: DataRoot = None,
    store_root: StoreRoot = None,
    launcher: Launchers = None,
    device: Device = None,
    accept_twins: AcceptTwins = None,
    collect_only: Collect = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Try equally many settings of every method, and name the best of each.

    They train on training patients and are scored on others of them: no test patient is read, and
    no label that training does not see. `bench list methods -v` shows what is searched, and where.
    The same command goes on after an interruption; the methods it prints are for `bench run -m`.
    """
    from bench.cli.answers import tell
    from bench.cli.tried import trials_table, tune_of
    from bench.engine.launcher import parse_launcher
    from bench.experiment.tuning import TuneRequest, save, save_tuning, trials_graph, tuned

    request = requested(ctx, TuneRequest)
    launched = parse_launcher(request.launcher)
    console = Console(quiet=quiet, stderr=as_json)
    store, runs = planned(request, console, remember=not collect_only)
    graph = trials_graph(runs)
    code = carry_out(
        request,
        graph,
        store,
        launched,
        console,
        outset=_outset(request, runs),
        sizes=f"{len(graph)} stages",
        finish=save_tuning,
        results="the same command",
        collect_only=collect_only,
    )
    show = Console(stderr=as_json)
    found = tuned(request, runs, store)
    path = None if collect_only else save(request, runs, store)
    console.print(trials_table(found))
    complete = all(one.finished for one in found)
    if complete:
        code = ExitCode.DONE  # although trainings that diverged have failed
        chosen = ",".join(one.best.setting for one in found)
        show.print(f"tuned     -m {shlex.quote(chosen)}", soft_wrap=True)
        show.print(f"compare   {_comparison(request, found)}", soft_wrap=True)
    else:
        n_missing = sum(not trial.finished for one in found for trial in one.trials)
        show.print(
            f"tuned     nothing yet: {counted(n_missing, 'trial')} not finished, and all methods "
            "have the same chance or none"
        )
    if path is not None:
        show.print(f"trials    {path}", soft_wrap=True)
    if as_json:
        tell(tune_of(found, graph, store, path))
    raise typer.Exit(code)


def _outset(request: TuneRequest, runs: Sequence[Run]) -> list[str]:
    """Return what is searched, and on which patients."""
    lines = []
    for label, tried in request.searches().items():
        names = request.searched(label)
        what = ", ".join(names) if names else "nothing to search"
        few = ", which are all" if names and len(tried) < request.trials else ""
        lines.append(f"search    {label}: {what}; {counted(len(tried), 'setting')}{few}")
    development = runs[0].condition.source.dataset
    cases = development.cases()
    validate = [case for case in cases if case.trains_in == ()]
    scored = [
        organ
        for k, organ in enumerate(development.organs)
        if any(case.annotated[k] for case in validate)
    ]
    lines.append(
        f"validate  {_patients(validate)} of {counted(_patients(cases), 'patient')}, on "
        f"their visible labels of {len(scored)} of {counted(len(development.organs), 'organ')}"
    )
    return lines


def _patients(cases: Sequence[Case]) -> int:
    return len({case.patient for case in cases})


def _comparison(request: TuneRequest, found: Sequence[Tuned]) -> str:
    """Return the command that runs every method as it was asked for and as it was tuned."""
    methods = dict.fromkeys(label for one in found for label in (one.method, one.best.setting))
    words = ["bench", "run", "-m", ",".join(methods), "-d", ",".join(request.dataset)]
    words += ["-l", request.labelled, "-f", "all" if request.on else request.folds]
    words += ["-p", ",".join(request.profile)]
    words += ["-b", ",".join(request.backbone)] if request.backbone else []
    words += ["--seeds", request.seeds] if request.seeds != "0" else []
    words += ["--accept-twins"] if request.accept_twins else []
    for path in request.plugin:
        words += ["--plugin", str(path)]
    for option, place in (("--data", request.data), ("--store", request.store)):
        words += [option, str(place)] if option[2:] in request.model_fields_set else []
    return shlex.join(words)
