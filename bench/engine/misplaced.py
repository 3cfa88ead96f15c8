"""What lies in the folder of a stage where something of another kind belongs.

A folder in the place of a file, or a file in that of a folder, can be neither read nor replaced:
it stays in the way of every attempt until it is moved.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

FILES = {"stage.json", "log.txt", "events.jsonl", "CLAIM", "FAILED", "FREED"}
SCRATCH = "scratch"
SCRATCH_FILES = {"seconds.json"}


def misplaced(folder: str) -> Iterator[str]:
    """Yield the paths that are no file where the store keeps a file, or no folder.

    Parameters
    ----------
    folder
        The folder of a stage, ``<root>/<kind>/<name>``; itself and ``<kind>`` are looked at, too.
    """
    for path in (os.path.dirname(folder), folder, f"{folder}/{SCRATCH}"):
        if os.path.lexists(path) and not os.path.isdir(path):
            yield path
            return
    yield from _no_files(folder, lambda name: name in FILES or name.startswith("attempt."))
    yield from _no_files(f"{folder}/{SCRATCH}", SCRATCH_FILES.__contains__)


def _no_files(folder: str, belongs: Callable[[str], bool]) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        # `entry.is_file()` raises for a link that leads in a circle.
        found = [entry.path for entry in entries if belongs(entry.name)]
        yield from (path for path in found if not os.path.isfile(path))
