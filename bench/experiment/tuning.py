"""Tune methods: as many settings for each, tried on training patients alone.

A trial is an ordinary run, on a data set that holds no test patient and no hidden label
(:class:`bench.data.development.Development`). What was tried is kept in the store, and goes into
the tables of results that a chosen setting leads to.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field
from typing_extensions import override

from bench.data.catalogue import anchored
from bench.data.dataset import Dataset
from bench.data.development import Development
from bench.engine.graph import StageGraph
from bench.engine.store import Store
from bench.errors import BenchError
from bench.experiment.plan import Run
from bench.experiment.request import Request
from bench.experiment.searched import left_open, settings
from bench.experiment.selection import ExperimentGrid, parse_datasets
from bench.files import slug
from bench.params import digest, parse_brackets
from bench.plugins import registry
from bench.reporting.text import enumerated
from bench.stage import ancestors
from bench.stages.images import Prepared
from bench.stages.labels import Labels
from bench.stages.truth import Truth

if TYPE_CHECKING:
    from bench.experiment.method import Method


class TuneRequest(Request):
    """The options of ``bench tune``: those of one condition, and how many settings are tried."""

    prefix: ClassVar[str] = "tune-"

    trials: int = Field(default=8, ge=1, le=1000)
    on: str | None = None

    @override
    def anchored(self, folder: Path) -> Self:
        changed = super().anchored(folder)
        if self.on is None:
            return changed
        return changed.model_copy(update={"on": anchored(self.on, folder)})

    @override
    def grid(self) -> ExperimentGrid:
        """Return the trials of all methods, on the data that settings are chosen on.

        Raises
        ------
        BenchError
            More than one condition, or other data that share a patient with the data set.
        """
        asked = self.asked
        searches = self.searches()
        methods = {label: setting for one in searches.values() for label, setting in one.items()}
        return ExperimentGrid(
            methods=list(methods.items()),
            datasets=[self._development(asked)],
            label_pcts=[100],  # of the labels that training sees
            folds="0",
            profiles=asked.profiles,
            networks=asked.networks,
            seeds=asked.seeds,
        )

    @cached_property
    def asked(self) -> ExperimentGrid:
        """The one condition in which methods are tuned, as ``bench run`` would take it."""
        grid = super().grid()
        fractions = grid.label_pcts or ()
        (fold, *folds) = self.folds.split(",")
        for option, several in {
            "--dataset": len(grid.datasets) > 1,
            "--labelled": len(fractions) != 1,
            "--fold": bool(folds) or not fold.strip().isdecimal(),
            "--profile": len(grid.profiles) > 1,
            "--backbone": len(grid.networks) > 1,
            "--seed": len(grid.seeds) > 1,
        }.items():
            if several:
                raise BenchError(f"tune takes one {option}: a setting is chosen in one condition")
        if self.on is not None and self.folds != "0":
            raise BenchError("--on tunes on all the other data, for every fold: leave out --fold")
        return grid

    @property
    def fold(self) -> int:
        """The fold whose training patients settings are chosen on, without ``on``."""
        return int(self.folds)

    def searches(self) -> dict[str, dict[str, Method]]:
        """Return the settings of every method asked for, by its notation and then by theirs."""
        seed = self.asked.seeds[0]
        found = {}
        for label, method in self.asked.methods:
            name, _ = parse_brackets(label)
            tried = settings(method, self.trials, seed)
            found[label] = {setting.notation(name): setting for setting in tried}
        return found

    def searched(self, method: str) -> tuple[str, ...]:
        """Return the numbers of a method, named as it was asked for, that are searched."""
        return tuple(left_open(dict(self.asked.methods)[method]))

    def _development(self, asked: ExperimentGrid) -> Development:
        (dataset,), (pct,) = asked.datasets, asked.label_pcts or ()
        profile, seed = asked.profiles[0], asked.seeds[0]
        other = None
        if self.on is not None:
            others = parse_datasets((self.on,), self.data)
            if len(others) > 1:
                raise BenchError("--on takes one data set: join several with union[sources=A:B]")
            other = others[0]
            _refuse_shared(dataset, other)
        elif self.fold >= profile.n_folds:
            raise BenchError(
                f"fold {self.fold} is impossible, must be within 0 to {profile.n_folds - 1}"
            )
        return Development(
            base=other or dataset,
            fold=None if other else self.fold,
            n_folds=profile.n_folds,
            label_pct=pct,
            seed=seed,
        )


def _refuse_shared(dataset: Dataset, other: Dataset) -> None:
    def patients(one: Dataset) -> set[tuple[str, str]]:
        owned = (one.owner(case) for case in one.cases())
        return {(owner.namespace, case.patient) for owner, case in owned}

    if shared := patients(dataset) & patients(other):
        names = enumerated(sorted(name for _, name in shared), 3)
        raise BenchError(
            f"--on {other.label}: {names} are patients of {dataset.label} too, which tests on them;"
            " tune on other patients, or without --on on training patients of the fold"
        )


@dataclass(frozen=True)
class Trial:
    """A setting of a method, and what came of it."""

    setting: str
    run: Run
    dsc: float | None
    """Mean over organs on the validation patients, in percent; None without a score."""
    seconds: float
    """Of its finished stages, but those that an earlier trial of the method has as well."""
    diverged: bool
    """Whether it has no score and gets none, because its training diverged."""

    @property
    def finished(self) -> bool:
        """Whether it has its score or has diverged."""
        return self.dsc is not None or self.diverged


@dataclass(frozen=True)
class Tuned:
    """A method and its trials; the first is the method as it was asked for."""

    method: str
    searched: tuple[str, ...]
    trials: tuple[Trial, ...]

    @property
    def finished(self) -> bool:
        """Whether every trial has its score or has diverged."""
        return all(trial.finished for trial in self.trials)

    @property
    def best(self) -> Trial:
        """The trial of the highest score, the earliest of equals; of a finished method.

        The method as it was asked for, where every trial has diverged.
        """
        return max(self.trials, key=lambda trial: -1.0 if _lacks(trial.dsc) else trial.dsc or 0.0)


def _lacks(dsc: float | None) -> bool:
    return dsc is None or math.isnan(dsc)


def trials_graph(runs: Iterable[Run]) -> StageGraph:
    """Return the stages of trials: what leads to the scores of their last models."""
    return StageGraph(run.rounds[-1].evaluation for run in runs)


def tuned(request: TuneRequest, runs: Sequence[Run], store: Store) -> list[Tuned]:
    """Return what has come of the trials of a request so far, method by method."""
    by_label = {run.method: run for run in runs}
    scores = _scores(runs, store)
    found = []
    for method, tried in request.searches().items():
        counted: set[str] = set()
        trials = tuple(
            Trial(
                setting,
                by_label[setting],
                scores.get(setting),
                _seconds(by_label[setting], store, counted),
                _has_diverged(by_label[setting], store),
            )
            for setting in tried
        )
        found.append(Tuned(method, request.searched(method), trials))
    return found


def _scores(runs: Sequence[Run], store: Store) -> dict[str, float]:
    """Return the fold value of every finished trial, as the leaderboard computes it."""
    from bench.experiment.collect import collect
    from bench.results.aggregate import final_models, fold_values

    done = [run for run in runs if store.is_done(run.rounds[-1].evaluation)]
    if not done:
        return {}
    values = fold_values(final_models(collect(done, store).results))
    return dict(zip(values["method"], map(float, values["value"]), strict=True))


def _has_diverged(run: Run, store: Store) -> bool:
    stages = ancestors(run.rounds[-1].evaluation)
    failures = (store.attempts(stage).failure() for stage in stages if not store.is_done(stage))
    return any(failure is not None and failure.diverged for failure in failures)


def _seconds(run: Run, store: Store, counted: set[str]) -> float:
    """Return the time of a trial's finished stages that are not ``counted``, and count them."""
    total = 0.0
    for stage in ancestors(run.rounds[-1].evaluation):
        prepares = isinstance(stage, Prepared | Truth | Labels)
        if not prepares and stage.key not in counted and store.is_done(stage):
            counted.add(stage.key)
            total += store.receipt(stage)["wall_seconds"]
    return total


