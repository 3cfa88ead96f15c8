"""Options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        "-m",
        help="Method, or a list, parameters in brackets: 'naive,inerrant\\[rounds=3]'.",
    ),
]
Datasets = Annotated[
    list[str] | None,
    typer.Option("--dataset", "-d", help="Data set, or your folder in nnU-Net layout: ./mine."),
]
Labelled = Annotated[
    str | None,
    typer.Option(
        "--labelled",
        "-l",
        help="Percent of the training patients labelled per organ: 100,30,10. Default: 30.",
    ),
]
Folds = Annotated[
    str | None,
    typer.Option("--folds", "-f", help="Folds to run: 0, 0-4, 0,2 or all. Default: 0."),
]
Profiles = Annotated[
    list[str] | None,
    typer.Option(
        "--profile",
        "-p",
        help="smoke, quick, fast or paper; overrides: 'quick\\[steps=300]'. Default: quick.",
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
Seeds = Annotated[
    str | None, typer.Option("--seeds", help="Replicate seeds: 0, 0-2, ... Default: 0.")
]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data", help="Folder below which data sets lie. Default: $BENCH_DATA, ./data."),
]
StoreRoot = Annotated[
    Path | None,
    typer.Option(
        "--store", help="Folder that keeps every result. Default: $BENCH_STORE, ./bench-store."
    ),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        help="A method, network, data set, metric, report or launcher of your own: a file NAME.py.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="cpu, cuda or cuda:0. Default: every GPU there is, or the CPU."),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print errors and the paths of results only.")
]
ExperimentFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE.toml",
        help="An experiment: options by their names. Those of the command line override it.",
        exists=True,
        dir_okay=False,
    ),
]
Launchers = Annotated[
    str | None,
    typer.Option(
        "--launcher",
        help="Who runs the stages, options in brackets: 'local\\[workers=2]' for two trainings "
        "side by side, 'slurm\\[jobs=4]' for jobs, inline for one process. Default: local.",
    ),
]
Pictures = Annotated[
    bool, typer.Option("--pictures", help="Also draw predictions, for `bench report html`.")
]
