"""What lies below a folder: files and folders by name, or by a pattern with a number."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SEARCH_DEPTH = 7
"""Levels of folders below the root that are searched: archives, batches, folders of a scan."""


def walk(root: Path) -> Iterator[str]:
    """Yield the paths of files and folders below a folder, relative to it; folders end with ``/``.

    At most :data:`SEARCH_DEPTH` folders deep; hidden ones and what macOS adds to archives are left
    out. A folder that several links lead to is visited once.
    """
    seen = set()
    for folder, subfolders, names in os.walk(root, onerror=_refuse, followlinks=True):
        state = os.stat(folder)
        if (state.st_dev, state.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        below = Path(folder).relative_to(root)
        start = "" if below == Path() else f"{below.as_posix()}/"
        subfolders[:] = sorted(
            name
            for name in subfolders
            if len(below.parts) < SEARCH_DEPTH and name[0] != "." and name != "__MACOSX"
        )
        yield from (f"{start}{name}/" for name in subfolders)
        yield from (f"{start}{name}" for name in sorted(names) if name[0] != ".")


def _refuse(error: OSError) -> None:
    """Raise what ``os.walk`` passes over: a folder that cannot be read is not an empty one."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):  # of a root that is not there
        raise error


def find(root: Path, pattern: str) -> dict[int, Path]:
    """Return the files below a folder by number; see :func:`expression` for the pattern."""
    found = ((expression(pattern).fullmatch(path), root / path) for path in walk(root))
    return {int(match["n"]): path for match, path in found if match}


def find_file(root: Path, name: str) -> Path | None:
    """Return the first file of a name below a folder."""
    return next((root / path for path in walk(root) if Path(path).name == name), None)


def file_names(folder: Path) -> list[str]:
    """Return the sorted names of what lies in a folder, hidden ones left out."""
    return sorted(name for name in os.listdir(folder) if name[0] != ".")


def contents(path: Path) -> Iterator[Path]:
    """Yield a file, or the files of a folder, hidden ones left out."""
    if path.is_dir():
        yield from sorted(
            file for file in path.iterdir() if file.name[0] != "." and not file.is_dir()
        )
    else:
        yield path


@cache
def expression(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern (:class:`bench.data.release.Scans`)."""
    text = re.escape(pattern).replace(r"\{n\}", r"(?P<n>\d+)").replace(r"\*", "[^/]*")
    if pattern.endswith(".nii"):
        text += r"(\.gz)?"
    return re.compile(f"(.*/)?{text}", re.IGNORECASE)
