"""UA-MT: consistency with a mean teacher where it is certain."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from typing_extensions import override

from bench.api import Method, Recipe, Train, TrainingProgress

from ._consistency import Consistency, ramp

if TYPE_CHECKING:
    from torch import Tensor

    from ._consistency import Predict


class Uamt(Method, Consistency):
    """Uncertainty-aware mean teacher, one binary problem per organ.

    The teacher predicts `passes` times with dropout and noise. The student follows it where the
    mean prediction of an organ has an entropy below a threshold, which rises from 0.75 ln 2 to ln 2
    (specification: Consistency with a mean teacher).
    """

    title: ClassVar[str] = "UA-MT"
    colour: ClassVar[str] = "#56B4E9"
    order: ClassVar[int] = 40
    citation: ClassVar[str] = "Yu et al., MICCAI 2019"
    departs: ClassVar[str] = (
        "half of a batch from incomplete volumes; dropout and noise, which the consistency "
        "needs, as published"
    )

    label: ClassVar[str] = "uamt"

    passes: int = Field(default=8, ge=2, multiple_of=2)
    """Stochastic predictions of the teacher per step."""

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        yield recipe.segmenter(self, budget="long")

    @override
    def trusted(
        self, predict: Predict, image_BCHW: Tensor, progress: TrainingProgress
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        import torch

        twice_BCHW = torch.cat([image_BCHW, image_BCHW])  # two passes at a time, as published
        chunks = [
            predict(twice_BCHW).unflatten(0, (2, -1)).sum(dim=0) for _ in range(self.passes // 2)
        ]
        entropy_BKHW = entropy_nats(sum(chunks[1:], chunks[0]) / self.passes)
        certain_BKHW = entropy_BKHW < entropy_limit(progress.share)
        return certain_BKHW, {"entropy": entropy_BKHW.mean()}


def entropy_limit(share: float) -> float:
    """Return the entropy (nats) below which a prediction is certain: 0.75 ln 2 rising to ln 2."""
    return (0.75 + 0.25 * ramp(share)) * math.log(2.0)


def entropy_nats(prob: Tensor) -> Tensor:
    """Return the entropy in nats of binary probabilities, at most ln 2."""
    tiny = 1e-6
    return -(prob * (prob + tiny).log() + (1 - prob) * (1 - prob + tiny).log())
