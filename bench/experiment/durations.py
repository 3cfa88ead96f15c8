"""How long stages take, from those that have run: estimates of what is left of a plan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from statistics import median

from bench.engine.store import Store
from bench.params import Params
from bench.stage import Stage


class Durations:
    """Measured seconds of finished stages, grouped with those of similar effort."""

    def __init__(self) -> None:
        self._measured: dict[str, dict[str, float]] = defaultdict(dict)

    @classmethod
    def of(cls, store: Store, known: Mapping[str, Stage] | None = None) -> Durations:
        """Return what a store's finished stages took; those ``known`` by key are not read again."""
        durations = cls()
        for stage in store.survey(known)[0]:
            if store.is_done(stage):
                durations.note(stage, store)
        return durations

    def note(self, stage: Stage, store: Store) -> None:
        """Add a finished stage."""
        seconds = float(store.receipt(stage)["wall_seconds"])
        self._measured[_effort(stage)][stage.key] = seconds

    def estimate(self, stage: Stage) -> float | None:
        """Return the median of finished stages of its kind and budget, None if there are none."""
        found = self._measured.get(_effort(stage))
        return median(found.values()) if found else None


def _effort(stage: Stage) -> str:
    """Return a key that groups stages of similar duration."""
    from bench.stages.train import Train

    parts: list[object] = [type(stage).__name__]
    for field in ("dataset", "images", "truth"):
        part = getattr(stage, field, None)
        if part is not None:
            parts.append(part.key if isinstance(part, Stage) else part)
    if isinstance(stage, Train):
        parts += [stage.network, stage.length.steps, stage.objective.label]
    return "|".join(p.model_dump_json() if isinstance(p, Params) else str(p) for p in parts)
