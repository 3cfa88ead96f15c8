"""Options that several commands take."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bench.errors import BenchError


def _experiment(path: Path | None) -> Path | None:
    """Return the file of an experiment, if it is one."""
    if path is not None and not path.is_file():
        raise BenchError(
            f"no experiment file {path}; methods are named with -m and data sets with -d, for "
            "example -m inerrant -d phantom"
        )
    return path


_compared = partial(typer.Option, rich_help_panel="What is compared")
_computed = partial(typer.Option, rich_help_panel="How it is computed")
_found = partial(typer.Option, rich_help_panel="Where things are")

Methods = Annotated[
    list[str] | None,
    _compared(
        "--method",
        "-m",
        metavar="NAMES",
        help="Methods, parameters in brackets: 'naive,inerrant\\[rounds=3]'.",
    ),
]
Datasets = Annotated[
    list[str] | None,
    _compared(
        "--dataset",
        "-d",
        metavar="NAMES",
        help="Data sets, your folders in nnU-Net layout (./mine), or a union\\[sources=A:B]."
        " Folders with commas or brackets: '\"./CT, main\"\\[where=tier=A]'.",
    ),
]
DatasetArguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="DATASETS", help="Data sets as --dataset takes them."),
]
Labelled = Annotated[
    str | None,
    _compared(
        "--labelled",
        "-l",
        metavar="PERCENT",
        help="Percent of the training patients labelled per organ: 100,30,10. Default: 30.",
    ),
]
Folds = Annotated[
    str | None,
    _compared(
        "--folds",
        "-f",
        metavar="NUMBERS",
        help="Folds to run: 0, 0-4, 0,2 or all. Default: 0.",
    ),
]
Profiles = Annotated[
    list[str] | None,
    _compared(
        "--profile",
        "-p",
        metavar="NAMES",
        help="smoke, quick, fast or paper; overrides: 'quick\\[steps=300]'. Default: quick.",
    ),
]
Networks = Annotated[
    list[str] | None,
    _compared(
        "--backbone",
        "-b",
        metavar="NAMES",
        help="unet_t11\\[width=32], unet3d_t11, unet/resnet34; the profile's if not given.",
    ),
]
Seeds = Annotated[
    str | None,
    _compared("--seeds", metavar="NUMBERS", help="Replicate seeds: 0, 0-2, ... Default: 0."),
]
OneLabelled = Annotated[
    int, typer.Option("--labelled", "-l", min=1, max=100, help="Percent that keep a label.")
]
OneFold = Annotated[int, typer.Option("--fold", "-f", min=0, help="Fold whose labels are hidden.")]
NFolds = Annotated[int, typer.Option("--n-folds", min=2, help="Folds of the profile.")]
OneSeed = Annotated[
    int, typer.Option("--seed", min=0, help="Replicate, as in --seeds of `bench run`.")
]
Launchers = Annotated[
    str | None,
    _computed(
        "--launcher",
        metavar="NAME",
        help="Who runs the stages, options in brackets: 'local\\[workers=2]' for two trainings "
        "side by side, 'slurm\\[jobs=4]' for jobs, inline for one process. Default: local.",
    ),
]
Device = Annotated[
    str | None,
    _computed(
        "--device",
        metavar="NAME",
        help="cpu, cuda or cuda:0. Default: every GPU there is, or the CPU.",
    ),
]
Pictures = Annotated[
    bool | None,
    _computed("--pictures/--no-pictures", help="Also render predictions, for `bench report html`."),
]
Collect = Annotated[
    bool,
    _computed(
        "--collect",
        help="Compute nothing: write the results of what is finished, and name what is missing.",
    ),
]
AcceptTwins = Annotated[
    bool | None,
    _computed(
        "--accept-twins/--refuse-twins",
        help="Run although one scan is in the files of two patients (refused by default).",
    ),
]
Quiet = Annotated[
    bool, _computed("--quiet", "-q", help="Print errors and the paths of results only.")
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON document for programs, and everything else to standard error.",
    ),
]
DataRoot = Annotated[
    Path | None,
    _found(
        "--data",
        metavar="FOLDER",
        help="Folder with the data sets. Default: $BENCH_DATA, ./data.",
    ),
]
StoreRoot = Annotated[
    Path | None,
    _found(
        "--store",
        metavar="FOLDER",
        help="Folder that keeps every result. Default: $BENCH_STORE, ./bench-store.",
    ),
]
Plugins = Annotated[
    list[Path] | None,
    _found(
        "--plugin",
        metavar="FILE",
        help="A method, network, data set, metric, report or launcher of your own: a file NAME.py.",
    ),
]
ExperimentFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE.toml",
        help="An experiment: options by their names. Those of the command line override it.",
        callback=_experiment,
    ),
]
