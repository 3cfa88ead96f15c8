"""The command line. Heavy modules are imported inside the commands, so that help is instant."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.errors import BenchError
from bench.evaluation.metrics import METRICS

if TYPE_CHECKING:
    from rich.console import Console

    from bench.engine.graph import StageGraph
    from bench.engine.launcher import Launcher
    from bench.engine.store import Store
    from bench.experiment.plan import Run
    from bench.reporting.report import Report

app = typer.Typer(
    name="bench",
    help="Which training method should I use on partially labelled organ data, by how much is it "
    "better, and is that difference real?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
data_app = typer.Typer(help="Look at a data set.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Methods = Annotated[
    list[str],
    typer.Option(
        "--method",
        "-m",
        help="Method, or a list, parameters in brackets: 'naive,inerrant\\[rounds=3]'.",
    ),
]
Datasets = Annotated[
    list[str],
    typer.Option("--dataset", "-d", help="Data set, or your folder in nnU-Net layout: ./mine."),
]
Labelled = Annotated[
    str,
    typer.Option(
        "--labelled", "-l", help="Percent of the training patients labelled per organ: 100,30,10."
    ),
]
Folds = Annotated[str, typer.Option("--folds", "-f", help="Folds to run: 0, 0-4, 0,2 or all.")]
Profiles = Annotated[
    list[str],
    typer.Option(
        "--profile", "-p", help="smoke, quick, fast or paper; overrides: 'quick\\[steps=300]'."
    ),
]
Networks = Annotated[
    list[str] | None,
    typer.Option(
        "--backbone",
        "-b",
        help="unet_t11\\[width=32], unet3d_t11, unet/resnet34; the profile's if not given.",
    ),
]
Seeds = Annotated[str, typer.Option("--seeds", help="Replicate seeds: 0, 0-2, ...")]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data", envvar="BENCH_DATA", help="Folder below which data sets lie; ./data if not set."
    ),
]
StoreRoot = Annotated[
    Path,
    typer.Option("--store", envvar="BENCH_STORE", help="Folder that keeps every result."),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        help="A method, network, data set, report or launcher of your own: the file NAME.py.",
    ),
]
DEFAULT_STORE = Path("bench-store")


@app.command()
def run(
    method: Methods,
    dataset: Datasets,
    labelled: Labelled = "30",
    folds: Folds = "0",
    profile: Profiles = ["quick"],  # noqa: B006
    backbone: Networks = None,
    seeds: Seeds = "0",
    plugin: Plugins = None,
    data: DataRoot = None,
    store: StoreRoot = DEFAULT_STORE,
    launcher: Annotated[
        str,
        typer.Option(
            help="Who runs the stages, options in brackets: 'local\\[workers=2]' for two trainings "
            "side by side, inline for one process."
        ),
    ] = "local",
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Also draw predictions, for `bench report html`.")
    ] = False,
) -> None:
    """Train, predict and evaluate methods; print their leaderboard.

    What the store already holds is not computed again, and an interrupted run goes on where it
    stopped: give the same command.
    """
    from bench.engine.launcher import parse_launcher
    from bench.experiment.collect import save
    from bench.experiment.plan import graph_of
    from bench.results.tables import read

    console = _console()
    _plug_in(plugin)
    launched = parse_launcher(launcher)
    place, runs = _select(method, dataset, labelled, folds, profile, backbone, seeds, data, store)
    graph = graph_of(runs, pictures=pictures)
    n_done = sum(place.is_done(stage) for stage in graph.stages.values())
    console.print(_plan_line(runs, len(graph), n_done))
    exit_code = _execute(graph, place, launched, console)
    if any(place.is_done(result.evaluation) for run in runs for result in run.rounds):
        path = save(runs, place)
        console.print(_report("leaderboard").show(read(path)))
        console.print(f"results   {path}\nstore     {place.root}", soft_wrap=True)
    raise typer.Exit(exit_code)


@app.command()
def plan(
    method: Methods,
    dataset: Datasets,
    labelled: Labelled = "30",
    folds: Folds = "0",
    profile: Profiles = ["quick"],  # noqa: B006
    backbone: Networks = None,
    seeds: Seeds = "0",
    plugin: Plugins = None,
    data: DataRoot = None,
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Show what a run would compute and how long it takes; writes nothing."""
    from bench.cli.views import plan_table

    _plug_in(plugin)
    place, runs = _select(
        method, dataset, labelled, folds, profile, backbone, seeds, data, store, remember=False
    )
    _console().print(plan_table(runs, place))


@app.command()
def status(plugin: Plugins = None, store: StoreRoot = DEFAULT_STORE) -> None:
    """List what the store holds: stages done, running, failed and waiting."""
    from bench.cli.views import status_table

    _plug_in(plugin)
    _console().print(status_table(_existing_store(store)))


