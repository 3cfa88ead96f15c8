"""What commands find, as data: tables show it to people, ``--json`` tells it to programs.

Names and meaning of the fields are documented in ``docs/reference/json.md``. A field may be added
at any time; if one is removed, renamed or given another meaning, the version of its answer rises.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import typer

from bench.params import Params


@dataclass(frozen=True)
class Answer:
    """What a command found; subclasses are the documents of ``--json``."""

    command: ClassVar[str]
    version: ClassVar[int] = 1

    def to_json(self) -> str:
        """Return one line of ASCII: whatever strangers wrote is escaped and controls nothing."""
        document = {"schema": f"bench.{self.command}/{self.version}", **asdict(self)}
        text = json.dumps(_plain(document), allow_nan=False)
        return text.replace("\x7f", "\\u007f")  # the one control character that json lets through


def tell(answer: Answer) -> None:
    """Print the document of a command; the only thing on standard output."""
    typer.echo(answer.to_json())


def _plain(value: Any) -> Any:
    """Return JSON data, in which a number that is none is missing."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Params):
        return _plain(value.model_dump())
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
