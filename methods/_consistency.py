"""Shared by consistency methods: a mean teacher, and a loss between student and teacher.

Adapted to partial labels: "unlabelled" is every voxel and organ of unknown target (w = 0), in any
volume, and each organ is a binary problem (specification: Consistency with a mean teacher).
"""

from __future__ import annotations

import abc
import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field
from typing_extensions import override

from bench.api import Choice, Objective, ObjectiveSpec, Phase, Range, Setting, TrainingProgress

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.api import Batch, Stream

    Predict: TypeAlias = Callable[[Tensor], Tensor]


def ramp(share: float) -> float:
    """Return exp(-5 (1 - share)^2), from 0.0067 at the start of training to 1 at its end."""
    return math.exp(-5.0 * (1.0 - min(max(share, 0.0), 1.0)) ** 2)


def follow(
    teacher: nn.Module, student: nn.Module, progress: TrainingProgress, decay: float
) -> None:
    """Move the teacher towards the student: a moving average, the student after the first step."""
    from torch.optim.swa_utils import get_ema_multi_avg_fn

    move = get_ema_multi_avg_fn(min(1.0 - 1.0 / (progress.step + 1), decay))
    move(list(teacher.parameters()), list(student.parameters()), None)


class Consistency(ObjectiveSpec):
    """Masked cross-entropy, and a consistency loss between student and teacher where w = 0."""

    streams: ClassVar[tuple[Stream, ...]] = ("supervised", "incomplete")
    version: ClassVar[int] = 4

    weight: Annotated[float, Range(0.01, 10, log=True)] = Field(default=0.1, gt=0)
    """Weight of the consistency loss at the end of training; it rises with :func:`ramp`, and is
    relative to a mean cross-entropy."""
    decay: Annotated[float, Choice(0.9, 0.99, 0.999)] = Field(default=0.99, gt=0, lt=1)
    """Decay of the teacher's moving average; smaller in the first hundred steps."""
    noise: Annotated[float, Range(0.02, 0.5, log=True)] = Field(default=0.1, ge=0)
    """Standard deviation of the noise on the teacher's input, in those of the channels of the
    training images; cut at twice that."""
    dropout: Annotated[float, Range(0.1, 0.7)] = Field(default=0.5, ge=0, lt=1)
    """Share of the channels dropped at the bottleneck, in training only."""
    tested: Literal["student", "teacher"] = "student"
    """The network whose weights are the result."""

    @abc.abstractmethod
    def trusted(
        self, predict: Predict, image_BCHW: Tensor, progress: TrainingProgress
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return where the student follows its teacher, and values to log.

        Parameters
        ----------
        predict
            Probabilities of the teacher for images, under fresh noise and dropout.
        image_BCHW
            Images of the batch.
        progress
            Position in the schedule.

        Returns
        -------
        trusted_BKHW, logged
            bool, of a shape that broadcasts to the logits; named scalars.
        """

    @override
    def build(self, setting: Setting) -> Objective:
        return _StudentAndTeacher(self, setting)


class _StudentAndTeacher(Objective):
    """Two networks, and one update of the student."""

    def __init__(self, spec: Consistency, setting: Setting) -> None:
        from ._dropout import add_dropout

        self._spec = spec
        self._lr = setting.lr
        self._shared = setting.shared_loss
        self._weight = spec.weight * setting.shared_loss.scale
        self._noise_sds = [spec.noise * sd for sd in setting.intensity_sd()]
        self._student = setting.network("segmenter")
        add_dropout(self._student, spec.dropout)
        self._teacher = copy.deepcopy(self._student).requires_grad_(False)

    @property
    @override
    def modules(self) -> Mapping[str, nn.Module]:
        nets = {"student": self._student, "teacher": self._teacher}
        return {"segmenter" if n == self._spec.tested else n: net for n, net in nets.items()}

    @property
    @override
    def phases(self) -> Sequence[Phase]:
        return [Phase("segment", list(self._student.parameters()), self._loss, self._lr)]

    @override
    def after_step(self, progress: TrainingProgress) -> None:
        """Move the teacher: after the first step it equals the student."""
        follow(self._teacher, self._student, progress, self._spec.decay)
        if self._spec.tested == "teacher" and progress.step == progress.total - 1:
            for kept, buffer in zip(self._teacher.buffers(), self._student.buffers(), strict=True):
                kept.copy_(buffer)

    def _predict(self, image_BCHW: Tensor) -> Tensor:
        """Return the teacher's probabilities for the image with fresh noise."""
        import torch

        noise_BCHW = torch.randn_like(image_BCHW)
        for channel, sd in enumerate(self._noise_sds):
            noise_BCHW[:, channel].mul_(sd).clamp_(-2 * sd, 2 * sd)
        prob_BKHW: Tensor = self._teacher(image_BCHW + noise_BCHW).float().sigmoid()
        return prob_BKHW

    def _loss(self, batch: Batch, progress: TrainingProgress) -> Mapping[str, Tensor]:
        import torch

        from bench.api import masked_mean, targets, unknown

        y_BKHW, w_BKHW = targets(batch.lab_BHW, batch.ps_BHW, batch.flags_BK)
        logits_BKHW = self._student(batch.image_BCHW)
        supervised = self._shared(logits_BKHW, y_BKHW, w_BKHW)
        with torch.no_grad():
            taught_BKHW = self._predict(batch.image_BCHW)
            trusted_BKHW, logged = self._spec.trusted(self._predict, batch.image_BCHW, progress)
        positive_BKHW = taught_BKHW >= 0.5
        unknown_BKHW = unknown(batch.lab_BHW, w_BKHW)
        followed_BKHW = unknown_BKHW & trusted_BKHW
        apart_BKHW = (logits_BKHW.float().sigmoid() - taught_BKHW).square()
        consistency = masked_mean(apart_BKHW, followed_BKHW)
        return {
            "loss": supervised + self._weight * ramp(progress.share) * consistency,
            "supervised": supervised,
            "consistency": consistency,
            "followed_share": masked_mean(followed_BKHW.float(), unknown_BKHW),
            "followed_precision": masked_mean(
                y_BKHW.float(), w_BKHW & trusted_BKHW & positive_BKHW
            ),
            **logged,
        }
