"""The experiment behind a results table: a file beside it that `bench run` takes."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path
from typing import Any


def asked(table: Path) -> Path:
    """Return where the options of the command lie that wrote a table or one beside it."""
    name, dash, digest = table.name.rpartition("-")  # the name may hold dots
    return table.with_name(f"{name}{dash}{digest.partition('.')[0]}.toml")


def again(table: Path) -> str:
    """Return the command that writes a table of a store again, and all beside it."""
    file = asked(table)
    if not file.is_file():
        return "the `bench run` that wrote it"
    return f"`{shlex.join(['bench', 'run', str(file), '--store', str(file.parent.parent)])}`"


def dataset_of(table: Path) -> str | None:
    """Return the data set as the user named it, None if several were or it is not known."""
    try:
        options: dict[str, Any] = tomllib.loads(asked(table).read_text(encoding="utf-8"))
        (dataset,) = options["dataset"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(dataset)