@app.command()
def show(
    key: Annotated[str, typer.Argument(help="Key of a stage, or its first digits.")],
    plugin: Plugins = None,
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Show one stage: parameters, inputs, how and where it ran, its files."""
    from bench.cli.views import describe_stage

    _plug_in(plugin)
    place = _existing_store(store)
    _console().print(describe_stage(place.find(key), place), soft_wrap=True)


@app.command("list")
def list_(
    what: Annotated[
        Literal["methods", "datasets", "networks", "profiles", "reports", "launchers"],
        typer.Argument(help="What to list."),
    ],
    plugin: Plugins = None,
) -> None:
    """List what there is to choose from."""
    from bench.cli.views import listing

    _plug_in(plugin)
    _console().print(listing(what))


@app.command()
def check(
    method: Annotated[
        list[str] | None, typer.Argument(help="Methods to check, parameters in brackets.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Check every method there is.")] = False,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone", "-b", help="Small network to check with; unet3d_t11\\[width=2] for 3D."
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Check on generated data that methods keep what all methods owe; exit code 1 if one does not.

    Plans are pure, hidden labels change nothing, what is drawn is learnt from, a stopped training
    goes on bit for bit, and more. Seconds per method.
    """
    import tempfile

    from bench.cli.views import print_verdicts
    from bench.experiment.conformance import SLICES, Subject, judge
    from bench.nets.catalogue import parse_network
    from bench.plugins import registry

    _plug_in(plugin)
    if bool(method) == every:
        raise BenchError("name the methods to check, or give --all")
    with tempfile.TemporaryDirectory() as folder:
        network = SLICES if backbone is None else parse_network(backbone)
        names = method or registry.names("methods")
        subjects = [Subject(name, Path(folder), network) for name in names]
        verdicts = ((subject.label, judge(subject)) for subject in subjects)
        if not print_verdicts(verdicts, _console()):
            raise typer.Exit(1)


@app.command()
def predict(
    key: Annotated[str, typer.Argument(help="Key of a trained model (bench status shows them).")],
    images: Annotated[list[Path], typer.Argument(help="CT volumes: NIfTI, or a DICOM folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the label maps.")],
    preview: Annotated[bool, typer.Option(help="Also draw each over its CT, as PNG.")] = False,
    plugin: Plugins = None,
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Segment new CT volumes with a trained model; label maps lie on the grid of their image."""
    from bench.experiment.segment import segment

    _plug_in(plugin)
    place = _existing_store(store)
    for path in segment(place.find(key), images, out, place, preview=preview):
        _console().print(str(path), soft_wrap=True)


@data_app.command("prepare")
def data_prepare(
    dataset: Datasets,
    profile: Profiles = ["quick"],  # noqa: B006
    backbone: Networks = None,
    plugin: Plugins = None,
    data: DataRoot = None,
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Read, check and cache data sets, so that runs start training at once."""
    from bench.engine.graph import StageGraph
    from bench.engine.launcher import parse_launcher
    from bench.engine.store import Store
    from bench.experiment.selection import (
        parse_datasets,
        parse_networks,
        parse_profiles,
        preparations,
    )

    _plug_in(plugin)
    place = Store(store)
    stages = preparations(
        parse_datasets(dataset, data),
        parse_profiles(profile),
        parse_networks(backbone or []),
        place.root / "digests.json",
    )
    console = _console()
    exit_code = _execute(StageGraph(stages), place, parse_launcher("local"), console)
    if not exit_code:
        for stage in stages:
            console.print(f"{stage.key}  {place.out(stage)}", soft_wrap=True)
    raise typer.Exit(exit_code)


@data_app.command("check")
def data_check(
    dataset: Annotated[str, typer.Argument(help="Data set, or your folder in nnU-Net layout.")],
    plugin: Plugins = None,
    data: DataRoot = None,
) -> None:
    """Read every case and report organs, annotations, spacing and problems; exit code 2 if any."""
    from bench.cli.views import print_check
    from bench.data.catalogue import parse_dataset

    _plug_in(plugin)
    console = _console()
    if print_check(parse_dataset(dataset, data), console):
        raise typer.Exit(2)


@app.command("report")
def report_(
    name: Annotated[
        str, typer.Argument(help="Report, options in brackets: 'leaderboard\\[digits=2]'.")
    ],
    results: Annotated[
        list[Path] | None,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="Results tables (.parquet); all of the store if not given.",
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            help="Your own scores instead: columns task, case, method, value (fold, organ).",
        ),
    ] = None,
    metric: Annotated[str | None, typer.Option(help=f"{', '.join(METRICS)}.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="Compare with this method only, not all pairs.")
    ] = None,
    bold: Annotated[
        str | None, typer.Option(help="What bold means: holm, paper or mean (leaderboard).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the files; ./NAME if not given.")
    ] = None,
    plugin: Plugins = None,
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Write a report from results, and print it: `bench report leaderboard`."""
    from bench.params import parse_brackets
    from bench.results.files import table_files

    _plug_in(plugin)
    console = _console()
    report_name, options = parse_brackets(name)
    named = {"metric": metric, "reference": reference, "bold": bold}
    report = _report(report_name, options | {key: value for key, value in named.items() if value})
    if csv:
        table = report.read_csv(csv)
    else:
        files = results or _result_files(store)
        table = report.read(table_files(files, report.reads))
    out = out or Path(report_name)
    out.mkdir(parents=True, exist_ok=True)
    written = report.build(table, out)
    console.print(report.show(table))
    for path in written:
        console.print(str(path), soft_wrap=True)


def main() -> None:
    """Run the command line; a user's error is one line and exit code 2."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is a Ctrl-C
    try:
        sys.exit(app(standalone_mode=False))
    except BenchError as error:
        _complain(f"error: {error}")
    except Exception as error:
        # Wrong usage. Typer's class for it has no lasting address: click's once, its own now.
        describe = getattr(error, "format_message", None)
        if describe is None:
            raise
        if message := " ".join(describe().split()):  # empty: help was asked for and shown
            _complain(f"error: {message.rstrip('.')}; --help shows what there is")
    sys.exit(2)


def _report(name: str, options: dict[str, str] | None = None) -> Report:
    from bench.plugins import registry
    from bench.reporting.report import Report

    plugin = registry.load("reports", name, Report)  # type: ignore[type-abstract]
    return plugin.from_overrides("report", name, options or {})


def _plug_in(files: list[Path] | None) -> None:
    from bench.plugins import registry

    registry.plug_in(files or [])


def _execute(graph: StageGraph, place: Store, launched: Launcher, console: Console) -> int:
    """Bring the stages of a graph to completion, say what happened and return the exit code."""
    import time
    from contextlib import closing

    from bench.cli.progress import Monitor

    started = time.monotonic()
    place.register(graph.in_order())
    n_done = sum(place.is_done(stage) for stage in graph.stages.values())
    monitor = Monitor(graph, n_done, console)
    try:
        with closing(launched.run(graph, place)) as events:
            monitor.follow(events)
    except KeyboardInterrupt:
        _complain("interrupted; give the same command to go on from the last checkpoint")
        raise typer.Exit(130) from None
    for message in dict.fromkeys(event.message for event in monitor.messages):
        _complain(f"error: {message}")
    counts = ", ".join(f"{count} {what}" for what, count in monitor.outcomes.most_common())
    console.print(f"stages    {counts}; {time.monotonic() - started:.0f} s")
    if not monitor.messages:
        return 0
    return 2 if monitor.outcomes["refused"] else 1


def _select(
    method: list[str],
    dataset: list[str],
    labelled: str,
    folds: str,
    profile: list[str],
    backbone: list[str] | None,
    seeds: str,
    data: Path | None,
    store: Path,
    *,
    remember: bool = True,
) -> tuple[Store, list[Run]]:
    from bench.engine.store import Store
    from bench.experiment.selection import (
        ExperimentGrid,
        parse_datasets,
        parse_label_pcts,
        parse_methods,
        parse_networks,
        parse_numbers,
        parse_profiles,
    )

    place = Store(store)
    selection = ExperimentGrid(
        methods=parse_methods(method),
        label_pcts=parse_label_pcts(labelled),
        folds=folds,
        profiles=parse_profiles(profile),
        networks=parse_networks(backbone or []),
        seeds=parse_numbers("seed", seeds, 0, 10_000),
        datasets=parse_datasets(dataset, data),
    )
    with _console().status("reading the list of cases") as spinner:
        runs = selection.runs(
            place,
            lambda done, total: spinner.update(f"reading files {done}/{total}"),
            remember=remember,
        )
    return place, runs


def _existing_store(root: Path) -> Store:
    from bench.engine.store import Store

    if not root.is_dir():
        raise BenchError(f"no store at {root}: run something first, or name one with --store")
    return Store(root)


def _plan_line(runs: list[Run], n_stages: int, n_done: int) -> str:
    cells = len(
        {
            (run.condition.source.dataset.name, run.condition.label_pct, run.condition.fold)
            for run in runs
        }
    )
    asked = sum(len(list(run.wanted())) for run in runs)
    return (
        f"plan      {len(runs)} runs in {cells} cells, {n_stages} stages for {asked} results: "
        f"{n_done} done, {n_stages - n_done} to compute"
    )


def _result_files(store: Path) -> list[Path]:
    paths = sorted(_existing_store(store).root.glob("results/*.parquet"))
    if not paths:
        raise BenchError(f"no results in {store / 'results'}: run something first")
    return paths


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 160  # nobody's screen: do not cut what goes to a file
    return console


def _complain(message: str) -> None:
    from rich.console import Console

    Console(stderr=True).print(message, style="red", markup=False, highlight=False, soft_wrap=True)
