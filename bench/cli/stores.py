"""What most commands begin with: plug-ins and a store that exists."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.engine.store import Store


def plug_in(files: Iterable[Path] | None) -> None:
    """Load the plug-ins that the user named."""
    from bench.plugins import registry

    registry.plug_in(files or [])


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
