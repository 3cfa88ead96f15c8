"""A method in one condition as stages: its models, scores and pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from bench.engine.graph import StageGraph
from bench.evaluation import metrics
from bench.experiment.method import Condition, Method, Recipe
from bench.stage import Stage, ancestors
from bench.stages.audit import Audit
from bench.stages.evaluate import Evaluate
from bench.stages.layers import Layers
from bench.stages.pictures import Pictures, PredictionPictures, RelabelPictures
from bench.stages.predict import Predict
from bench.stages.relabel import Relabel
from bench.stages.sheet import Sheet
from bench.stages.targets import Targets
from bench.stages.train import Train


@dataclass(frozen=True)
class Round:
    """A model of a method in a condition, and the stages that measure it."""

    model: Train
    evaluation: Evaluate
    audit: Audit | None
    """Of the relabelling this model was trained on, if any."""


@dataclass(frozen=True)
class Run:
    """One method in one condition."""

    method: str
    """Name and options, such as ``inerrant[rounds=3]``."""
    definition: Method
    condition: Condition
    rounds: tuple[Round, ...]
    targets: Targets
    """Right and wrong training targets of the condition."""
    layers: Layers
    """The blocks of the condition's network."""
    sheet: Sheet
    """The cases of the condition's data; computed on request."""

    @classmethod
    def of(cls, method: Method, label: str, condition: Condition) -> Self:
        """Attach prediction, evaluation and audit to every model the method plans."""
        recipe = Recipe(condition)
        rounds = []
        for model in method.plan(recipe):
            prediction = Predict(
                images=recipe.images,
                labels=model.labels,
                model=model,
                consensus=method.consensus(),
            )
            evaluation = Evaluate(
                truth=recipe.truth, prediction=prediction, metrics=metrics.every()
            )
            audit = None
            if isinstance(model.pseudo, Relabel):
                audit = Audit(images=recipe.images, truth=recipe.truth, relabelling=model.pseudo)
            rounds.append(Round(model, evaluation, audit))
        assert rounds, f"{label} plans no model"
        targets = Targets(images=recipe.images, truth=recipe.truth, labels=recipe.labels)
        layers = Layers(
            images=recipe.images,
            network=condition.network,
            n_organs=len(recipe.images.organs),
            window=recipe.window,
        )
        sheet = Sheet(images=recipe.images, truth=recipe.truth, labels=recipe.labels)
        return cls(label, method, condition, tuple(rounds), targets, layers, sheet)

    def outputs(self) -> Iterator[Stage]:
        """Yield the stages whose results the run reports."""
        for result in self.rounds:
            yield result.evaluation
            if result.audit is not None:
                yield result.audit

    def pictures(self) -> Iterator[tuple[int, Pictures]]:
        """Yield the round and the stage of every picture: of the last model, of each relabelling.

        Nothing depends on them; they are computed on request.
        """
        for number, result in enumerate(self.rounds):
            prediction, truth = result.evaluation.prediction, result.evaluation.truth
            images, labels = prediction.images, prediction.labels
            if result.audit is not None:
                relabelling = result.audit.relabelling
                yield (
                    number,
                    RelabelPictures(
                        images=images, truth=truth, labels=labels, relabelling=relabelling
                    ),
                )
            if number == len(self.rounds) - 1:
                yield number, PredictionPictures(images=images, truth=truth, prediction=prediction)

    def all_trainings(self) -> list[Train]:
        """Return every training of the method, inputs before consumers."""
        return [stage for stage in graph_of([self]).in_order() if isinstance(stage, Train)]

    @staticmethod
    def trainings(model: Train) -> list[Train]:
        """Return every training that led to a model, itself included."""
        return [stage for stage in ancestors(model) if isinstance(stage, Train)]

    @staticmethod
    def relabellings(model: Train) -> list[Relabel]:
        """Return every relabelling that led to a model."""
        return [stage for stage in ancestors(model) if isinstance(stage, Relabel)]

    @staticmethod
    def segmentation_steps(model: Train) -> int:
        """Return the optimiser steps of segmentation networks that led to a model."""
        return sum(
            training.length.steps
            for training in Run.trainings(model)
            if training.objective.trains_segmenter
        )


def graph_of(runs: Sequence[Run], *, pictures: bool = False) -> StageGraph:
    """Return the stages of all runs, each once; with ``pictures``, those that render as well."""
    return StageGraph(_wanted(runs, pictures=pictures))


def requests(runs: Sequence[Run], *, pictures: bool = False) -> Counter[str]:
    """Return the number of runs that need a stage, by its key."""
    counts: Counter[str] = Counter()
    for run in runs:
        counts.update(graph_of([run], pictures=pictures).stages.keys())
    return counts


def _wanted(runs: Sequence[Run], *, pictures: bool) -> list[Stage]:
    """Return the results of runs: evaluations and audits first, then what describes conditions."""
    summaries = (stage for run in runs for stage in (run.targets, run.layers))
    results = (stage for run in runs for stage in run.outputs())
    if not pictures:
        return [*results, *summaries]
    rendered = (stage for run in runs for _, stage in run.pictures())
    return [*results, *summaries, *_sheets(runs), *rendered]


def _sheets(runs: Sequence[Run]) -> Iterator[Sheet]:
    """Yield one sheet for all folds of a data set: cases and slices are the same in each."""
    first: dict[tuple[str, str, int, int], Sheet] = {}
    for run in sorted(runs, key=lambda run: run.condition.fold):
        sheet, cell = run.sheet, run.condition
        same = (sheet.images.key, sheet.truth.key, cell.label_pct, cell.seed)
        first.setdefault(same, sheet)
    yield from first.values()
