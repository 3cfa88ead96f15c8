"""Contact sheets of a data set, to be looked at before training.

Complete labels are read, as ``bench data check`` reads them: a sheet is for people, and what it
says of simulated gaps reaches no training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

import numpy as np

from bench.data.dataset import Case, Dataset
from bench.data.geometry import Geometry
from bench.data.intensity import Channel, Rule
from bench.data.pool import map_cases
from bench.data.scan import read_scan
from bench.data.simulate import Split
from bench.errors import BenchError, unknown_name
from bench.evaluation.sheet import (
    BAR_MM,
    PER_PAGE,
    Card,
    Heading,
    Row,
    card,
    page,
    state_of,
)
from bench.reporting.text import counted

if TYPE_CHECKING:
    from PIL.Image import Image

TILT_DEGREES = 2.0
"""A tilt of the slices below it is not worth a word."""

_SHADES: dict[Rule, str] = {
    "percentile": "each scan from its 0.5th to its 99.5th percentile",
    "zscore": "each scan within 4 standard deviations of its mean",
    "minmax": "each scan from its smallest to its largest value",
}


class Selection(NamedTuple):
    """Some cases of a data set, and how they were chosen."""

    cases: tuple[Case, ...]
    words: str
    """``12 of 197 cases, evenly spread over their list``."""


class Page(NamedTuple):
    """A page of a sheet."""

    image: Image
    faults: tuple[str, ...]
    """One line for each case that could not be read."""
    n_drawn: int


def select(cases: Sequence[Case], n: int, named: Sequence[str] = ()) -> Selection:
    """Return the named cases, or ``n`` that are evenly spread over the list of all.

    Raises
    ------
    BenchError
        A name that no case has.
    """
    if named:
        known = {case.id: case for case in cases}
        # A name may itself hold a comma.
        single = [part for name in named for part in ([name] if name in known else name.split(","))]
        for name in single:
            if name.strip() not in known:
                raise unknown_name("case", name.strip(), known)
        chosen = tuple(known[name] for name in dict.fromkeys(map(str.strip, single)))
        return Selection(chosen, f"{len(chosen)} of {counted(len(cases), 'case')}, as named")
    if n >= len(cases):
        return Selection(tuple(cases), f"all {len(cases)} cases" if len(cases) > 1 else "one case")
    chosen = tuple(cases[int((place + 0.5) * len(cases) / n)] for place in range(n))
    return Selection(
        chosen, f"{n} of {len(cases)} cases, evenly spread over the list of their names"
    )


def heading(
    name: str,
    organs: Sequence[str],
    cases: Sequence[Case],
    channel: Channel,
    selection: Selection,
    split: Split | None = None,
) -> Heading:
    """Return what stands above the cards: title, how to read them, flags of every case."""
    patients = len({case.patient for case in cases})
    sizes = (
        counted(len(organs), "organ"),
        f"{counted(len(cases), 'case')} of {counted(patients, 'patient')}",
    )
    lines = [
        f"{', '.join(sizes)}. {_shades(channel)}. The slices that show most organs, cropped to the"
        f" body; R and L are the patient's right and left, the bar is {BAR_MM} mm, 43/87 is the"
        " 43rd of 87 slices from the feet.",
    ]
    if _hides(split):
        lines.append(
            f"What methods see at {split.label_pct} % in fold {split.fold} of {split.n_folds}:"
            f" {counted(len(split.train), 'case')} to train on, {len(split.test)} to be tested."
            " Hidden labels are shown here, as dotted outlines, and no training reads them."
        )
    counts, counted_as = _counts(cases, len(organs), split)
    rows = tuple(
        Row(
            case.id,
            tuple(map(state_of, case.annotated, hidden_in(case, split), [None] * len(organs))),
            tested=split is not None and case.id in split.test,
        )
        for case in cases
    )
    title = f"{name}: {selection.words}"
    return Heading(title, tuple(lines), tuple(organs), rows=rows, counts=counts, counted=counted_as)


def hidden_in(case: Case, split: Split | None) -> tuple[bool, ...]:
    """Return per organ whether the simulation hides its label in a case."""
    if split is None or case.id not in split.flags:
        return (False,) * len(case.annotated)
    pairs = zip(case.annotated, split.flags[case.id], strict=True)
    return tuple(annotated and not seen for annotated, seen in pairs)


def facts(case: Case, geometry: Geometry, split: Split | None = None) -> tuple[str, ...]:
    """Return lines about a case: its grid, and what else is worth knowing."""
    shape = " × ".join(map(str, geometry.canonical_shape))
    size = " × ".join(f"{side:.3g}" for side in geometry.spacing_mm)
    notes = [
        f"patient {case.patient}" if case.patient != case.id else "",
        case.domain or "",
        "tested" if split is not None and case.id in split.test else "",
        "" if case.spacing_known else "size of voxels unknown",
        f"slices tilted by {tilt:.0f}°" if (tilt := _tilt_degrees(geometry)) > TILT_DEGREES else "",
        "axes not at right angles" if geometry.sheared else "",
    ]
    lines = f"{shape}, {size} mm", ", ".join(filter(None, notes))
    return tuple(filter(None, lines))


def preview(
    dataset: Dataset,
    selection: Selection,
    cases: Sequence[Case],
    split: Split | None,
    n_slices: int,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Iterator[Page]:
    """Yield the pages of a sheet.

    At most four scans are in memory, one a core; of those read, some slices are kept for a page.

    Parameters
    ----------
    selection
        The cases with a card.
    cases
        All cases of ``dataset``, for the table of annotations.
    split
        Whose simulated gaps are shown.
    n_slices
        Most slices of a case.
    progress
        Called with the number of cases read and their total after each.
    """
    top = heading(dataset.label, dataset.organs, cases, dataset.channels[0], selection, split)
    chosen = selection.cases
    n_pages = -(-len(chosen) // PER_PAGE)
    # Pages of equal length: none with a case or two at the end.
    size = -(-len(chosen) // n_pages)
    for number, start in enumerate(range(0, len(chosen), size), start=1):
        part = chosen[start : start + size]
        cards = map_cases(
            lambda case: _read(dataset, case, split, n_slices),
            part,
            lambda done, _, start=start: progress(start + done, len(chosen)),  # type: ignore[misc]
        )
        title = top.title if n_pages == 1 else f"{top.title}, page {number} of {n_pages}"
        faults = tuple(one.fault for one in cards if one.fault)
        yield Page(page(replace(top, title=title), cards), faults, len(cards) - len(faults))


def _read(dataset: Dataset, case: Case, split: Split | None, n_slices: int) -> Card:
    try:
        scan = read_scan(dataset, case)
    except BenchError as error:
        return _unread(case, split, str(error))
    except MemoryError:
        where = f"{dataset.name}: case {case.id}"
        return _unread(case, split, f"{where}: needs more memory than is free; crop the scan")
    shown_XYZ = scan.image_CXYZ[0]
    return card(
        case.id,
        facts(case, scan.geometry, split),
        shown_XYZ.transpose(2, 0, 1),
        scan.labels_XYZ.transpose(2, 0, 1),
        scan.geometry.spacing_mm[:2],
        dataset.channels[0].volume_range(shown_XYZ),
        case.annotated,
        hidden_in(case, split),
        n_slices,
    )


def _unread(case: Case, split: Split | None, fault: str) -> Card:
    hidden = hidden_in(case, split)
    states = tuple(
        "unread" if annotated else state_of(annotated, hides, None)
        for annotated, hides in zip(case.annotated, hidden, strict=True)
    )
    return Card(case.id, states, fault=fault)


def _hides(split: Split | None) -> TypeGuard[Split]:
    return split is not None and split.label_pct < 100


def _counts(
    cases: Sequence[Case], n_organs: int, split: Split | None
) -> tuple[tuple[str, ...], str]:
    """Return for every organ how many cases have it annotated, and what the numbers are."""
    said = [f"{sum(case.annotated[k] for case in cases)} of {len(cases)}" for k in range(n_organs)]
    if not _hides(split):
        return tuple(said), "annotated"
    for k in range(n_organs):
        training = sum(case.annotated[k] for case in cases if case.id in split.flags)
        seen = sum(flags[k] for flags in split.flags.values())
        said[k] += f", {seen} of {training}"
    return tuple(said), "annotated, kept in training"


def _shades(channel: Channel) -> str:
    if channel.rule == "window":
        low, high = channel.hu_window
        return f"{channel.name} from {low:g} (black) to {high:g} HU (white)"
    return f"{channel.name}, {_SHADES[channel.rule]}"


def _tilt_degrees(geometry: Geometry) -> float:
    """Return the angle between the slices and a plane across the body's long axis."""
    axes = geometry.canonical_affine[:3, :3]
    normal = np.cross(axes[:, 0], axes[:, 1])
    return float(np.degrees(np.arccos(min(1.0, abs(normal[2]) / np.linalg.norm(normal)))))
