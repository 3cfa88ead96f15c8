"""Commands about the archives of public data sets: verify and download."""

from __future__ import annotations

import sys
from pathlib import Path

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from bench.cli.checked import DataVerifyAnswer, data_verify_of
from bench.cli.console import Console
from bench.data import download as archives
from bench.data.catalogue import default_data, parse_dataset
from bench.data.release import Release, release
from bench.errors import BenchError
from bench.params import parse_brackets


def verify_archives(name: str, folder: Path | None, data: Path | None) -> DataVerifyAnswer:
    """Return what is known of each archive.

    Raises
    ------
    BenchError
        Checksums are not published, or no archive is found.
    """
    cls = release(parse_brackets(name)[0])
    if not cls.archives:
        raise BenchError(f"{name}: its source publishes no checksums")
    place = folder or data or default_data() or Path("data")
    if not place.is_dir():
        raise BenchError(f"folder not found: {place}; name the one with the archives")
    verdicts = archives.verify(cls.archives, place)
    if all(one.state == "not found" for one in verdicts):
        raise BenchError(f"{place}: none of these archives is below it; name their folder")
    return data_verify_of(place, verdicts, cls.archives)


def print_archives(found: DataVerifyAnswer, console: Console) -> None:
    """Print what became of each archive."""
    for one in found.archives:
        more = f", {one.found} is not {one.published}" if one.found else ""
        at = f"  {one.path}" if one.path else ""
        console.print(f"{one.name}  {one.state}{more}{at}", soft_wrap=True)


def download(text: str, data: Path | None, console: Console, *, yes: bool) -> None:
    """Ask for consent to the licence, then download, verify and unpack below the data folder."""
    dataset = parse_dataset(text, data)
    if not isinstance(dataset, Release):
        raise BenchError(f"{text}: is no public release; there is nothing to download")
    wanted = {name: one for name, one in dataset.downloads().items() if one.url}
    if not wanted:
        raise BenchError(
            f"{text}: no plain address serves it; get it from {dataset.source}, unpack it and look"
            f" at it with `bench data check {text}`"
        )
    folder = (data or default_data() or Path("data")) / dataset.called
    sizes = {name: archives.size(one.url) for name, one in wanted.items()}
    console.print(f"{dataset.called}: {dataset.summary}", soft_wrap=True)
    console.print(f"licence  {dataset.licence}\ncite     {dataset.citation}", soft_wrap=True)
    for name, one in wanted.items():
        known = sizes[name]
        much = "size unknown" if known is None else f"{known / 1e9:.2f} GB"
        console.print(f"{name}  {much}  {one.url}", soft_wrap=True)
    if not yes:
        if not sys.stdin.isatty():
            raise BenchError("nothing was downloaded; --yes accepts the licence")
        typer.confirm(f"Do you accept the licence? Download to {folder}", abort=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    for name, one in wanted.items():
        with Progress(*columns, TransferSpeedColumn(), console=console, transient=True) as bar:
            task = bar.add_task(name, total=sizes[name])
            done = archives.obtain(
                name,
                one,
                folder,
                lambda have, total, bar=bar, task=task: bar.update(  # type: ignore[misc]
                    task, completed=have, total=total
                ),
            )
        console.print(f"{folder / name}  {done}", soft_wrap=True)
    if others := [name for name, one in dataset.downloads().items() if not one.url]:
        console.print(f"by hand, from {dataset.source}: {', '.join(others)}", soft_wrap=True)
    console.print(f"now look at it: bench data check {text}", soft_wrap=True)
