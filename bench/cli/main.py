"""The command line.

Heavy modules are imported inside the commands, so that help is instant.
"""

from __future__ import annotations

import atexit
import gc
import os
import shlex
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.cli import foreign, share, tuning, upkeep
from bench.cli.codes import EPILOG, ExitCode
from bench.cli.console import Console, complain, remark, tolerate_terminals
from bench.cli.data import data_app
from bench.cli.experiments import carry_out, planned, requested, sizes_of
from bench.cli.options import (
    AcceptTwins,
    AsJson,
    Collect,
    DataRoot,
    Datasets,
    Device,
    ExperimentFile,
    Folds,
    Labelled,
    Launchers,
    Methods,
    Networks,
    Pictures,
    Plugins,
    Profiles,
    Quiet,
    Seeds,
    StoreRoot,
)
from bench.cli.stores import existing_store, plug_in, result_files
from bench.engine.devices import use_device
from bench.errors import BenchError, explain
from bench.files import check_folder

if TYPE_CHECKING:
    from bench.reporting.report import Report

app = typer.Typer(
    name="bench",
    help="Which training method should I use on partially labelled organ data, by how much is it "
    "better, and is that difference real?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)
command = partial(app.command, epilog=EPILOG)
app.add_typer(data_app, name="data")
app.add_typer(foreign.results_app, name="results")


def _print_versions(asked: bool) -> None:
    if asked:
        from bench.engine.provenance import UNKNOWN, provenance

        names = ("bench", "commit", "python", "torch", "monai", "segmentation-models-pytorch")
        found = {name: text for name in names if (text := provenance().get(name)) != UNKNOWN}
        typer.echo("\n".join(f"{name} {text}" for name, text in found.items() if text))
        raise typer.Exit


@app.callback()
def _bench(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_versions, help="Print versions and stop."
        ),
    ] = False,
) -> None:
    pass


