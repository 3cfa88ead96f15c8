"""``bench data preview``: contact sheets of data sets as PNG files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.cli.console import Console, complain
from bench.data.dataset import Case, Dataset
from bench.data.preview import Page, preview, select
from bench.data.simulate import Split, make_split
from bench.errors import BenchError
from bench.files import check_folder, replacing, slug
from bench.reporting.text import counted

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

_MARK = "page of bench data preview"
"""Entry of the PNG files: the number of the page."""


class Simulation(NamedTuple):
    """The gaps that a run would have on top of natural ones; none at 100 %."""

    label_pct: int
    fold: int
    n_folds: int
    seed: int

    def split(self, dataset: Dataset, cases: Sequence[Case]) -> Split | None:
        """Return which labels training sees; None if all that there are."""
        if self.label_pct == 100:
            return None
        name, organs = dataset.name, dataset.organs
        return make_split(cases, organs, dataset=name, **self._asdict())


def write_sheets(
    datasets: Sequence[Dataset],
    out: Path,
    console: Console,
    *,
    n_cases: int,
    named: Sequence[str],
    n_slices: int,
    simulation: Simulation,
) -> bool:
    """Write every page, print its path, name what could not be read; return whether all could."""
    if out.suffix.lower() != ".png":
        raise BenchError(f"{out}: the picture is a PNG; give a name that ends with .png")
    check_folder(out.parent)
    n_faults = n_refused = 0
    for dataset, path in zip(datasets, _paths(datasets, out), strict=True):
        try:
            cases = dataset.found()
            selection = select(cases, n_cases, named)
            split = simulation.split(dataset, cases)
        except BenchError as error:
            complain(f"error: {error}")
            n_refused += 1
            continue
        with console.status("reading") as spinner:
            pages = preview(
                dataset,
                selection,
                cases,
                split,
                n_slices,
                lambda done, total: spinner.update(f"reading case {done} of {total}"),
            )
            n_faults += _write(pages, path, dataset.label, console)
    if n_faults:
        complain(f"error: {counted(n_faults, 'case')} not drawn; mend what is named above")
    return not n_faults and not n_refused


def _write(pages: Iterable[Page], path: Path, label: str, console: Console) -> int:
    """Write the pages of a sheet in place of an earlier one; return how many cases are missing."""
    n_faults = number = 0
    for number, page in enumerate(pages, start=1):
        for fault in page.faults:
            complain(f"error: {fault}")
        n_faults += len(page.faults)
        if not page.n_drawn:
            complain(f"error: {label}: no case could be read, nothing is drawn")
            continue
        target = _page_path(path, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target, durable=False) as unfinished:
            page.image.save(unfinished, "PNG", optimize=True, pnginfo=_mark(number))
        console.print(f"{target}  {label}, {counted(page.n_drawn, 'case')}", soft_wrap=True)
    for old in _pages_after(path, number):
        old.unlink()
        console.print(f"{old} is removed, a page of an earlier sheet", soft_wrap=True)
    return n_faults


def _page_path(path: Path, number: int) -> Path:
    return path if number == 1 else path.with_stem(f"{path.stem}-{number}")


def _mark(number: int) -> PngInfo:
    """Return what tells a page from pictures of other origin, which are left alone."""
    from PIL.PngImagePlugin import PngInfo

    mark = PngInfo()
    mark.add_text(_MARK, str(number))
    return mark


def _pages_after(path: Path, number: int) -> Iterator[Path]:
    """Yield the pages of an earlier sheet that this one, of fewer pages, did not replace."""
    from PIL import Image

    for later in count(number + 1):
        target = _page_path(path, later)
        try:
            with Image.open(target) as picture:
                if picture.info.get(_MARK) != str(later):
                    return
        except (OSError, Image.DecompressionBombError):
            return
        yield target


def _paths(datasets: Sequence[Dataset], out: Path) -> list[Path]:
    """Return the file of each data set: the one named, or with several one for each beside it."""
    if len(datasets) == 1:
        return [out]
    names = [slug(dataset.label) for dataset in datasets]
    for name in names:
        if names.count(name) > 1:
            raise BenchError(
                f"{names.count(name)} data sets are called {name}: preview them one by one"
            )
    return [out.with_stem(f"{out.stem}-{name}") for name in names]
