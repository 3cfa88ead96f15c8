"""The source of plug-ins in keys: the plug-in's name and a digest of its code."""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from pathlib import Path

from bench.errors import BenchError
from bench.plugins import files


@cache
def origin(classes: tuple[type, ...]) -> dict[str, str]:
    """Return ``plugin`` and ``source`` of classes of which some are defined outside the package.

    The source is a digest of the file, or of every Python file of its package: a change
    in any of them may change what the classes compute. Nothing is returned for classes of the
    package itself; their numbers change with their ``version``.
    """
    outside = list(dict.fromkeys(c.__module__ for c in classes if not _is_ours(c.__module__)))
    if not outside:
        return {}
    name = files.named(outside[0])
    digests = sorted({files.digest(_path(module)) for module in outside})
    return {
        "plugin": outside[0] if name is None else name,
        "source": digests[0] if len(digests) == 1 else _joint(digests),
    }


def _is_ours(module: str) -> bool:
    return module == "bench" or module.startswith("bench.")


def _path(module: str) -> Path:
    """Return the file of a module, or the folder of its outermost package."""
    name = files.named(module)
    path = _package(module) if name is None else files.path_of(name)
    if path is None:
        raise BenchError(f"{module}: its source cannot be read, so results could go stale unseen")
    return path


def _package(module: str) -> Path | None:
    top = sys.modules.get(module.partition(".")[0])
    home = top if getattr(top, "__file__", None) else sys.modules.get(module)
    file = getattr(home, "__file__", None)
    if file is None:
        return None
    path = Path(file)
    return path.parent if path.name == "__init__.py" else path


def _joint(digests: list[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()[: files.DIGITS]
