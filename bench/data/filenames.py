"""Names of image files: the suffixes of NIfTI, and the number of a channel."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.data.intensity import Channel, listed
from bench.errors import BenchError

SUFFIXES = (".nii.gz", ".nii")
"""File names read as NIfTI."""

_NUMBERED = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


def file_stem(name: str) -> str | None:
    """Return the name of a NIfTI file without its suffix; None for other files."""
    suffix = next((end for end in SUFFIXES if name.lower().endswith(end)), None)
    return None if suffix is None else name[: -len(suffix)]


def split_channel(stem: str) -> tuple[str, int | None]:
    """Return case and channel of a name like ``CASE_0000``; None without a number."""
    match = _NUMBERED.fullmatch(stem)
    return (match["case"], int(match["channel"])) if match else (stem, None)


def in_order(
    case: str, files: Mapping[int | None, Path], channels: Sequence[Channel], source: str
) -> tuple[Path, ...]:
    """Return the image files of a case: one for each channel, or one for all of them.

    Parameters
    ----------
    files
        Files by number of the channel; None for a file without a number.
    source
        Start of a message that lists the channels: ``dataset.json names``.

    Raises
    ------
    BenchError
        A channel is missing, unknown or duplicated.
    """
    wanted = f"{source} {listed(channels)}"
    numbers = sorted(number for number in files if number is not None)
    if numbers and numbers[-1] >= len(channels):
        raise BenchError(
            f"{files[numbers[-1]]}: channel {numbers[-1]}, but {wanted}; leave this file out"
            f" (or rename it, if it is a scan of its own: four digits at the end are a channel)"
        )
    if None in files and numbers:
        raise BenchError(
            f"{files[None]}: this file and {files[numbers[0]].name} are both the image of case"
            f" {case}; remove one"
        )
    if None in files:
        return (files[None],)
    for number in range(len(channels)):
        if number not in files:
            path = files[numbers[0]].with_name(f"{case}_{number:04d}{SUFFIXES[0]}")
            raise BenchError(f"{path}: file of a channel is missing, {wanted}; add it")
    return tuple(files[number] for number in numbers)
