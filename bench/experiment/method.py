"""Base class of training methods, and the building blocks of their plans.

A method only describes. It asks the :class:`Recipe` of its condition for models and relabellings
and gets stages; equal stages of different methods are one stage, because their keys are equal.
"""

from __future__ import annotations

import abc
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

from pydantic import ValidationError
from typing_extensions import override

from bench.data.dataset import Dataset
from bench.data.window import Window
from bench.errors import BenchError, unknown_name
from bench.experiment.profiles import Profile
from bench.experiment.searched import searched
from bench.nets.network import Network
from bench.params import Params, format_brackets
from bench.stages.images import Images, Prepared, Volumes
from bench.stages.labels import Labels
from bench.stages.relabel import Relabel
from bench.stages.train import Train
from bench.stages.truth import Truth
from bench.training.agreement import Agreement
from bench.training.config import Steps, TrainConfig
from bench.training.consensus import Consensus
from bench.training.gating import Gate
from bench.training.objective import ObjectiveSpec
from bench.training.relabelling import RelabelRule

Budget = Literal["base", "long", "round"]
"""Steps of a training: those of the profile; those of the default `inerrant` with its rounds, for
methods that learn from unlabelled voxels in one go; those of one relabelling round."""
LONG_ROUNDS = 2
"""Rounds of the default `inerrant`."""
BY_VIEWS = "predicts the mean of five views, without small objects, in five passes"
"""What a method with a consensus does differently."""


@dataclass(frozen=True)
class Source:
    """A data set with the fingerprint of its content."""

    dataset: Dataset
    content: str


@dataclass(frozen=True)
class Condition:
    """One point of the experiment grid, without a method."""

    source: Source
    fold: int
    label_pct: int
    network: Network
    profile: Profile
    seed: int = 0


