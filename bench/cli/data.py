"""``bench data``: look at a data set, get one, or export it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from bench.cli.codes import EPILOG, ExitCode
from bench.cli.console import Console, complain, remark
from bench.cli.execute import execute
from bench.cli.options import (
    AsJson,
    DataRoot,
    DatasetArguments,
    Datasets,
    Networks,
    NFolds,
    OneFold,
    OneLabelled,
    OneSeed,
    Plugins,
    Profiles,
    StoreRoot,
)
from bench.cli.stores import plug_in
from bench.errors import BenchError, explain
from bench.files import check_folder

data_app = typer.Typer(help="Look at a data set, get one, or export it.", no_args_is_help=True)


@data_app.command("prepare", epilog=EPILOG)
def prepare(
    datasets: DatasetArguments = None,
    dataset: Datasets = None,
    profile: Profiles = None,
    backbone: Networks = None,
    plugin: Plugins = None,
    data: DataRoot = None,
    store_root: StoreRoot = None,
) -> None:
    """Read, check and cache data sets, so that runs start training at once."""
    from bench.engine.graph import StageGraph
    from bench.engine.launchers.local import Local
    from bench.engine.store import Store, default_root
    from bench.experiment.selection import (
        parse_datasets,
        parse_networks,
        parse_profiles,
        preparations,
    )

    plug_in(plugin)
    store = Store(store_root or default_root())
    check_folder(store.root)
    stages = preparations(
        parse_datasets([*(datasets or []), *(dataset or [])], data),
        parse_profiles(profile or ["quick"]),
        parse_networks(backbone or []),
        store.root / "digests.json",
    )
    console = Console()
    exit_code = execute(StageGraph(stages), store, Local(), console)
    if not exit_code:
        for stage in stages:
            console.print(f"{stage.key}  {store.out(stage)}", soft_wrap=True)
    raise typer.Exit(exit_code)


@data_app.command("check", epilog=EPILOG)
def check(
    datasets: DatasetArguments = None,
    dataset: Datasets = None,
    plugin: Plugins = None,
    data: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """Read every case and report organs, annotations, spacing, problems; exit code 2 after errors.

    A data set that cannot be read at all is named, and the others are checked.
    """
    from bench.cli.answers import tell
    from bench.cli.checked import RefusedDataset, data_check_of
    from bench.cli.views import print_check
    from bench.data.catalogue import parse_dataset
    from bench.data.check import check as check_dataset
    from bench.experiment.selection import dataset_names

    plug_in(plugin)
    console = Console(stderr=as_json)
    results, refused = [], []
    for name in dataset_names([*(datasets or []), *(dataset or [])]):
        try:
            one = parse_dataset(name, data)
            with console.status("reading") as spinner:
                result = check_dataset(
                    one, lambda done, total: spinner.update(f"reading case {done} of {total}")
                )
        except (BenchError, OSError) as error:
            message = explain(error) if isinstance(error, OSError) else str(error)
            complain(f"error: {message}")
            refused.append(RefusedDataset(name, message))
            continue
        results.append(result)
        if not as_json:
            print_check(result, one, console)
    found = data_check_of(results, refused)
    if as_json and results:
        tell(found)
    if found.errors:
        raise typer.Exit(ExitCode.FIXABLE)


@data_app.command("preview", epilog=EPILOG)
def preview(
    datasets: DatasetArguments = None,
    dataset: Datasets = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE.png", help="The picture; it is replaced.")
    ] = Path("preview.png"),
    n_cases: Annotated[
        int, typer.Option("--cases", min=1, help="How many cases, evenly spread over all.")
    ] = 12,
    case: Annotated[
        list[str] | None, typer.Option("--case", metavar="NAME", help="Cases to draw instead.")
    ] = None,
    n_slices: Annotated[
        int, typer.Option("--slices", min=1, max=12, help="Most slices of a case.")
    ] = 3,
    labelled: OneLabelled = 100,
    fold: OneFold = 0,
    n_folds: NFolds = 5,
    seed: OneSeed = 0,
    plugin: Plugins = None,
    data: DataRoot = None,
) -> None:
    """Draw some cases with their organs, and what is annotated, to be looked at before training.

    What cannot be read is named, and the others are drawn; exit code 2 then. Further pages
    and data sets are files of their own beside FILE.png. -l shows what the simulation would hide.
    """
    from bench.cli.sheets import Simulation, write_sheets
    from bench.experiment.selection import parse_datasets

    plug_in(plugin)
    whole = write_sheets(
        parse_datasets([*(datasets or []), *(dataset or [])], data),
        out,
        Console(),
        n_cases=n_cases,
        named=case or (),
        n_slices=n_slices,
        simulation=Simulation(labelled, fold, n_folds, seed),
    )
    if not whole:
        raise typer.Exit(ExitCode.FIXABLE)


@data_app.command("verify", epilog=EPILOG)
def verify(
    name: Annotated[str, typer.Argument(help="Public data set: lits, amos, ...")],
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of the archives; that of the data if not given.")
    ] = None,
    plugin: Plugins = None,
    data: DataRoot = None,
    as_json: AsJson = False,
) -> None:
    """Compare downloaded archives with their published checksums; exit code 2 if one differs."""
    from bench.cli.answers import tell
    from bench.cli.archives import print_archives, verify_archives

    plug_in(plugin)
    found = verify_archives(name, folder, data)
    if as_json:
        tell(found)
    else:
        print_archives(found, Console())
    if found.differing:
        raise typer.Exit(ExitCode.FIXABLE)


@data_app.command("download", epilog=EPILOG)
def download(
    dataset: Annotated[
        str, typer.Argument(help="Public data set: amos, 'msd\\[task=Task09_Spleen]', ...")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept the licence unasked.")] = False,
    plugin: Plugins = None,
    data: DataRoot = None,
) -> None:
    """Download, verify and unpack an openly licensed data set; goes on with what is there."""
    from bench.cli.archives import download as obtain

    plug_in(plugin)
    obtain(dataset, data, Console(), yes=yes)


@data_app.command("export", epilog=EPILOG)
def export(
    to: Annotated[Literal["nnunet"], typer.Argument(help="Layout to write.")],
    *,
    datasets: DatasetArguments = None,
    dataset: Datasets = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="New folder, such as Dataset101_Abdomen.")
    ],
    labelled: OneLabelled = 100,
    fold: OneFold = 0,
    n_folds: NFolds = 5,
    seed: OneSeed = 0,
    gaps: Annotated[
        Literal["ignore", "flags"],
        typer.Option(
            help="Background of cases that lack an organ: nnU-Net's ignore label, or background."
        ),
    ] = "ignore",
    plugin: Plugins = None,
    data: DataRoot = None,
) -> None:
    """Write a data set for nnU-Net, with the labels and the folds that methods see here."""
    from bench.data.catalogue import parse_dataset
    from bench.data.export import export_nnunet
    from bench.experiment.selection import parse_datasets
    from bench.reporting.text import counted, listed

    plug_in(plugin)
    console = Console()
    chosen = parse_datasets([*(datasets or []), *(dataset or [])], data)
    if len(chosen) > 1:
        raise BenchError(f"{len(chosen)} data sets are named, and each is exported by itself")
    with console.status("reading the list of cases") as spinner:
        written = export_nnunet(
            chosen[0],
            out,
            fold=fold,
            n_folds=n_folds,
            label_pct=labelled,
            seed=seed,
            gaps=gaps,
            progress=lambda done, total: spinner.update(f"writing cases {done}/{total}"),
        )
    console.print(str(out), soft_wrap=True)
    if labelled < 100:
        console.print(f"its only split, 0 for nnU-Net, is fold {written.splits[0].fold} here")
    for reason in written.left_out:
        remark(f"a fold is left out: {reason}")
    if written.left_out:
        folds = listed([str(split.fold) for split in written.splits])
        console.print(f"its splits, from 0 for nnU-Net, are folds {folds} here")
    if unknown := sum(not case.spacing_known for case in chosen[0].cases()):
        remark(f"{counted(unknown, 'scan')} of unknown voxel size: measure nothing in mm on them")
    name, again = chosen[0].name, parse_dataset(str(out)).name
    if again != name:
        remark(f"read by bench, {out} is called {again}, not {name}: its folds are others")
