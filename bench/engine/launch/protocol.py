"""What a launcher does: bring the stages of a graph to completion and say what happens."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal, Protocol

from bench.engine.graph import StageGraph
from bench.engine.store import Store
from bench.stage import Stage

EventKind = Literal[
    "started", "progress", "done", "waiting", "failed", "refused", "blocked", "interrupted"
]


@dataclass(frozen=True, slots=True)
class StageEvent:
    """Something that happened to a stage."""

    kind: EventKind
    stage: Stage
    slot: str = ""
    done: int = 0
    total: int = 0
    message: str = ""


class Launcher(Protocol):
    """Runs a graph; a launcher that hands jobs to a queue may return before they are finished."""

    def run(self, graph: StageGraph, store: Store) -> Generator[StageEvent]:
        """Yield events until every stage is done, failed or blocked; closing it stops the work."""
