"""Mean teacher: consistency with a moving average where the target is unknown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from bench.api import Method, Objective, Recipe, Setting, Train, TrainingProgress

from ._teacher import Consistency, ConsistencyObjective

if TYPE_CHECKING:
    from torch import Tensor


class MeanTeacher(Method):
    """Consistency with a teacher of averaged weights under input noise and dropout.

    `uamt` without its uncertainty: every bit of unknown target counts.
    """

    citation: ClassVar[str] = "Tarvainen & Valpola, NeurIPS 2017"
    departs: ClassVar[str] = (
        "half of a batch from incomplete volumes; dropout and noise as uamt, which it is the "
        "control of"
    )

    weight: float = Field(default=0.1, gt=0)
    """Of the consistency loss at the end of training."""

    def plan(self, recipe: Recipe) -> Iterator[Train]:
        """Yield one model, trained for the total number of steps of the default `inerrant`."""
        yield recipe.segmenter(Teaching(weight=self.weight), budget="long")


class Teaching(Consistency):
    """The objective of :class:`MeanTeacher`."""

    @property
    def label(self) -> str:
        """The word ``teacher``."""
        return "teacher"

    def build(self, setting: Setting) -> Objective:
        """Return the objective with student and teacher."""
        return _TeachingObjective(self, setting)


class _TeachingObjective(ConsistencyObjective):
    def _trusted(
        self, image_BCHW: Tensor, _progress: TrainingProgress
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        import torch

        return torch.ones((), dtype=torch.bool, device=image_BCHW.device), {}
