"""What most commands begin with: plug-ins and a store that exists."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.console import complain
from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.engine.store import Store


def plug_in(files: Iterable[Path] | None) -> None:
    """Load the plug-ins that the user named."""
    from bench.plugins import registry
    from bench.plugins.files import known

    registry.plug_in(files or [])
    for plugin in known():
        for file in plugin.unkeyed:
            complain(
                f"warning: plug-in {plugin.path} imports {file}, which is in no key: after an edit "
                "of it results are reused; make one package of both (a folder with __init__.py)"
            )


def existing_store(given: Path | None) -> Store:
    """Return the store at a path, or at the default one.

    Raises
    ------
    BenchError
        There is none.
    """
    from bench.engine.store import Store, default_root

    root = given or default_root()
    if not root.is_dir():
        raise BenchError(f"no store at {root}: run something first, or name one with --store")
    return Store(root)


def result_files(store_root: Path | None) -> list[Path]:
    """Return the results tables of a store.

    Raises
    ------
    BenchError
        There are none yet.
    """
    from bench.engine import cluster

    store = existing_store(store_root)
    folder = store.root / "results"
    paths = sorted(folder.glob("*.parquet"))
    if not paths and cluster.submissions(store):
        raise BenchError(f"no results in {folder} yet: bench status --watch shows the jobs")
    if not paths:
        raise BenchError(f"no results in {folder}: run something first")
    return paths
