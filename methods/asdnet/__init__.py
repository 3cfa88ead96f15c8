"""ASDNet: a discriminator selects the predictions that become pseudo-labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from bench.api import (
    Choice,
    Method,
    Objective,
    ObjectiveSpec,
    Phase,
    Recipe,
    Setting,
    Train,
    TrainingProgress,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.api import Batch, Stream


class Asdnet(Method):
    """Adversarial and confidence-gated terms, one confidence map per organ.

    The discriminator learns to tell labels from predictions, on the organs annotated in a volume;
    for the others the composite label holds the prediction itself. The segmenter is trained to fool
    it, and to fit its own hard labels wherever the discriminator is confident (specification:
    Adversarial learning).
    """

    title: ClassVar[str] = "ASDNet"
    colour: ClassVar[str] = "#CC79A7"
    order: ClassVar[int] = 35
    citation: ClassVar[str] = "Nie et al., MICCAI 2018; Hung et al., BMVC 2018"
    departs: ClassVar[str] = (
        "half of a batch from incomplete volumes; the discriminator's rate and betas, as "
        "published; its weight relative to the size of the supervised loss"
    )

    preset: Annotated[Literal["asdnet", "hung"], Choice("asdnet", "hung")] = "asdnet"
    """Weights and threshold. `asdnet`: 0.05, 0.05, 0.5, and 1 - DSC of labelled training batches.
    `hung`: 0.01 (annotated), 0.001 (unknown), 0.1, and 0.2. The first two belong to a supervised
    loss that begins near 1, as a Dice loss or a cross-entropy over balanced classes does, and are
    multiplied by what the shared loss begins at: a mean over voxels and organs, nearly all of them
    negative, at 0.011. The adversarial term begins at ln 2 in both cases; with the published number
    it would weigh ninety times as much, and nothing else would be learnt."""

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        bias = recipe.condition.profile.training.output_bias
        objective = (
            Adversarial(output_bias=bias)
            if self.preset == "asdnet"
            else Adversarial(
                output_bias=bias,
                adversarial=0.01,
                adversarial_unknown=0.001,
                semi=0.1,
                threshold=0.2,
            )
        )
        yield recipe.segmenter(objective, budget="long")


class Adversarial(ObjectiveSpec):
    """The objective of :class:`Asdnet`."""

    label: ClassVar[str] = "adversarial"
    streams: ClassVar[tuple[Stream, ...]] = ("supervised", "incomplete")
    version: ClassVar[int] = 3

    output_bias: float | None = None
    """What networks begin at. The weights are multiplied by what the shared loss begins at with it,
    on the data of the training; None leaves them as they are."""
    adversarial: float = 0.05
    """Weight of the adversarial term on organs annotated in the volume."""
    adversarial_unknown: float = 0.05
    """Weight of the adversarial term on the other organs."""
    semi: float = 0.5
    """Weight of the hard labels of which the discriminator is confident."""
    threshold: float | None = Field(default=None, ge=0, le=1)
    """Confidence from which a hard label counts; None: 1 - DSC of labelled training batches,
    averaged over time, within 0.2 to 0.8. The published code measures it on a test case."""
    warm_up: float = Field(default=0.25, ge=0, le=1)
    """Share of training before hard labels count."""
    discriminator_lr: float = Field(default=1e-4, gt=0)

    @override
    def build(self, setting: Setting) -> Objective:
        return _AdversarialObjective(self, setting)


class _AdversarialObjective(Objective):
    def __init__(self, spec: Adversarial, setting: Setting) -> None:
        import torch

        from .discriminator import PAPER_WIDTH, Discriminator

        self._spec = spec
        self._lr = setting.lr
        self._shared = setting.shared_loss
        bias = spec.output_bias
        self._unit = 1.0 if bias is None else setting.shared_loss.uninformed(bias)
        self._scale = 1.0 if bias is None else setting.shared_loss.scale
        self._segmenter = setting.network("segmenter")
        torch.manual_seed(setting.seed("discriminator"))
        width = min(PAPER_WIDTH, self._segmenter.feature_channels)
        self._discriminator = Discriminator(setting.n_organs, width, self._segmenter.dims)
        # A buffer, so that a resumed training knows it.
        self._discriminator.register_buffer("dsc", torch.zeros(()))
        self._segmented: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    @override
    def modules(self) -> Mapping[str, nn.Module]:
        return {"segmenter": self._segmenter, "discriminator": self._discriminator}

    @property
    @override
    def phases(self) -> Sequence[Phase]:
        spec, segmenter, discriminator = self._spec, self._segmenter, self._discriminator
        return [
            Phase("segment", list(segmenter.parameters()), self._segment, self._lr),
            Phase(
                "discriminate",
                list(discriminator.parameters()),
                self._discriminate,
                spec.discriminator_lr,
                betas=(0.9, 0.99),
            ),
        ]

    def _segment(self, batch: Batch, progress: TrainingProgress) -> Mapping[str, Tensor]:
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits as bce
        from torch.nn.functional import logsigmoid

        from bench.api import annotated, decide, masked_mean, organ_masks, targets, unknown

        spec = self._spec
        y_BKHW, w_BKHW = targets(batch.lab_BHW, batch.ps_BHW, batch.flags_BK)
        logits_BKHW = self._segmenter(batch.image_BCHW).float()
        prob_BKHW = logits_BKHW.sigmoid()
        annotated_BKHW = annotated(batch.lab_BHW, batch.flags_BK)
        unknown_BKHW = unknown(batch.lab_BHW, w_BKHW)
        self._segmented = prob_BKHW.detach(), y_BKHW, annotated_BKHW
        supervised = self._shared(logits_BKHW, y_BKHW, w_BKHW)

        self._discriminator.requires_grad_(False)
        confidence_BKHW = self._discriminator(prob_BKHW).float()
        deceived_BKHW = -logsigmoid(confidence_BKHW) * self._unit
        fool = spec.adversarial * masked_mean(deceived_BKHW, annotated_BKHW)
        fool += spec.adversarial_unknown * masked_mean(
            deceived_BKHW, unknown(batch.lab_BHW, annotated_BKHW)
        )

        with torch.no_grad():
            hard_BKHW = organ_masks(decide(logits_BKHW), logits_BKHW.shape[1])
            passes_BKHW = confidence_BKHW.sigmoid() > self._limit(hard_BKHW, y_BKHW, annotated_BKHW)
            trusted_BKHW = unknown_BKHW & passes_BKHW
        semi = masked_mean(bce(logits_BKHW, hard_BKHW.float(), reduction="none"), trusted_BKHW)
        on = float(progress.share >= spec.warm_up)
        return {
            "loss": supervised + fool + on * self._scale * spec.semi * semi,
            "supervised": supervised,
            "adversarial": fool,
            "semi": semi,
            "trusted_share": masked_mean(trusted_BKHW.float(), unknown_BKHW),
            "trusted_positive_share": masked_mean(hard_BKHW.float(), trusted_BKHW),
            "trusted_precision": masked_mean(y_BKHW.float(), w_BKHW & passes_BKHW & hard_BKHW),
        }

    def _discriminate(self, _batch: Batch, _progress: TrainingProgress) -> Mapping[str, Tensor]:
        import torch
        from torch.nn.functional import logsigmoid

        from bench.api import masked_mean

        assert self._segmented is not None, "the segmenter's phase comes first"
        prob_BKHW, y_BKHW, annotated_BKHW = self._segmented
        real_BKHW = torch.where(annotated_BKHW, y_BKHW.float(), prob_BKHW)
        self._discriminator.requires_grad_(True)
        real = self._discriminator(real_BKHW).float()
        fake = self._discriminator(prob_BKHW).float()
        loss = masked_mean(-logsigmoid(real) - logsigmoid(-fake), annotated_BKHW) / 2
        return {
            "loss": loss,
            "real_accuracy": masked_mean((real > 0).float(), annotated_BKHW),
            "fake_accuracy": masked_mean((fake < 0).float(), annotated_BKHW),
        }

    def _limit(self, hard_BKHW: Tensor, y_BKHW: Tensor, annotated_BKHW: Tensor) -> Tensor | float:
        """Update the running DSC; return the confidence from which a hard label counts."""
        if self._spec.threshold is not None:
            return self._spec.threshold
        both = (hard_BKHW & y_BKHW & annotated_BKHW).sum()
        either = (hard_BKHW & annotated_BKHW).sum() + (y_BKHW & annotated_BKHW).sum()
        dsc = self._discriminator.get_buffer("dsc")
        dsc.lerp_(2.0 * both / either.clamp(min=1), 0.01)
        return (1.0 - dsc).clamp(0.2, 0.8)