@command()
def run(
    ctx: typer.Context,
    experiment: ExperimentFile = None,
    method: Methods = None,
    dataset: Datasets = None,
    labelled: Labelled = None,
    folds: Folds = None,
    profile: Profiles = None,
    backbone: Networks = None,
    seeds: Seeds = None,
    plugin: Plugins = None,
    data: DataRoot = None,
    store_root: StoreRoot = None,
    launcher: Launchers = None,
    device: Device = None,
    pictures: Pictures = None,
    accept_twins: AcceptTwins = None,
    collect_only: Collect = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train, predict and evaluate methods; print their leaderboard.

    Results in the store are not computed again. The same command continues an interrupted run, or
    with --collect shows what there is of it.
    With --launcher slurm it submits jobs and ends at once; the last of them writes the results.
    """
    from bench.cli.answers import tell
    from bench.cli.stored import run_of
    from bench.engine.launcher import parse_launcher
    from bench.experiment.collect import collect, save
    from bench.experiment.finish import save_tables
    from bench.experiment.plan import graph_of
    from bench.experiment.request import Request
    from bench.reporting.board import to_console
    from bench.results.files import Tables

    request = requested(ctx, Request)
    launched = parse_launcher(request.launcher)
    console = Console(quiet=quiet, stderr=as_json)
    store, runs = planned(request, console, remember=not collect_only)
    graph = graph_of(runs, pictures=request.pictures)
    where = shlex.join(["--store", str(store.root)])
    exit_code = carry_out(
        request,
        graph,
        store,
        launched,
        console,
        sizes=sizes_of(runs, graph),
        finish=save_tables,
        results=f"bench report leaderboard {where}",
        collect_only=collect_only,
    )
    if collect_only:
        share.print_missing(runs, store, console)
    path: Path | None = None
    problems: list[str] = []
    if any(store.is_done(result.evaluation) for run in runs for result in run.rounds):
        try:
            path, problems = save(runs, store)
            request.keep_beside(path)
            tables, where = Tables.read([path]), f"results   {path}\n"
        except OSError as error:
            path, problems = None, [f"results not written: {explain(error)}"]
            tables, where, exit_code = collect(runs, store), "", exit_code or ExitCode.FIXABLE
        console.print(to_console(_report("leaderboard").build(tables).boards))
        Console(stderr=as_json).print(f"{where}store     {store.root}", soft_wrap=True)
        for problem in problems:
            complain(f"error: {problem}")
        exit_code = exit_code or (ExitCode.FAILED if problems else ExitCode.DONE)
    if as_json:
        tell(run_of(runs, graph, store, path, problems))
    raise typer.Exit(exit_code)


@command()
def plan(
    ctx: typer.Context,
    experiment: ExperimentFile = None,
    method: Methods = None,
    dataset: Datasets = None,
    labelled: Labelled = None,
    folds: Folds = None,
    profile: Profiles = None,
    backbone: Networks = None,
    seeds: Seeds = None,
    plugin: Plugins = None,
    data: DataRoot = None,
    store_root: StoreRoot = None,
    launcher: Launchers = None,
    device: Device = None,
    pictures: Pictures = None,
    accept_twins: AcceptTwins = None,
    as_json: AsJson = False,
) -> None:
    """Show the stages that a run would compute and an estimate of the time; writes nothing.

    Takes the options of `bench run`, so that only one word of a command changes.
    """
    from bench.cli.answers import tell
    from bench.cli.planned import plan_of
    from bench.cli.views import plan_table
    from bench.engine.launcher import parse_launcher
    from bench.experiment.request import Request

    console = Console(stderr=as_json)
    request = requested(ctx, Request)
    parse_launcher(request.launcher)
    store, runs = planned(request, console, remember=False)
    found = plan_of(runs, store, pictures=request.pictures)
    if as_json:
        tell(found)
    else:
        console.print(plan_table(found))


@command()
def status(
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            "-w",
            help="Show jobs, stages by state and the time left, until nothing is left to do.",
        ),
    ] = False,
    plugin: Plugins = None,
    store_root: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """List the stages in the store: done, running, failed and waiting."""
    if watch and as_json:
        raise BenchError("--watch is for people; ask for --json again and again instead")
    plug_in(plugin)
    store = existing_store(store_root)
    if watch:
        from bench.cli import watch as display

        raise typer.Exit(display.watch(store, Console()))
    from bench.cli.answers import tell
    from bench.cli.stored import status_of
    from bench.cli.views import status_lines

    found = status_of(store)
    if as_json:
        tell(found)
    else:
        Console().print(status_lines(found), soft_wrap=True)


@command()
def cancel(store_root: StoreRoot = None) -> None:
    """Cancel the Slurm jobs of a store; what they compute is saved, and `bench run` goes on."""
    from bench.engine import cluster

    store = existing_store(store_root)
    recorded = cluster.submissions(store)
    jobs = cluster.queue(recorded)
    cluster.cancel(jobs)
    queued = {job.name for job in jobs}
    for submission in recorded:
        if submission.name in queued:
            Console().print(f"cancelled {submission.ids}")
    if not jobs:
        Console().print(f"no job for {store.root} is queued or running", soft_wrap=True)


@command()
def show(
    key: Annotated[str, typer.Argument(help="Key of a stage, or its first digits.")],
    plugin: Plugins = None,
    store_root: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """Show one stage: parameters, inputs, device, versions, files."""
    from bench.cli.answers import tell
    from bench.cli.stored import show_of
    from bench.cli.views import describe_stage

    plug_in(plugin)
    store = existing_store(store_root)
    found = show_of(store.find(key), store)
    if as_json:
        tell(found)
    else:
        Console().print(describe_stage(found), soft_wrap=True)


@command("list")
def list_(
    what: Annotated[
        Literal["methods", "datasets", "networks", "profiles", "metrics", "reports", "launchers"],
        typer.Argument(help="What to list."),
    ],
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Methods with the ranges that `bench tune` searches; data sets with numbers and "
            "licence.",
        ),
    ] = False,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """List what there is to choose from."""
    from bench.cli.answers import tell
    from bench.cli.listed import list_of, releases, searches
    from bench.cli.views import listing

    plug_in(plugin)
    details = {"datasets": releases, "methods": searches}
    if verbose and what not in details:
        raise BenchError(f"--verbose is for {' and '.join(details)}, not for {what}")
    found = details[what]() if verbose else list_of(what)
    if as_json:
        tell(found)
    else:
        Console().print(listing(found))


@command()
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
    as_json: AsJson = False,
) -> None:
    """Check on generated data that methods follow the rules of the suite; exit code 1 if not.

    Plans are pure, hidden labels change nothing, annotations are learnt from, a stopped training
    goes on bit for bit, and more. Seconds per method.
    """
    import tempfile

    from bench.cli.answers import tell
    from bench.cli.checked import check_of
    from bench.cli.views import print_verdicts
    from bench.experiment.conformance.checks import run_checks
    from bench.experiment.conformance.subject import SLICES, MethodUnderTest
    from bench.nets.catalogue import parse_network
    from bench.plugins import registry

    plug_in(plugin)
    if bool(method) == every:
        raise BenchError("name the methods to check, or give --all")
    with tempfile.TemporaryDirectory() as folder:
        network = SLICES if backbone is None else parse_network(backbone)
        names = method or registry.names("methods")
        under_test = [MethodUnderTest(name, Path(folder), network) for name in names]
        verdicts = ((one.label, run_checks(one)) for one in under_test)
        found = check_of(print_verdicts(verdicts, Console(stderr=as_json)))
    if as_json:
        tell(found)
    if not found.passed:
        raise typer.Exit(ExitCode.FAILED)


@command()
def predict(
    key: Annotated[str, typer.Argument(help="Key of a trained model (bench status shows them).")],
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Scans: NIfTI files, of several channels all (CASE_0000.nii.gz CASE_0001.nii.gz);"
            " folders of them; folders of a DICOM series, or of such folders.",
            readable=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the label maps.")],
    preview: Annotated[bool, typer.Option(help="Also write each over its scan, as PNG.")] = False,
    probabilities: Annotated[bool, typer.Option(help="Also write a map for every organ.")] = False,
    uncertainty: Annotated[
        bool, typer.Option(help="Also write the entropy of the least certain organ.")
    ] = False,
    dicom_seg: Annotated[
        bool, typer.Option("--dicom-seg", help="Also write DICOM segmentations of the series.")
    ] = False,
    views: Annotated[
        bool,
        typer.Option("--views", help="Predict what five views agree on, without small objects."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Segment again what an earlier call did.")
    ] = False,
    quiet: Quiet = False,
    device: Device = None,
    plugin: Plugins = None,
    store_root: StoreRoot = None,
) -> None:
    """Segment new scans with a trained model; label maps have the grid of their image.

    A scan that cannot be read is named, and the others are segmented; exit code 2 then. The same
    command goes on where an earlier one ended. No image is replaced, no file that no earlier call
    wrote, and no other without --overwrite.
    """
    from bench.cli.progress import SliceBars
    from bench.experiment.segment import Remark, Wanted, segment
    from bench.reporting.text import counted
    from bench.training.consensus import Consensus

    use_device(device)
    plug_in(plugin)
    store = existing_store(store_root)
    check_folder(out)
    consensus = Consensus() if views else None
    wanted = Wanted(preview, probabilities, uncertainty, dicom_seg)
    n_refused = n_written = 0
    with SliceBars(Console(quiet=quiet)) as bars:
        for made in segment(
            store.find(key),
            images,
            out,
            store,
            wanted,
            consensus=consensus,
            overwrite=overwrite,
            tick=bars.tick,
        ):
            if isinstance(made, BenchError):
                n_refused += 1
                complain(f"error: {made}")
            elif isinstance(made, Remark):
                remark(made)
            else:
                n_written += 1
                bars.console.print(str(made), soft_wrap=True)
    if n_refused:
        if n_refused + n_written > 1:
            what = f"{counted(n_refused, 'scan')} not or not wholly segmented"
            complain(f"error: {what}; {counted(n_written, 'file')} written to {out}")
        raise typer.Exit(ExitCode.FIXABLE)


@command("report")
def report_(
    name: Annotated[
        str, typer.Argument(help="Report, options in brackets: 'leaderboard\\[digits=2]'.")
    ],
    results: Annotated[
        list[Path] | None,
        typer.Argument(
            exists=True,
            help="Results tables (.parquet), packs (.zip), stores and folders of them, together;"
            " the default store if not given.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the files. Default: ./bench-report/NAME."),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv", help="Scores of your own, instead of results: task, case, method, value."
        ),
    ] = None,
    plugin: Plugins = None,
    store_root: StoreRoot = None,
    as_json: AsJson = False,
) -> None:
    """Write a report from results, and print it: `bench report leaderboard`."""
    from bench.cli.answers import tell
    from bench.cli.reported import report_of
    from bench.params import parse_brackets
    from bench.reporting.board import to_console
    from bench.reporting.helper import helper
    from bench.results.files import Tables
    from bench.results.sources import tables_of

    plug_in(plugin)
    console = Console(stderr=as_json)
    report_name, options = parse_brackets(name)
    if csv is not None:
        options = {**options, "csv": str(csv)}
    check_folder(folder := out or Path("bench-report", report_name))
    with helper():  # which starts while the report is found and its tables are read
        report = _report(report_name, options)
        if results and not report.needs_results:
            raise BenchError(f"a CSV and {results[0]} are given: a report takes scores, or results")
        files: list[Path] = []
        if report.needs_results:
            files = [file for source in results or [] for file in tables_of(source)]
            files = files or result_files(store_root)
        with Console(stderr=True).status(f"building {report_name}"):
            document = report.build(Tables.read(files, remark))
            with console.capture() as shown:  # before the files, which wait for what is drawn
                if not as_json:
                    console.print(to_console(document.boards))
            written = document.write(folder)
    if as_json:
        tell(report_of(report_name, written, document.boards))
        return
    sys.stdout.write(shown.get())
    for path in written:
        console.print(str(path), soft_wrap=True)


command()(tuning.tune)
command()(share.pack)
command()(share.admit)
command()(upkeep.verify)
command()(upkeep.gc)
command()(upkeep.logs)
command()(upkeep.sys_info)


def main() -> None:
    """Run the command line; an error of the user or the system is one line and exit code 2."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: schedulers send it
    tolerate_terminals()
    atexit.register(gc.freeze)  # the end of the process frees all: no search for garbage before
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()  # here, where its error is a line
        sys.exit(code)
    except BenchError as error:
        complain(f"error: {error}")
    except BrokenPipeError:  # of `bench ... | head`: who read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILED)
    except OSError as error:
        complain(f"error: {explain(error)}")
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(ExitCode.INTERRUPTED)
    except typer.Abort:  # a question was answered with no
        complain("nothing was done")
        sys.exit(ExitCode.FAILED)
    except Exception as error:
        # Wrong usage. Typer's class for it has no lasting address: click's once, its own now.
        describe = getattr(error, "format_message", None)
        if describe is None:
            raise
        # Empty: help was asked for and shown.
        if message := " ".join(describe().replace("Value error, ", "").split()):
            complain(f"error: {message.rstrip('.')}; --help shows what there is")
    sys.exit(ExitCode.FIXABLE)


def _report(name: str, options: dict[str, str] | None = None) -> Report:
    from bench.plugins import registry
    from bench.reporting.report import Report

    plugin = registry.load("reports", name, Report)  # type: ignore[type-abstract]
    if "csv" in (options or {}) and "csv" not in plugin.model_fields:
        raise BenchError(f"report {name} takes no CSV: it shows what scores alone do not say")
    return plugin.from_overrides("report", name, options or {})
