"""Base class of stages whose result is one list of records."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Any, ClassVar

from bench.stage import Stage


class RecordsStage(Stage, abc.ABC):
    """A stage that writes a list of records as one JSON file."""

    file: ClassVar[str]
    """Name of the file in the output folder."""

    @classmethod
    def records(cls, out: Path) -> list[dict[str, Any]]:
        """Read the file that :meth:`run` wrote."""
        import json

        found: list[dict[str, Any]] = json.loads((out / cls.file).read_text())
        return found
