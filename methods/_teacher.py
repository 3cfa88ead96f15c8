"""Shared by consistency methods: a mean teacher, and a loss between student and teacher.

Adapted to partial labels: "unlabelled" is every bit of unknown target (w = 0), whatever
volume it lies in, and each organ is a binary problem of its own.
"""

from __future__ import annotations

import abc
import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from bench.api import Objective, ObjectiveSpec, Phase, Setting, TrainingProgress

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.api import Batch, Stream


def ramp(share: float) -> float:
    """Return exp(-5 (1 - share)^2), from 0.0067 at the start of training to 1 at its end."""
    return math.exp(-5.0 * (1.0 - min(max(share, 0.0), 1.0)) ** 2)


class Consistency(ObjectiveSpec):
    """Masked cross-entropy, plus a student that is to agree with its teacher on unknown bits."""

    streams: ClassVar[tuple[Stream, ...]] = ("supervised", "incomplete")
    version: ClassVar[int] = 2

    weight: float = Field(default=0.1, gt=0)
    """Of the consistency loss at the end of training; it rises with :func:`ramp`."""
    decay: float = Field(default=0.99, gt=0, lt=1)
    """Of the teacher's moving average; smaller in the first hundred steps."""
    noise: float = Field(default=0.1, ge=0)
    """Of the teacher's input, in standard deviations of the training images, cut at twice that."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    tested: Literal["student", "teacher"] = "student"


class ConsistencyObjective(Objective, abc.ABC):
    """Student, teacher, and one update of the student."""

    def __init__(self, spec: Consistency, setting: Setting) -> None:
        from bench.nets.dropout import add_dropout

        self._spec = spec
        self._lr = setting.lr
        self._noise_sd = spec.noise * setting.intensity_sd()
        self._student = setting.segmenter()
        add_dropout(self._student, spec.dropout)
        self._teacher = copy.deepcopy(self._student).requires_grad_(False)

    @abc.abstractmethod
    def _trusted(
        self, image_BCHW: Tensor, progress: TrainingProgress
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return which of the teacher's bits the student follows, and what to log.

        The bits have the shape of the logits, or one that broadcasts to it.
        """

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        nets = {"student": self._student, "teacher": self._teacher}
        return {"segmenter" if n == self._spec.tested else n: net for n, net in nets.items()}

    @property
    def phases(self) -> Sequence[Phase]:
        return [Phase("segment", list(self._student.parameters()), self._loss, self._lr)]

    def after_step(self, progress: TrainingProgress) -> None:
        """Move the teacher: after the first step it equals the student."""
        from torch.optim.swa_utils import get_ema_multi_avg_fn

        decay = min(1.0 - 1.0 / (progress.step + 1), self._spec.decay)
        move = get_ema_multi_avg_fn(decay)
        move(list(self._teacher.parameters()), list(self._student.parameters()), None)
        if self._spec.tested == "teacher" and progress.step == progress.total - 1:
            for kept, buffer in zip(self._teacher.buffers(), self._student.buffers(), strict=True):
                kept.copy_(buffer)

    def noisy(self, image_BCHW: Tensor) -> Tensor:
        """Return the image with noise of the teacher's kind."""
        import torch

        sd = self._noise_sd
        return image_BCHW + (sd * torch.randn_like(image_BCHW)).clamp(-2 * sd, 2 * sd)

    def _loss(self, batch: Batch, progress: TrainingProgress) -> Mapping[str, Tensor]:
        import torch

        from bench.api import masked_bce, masked_mean, targets

        y_BKHW, w_BKHW = targets(batch.lab_BHW, batch.ps_BHW, batch.flags_BK)
        logits_BKHW = self._student(batch.image_BCHW)
        supervised = masked_bce(logits_BKHW, y_BKHW, w_BKHW)
        with torch.no_grad():
            taught_BKHW = self._teacher(self.noisy(batch.image_BCHW)).float().sigmoid()
            trusted_BKHW, logged = self._trusted(batch.image_BCHW, progress)
        positive_BKHW = taught_BKHW >= 0.5
        unknown_BKHW = ~w_BKHW
        followed_BKHW = unknown_BKHW & trusted_BKHW
        apart_BKHW = (logits_BKHW.float().sigmoid() - taught_BKHW).square()
        consistency = masked_mean(apart_BKHW, followed_BKHW)
        return {
            "loss": supervised + self._spec.weight * ramp(progress.share) * consistency,
            "supervised": supervised,
            "consistency": consistency,
            "followed_share": masked_mean(followed_BKHW.float(), unknown_BKHW),
            "followed_precision": masked_mean(
                y_BKHW.float(), w_BKHW & trusted_BKHW & positive_BKHW
            ),
            **logged,
        }
