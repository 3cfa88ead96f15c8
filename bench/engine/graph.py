"""The stages of a plan, each once, and the order in which they become ready."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bench.stage import Stage


class StageGraph:
    """The requested stages and everything they depend on, by key; equal stages are one."""

    def __init__(self, wanted: Iterable[Stage]) -> None:
        self.stages: dict[str, Stage] = {}  # inputs before consumers
        for target in wanted:
            self._add(target)
        self._positions = {key: position for position, key in enumerate(self.stages)}

    def _add(self, stage: Stage) -> None:
        if stage.key not in self.stages:
            for parent in stage.inputs():
                self._add(parent)
            self.stages[stage.key] = stage

    def __len__(self) -> int:
        return len(self.stages)

    def __contains__(self, key: object) -> bool:
        return key in self.stages

    def position(self, stage: Stage) -> int:
        """Return the rank of a stage: inputs of the first requested result come first."""
        return self._positions[stage.key]

    def in_order(self) -> list[Stage]:
        """Return the stages, inputs before consumers."""
        return list(self.stages.values())


class Frontier:
    """Which stages of a graph can run now. A failure blocks what depends on it and nothing else."""

    def __init__(self, graph: StageGraph) -> None:
        self._waiting = dict(graph.stages)
        self._lost: Counter[str] = Counter()
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
            if self._missing[consumer]:
                self._missing[consumer] -= 1
                if not self._missing[consumer] and consumer in self._waiting:
                    self._ready.append(self._waiting[consumer])

    def awaits(self, stage: Stage) -> bool:
        """Tell whether a stage is still to end, or to end again."""
        return stage.key in self._waiting

    def reopen(self, stage: Stage, lost: Sequence[Stage]) -> bool:
        """Let a stage wait until results that it reads, found damaged, are computed again.

        Returns
        -------
        bool
            False if one of them was lost before: more than a chance error destroys it.
        """
        for parent in lost:
            if not self.awaits(parent):
                self._lost[parent.key] += 1
                self._waiting[parent.key] = parent
                self._ready.append(parent)
                for consumer in self._consumers[parent.key]:
                    if self._missing[consumer]:  # it waits for others, too; none began
                        self._missing[consumer] += 1
        needed = {parent.key for parent in stage.inputs()}
        self._missing[stage.key] = sum(key in self._waiting for key in needed)
        if not self._missing[stage.key]:
            self._ready.append(stage)
        return all(self._lost[parent.key] < 2 for parent in lost)

    def failed(self, stage: Stage) -> list[Stage]:
        """Note a failure and return the stages that can no longer run because of it."""
        del self._waiting[stage.key]
        blocked: list[Stage] = []
        pending = list(self._consumers[stage.key])
        while pending:
            key = pending.pop()
            if key in self._waiting and self._missing[key]:  # others run, or can
                blocked.append(self._waiting.pop(key))
                pending.extend(self._consumers[key])
        return blocked