@dataclass(frozen=True)
class Recipe:
    """The building blocks of a method in one condition: equal budget, data and labels for all."""

    condition: Condition

    def at(self, label_pct: int) -> Recipe:
        """Return the recipe of the same condition at another label fraction."""
        return Recipe(replace(self.condition, label_pct=label_pct))

    def with_network(self, network: Network) -> Recipe:
        """Return the same recipe with another network."""
        return Recipe(replace(self.condition, network=network))

    @cached_property
    def images(self) -> Prepared:
        """The images of the data set on the training grid: slices, or volumes for a 3D network."""
        grid = self._data | {
            "channels": self.condition.source.dataset.channels,
            "multiple_of": self.condition.network.divisor,
        }
        if self.condition.network.dims == 3:
            return Volumes(**grid, voxel_mm=self.condition.profile.voxel_mm)
        return Images(**grid, max_side=self.condition.profile.max_side)

    @cached_property
    def truth(self) -> Truth:
        """The complete labels; only simulation, evaluation and audit take them."""
        return Truth(**self._data)

    @cached_property
    def labels(self) -> Labels:
        """The visible labels of this condition."""
        return Labels(
            images=self.images,
            truth=self.truth,
            fold=self.condition.fold,
            n_folds=self.condition.profile.n_folds,
            label_pct=self.condition.label_pct,
            seed=self.condition.seed,
        )

    def source(self, name: str) -> str:
        """Return the name of a source of the data set.

        Raises
        ------
        BenchError
            The data set has no such source, or is none that joins several.
        """
        dataset = self.condition.source.dataset
        if not dataset.domains:
            raise BenchError(
                f"{dataset.name} joins no data sets: source={name} is for a union or a fusion"
            )
        if name not in dataset.domains:
            raise unknown_name(f"source of {dataset.name}", name, dataset.domains)
        return name

    def segmenter(
        self,
        objective: ObjectiveSpec,
        *,
        init: Train | None = None,
        pseudo: Relabel | None = None,
        budget: Budget = "base",
        extra_rounds: int = 0,
        rounds_after: int = 0,
    ) -> Train:
        """Return the training of a segmentation network.

        Parameters
        ----------
        objective
            The losses and networks of the training.
        init
            Start from this model; without one, from random weights.
        pseudo
            Pseudo-labels to train on as well.
        budget
            Its steps: see :data:`Budget`.
        extra_rounds
            Further steps, in budgets of one relabelling round.
        rounds_after
            Round budgets at the end of its learning-rate schedule that it leaves to later
            trainings. A training that starts from one with steps left goes on with its schedule;
            any other has a schedule of its own.
        """
        rounds = extra_rounds + (LONG_ROUNDS if budget == "long" else 0)
        first = self.round_steps if budget == "round" else self.condition.profile.steps
        steps = first + rounds * self.round_steps
        length = Steps(steps=steps, after=rounds_after * self.round_steps)
        if init is not None and (begun := init.length).after:
            length = Steps(
                steps=steps, before=begun.before + begun.steps, after=begun.after - steps
            )
        return self._train(objective, self.condition.profile.training, length, init, pseudo)

    def confidence(self, segmenter: Train, objective: ObjectiveSpec) -> Train:
        """Return the training of a confidence network for ``segmenter``, on true labels."""
        profile = self.condition.profile
        config = profile.training.model_copy(update={"lr": profile.confidence_lr})
        steps = max(1, round(profile.confidence_share * profile.steps))
        return self._train(objective, config, Steps(steps=steps), segmenter, None)

    def relabel(
        self,
        model: Train,
        rule: RelabelRule,
        gamma: float,
        *,
        confidence: Train | None = None,
        agreement: Agreement | None = None,
        previous: Relabel | None = None,
        gate: Gate | None = None,
        earlier: tuple[Train, ...] = (),
    ) -> Relabel:
        """Return the pseudo-labels that ``model`` gives to unlabelled voxels.

        Parameters
        ----------
        model
            Predicts the candidates.
        rule
            How candidates are selected, and the targets of the others.
        gamma
            Share of the candidates that become pseudo-labels, in [0, 1].
        confidence
            Confidence network that ranks the candidates; by default the predicted probability does.
        agreement
            Rank them by the agreement of several views instead.
        previous
            Earlier pseudo-labels, which are kept; without them the labels begin anew.
        gate
            Leaves out the pseudo-labels of some organs in some volumes.
        earlier
            Models before ``model``, if the gate compares their predictions.
        """
        return Relabel(
            images=self.images,
            labels=self.labels,
            model=model,
            confidence=confidence,
            agreement=agreement,
            previous=previous,
            gate=gate,
            earlier=earlier,
            gamma=gamma,
            rule=rule,
            seed=self.condition.seed,
        )

    @property
    def round_steps(self) -> int:
        """Steps of one relabelling round."""
        return max(1, round(self.condition.profile.round_share * self.condition.profile.steps))

    @property
    def _data(self) -> dict[str, Any]:
        dataset, content = self.condition.source.dataset, self.condition.source.content
        return {
            "dataset": dataset,
            "name": dataset.name,
            "organs": dataset.organs,
            "content": content,
        }

    @property
    def window(self) -> Window | None:
        """The patch size of a 3D network; None for a network of slices."""
        profile, network = self.condition.profile, self.condition.network
        if network.dims == 2:
            return None
        patch = profile.window.patch
        if any(side % network.divisor for side in patch):
            fitting = (-(-side // network.divisor) * network.divisor for side in patch)
            size, fits = (":".join(map(str, sides)) for sides in (patch, fitting))
            raise BenchError(
                f"network {network}: patches of {size} do not fit, their sides must be multiples "
                f"of {network.divisor}; choose profile {profile.name}[patch={fits}]"
            )
        return profile.window

    def _train(
        self,
        objective: ObjectiveSpec,
        config: TrainConfig,
        length: Steps,
        init: Train | None,
        pseudo: Relabel | None,
    ) -> Train:
        return Train(
            images=self.images,
            labels=self.labels,
            objective=objective,
            network=self.condition.network,
            config=config,
            length=length,
            window=self.window,
            seed=self.condition.seed,
            init=init,
            pseudo=pseudo,
        )


class Method(Params, abc.ABC):
    """A training method: its fields are its hyper-parameters, ``plan`` describes its trainings.

    One class per file in ``methods/``; the file name is the method's name. A field that
    ``bench tune`` may search is marked with its range (:mod:`bench.experiment.searched`).

    Raises
    ------
    TypeError
        The ``colour`` of a subclass is not ``#RRGGBB``, or a range holds what its field refuses.
    """

    title: ClassVar[str] = ""
    """Its name in tables and figures; the file name if empty."""
    colour: ClassVar[str] = ""
    """Its colour in figures, ``#RRGGBB``; derived from its name if empty."""
    order: ClassVar[int] = 100
    """Its position in tables and legends: small numbers first, ties by name, upper bounds last."""
    upper_bound: ClassVar[bool] = False
    """Whether it sees hidden labels; if so it is left out of comparisons."""
    citation: ClassVar[str] = ""
    """Where the method is published."""
    departs: ClassVar[str] = "nothing"
    """How it deviates from the recipe that all methods share, and why."""

    @classmethod
    @override
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        if cls.colour and not re.fullmatch("#[0-9A-Fa-f]{6}", cls.colour):
            raise TypeError(f"colour of {cls.__name__} is {cls.colour}, must be #RRGGBB")
        marks = {} if inspect.isabstract(cls) else searched(cls)
        for name, mark in marks.items():
            for value in mark.ends:
                try:
                    cls.model_validate({name: value})
                except ValidationError:
                    raise TypeError(f"{cls.__name__} cannot search {name}={value}") from None

    @abc.abstractmethod
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        """Yield the segmentation models of the method, one per round; the last is the result.

        Pure: nothing is computed or read. Each model is predicted, evaluated and reported.
        """

    def consensus(self) -> Consensus | None:
        """Return what the models of the method predict by; None: by the image as it is."""
        return None

    def deviations(self) -> str:
        """Return how it deviates from the recipe that all methods share, and why."""
        if self.consensus() is None:
            return self.departs
        return BY_VIEWS if self.departs == "nothing" else f"{self.departs}; {BY_VIEWS}"

    def notation(self, name: str) -> str:
        """Return the method in bracket notation: its name and the options that are not default."""
        return format_brackets(name, self.overrides())
