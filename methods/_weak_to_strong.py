"""Shared by FixMatch and UniMatch: changed views learn what is predicted with confidence.

Adapted to partial labels: "unlabelled" is every voxel and organ of unknown target (w = 0), in any
volume, and each organ is a binary problem (specification: From weak to strong views).
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

from pydantic import Field
from typing_extensions import override

from bench.api import Loss, Range, TrainingProgress

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api import Batch, FeatureNet, SharedLoss, Stream


class Trusted(NamedTuple):
    """Hard labels of the images of a batch, and where they count: unknown target, confident."""

    y_BKHW: Tensor
    w_BKHW: Tensor


class WeakToStrong(Loss):
    """The shared loss on the images, and the same loss of changed views against hard labels."""

    streams: ClassVar[tuple[Stream, ...]] = ("supervised", "incomplete")
    version: ClassVar[int] = 3

    threshold: Annotated[float, Range(0.6, 0.99)] = Field(default=0.95, gt=0.5, lt=1)
    """A prediction is trusted if its probability is at least this, or at most the rest to 1."""
    warm_up: Annotated[float, Range(0, 0.5)] = Field(default=0.25, ge=0, lt=1)
    """Share of the training before changed views learn; 0 as published.

    There a network that has learnt nothing trusts nothing. Here its output begins with few
    positives (``output_bias``), so that all it says is background is trusted from the first step,
    and taught, before an organ has been learnt.
    """

    @abc.abstractmethod
    def unlabelled(
        self, net: FeatureNet, image_BCHW: Tensor, trusted: Trusted, shared: SharedLoss
    ) -> Mapping[str, Tensor]:
        """Return the loss of every changed view, with its weight, by name."""

    @override
    def loss(
        self, net: FeatureNet, batch: Batch, progress: TrainingProgress, shared: SharedLoss
    ) -> Mapping[str, Tensor]:
        from bench.api import masked_mean, targets, unknown

        y_BKHW, w_BKHW = targets(batch.lab_BHW, batch.ps_BHW, batch.flags_BK)
        logits_BKHW = net(batch.image_BCHW).float()
        supervised = shared(logits_BKHW, y_BKHW, w_BKHW) / 2
        prob_BKHW = logits_BKHW.detach().sigmoid()
        positive_BKHW = prob_BKHW >= 0.5
        confident_BKHW = (prob_BKHW - 0.5).abs() >= self.threshold - 0.5
        unknown_BKHW = unknown(batch.lab_BHW, w_BKHW)
        trusted = Trusted(positive_BKHW, confident_BKHW & unknown_BKHW)
        views = self.unlabelled(net, batch.image_BCHW, trusted, shared)
        on = float(progress.share >= self.warm_up)
        return {
            "loss": supervised + on * sum(views.values()),
            "supervised": supervised,
            **views,
            "trusted_share": masked_mean(confident_BKHW.float(), unknown_BKHW),
            "trusted_positive_share": masked_mean(
                confident_BKHW.float(), positive_BKHW & unknown_BKHW
            ),
            "trusted_precision": masked_mean(
                y_BKHW.float(), confident_BKHW & positive_BKHW & w_BKHW
            ),
        }


def strong(net: FeatureNet, image_BCHW: Tensor, trusted: Trusted, shared: SharedLoss) -> Tensor:
    """Return the loss of one strong view of the images."""
    from ._views import strong_view

    view = strong_view(image_BCHW)
    y_BKHW, w_BKHW = map(view.moved, trusted)
    return shared(net(view.image_BCHW), y_BKHW, w_BKHW)
