"""BCP: boxes of labelled and unlabelled images change places, each with its targets."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field
from typing_extensions import override

from bench.api import (
    Choice,
    Method,
    Objective,
    ObjectiveSpec,
    Phase,
    Range,
    Recipe,
    Setting,
    Train,
    TrainingProgress,
)

from ._consistency import follow

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.api import Batch, Stream


class Bcp(Method, ObjectiveSpec):
    """Bidirectional copy-paste with the hard labels of a mean teacher.

    Every image gets a box of another one: one of a volume with a known target from one that lacks
    some organ, and the other way round. Known targets come along. Unknown ones are the hard labels
    of the teacher for the untouched images, with a smaller weight, after a first part of the
    training without them (specification: Bidirectional copy-paste).
    """

    title: ClassVar[str] = "BCP"
    colour: ClassVar[str] = "#66A61E"
    order: ClassVar[int] = 47
    citation: ClassVar[str] = "Bai et al., CVPR 2023"
    departs: ClassVar[str] = (
        "half of a batch from incomplete volumes; boxes change places, as published; the teacher's "
        "labels of all objects, not of the largest"
    )

    label: ClassVar[str] = "bcp"
    streams: ClassVar[tuple[Stream, ...]] = ("supervised", "incomplete")
    version: ClassVar[int] = 2

    weight: Annotated[float, Range(0.05, 5, log=True)] = Field(default=0.5, gt=0)
    """Weight of the loss against the teacher's labels."""
    box: Annotated[float, Range(0.3, 0.9)] = Field(default=2 / 3, gt=0, lt=1)
    """Side of the box, as a share of the image's."""
    warm_up: Annotated[float, Range(0, 0.5)] = Field(default=0.12, ge=0, lt=1)
    """Share of training before the teacher's labels count: 2,000 of 17,000 steps."""
    decay: Annotated[float, Choice(0.9, 0.99, 0.999)] = Field(default=0.99, gt=0, lt=1)
    """Decay of the teacher's moving average; smaller in the first hundred steps."""

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        yield recipe.segmenter(self, budget="long")

    @override
    def build(self, setting: Setting) -> Objective:
        return _CopyPaste(self, setting)


class _CopyPaste(Objective):
    """A student of mixed images, and its teacher of untouched ones."""

    def __init__(self, spec: Bcp, setting: Setting) -> None:
        self._spec = spec
        self._lr = setting.lr
        self._shared = setting.shared_loss
        self._student = setting.network("segmenter")
        self._teacher = copy.deepcopy(self._student).requires_grad_(False)

    @property
    @override
    def modules(self) -> Mapping[str, nn.Module]:
        return {"segmenter": self._student, "teacher": self._teacher}

    @property
    @override
    def phases(self) -> Sequence[Phase]:
        return [Phase("segment", list(self._student.parameters()), self._loss, self._lr)]

    @override
    def after_step(self, progress: TrainingProgress) -> None:
        """Move the teacher: after the first step it equals the student."""
        follow(self._teacher, self._student, progress, self._spec.decay)

    def _loss(self, batch: Batch, progress: TrainingProgress) -> Mapping[str, Tensor]:
        import torch

        from bench.api import masked_mean, targets, unknown

        from ._views import boxes_of_share

        y_BKHW, w_BKHW = targets(batch.lab_BHW, batch.ps_BHW, batch.flags_BK)
        with torch.no_grad():
            hard_BKHW = self._teacher(batch.image_BCHW) >= 0
        box_B1HW = boxes_of_share(batch.image_BCHW, self._spec.box)

        def mixed(maps_BCHW: Tensor) -> Tensor:
            # Half a batch away is an image of the other kind of volumes.
            return torch.where(box_B1HW, maps_BCHW.roll(len(maps_BCHW) // 2, 0), maps_BCHW)

        logits_BKHW = self._student(mixed(batch.image_BCHW))
        supervised = self._shared(logits_BKHW, mixed(y_BKHW), mixed(w_BKHW))
        unknown_BKHW = mixed(unknown(batch.lab_BHW, w_BKHW))
        taught = self._shared(logits_BKHW, mixed(hard_BKHW), unknown_BKHW)
        on = float(progress.share >= self._spec.warm_up)
        return {
            "loss": supervised + on * self._spec.weight * taught,
            "supervised": supervised,
            "taught": taught,
            "teacher_precision": masked_mean(y_BKHW.float(), w_BKHW & hard_BKHW),
        }
