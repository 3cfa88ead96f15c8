"""The source of plug-ins in keys: whose code it is, and a digest of it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from bench.errors import BenchError
from bench.plugins import files

DIGITS = 12


@cache
def origin(classes: tuple[type, ...]) -> dict[str, str]:
    """Return ``plugin`` and ``source`` of classes of which some lie outside the package.

    The source is a digest of the file, or of every Python file of the package it lies in: a change
    in any of them may change what the classes compute. Nothing is returned for classes of the
    package itself; their numbers change with their ``version``.
    """
    outside = list(dict.fromkeys(c.__module__ for c in classes if not _is_ours(c.__module__)))
    if not outside:
        return {}
    sources = sorted({source for module in outside for source in _sources(module)})
    digest = hashlib.sha256()
    for name, content in sources:
        digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return {
        "plugin": outside[0].removeprefix(files.PREFIX),
        "source": digest.hexdigest()[:DIGITS],
    }


def _is_ours(module: str) -> bool:
    return module == "bench" or module.startswith("bench.")


def _sources(module: str) -> Iterable[tuple[str, bytes]]:
    """Yield name and content of the files whose code a module may run."""
    path = files.module_file(module) or _package(module)
    if path is None:
        raise BenchError(f"{module}: its source cannot be read, so results could go stale unseen")
    paths = path.rglob("*.py") if path.is_dir() else [path]
    for file in paths:
        yield file.relative_to(path.parent).as_posix(), file.read_bytes()


def _package(module: str) -> Path | None:
    """Return the folder of a module's outermost package, the file of one that lies in none."""
    top = sys.modules.get(module.partition(".")[0])
    home = top if getattr(top, "__file__", None) else sys.modules.get(module)
    file = getattr(home, "__file__", None)
    if file is None:
        return None
    path = Path(file)
    return path.parent if path.name == "__init__.py" else path
