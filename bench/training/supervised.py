"""Supervised training on visible labels: objective of `naive`, `inerrant0` and relabelling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from bench.training.objective import Objective, ObjectiveSpec, OneNetwork, Setting, TrainingProgress

if TYPE_CHECKING:
    from torch import Tensor

    from bench.training.batch import Batch
    from bench.training.sampler import Stream


class Supervised(ObjectiveSpec):
    """Binary cross-entropy per voxel and organ, with or without ambiguity weights."""

    unlabelled: Literal["ignored", "background"]
    """What a voxel of unknown target is: left out of the loss (INERRANT⁰) or background (naive)."""
    norm: Literal["mean_all", "mean_valid", "sum"] = "mean_all"
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
    def label(self) -> str:
        """``complete``, ``masked`` or ``naive``."""
        if self.complete_only:
            return "complete"
        return "masked" if self.unlabelled == "ignored" else "naive"

    def build(self, setting: Setting) -> Objective:
        """Return the objective around a segmentation network."""
        return _SupervisedObjective(self, setting)


class _SupervisedObjective(OneNetwork):
    def __init__(self, spec: Supervised, setting: Setting) -> None:
        super().__init__(setting)
        self._spec = spec

    def loss(self, batch: Batch, _progress: TrainingProgress) -> Mapping[str, Tensor]:
        from bench.training.batch import targets
        from bench.training.losses import masked_bce

        y_BKHW, w_BKHW = targets(
            batch.lab_BHW,
            batch.ps_BHW,
            batch.flags_BK,
            pseudo_negatives=self._spec.pseudo_negatives,
        )
        if self._spec.unlabelled == "background":
            w_BKHW = w_BKHW.new_ones(()).expand_as(w_BKHW)
        logits_BKHW = self.segmenter(batch.image_BCHW)
        loss = masked_bce(logits_BKHW, y_BKHW, w_BKHW, self._spec.norm)
        return {"loss": loss, "known_share": w_BKHW.float().mean()}
