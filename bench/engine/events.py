"""The event log of a stage: one JSON line per logged step, mirrored to TensorBoard on request."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.files import write_atomically


class EventLog:
    """Append-only JSON lines. With ``$BENCH_TENSORBOARD`` set, scalars also go to that folder."""

    def __init__(self, path: Path, run_name: str) -> None:
        self._path = path
        end_torn_line(path)
        self._board: Any = None
        if board := os.environ.get("BENCH_TENSORBOARD"):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(Path(board) / run_name))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line: the step, the wall-clock time and the values logged."""
        event = {"step": step, "time": round(time.time(), 3), **values}
        with self._path.open("a") as file:
            file.write(json.dumps(event) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def written(self) -> str:
        """Return what was logged so far, which a resume state keeps."""
        return self._path.read_bytes().decode(errors="replace") if self._path.is_file() else ""

    def restore(self, text: str) -> None:
        """Bring back what was logged when a resume state was saved, if it was damaged since."""
        if not self.written().startswith(text):
            write_atomically(self._path, text)

    def close(self) -> None:
        """Flush the mirror."""
        if self._board is not None:
            self._board.close()


def end_torn_line(path: Path) -> None:
    """Begin a new line after one that a full disk or a power failure cut off."""
    if path.is_file() and (text := path.read_bytes()) and not text.endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")


def read_events(path: Path) -> Iterator[dict[str, float]]:
    """Yield the lines of an event log; of a step that a resume repeated, only the last line.

    A line torn by a full disk or a power failure is left out.
    """
    lines: dict[int, dict[str, float]] = {}
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            event = json.loads(line)
            lines[int(event["step"])] = event
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    yield from (lines[step] for step in sorted(lines))
