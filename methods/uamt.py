"""UA-MT: consistency with a mean teacher where it is certain."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bench.api import Method, Objective, Recipe, Setting, Train, TrainingProgress

from ._teacher import Consistency, ConsistencyObjective, ramp

if TYPE_CHECKING:
    from torch import Tensor


class Uamt(Method):
    """Uncertainty-aware mean teacher, one binary problem per organ (specification: Other methods).

    The teacher predicts `passes` times with dropout and noise. Bits whose mean prediction has an
    entropy below a threshold, which rises from 0.75 ln 2 to ln 2, are those the student follows.
    """

    citation: ClassVar[str] = "Yu et al., MICCAI 2019"
    departs: ClassVar[str] = (
        "half of a batch from incomplete volumes; dropout and noise, which the consistency "
        "needs, as published"
    )

    weight: float = Field(default=0.1, gt=0)
    """Of the consistency loss at the end of training."""
    passes: int = Field(default=8, ge=2, multiple_of=2)
    """Stochastic predictions of the teacher per step."""
    tested: Literal["student", "teacher"] = "student"

    def plan(self, recipe: Recipe) -> Iterator[Train]:
        """Yield one model, trained for the total number of steps of the default `inerrant`."""
        objective = CertainTeaching(weight=self.weight, passes=self.passes, tested=self.tested)
        yield recipe.segmenter(objective, budget="long")


class CertainTeaching(Consistency):
    """The objective of :class:`Uamt`."""

    passes: int = Field(default=8, ge=2, multiple_of=2)

    @property
    def label(self) -> str:
        """The word ``uamt``."""
        return "uamt"

    def build(self, setting: Setting) -> Objective:
        """Return the objective with student and teacher."""
        return _CertainTeachingObjective(self, setting)


def entropy_limit(share: float) -> float:
    """Return the entropy (nats) below which a bit is certain: 0.75 ln 2 rising to ln 2."""
    return (0.75 + 0.25 * ramp(share)) * math.log(2.0)


def binary_entropy(prob: Tensor) -> Tensor:
    """Return the entropy in nats of independent bits, at most ln 2."""
    tiny = 1e-6
    return -(prob * (prob + tiny).log() + (1 - prob) * (1 - prob + tiny).log())


class _CertainTeachingObjective(ConsistencyObjective):
    def __init__(self, spec: CertainTeaching, setting: Setting) -> None:
        super().__init__(spec, setting)
        self._passes = spec.passes

    def _trusted(
        self, image_BCHW: Tensor, progress: TrainingProgress
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        import torch

        twice_B1HW = torch.cat([image_BCHW, image_BCHW])  # two passes at a time, as published
        chunks = [
            self._teacher(self.noisy(twice_B1HW)).float().sigmoid().unflatten(0, (2, -1)).sum(dim=0)
            for _ in range(self._passes // 2)
        ]
        entropy_BKHW = binary_entropy(sum(chunks[1:], chunks[0]) / self._passes)
        certain_BKHW = entropy_BKHW < entropy_limit(progress.share)
        return certain_BKHW, {"entropy": entropy_BKHW.mean()}
