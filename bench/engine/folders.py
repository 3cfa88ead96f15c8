"""The folders of stages: found on the disk, and by a key or the beginning of one."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from bench.errors import BenchError
from bench.stage import KEY_DIGITS

_STAGE_FOLDER = re.compile(rf".+-[0-9a-f]{{{KEY_DIGITS}}}", re.DOTALL)


def key_of(folder: Path) -> str:
    """Return the key of the stage of a folder."""
    return f"{folder.parent.name}-{folder.name[-KEY_DIGITS:]}"


def title_of(folder: Path) -> str:
    """Return the title of the stage of a folder."""
    return folder.name[: -KEY_DIGITS - 1]


def stage_folders(root: Path) -> list[Path]:
    """Return the folders of all stages with a description or an output, whoever wrote them."""
    found = []
    for kind in _subfolders(root):
        for name in filter(_STAGE_FOLDER.fullmatch, _subfolders(f"{root}/{kind}")):
            path = f"{root}/{kind}/{name}"
            if os.path.exists(f"{path}/stage.json") or os.path.exists(f"{path}/out"):
                found.append(root / kind / name)
    return found


def matching(key: str, folders: Mapping[str, Path], root: Path) -> Path:
    """Return the folder of a key, of its beginning, or of the beginning of its digest.

    Parameters
    ----------
    folders
        The folders below ``root``, by key.

    Raises
    ------
    BenchError
        No such stage, or several.
    """
    if key in folders:
        return folders[key]
    kind, _, hexdigits = key.rpartition("-")
    found = [
        folder
        for known, folder in folders.items()
        if known.startswith(key if kind else f"{folder.parent.name}-{hexdigits}")
        or folder.parent.name == key
    ]
    if len(found) != 1:
        names = ", ".join(str(folder.relative_to(root)) for folder in found[:4])
        raise BenchError(
            f"{key}: {len(found)} stages in {root} match"
            + (f" ({names}{', ...' if len(found) > 4 else ''})" if found else "")
            + (f"; {'give more of the key, ' if found else ''}`bench status` lists them")
        )
    return found[0]


def _subfolders(folder: Path | str) -> list[str]:
    """Return the names of the folders in a folder, sorted."""

    def is_folder(entry: os.DirEntry[str]) -> bool:
        # `entry.is_dir()` raises for a link that leads in a circle.
        return entry.is_dir(follow_symlinks=False) or os.path.isdir(entry.path)

    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if is_folder(entry))
    return []
