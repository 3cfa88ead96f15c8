"""``bench results import``: results of other frameworks, for our reports."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.codes import EPILOG
from bench.cli.console import Console
from bench.errors import BenchError
from bench.reporting.imports import Framework, Infinite

if TYPE_CHECKING:
    import pandas as pd

results_app = typer.Typer(help="Results of other frameworks.", no_args_is_help=True)


@results_app.command("import", epilog=EPILOG)
def import_(
    framework: Annotated[Framework, typer.Argument(help="Whose results they are.")],
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="summary.json of nnU-Net v2; METRIC_raw.csv of MONAI's MetricsSaver; or a folder "
            "of METHOD.csv or METHOD/METRIC.csv, cases by organs.",
        ),
    ],
    *,
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="What the cases are from.")],
    metric: Annotated[
        str, typer.Option("--metric", help="What was measured; of nnU-Net the key in its file.")
    ] = "Dice",
    method: Annotated[
        list[str] | None,
        typer.Option("--method", "-m", help="Its name; repeated, one for each file."),
    ] = None,
    organ: Annotated[
        list[str] | None,
        typer.Option(
            "--organ", metavar="LABEL=NAME", help="Name of a label, 1=liver; none leaves it out."
        ),
    ] = None,
    infinite: Annotated[
        Infinite | None,
        typer.Option("--infinite", help="What infinite values stand for; they are refused else."),
    ] = None,
    folds: Annotated[
        bool, typer.Option("--folds/--no-folds", help="Take folds from fold_N in nnU-Net's paths.")
    ] = True,
    patients: Annotated[
        Path | None,
        typer.Option(
            "--patients",
            metavar="FILE.csv",
            help="Columns case and patient; without, each case is a patient.",
        ),
    ] = None,
    lower_is_better: Annotated[
        bool, typer.Option("--lower-is-better", help="Say so in the command for the report.")
    ] = False,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE.csv", help="The table of scores.")
    ],
    append: Annotated[
        bool, typer.Option("--append", help="Add to FILE.csv, which is not replaced without.")
    ] = False,
) -> None:
    """Write per-case results of nnU-Net, MONAI or a public benchmark as a table of scores.

    `bench report html --csv` compares its methods. Values stay as they are. Cases are named
    after their files, so those of different frameworks meet if files are named alike.
    """
    from bench.files import check_folder, write_atomically
    from bench.reporting.imports import imported, refuse_repeated

    if out.exists() and not append:
        raise BenchError(f"{out}: exists; add to it with --append, or remove it")
    check_folder(out.parent)
    rows, repeated = imported(
        framework,
        sources,
        dataset=dataset,
        metric=metric,
        methods=method or (),
        organs=dict(map(_named, organ or ())),
        infinite=infinite,
        folded=folds,
        patients=patients,
    )
    whole = refuse_repeated(_with_earlier(out, rows)) if out.exists() else rows
    write_atomically(out, whole.to_csv(index=False, lineterminator="\n"))
    for sentence in repeated:
        Console().print(sentence, soft_wrap=True)
    Console().print(f"{out}  {_summary(rows)}", soft_wrap=True)
    report = "html[higher_is_better=false]" if lower_is_better else "html"
    command = shlex.join(["bench", "report", report, "--csv", str(out)])
    Console().print(f"report    {command}", soft_wrap=True)


def _named(text: str) -> tuple[str, str]:
    label, equals, name = text.rpartition("=")
    if not equals or not label.strip():
        raise BenchError(f"--organ {text}: write LABEL=NAME, for example 1=liver")
    return label.strip(), name.strip()


def _with_earlier(out: Path, rows: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    from bench.reporting.scores import texts
    from bench.texttable import read_table

    earlier = read_table(out)
    if earlier.names() != list(rows.columns):
        raise BenchError(
            f"{out}: has the columns {', '.join(earlier.names())}, to be added are "
            f"{', '.join(rows.columns)}: give --patients for all methods or none, and --no-folds "
            "where folds are not known of all"
        )
    return pd.concat([texts(earlier), rows], ignore_index=True)


def _summary(rows: pd.DataFrame) -> str:
    from bench.reporting.text import counted

    names = [name for name in ("method", "case", "patient", "organ") if name in rows]
    sizes = (counted(rows[name].nunique(), name) for name in names)
    kinds = rows["status"][~rows["status"].isin(["", "ok"])].value_counts()
    said = "".join(f", {count} {kind}" for kind, count in sorted(kinds.items()))
    empty = int(rows["value"].isna().sum())
    return f"{', '.join(sizes)}: {counted(len(rows), 'value')}, {empty} of them missing{said}"
