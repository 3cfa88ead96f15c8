"""Results on their way: those of an unfinished experiment, and packs of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli.console import Console, remark
from bench.cli.options import Plugins, StoreRoot
from bench.cli.stores import plug_in, result_files
from bench.errors import BenchError
from bench.files import check_folder

if TYPE_CHECKING:
    from bench.engine.store import Store
    from bench.experiment.plan import Run


def pack(
    results: Annotated[
        list[Path] | None,
        typer.Argument(
            exists=True, help="Results tables or folders of them; all of the store if not given."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE.zip", help="The pack; it is replaced.")
    ] = Path("results.zip"),
    pictures: Annotated[
        bool,
        typer.Option("--pictures", help="Also pictures, which show slices of your scans."),
    ] = False,
    plugin: Plugins = None,
    store_root: StoreRoot = None,
) -> None:
    """Write results, receipts and versions into one file to pass on; no weights, no scans.

    `bench report` reads it like a results table. Case and patient names are in it.
    """
    from bench.experiment.packing import pack as write
    from bench.reporting.text import counted
    from bench.results import packs
    from bench.results.sources import tables_of

    plug_in(plugin)
    given = [table for path in results or [] for table in tables_of(path)]
    if packed := [table.parent for table in given if packs.is_pack(table.parent)]:
        raise BenchError(
            f"{packed[0]}: is a pack already; `bench report` takes several packs, tables and stores"
        )
    files = given or result_files(store_root)
    if not packs.is_pack(out):
        raise BenchError(f"{out}: a pack is named NAME{packs.SUFFIX}")
    if out.exists():
        packs.Pack(out).close()  # a file that is no pack is somebody's, and stays
    check_folder(out.parent)
    made = write(files, out, pictures=pictures)
    for file in made.without_receipts:
        remark(f"{file}: lies in no store, so its receipts are not packed")
    Console().print(
        f"{out}  {counted(made.tables, 'table')}, {counted(made.rows, 'row')}, "
        f"{counted(made.receipts, 'receipt')}, {out.stat().st_size / 1e6:.2f} MB",
        soft_wrap=True,
    )


def print_missing(runs: Sequence[Run], store: Store, console: Console) -> None:
    """Say which runs are not finished, and how far each is.

    Raises
    ------
    BenchError
        No model of any run is evaluated, so there are no results.
    """
    from bench.cli.stored import unfinished
    from bench.reporting.text import counted

    if not any(store.is_done(result.evaluation) for run in runs for result in run.rounds):
        raise BenchError(
            f"{store.root}: nothing of this experiment is evaluated yet, so there is nothing to "
            "collect; without --collect the same command computes it"
        )
    missing = unfinished(runs, store)
    console.print(f"finished  {len(runs) - len(missing)} of {len(runs)} runs")
    for run in missing:
        states = ", ".join(f"{count} {state}" for state, count in run.counts.items())
        console.print(
            f"missing   {run.method} on {run.dataset} at {run.label_pct} %, fold {run.fold}, seed "
            f"{run.seed}: of {counted(sum(run.counts.values()), 'stage')} {states}",
            soft_wrap=True,
        )


def admit(
    base: Annotated[
        Path, typer.Argument(file_okay=False, exists=True, help="The repository without it.")
    ],
    proposed: Annotated[
        Path, typer.Argument(file_okay=False, exists=True, help="The repository with it.")
    ],
) -> None:
    """Check packs that a pull request adds to leaderboard/, and that it changes nothing else.

    Schema, checksums, receipts, versions, truths, duplicates. Nothing of it is executed. Of a clone
    it is what git has: `git add` comes first.
    """
    from bench.experiment.admission import admit as check
    from bench.reporting.text import counted

    for made in check(base, proposed):
        rows = counted(made.rows, "row")
        Console().print(f"{made.pack}  {', '.join(made.methods)}: {rows}", soft_wrap=True)
