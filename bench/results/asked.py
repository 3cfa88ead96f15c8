"""The experiment behind a results table: a file beside it that `bench run` takes."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path
from typing import Any, NamedTuple


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


class Typed(NamedTuple):
    """What of a command cannot be told from the rows it wrote."""

    dataset: str | None = None
    """As the user named it; None if there were several, or it is not known."""
    plugins: tuple[str, ...] = ()


def typed(table: Path) -> Typed:
    """Return data set and plug-ins of the command that wrote a table."""
    try:
        options: dict[str, Any] = tomllib.loads(asked(table).read_text(encoding="utf-8"))
        plugins = tuple(map(str, options.get("plugin", ())))
        datasets = list(map(str, options["dataset"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Typed()
    return Typed(datasets[0] if len(datasets) == 1 else None, plugins)
