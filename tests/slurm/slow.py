"""A method that takes its time without using the processor, so that events find it at work."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bench.api import Loss, Method, Recipe, Train, TrainingProgress

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api import Batch, FeatureNet, SharedLoss, Stream


class Slow(Method, Loss):
    """The shared loss, and a pause at every step."""

    label: ClassVar[str] = "slow"
    streams: ClassVar[tuple[Stream, ...]] = ("supervised",)

    pause: float = 0.25

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        yield recipe.segmenter(self)

    @override
    def loss(
        self, net: FeatureNet, batch: Batch, progress: TrainingProgress, shared: SharedLoss
    ) -> Mapping[str, Tensor]:
        from bench.api import targets

        time.sleep(self.pause)
        y_BKHW, w_BKHW = targets(batch.lab_BHW, batch.ps_BHW, batch.flags_BK)
        return {"loss": shared(net(batch.image_BCHW), y_BKHW, w_BKHW)}