def save(request: TuneRequest, runs: Sequence[Run], store: Store) -> Path | None:
    """Write what was tried below ``tuning/`` of the store; None before all of it is finished.

    A trial that diverged has no score there.

    No setting is chosen before every trial of every method is done: all had the same chance.
    """
    from bench.results.tables import TUNING

    found = tuned(request, runs, store)
    if not all(one.finished for one in found):
        return None
    table = TUNING.frame(_rows(request, runs[0], found))
    asked = table.drop(columns=["dsc", "device_s", "chosen"])
    said = [runs[0].condition.source.content, asked.to_json(orient="records")]
    name = slug(request.asked.datasets[0].name)
    path = store.root / "tuning" / f"{name}-{digest(said, 8)}.parquet"
    TUNING.save(table, path)
    return path


def _rows(request: TuneRequest, run: Run, found: Iterable[Tuned]) -> Iterator[Mapping[str, Any]]:
    grid, development = request.asked, run.condition.source.dataset
    assert isinstance(development, Development)
    validate = {case.patient for case in development.cases() if case.trains_in == ()}
    columns = {
        "dataset": grid.datasets[0].label,
        "label_pct": development.label_pct,
        "fold": 0 if development.fold is None else development.fold,
        "seed": development.seed,
        "profile": run.condition.profile.label,
        "backbone": str(run.condition.network),
        "tuned_on": development.base.label,
        "patients": len(validate),
    }
    for one in found:
        for number, trial in enumerate(one.trials):
            yield columns | {
                "method": one.method,
                "trials": len(one.trials),
                "trial": number,
                "setting": trial.setting,
                "dsc": trial.dsc,
                "device_s": trial.seconds,
                "chosen": trial is one.best,
                "exhaustive": len(one.trials) < request.trials or not one.searched,
            }


def save_tuning(root: Path, experiment: str) -> None:
    """Write what was tried for a request in the ``experiments/`` of a store (:func:`save`).

    Raises
    ------
    BenchError
        The request, a plug-in or the data set is not there any more.
    """
    request = TuneRequest.of(root / "experiments" / f"{experiment}.toml", {"store": root})
    registry.plug_in(request.plugin)
    store = Store(root)
    save(request, request.grid().runs(store), store)
