"""What ``bench tune`` tried, as data and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from bench.cli.answers import Answer
from bench.cli.stored import FailedStage, failed_stages, stages_by_state
from bench.engine.store import Store
from bench.reporting.text import NONE, duration, number

if TYPE_CHECKING:
    from bench.engine.graph import StageGraph
    from bench.experiment.tuning import Trial, Tuned


@dataclass(frozen=True)
class TriedSetting:
    """A setting of a method, and its score."""

    setting: str
    dsc: float | None
    diverged: bool
    seconds: float
    evaluation: str
    """Key of the stage with its scores."""


@dataclass(frozen=True)
class TunedMethod:
    """A method with its trials, the first is the method as it was asked for."""

    method: str
    searched: tuple[str, ...]
    chosen: str | None
    trials: tuple[TriedSetting, ...]


@dataclass(frozen=True)
class TuneAnswer(Answer):
    """``bench tune``."""

    command = "tune"

    store: Path
    dataset: str
    chosen: str | None
    methods: tuple[TunedMethod, ...]
    counts: dict[str, int]
    failed: tuple[FailedStage, ...]
    table: Path | None


def tune_of(
    found: Sequence[Tuned], graph: StageGraph, store: Store, path: Path | None
) -> TuneAnswer:
    """Return the trials, and what is chosen once all of them are finished."""
    complete = all(one.finished for one in found)
    methods = tuple(
        TunedMethod(
            method=one.method,
            searched=one.searched,
            chosen=one.best.setting if complete else None,
            trials=tuple(
                TriedSetting(
                    trial.setting,
                    trial.dsc,
                    trial.diverged,
                    trial.seconds,
                    trial.run.rounds[-1].evaluation.key,
                )
                for trial in one.trials
            ),
        )
        for one in found
    )
    stages = graph.in_order()
    return TuneAnswer(
        store=store.root,
        dataset=found[0].trials[0].run.condition.source.dataset.label,
        chosen=",".join(one.best.setting for one in found) if complete else None,
        methods=methods,
        counts=stages_by_state(stages, store),
        failed=failed_stages(stages, store),
        table=path,
    )


def trials_table(found: Sequence[Tuned]) -> Table:
    """Return the trials of every method, and which of them is chosen."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("method", "trial", "setting", "DSC %", "time"):
        table.add_column(name, overflow="fold", justify="left" if name == "setting" else "default")
    for one in found:
        best = one.best if one.finished else None
        for count, trial in enumerate(one.trials):
            cells = (
                "" if count else one.method,
                "default" if count == 0 else str(count),
                trial.setting + (" (chosen)" if trial is best else ""),
                _score(trial),
                duration(trial.seconds),
            )
            table.add_row(*map(Text, cells), style="bold" if trial is best else "")
    return table


def _score(trial: Trial) -> str:
    if trial.dsc is None:
        return "diverged" if trial.diverged else NONE
    return number(trial.dsc, 1)
