"""Atomic file writes."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file that replaces ``path`` when the block ends without an error."""
    # A random name: threads, and machines that share a store, may have equal process ids.
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        yield unfinished
        sync(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file atomically: readers see the old content or the new, never a part."""
    with replacing(path) as unfinished:
        unfinished.write_text(text)


def sync(path: Path) -> None:
    """Return when the file's content is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
