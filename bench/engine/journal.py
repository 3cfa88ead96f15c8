"""Journals: what a job on another machine is doing, one JSON line per event."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.engine.events import end_torn_line
from bench.engine.launcher import StageEvent

PROGRESS_SECONDS = 5.0
"""Between two lines of progress of a stage."""


class Journal:
    """Appends the events of a job to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        end_torn_line(path)
        self._progress_at: dict[str, float] = {}
        # A job that was lost left stages without an end: a new attempt starts from nothing.
        self._write(kind="begin")

    def write(self, event: StageEvent) -> None:
        """Append an event; progress events at most every ``PROGRESS_SECONDS``."""
        key = event.stage.key
        if event.kind == "progress":
            if time.monotonic() - self._progress_at.get(key, 0.0) < PROGRESS_SECONDS:
                return
            self._progress_at[key] = time.monotonic()
        self._write(kind=event.kind, key=key, done=event.done, total=event.total)

    def _write(self, **record: Any) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")


@dataclass(frozen=True)
class Progress:
    """How far a stage is."""

    done: int = 0
    total: int = 0

    @property
    def fraction(self) -> float:
        """The part that is done, 0 if it is not known."""
        return self.done / self.total if self.total else 0.0


class JournalReader:
    """Reads a journal that grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._at_work: dict[str, Progress] = {}

    def at_work(self) -> dict[str, Progress]:
        """Return the stages that the job computes now: key -> progress."""
        for record in self._news():
            if record["kind"] == "begin":
                self._at_work.clear()
            elif record["kind"] in ("started", "progress"):
                self._at_work[record["key"]] = Progress(record["done"], record["total"])
            elif record["kind"] != "stalled":
                self._at_work.pop(record["key"], None)
        return dict(self._at_work)

    def _news(self) -> Iterator[dict[str, Any]]:
        """Yield the lines that were added, complete lines only."""
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        for line in whole.splitlines():
            with contextlib.suppress(ValueError):  # torn by the end of a job
                yield json.loads(line)
