"""Supervised training on visible labels, and on pseudo-labels where there are some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from bench.training.objective import Loss, TrainingProgress

if TYPE_CHECKING:
    from torch import Tensor

    from bench.nets.protocol import FeatureNet
    from bench.training.batch import Batch
    from bench.training.sampler import Stream
    from bench.training.shared_loss import SharedLoss


class Supervised(Loss):
    """The shared loss per voxel and organ, with or without ambiguity weights."""

    unlabelled: Literal["ignored", "background"]
    """How the loss treats a voxel of unknown target: it is left out, or counted as background."""
    pseudo_negatives: bool = True
    """A pseudo-label of one organ is a negative of the other missing organs."""
    complete_only: bool = False
    """Leave out every volume in which some organ is not labelled."""

    @property
    def streams(self) -> tuple[Stream, ...]:  # type: ignore[override]
        """Only volumes with a known target; every volume if nothing is ignored."""
        if self.complete_only:
            return ("complete",)
        return ("supervised",) if self.unlabelled == "ignored" else ("all",)

    @property
    def label(self) -> str:  # type: ignore[override]
        """``complete``, ``masked`` or ``unmasked``."""
        if self.complete_only:
            return "complete"
        return "masked" if self.unlabelled == "ignored" else "unmasked"

    @override
    def loss(
        self, net: FeatureNet, batch: Batch, progress: TrainingProgress, shared: SharedLoss
    ) -> Mapping[str, Tensor]:
        from bench.labels import VOID
        from bench.training.batch import targets

        y_BKHW, w_BKHW = targets(
            batch.lab_BHW, batch.ps_BHW, batch.flags_BK, pseudo_negatives=self.pseudo_negatives
        )
        if self.unlabelled == "background":
            w_BKHW = w_BKHW | (batch.lab_BHW != VOID).unsqueeze(1)
        loss = shared(net(batch.image_BCHW), y_BKHW, w_BKHW)
        return {"loss": loss, "known_share": w_BKHW.float().mean()}


class SupervisedFrom(Supervised):
    """The same loss on the cases of one of several data sets that are joined."""

    source: str

    @property
    def streams(self) -> tuple[Stream, ...]:  # type: ignore[override]
        """The volumes of the source that have a known target."""
        from bench.training.sampler import FromSource

        return (FromSource(self.source),)

    @property
    def label(self) -> str:  # type: ignore[override]
        """``from-`` and the source."""
        return f"from-{self.source}"
