"""The stages of a plan, each once, and the order in which they become ready."""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import TopologicalSorter

from bench.stage import Stage, ancestors


class StageGraph:
    """The requested stages and everything they depend on, by key; equal stages are one."""

    def __init__(self, wanted: Iterable[Stage]) -> None:
        self.stages: dict[str, Stage] = {}
        for target in wanted:
            for stage in ancestors(target):
                self.stages.setdefault(stage.key, stage)
        self._positions = {key: position for position, key in enumerate(self.stages)}

    def __len__(self) -> int:
        return len(self.stages)

    def __contains__(self, key: object) -> bool:
        return key in self.stages

    def position(self, stage: Stage) -> int:
        """Return the rank of a stage: inputs of the first requested result come first."""
        return self._positions[stage.key]

    def in_order(self) -> list[Stage]:
        """Return the stages, inputs before consumers."""
        edges = {key: [p.key for p in stage.inputs()] for key, stage in self.stages.items()}
        return [self.stages[key] for key in TopologicalSorter(edges).static_order()]


class Frontier:
    """Which stages of a graph can run now. A failure blocks what depends on it and nothing else."""

    def __init__(self, graph: StageGraph) -> None:
        self._waiting = dict(graph.stages)
        self._consumers: dict[str, list[str]] = {key: [] for key in graph.stages}
        self._missing = {key: len({p.key for p in s.inputs()}) for key, s in graph.stages.items()}
        for key, stage in graph.stages.items():
            for parent in {p.key for p in stage.inputs()}:
                self._consumers[parent].append(key)
        self._ready = [stage for key, stage in graph.stages.items() if not self._missing[key]]

    @property
    def finished(self) -> bool:
        """True when every stage is done, failed or blocked."""
        return not self._waiting

    def take_ready(self) -> list[Stage]:
        """Return the stages that became ready since the last call."""
        ready, self._ready = self._ready, []
        return ready

    def done(self, stage: Stage) -> None:
        """Note a result; its consumers may become ready."""
        del self._waiting[stage.key]
        for consumer in self._consumers[stage.key]:
            self._missing[consumer] -= 1
            if not self._missing[consumer] and consumer in self._waiting:
                self._ready.append(self._waiting[consumer])

    def failed(self, stage: Stage) -> list[Stage]:
        """Note a failure and return the stages that can no longer run because of it."""
        del self._waiting[stage.key]
        blocked: list[Stage] = []
        pending = list(self._consumers[stage.key])
        while pending:
            key = pending.pop()
            if key in self._waiting:
                blocked.append(self._waiting.pop(key))
                pending.extend(self._consumers[key])
        return blocked
