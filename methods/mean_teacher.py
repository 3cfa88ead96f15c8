"""Mean teacher: consistency with a moving average where the target is unknown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bench.api import Method, Recipe, Train, TrainingProgress

from ._consistency import Consistency

if TYPE_CHECKING:
    from torch import Tensor

    from ._consistency import Predict


class MeanTeacher(Method, Consistency):
    """Consistency with a teacher of averaged weights under input noise and dropout.

    `uamt` without uncertainty: the student follows the teacher wherever the target is unknown.
    """

    title: ClassVar[str] = "Mean teacher"
    colour: ClassVar[str] = "#2E4A7D"
    order: ClassVar[int] = 45
    citation: ClassVar[str] = "Tarvainen & Valpola, NeurIPS 2017"
    departs: ClassVar[str] = (
        "half of a batch from incomplete volumes; dropout and noise as uamt, which it is the "
        "control of"
    )

    label: ClassVar[str] = "teacher"

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        yield recipe.segmenter(self, budget="long")

    @override
    def trusted(
        self, predict: Predict, image_BCHW: Tensor, progress: TrainingProgress
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        import torch

        return torch.ones((), dtype=torch.bool, device=image_BCHW.device), {}
