"""Journals of worker processes on other machines, and a follower that reads them."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from bench.engine.graph import Frontier, StageGraph
from bench.engine.launcher import StageEvent
from bench.engine.store import Store
from bench.stage import Stage

PROGRESS_SECONDS = 5.0
"""Between two lines of progress of a stage."""


class Journal:
    """Writes events to a file, one JSON line each."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._progress_at: dict[str, float] = {}

    def write(self, event: StageEvent) -> None:
        """Append an event; progress events at most every ``PROGRESS_SECONDS``."""
        key = event.stage.key
        if event.kind == "progress":
            if time.monotonic() - self._progress_at.get(key, 0.0) < PROGRESS_SECONDS:
                return
            self._progress_at[key] = time.monotonic()
        record = {
            "kind": event.kind,
            "key": key,
            "done": event.done,
            "total": event.total,
            "message": event.message,
        }
        self._file.write(json.dumps(record) + "\n")


class Follower:
    """Follows a plan that other processes run.

    The store tells which stages are done; the journals tell which are running or failed.
    """

    def __init__(self, graph: StageGraph, store: Store) -> None:
        self._graph, self._store = graph, store
        self._frontier = Frontier(graph)
        self._ready: dict[str, Stage] = {}
        self._begun: set[str] = set()
        self._ended: set[str] = set()
        self._read: dict[Path, int] = defaultdict(int)

    @property
    def finished(self) -> bool:
        """True when every stage is done, failed or blocked."""
        return self._frontier.finished

    def look(self, journals: Mapping[str, Path] = MappingProxyType({})) -> Iterator[StageEvent]:
        """Yield the events since the last call.

        Parameters
        ----------
        journals
            Name of a worker, as shown in the events -> its journal file.
        """
        for slot, path in journals.items():
            for record in self._news(path):
                stage = self._graph.stages[record["key"]]
                if stage.key not in self._ended:
                    yield from self._note(stage, slot, record)
        while done := self._newly_done():
            for stage in done:
                self._end(stage)
                self._frontier.done(stage)
                message = "" if stage.key in self._begun else "already done"
                yield StageEvent("done", stage, message=message)

    def give_up(self, reason: str) -> Iterator[StageEvent]:
        """Yield the end of every unfinished stage, once no process works on the plan any more."""
        for stage in list(self._ready.values()):
            yield StageEvent("interrupted", stage, message=reason)
            yield from self._block(stage)

    def _note(self, stage: Stage, slot: str, record: dict[str, Any]) -> Iterator[StageEvent]:
        kind, message = record["kind"], record["message"]
        if kind == "started" and stage.key not in self._begun:
            self._begun.add(stage.key)
            yield StageEvent("started", stage, slot)
        elif kind == "progress":
            yield StageEvent("progress", stage, slot, record["done"], record["total"], message)
        elif kind == "stalled":
            yield StageEvent("stalled", stage, slot, message=message)
        elif kind in ("failed", "refused") and not self._store.is_done(stage):
            yield StageEvent(kind, stage, slot, message=message)
            yield from self._block(stage)
        # An interrupted stage is no event: it goes on there or in another process.

    def _block(self, stage: Stage) -> Iterator[StageEvent]:
        self._end(stage)
        for blocked in self._frontier.failed(stage):
            self._end(blocked)
            yield StageEvent("blocked", blocked, message=f"needs {stage.key}")

    def _end(self, stage: Stage) -> None:
        self._ended.add(stage.key)
        self._ready.pop(stage.key, None)

    def _newly_done(self) -> list[Stage]:
        self._ready |= {stage.key: stage for stage in self._frontier.take_ready()}
        return [stage for stage in self._ready.values() if self._store.is_done(stage)]

    def _news(self, path: Path) -> Iterator[dict[str, Any]]:
        """Yield the lines that were added to a journal, complete lines only."""
        if not path.is_file():
            return
        with path.open("rb") as file:
            file.seek(self._read[path])
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read[path] += len(whole) + len(newline)
        for line in whole.splitlines():
            yield json.loads(line)
