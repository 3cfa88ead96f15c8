"""From the paths of a command to the scans that they mean, each with a name of its own."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.errors import BenchError, explain, neutral
from bench.experiment.below import Below

if TYPE_CHECKING:
    from bench.data.intensity import Channel


class Found(NamedTuple):
    """A scan that a command is given."""

    files: tuple[Path, ...]
    """NIfTI files in the order of the channels, or the folder of a DICOM series."""
    is_series: bool
    named: bool
    """The command names it, or the folder of its files; otherwise it was found further below."""

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.files[0] if self.is_series else self.files[0].parent


class Search(NamedTuple):
    """What paths stand for."""

    scans: dict[str, Found]
    """By names of their own."""
    notes: tuple[str, ...]
    """What lies beside and is not segmented, a line each."""
    problems: tuple[BenchError, ...]
    """What may be a scan and cannot be opened, or lacks a channel."""


def find_scans(paths: Sequence[Path], channels: Sequence[Channel]) -> Search:
    """Return the scans that paths stand for.

    A NIfTI file is a scan. Of several channels all files are named, ``CASE_0000.nii.gz``,
    ``CASE_0001.nii.gz`` and so on, or one file with channels on the fourth axis. A folder stands
    for its NIfTI files, or for the series in it and below it at any depth, each the DICOM files of
    one folder. Scans whose files have one name are told apart by the folders above them: ``s1_ct``,
    ``s2_ct``.

    Raises
    ------
    BenchError
        A folder without a scan, or with both kinds; a DICOM file; a file that is named twice.
    """
    from bench.data.filenames import in_order

    grouped: dict[tuple[Path, str], dict[int | None, Path]] = defaultdict(dict)
    series: set[Path] = set()
    below: set[Path] = set()
    seen: dict[str, Path] = {}
    notes: list[str] = []
    problems: list[BenchError] = []
    for named in paths:
        inside = _look(named)
        notes += inside.notes()
        problems += inside.problems
        series.update(inside.series)
        below.update(path for path in inside.series if path != named or len(inside.series) > 1)
        for path in inside.images or inside.series:
            if (other := seen.setdefault(os.path.realpath(path), path)) is not path:
                raise BenchError(f"{path}: named twice, the other time as {other}; name it once")
            if neutral(path.name) != path.name:
                problems.append(BenchError(f"{path}: the name holds control characters; rename it"))
                continue
            case, number = _folder_name(path), None
            if path not in series:
                case, number = _case(path, len(channels))
            files = grouped[path.parent, case]
            if number in files:
                raise BenchError(
                    f"{path}: {files[number]} is the same scan by its name; segment them one by one"
                )
            files[number] = path
    found = []
    for (folder, case), files in grouped.items():
        try:
            ordered = in_order(case, files, channels, "the model was trained on")
            found.append((folder, case, ordered))
        except BenchError as error:
            problems.append(error)
    names = _names([(folder, case) for folder, case, _ in found])
    scans = {
        name: Found(files, is_series=files[0] in series, named=files[0] not in below)
        for name, (_, _, files) in zip(names, found, strict=True)
    }
    return Search(scans, tuple(notes), tuple(problems))


def _look(path: Path) -> Below:
    """Return what an argument stands for."""
    from bench.data.dicom import SLICE_SUFFIXES, is_dicom
    from bench.data.filenames import SUFFIXES

    try:
        if path.is_dir():
            return _opened(Below.of(path))
        if path.is_file() and not path.name.lower().endswith(SUFFIXES):
            if path.name == "DICOMDIR":
                raise BenchError(f"{path}: the index of a disc; name its folder, {path.parent}")
            if path.suffix.lower() in SLICE_SUFFIXES or is_dicom(path):
                raise BenchError(
                    f"{path}: one file of a DICOM series; name the folder of the series,"
                    f" {path.parent}"
                )
    except OSError as error:
        return Below(path, problems=[BenchError(explain(error))])
    return Below(path, images=[path])


def _opened(inside: Below) -> Below:
    """Return what a folder holds, if it is clear which scans are meant."""
    if inside.images and inside.series:
        raise BenchError(
            f"{inside.folder}: holds NIfTI files, such as {inside.images[0].name}, and the DICOM"
            f" series {inside.series[0]}; name the one that is meant"
        )
    if inside.images or inside.series or inside.problems:
        return inside
    if inside.below:
        first = inside.deeper[0]
        if any(other.parent == first.parent for other in inside.deeper[1:]):
            named = first.parent
        else:  # one in each of many folders, as in TotalSegmentator
            depth = len(first.relative_to(inside.folder).parts) - 1
            named = inside.folder.joinpath(*["*"] * depth, first.name)
        raise BenchError(
            f"{inside.folder}: holds no scan itself; {inside.below}: name those that are scans,"
            f" such as {named}"
        )
    raise BenchError(
        "; ".join(
            [
                f"{inside.folder}: holds no scan, neither NIfTI files (.nii.gz, .nii) nor DICOM"
                " series",
                *(note.removeprefix(f"{inside.folder}: ") for note in inside.notes()),
            ]
        )
    )


def _case(path: Path, n_channels: int) -> tuple[str, int | None]:
    """Return the name of a NIfTI file without its suffix, and the number of its channel."""
    from bench.data.filenames import file_stem, split_channel

    stem = file_stem(path.name)
    if stem is None:
        stem = path.name
    case, number = split_channel(stem)
    first = path.with_name(path.name.replace(stem, f"{case}_0000"))
    if number and n_channels == 1 and not os.path.lexists(first):  # a number of the scan
        return stem, None
    return case, number


def _folder_name(folder: Path) -> str:
    """Return the name of a series: that of its folder."""
    name = folder.name if folder.name.strip(".") else os.path.basename(os.path.realpath(folder))
    return name or "scan"


def _names(scans: Sequence[tuple[Path, str]]) -> list[str]:
    """Return a name for each (folder, case), with as many folders above as tell them apart."""
    above = [Path(os.path.realpath(folder)).parts[1:] for folder, _ in scans]
    depth = [0] * len(scans)
    while True:
        names = [
            "_".join([*parts[len(parts) - n :], case])
            for n, parts, (_, case) in zip(depth, above, scans, strict=True)
        ]
        alike = defaultdict(list)
        for k, name in enumerate(names):
            alike[name.casefold()].append(k)  # one file, on file systems that ignore case
        clashes = [k for group in alike.values() if len(group) > 1 for k in group]
        if not clashes:
            return names
        for k in clashes:
            if depth[k] == len(above[k]):
                raise BenchError(
                    f"{scans[k][0] / scans[k][1]}: another scan has the same name; segment them one"
                    " by one"
                )
            depth[k] += 1
