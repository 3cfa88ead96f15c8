"""From a selection to stages: cells of the experiment grid, methods that describe what they train.

A method only describes. It asks the :class:`Recipe` of its cell for models and relabellings and
gets stages; equal stages of different methods are one stage, because their keys are equal.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

from bench.data.dataset import Dataset
from bench.data.window import Window
from bench.graph import StageGraph
from bench.nets.backbone import Backbone, ConditionalBackbone
from bench.params import Params, format_brackets
from bench.profiles import Profile
from bench.stage import Stage, ancestors
from bench.stages.audit import Audit
from bench.stages.evaluate import Evaluate
from bench.stages.images import Images, Prepared, Volumes
from bench.stages.labels import Labels
from bench.stages.layers import Layers
from bench.stages.pictures import Pictures, PredictionPictures, RelabelPictures
from bench.stages.predict import Predict
from bench.stages.relabel import Relabel
from bench.stages.targets import Targets
from bench.stages.train import Optimisation, PatchOptimisation, Train
from bench.stages.truth import Truth
from bench.training.objective import ObjectiveSpec


@dataclass(frozen=True)
class Source:
    """A data set whose cases were listed and whose content was fingerprinted."""

    dataset: Dataset
    content: str


@dataclass(frozen=True)
class Cell:
    """One point of the experiment grid, without a method."""

    source: Source
    fold: int
    label_pct: int
    backbone: Backbone
    profile: Profile
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """The building blocks of a method in one cell: same budget, data and labels for all methods."""

    cell: Cell

    def at(self, label_pct: int) -> Recipe:
        """Return the recipe of the same cell at another label fraction."""
        return Recipe(replace(self.cell, label_pct=label_pct))

    def conditional(self) -> Recipe:
        """Return the recipe of the same cell with a network that is told which organ to segment."""
        backbone = ConditionalBackbone.model_validate(self.cell.backbone.model_dump())
        return Recipe(replace(self.cell, backbone=backbone))

    @cached_property
    def images(self) -> Prepared:
        """The CT of the data set on the training grid: slices, or volumes for a 3D network."""
        grid = self._data | {"multiple_of": self.cell.backbone.divisor}
        if self.cell.backbone.dims == 3:
            return Volumes(**grid, spacing_mm=self.cell.profile.spacing_mm)
        return Images(**grid, max_side=self.cell.profile.max_side)

    @cached_property
    def truth(self) -> Truth:
        """The complete labels; only simulation, evaluation and audit take them."""
        return Truth(**self._data)

    @cached_property
    def labels(self) -> Labels:
        """What training may see in this cell."""
        return Labels(
            images=self.images,
            truth=self.truth,
            fold=self.cell.fold,
            n_folds=self.cell.profile.n_folds,
            label_pct=self.cell.label_pct,
            seed=self.cell.seed,
        )

    def segmenter(
        self,
        objective: ObjectiveSpec,
        *,
        init: Train | None = None,
        pseudo: Relabel | None = None,
        budget: Literal["base", "round"] = "base",
        extra_rounds: int = 0,
        rounds_after: int = 0,
    ) -> Train:
        """Return the training of a segmentation network.

        ``extra_rounds`` lengthens it by that many round budgets: how one-stage methods get the
        total number of steps of a method with rounds (SPEC 0.0, decision 3). ``rounds_after``
        leaves the end of its learning-rate schedule to that many rounds; a training that starts
        from one with steps left goes on with its schedule, any other starts a schedule of its own.
        """
        profile = self.cell.profile
        base = profile.steps if budget == "base" else self.round_steps
        steps = base + extra_rounds * self.round_steps
        before, after = 0, rounds_after * self.round_steps
        if init is not None and init.optimisation.steps_after:
            begun = init.optimisation
            before, after = begun.steps_before + begun.steps, begun.steps_after - steps
        optimisation = self._optimisation(steps, profile.lr, before, after)
        return self._train(objective, optimisation, init, pseudo)

    def confidence(self, segmenter: Train, objective: ObjectiveSpec) -> Train:
        """Return the training of a confidence network for ``segmenter``, on true labels."""
        profile = self.cell.profile
        steps = max(1, round(profile.confidence_share * profile.steps))
        return self._train(
            objective, self._optimisation(steps, profile.confidence_lr), segmenter, None
        )

    @property
    def round_steps(self) -> int:
        """Steps of one relabelling round."""
        return max(1, round(self.cell.profile.round_share * self.cell.profile.steps))

    @property
    def _data(self) -> dict[str, Any]:
        dataset, content = self.cell.source.dataset, self.cell.source.content
        return {
            "dataset": dataset,
            "name": dataset.name,
            "organs": dataset.organs,
            "content": content,
        }

    @property
    def window(self) -> Window | None:
        """What a 3D network sees at once; a network of slices has none."""
        profile = self.cell.profile
        if self.cell.backbone.dims == 2:
            return None
        return Window(size=profile.patch, place=profile.patch_place)

    def _train(
        self,
        objective: ObjectiveSpec,
        optimisation: Optimisation,
        init: Train | None,
        pseudo: Relabel | None,
    ) -> Train:
        return Train(
            images=self.images,
            labels=self.labels,
            objective=objective,
            backbone=self.cell.backbone,
            optimisation=optimisation,
            seed=self.cell.seed,
            init=init,
            pseudo=pseudo,
        )

    def _optimisation(self, steps: int, lr: float, before: int = 0, after: int = 0) -> Optimisation:
        profile = self.cell.profile
        recipe: dict[str, Any] = {
            "steps": steps,
            "steps_before": before,
            "steps_after": after,
            "batch_size": profile.batch_size,
            "lr": lr,
            "lr_decay": profile.lr_decay,
            "foreground_share": profile.foreground_share,
            "output_bias": profile.output_bias,
            "shift": profile.shift,
            "rotation_deg": profile.rotation_deg,
            "zoom": profile.zoom,
            "precision": profile.precision,
        }
        if self.window is None:
            return Optimisation.model_validate(recipe)
        recipe |= {"batch_size": profile.patch_batch_size, "patches": self.window}
        return PatchOptimisation.model_validate(recipe)


class Method(Params, abc.ABC):
    """A training method: its fields are its hyper-parameters, its plan says what it trains.

    One class per file in ``methods/``; the file name is the method's name.
    """

    citation: ClassVar[str] = ""
    """Where the method is published."""
    departs: ClassVar[str] = "nothing"
    """In what it departs from the recipe that all methods share, and why."""

    @abc.abstractmethod
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        """Yield the segmentation models of the method, one per round; the last is the result.

        Pure: nothing is computed or read. Each model is predicted, evaluated and reported.
        """

    def label(self, name: str) -> str:
        """Return the notation of this method in tables: its name and what differs from default."""
        return format_brackets(name, self.overrides())


@dataclass(frozen=True)
class RoundResult:
    """A model of a method in a cell, and the stages that measure it."""

    model: Train
    evaluation: Evaluate
    audit: Audit | None
    """Of the relabelling this model was trained on, if any."""


@dataclass(frozen=True)
class Run:
    """One method in one cell."""

    method: str
    cell: Cell
    rounds: tuple[RoundResult, ...]
    departs: str
    targets: Targets
    """What the cell's labels teach."""
    layers: Layers
    """The blocks of the cell's network."""

    @classmethod
    def of(cls, method: Method, label: str, cell: Cell) -> Self:
        """Attach prediction, evaluation and audit to every model the method plans."""
        recipe = Recipe(cell)
        rounds = []
        for model in method.plan(recipe):
            prediction = Predict(images=recipe.images, labels=model.labels, model=model)
            evaluation = Evaluate(truth=recipe.truth, prediction=prediction)
            audit = None
            if isinstance(model.pseudo, Relabel):
                audit = Audit(images=recipe.images, truth=recipe.truth, relabelling=model.pseudo)
            rounds.append(RoundResult(model, evaluation, audit))
        assert rounds, f"{label} plans no model"
        targets = Targets(images=recipe.images, truth=recipe.truth, labels=recipe.labels)
        layers = Layers(
            images=recipe.images,
            backbone=cell.backbone,
            n_organs=len(recipe.images.organs),
            window=recipe.window,
        )
        return cls(label, cell, tuple(rounds), method.departs, targets, layers)

    def wanted(self) -> Iterator[Stage]:
        """Yield the stages whose results the run reports."""
        for result in self.rounds:
            yield result.evaluation
            if result.audit is not None:
                yield result.audit

    def pictures(self) -> Iterator[tuple[int, Pictures]]:
        """Yield the round and the stage of every picture: of the last model, of each relabelling.

        Nothing depends on them; they are computed when asked for.
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
    def segmentation_steps(model: Train) -> int:
        """Return the optimiser steps of segmentation networks that led to a model."""
        return sum(
            training.optimisation.steps
            for training in Run.trainings(model)
            if training.objective.trains_segmenter
        )


def graph_of(runs: Sequence[Run], *, pictures: bool = False) -> StageGraph:
    """Return the stages of all runs, each once; with ``pictures``, those that draw as well."""
    facts = (stage for run in runs for stage in (run.targets, run.layers))
    drawn = (stage for run in runs for _, stage in run.pictures()) if pictures else ()
    return StageGraph([*(stage for run in runs for stage in run.wanted()), *facts, *drawn])
