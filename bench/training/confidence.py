"""Training of the confidence network: regress the true-class probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from bench.training.objective import Objective, ObjectiveSpec, Phase, Setting, TrainingProgress

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.training.batch import Batch
    from bench.training.sampler import Stream


class LearnedConfidence(ObjectiveSpec):
    """Regress the true-class probability of the segmenter, on true labels only."""

    label: ClassVar[str] = "confidence"
    streams: ClassVar[tuple[Stream, ...]] = ("supervised",)
    trains_segmenter: ClassVar[bool] = False

    mode: Literal["finetune", "freeze"] = "finetune"
    """Train a copy of the trunk with the head (the paper's choice), or the head alone."""
    start: Literal["constant", "certainty"] = "constant"
    """What an untrained network says: the same everywhere, or the probability of each decision."""
    voxels: Literal["all_known", "predicted_positive"] = "all_known"
    error_weight: float = Field(default=1.0, gt=0)
    output_bias: float = 3.0
    """Initial logit of a confidence that starts constant; most predictions are right. From 0 the
    first steps push all outputs to 1, and with them the hidden units out of the range in which they
    learn."""

    @override
    def build(self, setting: Setting) -> Objective:
        return _ConfidenceObjective(self, setting)


class _ConfidenceObjective(Objective):
    def __init__(self, spec: LearnedConfidence, setting: Setting) -> None:
        from bench.nets.confidence import ConfidenceNet

        self._spec = spec
        self._lr = setting.lr
        self._segmenter = setting.network("segmenter")
        self._confidence = ConfidenceNet.of(
            self._segmenter, setting.n_organs, spec.mode, spec.start
        )
        bias = self._confidence.head.output.bias
        assert bias is not None
        bias.data.fill_(spec.output_bias if spec.start == "constant" else 0.0)

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        return {"confidence": self._confidence}

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        return {"segmenter": self._segmenter}

    @property
    def phases(self) -> Sequence[Phase]:
        trained = [p for p in self._confidence.parameters() if p.requires_grad]
        return [Phase("confidence", trained, self._loss, self._lr)]

    def _loss(self, batch: Batch, _progress: TrainingProgress) -> Mapping[str, Tensor]:
        import torch

        from bench.training.batch import targets
        from bench.training.losses import confidence_loss

        no_pseudo_BHW = torch.zeros_like(batch.ps_BHW)
        y_BKHW, w_BKHW = targets(batch.lab_BHW, no_pseudo_BHW, batch.flags_BK)
        with torch.no_grad():
            logits_BKHW = self._segmenter(batch.image_BCHW)
        predicted_BKHW = logits_BKHW >= 0
        wrong_BKHW = predicted_BKHW & ~y_BKHW & w_BKHW
        loss = confidence_loss(
            self._confidence.combine(self._confidence(batch.image_BCHW), logits_BKHW),
            logits_BKHW,
            y_BKHW,
            w_BKHW,
            voxels=self._spec.voxels,
            error_weight=self._spec.error_weight,
        )
        known_positives = (predicted_BKHW & w_BKHW).sum().clamp(min=1)
        return {"loss": loss, "positive_error_rate": wrong_BKHW.sum() / known_positives}
