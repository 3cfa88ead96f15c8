"""What a training method is, and the building blocks it is described with.

A method only describes. It asks the :class:`Recipe` of its condition for models and relabellings
and gets stages; equal stages of different methods are one stage, because their keys are equal.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

from bench.data.dataset import Dataset
from bench.data.window import Window
from bench.errors import BenchError
from bench.experiment.profiles import Profile
from bench.nets.network import ConditionalNetwork, Network
from bench.params import Params, format_brackets
from bench.stages.images import Images, Prepared, Volumes
from bench.stages.labels import Labels
from bench.stages.relabel import Relabel
from bench.stages.train import Optimisation, PatchOptimisation, Train
from bench.stages.truth import Truth
from bench.training.objective import ObjectiveSpec


@dataclass(frozen=True)
class Source:
    """A data set whose cases were listed and whose content was fingerprinted."""

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
    """The building blocks of a method in one condition: same budget, data, labels for all."""

    condition: Condition

    def at(self, label_pct: int) -> Recipe:
        """Return the recipe of the same condition at another label fraction."""
        return Recipe(replace(self.condition, label_pct=label_pct))

    def conditional(self) -> Recipe:
        """Return the same recipe with a network that is told which organ to segment."""
        network = ConditionalNetwork(body=self.condition.network)
        return Recipe(replace(self.condition, network=network))

    @cached_property
    def images(self) -> Prepared:
        """The CT of the data set on the training grid: slices, or volumes for a 3D network."""
        grid = self._data | {"multiple_of": self.condition.network.divisor}
        if self.condition.network.dims == 3:
            return Volumes(**grid, spacing_mm=self.condition.profile.spacing_mm)
        return Images(**grid, max_side=self.condition.profile.max_side)

    @cached_property
    def truth(self) -> Truth:
        """The complete labels; only simulation, evaluation and audit take them."""
        return Truth(**self._data)

    @cached_property
    def labels(self) -> Labels:
        """What training may see in this condition."""
        return Labels(
            images=self.images,
            truth=self.truth,
            fold=self.condition.fold,
            n_folds=self.condition.profile.n_folds,
            label_pct=self.condition.label_pct,
            seed=self.condition.seed,
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
        profile = self.condition.profile
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
        profile = self.condition.profile
        steps = max(1, round(profile.confidence_share * profile.steps))
        return self._train(
            objective, self._optimisation(steps, profile.confidence_lr), segmenter, None
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
        """What a 3D network sees at once; a network of slices has none."""
        profile, network = self.condition.profile, self.condition.network
        if network.dims == 2:
            return None
        if any(side % network.divisor for side in profile.patch):
            size = ":".join(map(str, profile.patch))
            fitting = (-(-side // network.divisor) * network.divisor for side in profile.patch)
            fits = ":".join(map(str, fitting))
            raise BenchError(
                f"network {network}: patches of {size} do not fit, their sides must be multiples "
                f"of {network.divisor}; choose profile {profile.name}[patch={fits}]"
            )
        return Window(size=profile.patch, sampling=profile.patch_sampling)

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
            network=self.condition.network,
            optimisation=optimisation,
            seed=self.condition.seed,
            init=init,
            pseudo=pseudo,
        )

    def _optimisation(self, steps: int, lr: float, before: int = 0, after: int = 0) -> Optimisation:
        profile = self.condition.profile
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
