"""JSON files of a store, any of which may be cut off, damaged, or a stranger's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.files import read_bounded

MAX_BYTES = 2**24
"""Size of a receipt or a ``stage.json``; a receipt of a hundred thousand files has less."""
UNUSABLE = (
    AttributeError,
    FileNotFoundError,
    ImportError,
    IsADirectoryError,
    LookupError,
    NotADirectoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What is raised where a file is missing, is no JSON, or holds other values than expected."""


def parsed(path: Path) -> Any:
    """Return what a file holds; one of more than :data:`MAX_BYTES` is refused."""
    return json.loads(read_bounded(path, MAX_BYTES))
