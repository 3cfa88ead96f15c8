"""From the paths of a command to the scans that they mean, each with a name of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.data.intensity import Channel

_SLICE_SUFFIXES = (".dcm", ".dicom", ".ima")


class Found(NamedTuple):
    """A scan that a command is given."""

    files: tuple[Path, ...]
    """NIfTI files in the order of the channels, or the folder of a DICOM series."""
    named: bool
    """The command names it, or the folder of its files; otherwise it was found further below."""

    @property
    def is_series(self) -> bool:
        """Whether the scan is a DICOM series."""
        return self.files[0].is_dir()


def find_scans(paths: Sequence[Path], channels: Sequence[Channel]) -> dict[str, Found]:
    """Return the scans by their names.

    A NIfTI file is a scan. Of several channels all files are named, ``CASE_0000.nii.gz``,
    ``CASE_0001.nii.gz`` and so on, or one file with channels on the fourth axis. A folder stands
    for its NIfTI files, is the series of its DICOM files, or holds folders of series at any depth.
    Scans whose files have one name are told apart by the folders above them: ``s1_ct``, ``s2_ct``.

    Raises
    ------
    BenchError
        A folder without a scan, or with both kinds; a DICOM file; a file that is named twice; a
        channel that is missing or unknown.
    """
    from bench.data.nifti import in_order, split_channel

    grouped: dict[tuple[Path, str], dict[int | None, Path]] = defaultdict(dict)
    below: set[Path] = set()
    seen: dict[Path, Path] = {}
    for named in paths:
        for path in _expanded(named):
            if (other := seen.setdefault(path.resolve(), path)) is not path:
                raise BenchError(f"{path}: named twice, the other time as {other}; name it once")
            if path.is_dir() and path != named:
                below.add(path)
            case, number = _stem(path), None
            if not path.is_dir():
                case, number = split_channel(case)
                first = path.with_name(path.name.replace(_stem(path), f"{case}_0000"))
                if number and len(channels) == 1 and not first.exists():  # a number of the scan
                    case, number = _stem(path), None
            files = grouped[path.parent, case]
            if number in files:
                raise BenchError(
                    f"{path}: {files[number]} is the same scan by its name; segment them one by one"
                )
            files[number] = path
    source = "the model was trained on"
    found = [
        (folder, case, in_order(case, files, channels, source))
        for (folder, case), files in grouped.items()
    ]
    names = _names([(folder, case) for folder, case, _ in found])
    return {
        name: Found(files, named=files[0] not in below)
        for name, (_, _, files) in zip(names, found, strict=True)
    }


def _expanded(path: Path) -> Iterator[Path]:
    """Yield the files and folders of series that an argument stands for."""
    from bench.data.dicom import is_dicom
    from bench.data.nifti import SUFFIXES

    is_image = path.name.lower().endswith(SUFFIXES)
    if path.is_file() and not is_image and (_is_slice_by_name(path) or is_dicom(path)):
        raise BenchError(
            f"{path}: one file of a DICOM series; name the folder of the series, {path.parent}"
        )
    if not path.is_dir():
        yield path
        return
    inside = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    images = [file for file in inside if file.name.lower().endswith(SUFFIXES) and not file.is_dir()]
    series = list(_series(path))
    if images and series:
        raise BenchError(
            f"{path}: holds NIfTI files, such as {images[0].name}, and the DICOM series"
            f" {series[0]}; name the one that is meant"
        )
    if not images and not series:
        raise BenchError(
            f"{path}: holds no scan, neither NIfTI files (.nii.gz, .nii) nor DICOM series"
        )
    yield from images or series


def _is_slice_by_name(path: Path) -> bool:
    return path.suffix.lower() in _SLICE_SUFFIXES


def _series(folder: Path) -> Iterator[Path]:
    """Yield the folder if it holds DICOM files, else those below it that do."""
    from bench.data.dicom import is_dicom

    inside = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    if any(entry.is_file() and is_dicom(entry) for entry in inside):
        yield folder
        return
    for entry in inside:
        if entry.is_dir() and not entry.is_symlink():
            yield from _series(entry)


def _stem(path: Path) -> str:
    """Return the name of a scan: that of its folder, or of its file without suffix."""
    from bench.data.nifti import SUFFIXES

    if path.is_dir():
        return path.name if path.name.strip(".") else path.resolve().name or "scan"
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def _names(scans: Sequence[tuple[Path, str]]) -> list[str]:
    """Return a name for each (folder, case), with as many folders above as tell them apart."""
    above = [folder.resolve().parts[1:] for folder, _ in scans]
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
