"""Cross pseudo supervision: each of two networks is trained on the other's pseudo-labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field
from typing_extensions import override

from bench.api import (
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

from ._consistency import ramp

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.api import Batch, Stream


class Cps(Method, ObjectiveSpec):
    """Each network learns the other's hard labels where the target is unknown.

    Two networks have different initial weights and equal batches. The first one is tested. The
    weight of the cross term rises with training, as in medical adaptations of the method: the
    first predictions are all background and would be learnt.
    """

    title: ClassVar[str] = "CPS"
    colour: ClassVar[str] = "#8B5A2B"
    order: ClassVar[int] = 50
    citation: ClassVar[str] = "Chen et al., CVPR 2021"
    departs: ClassVar[str] = "half of a batch from incomplete volumes; two networks, as published"

    label: ClassVar[str] = "cps"
    streams: ClassVar[tuple[Stream, ...]] = ("supervised", "incomplete")
    version: ClassVar[int] = 3

    weight: Annotated[float, Range(0.01, 10, log=True)] = Field(default=0.1, gt=0)
    """Weight of the cross term at the end of training, relative to a mean cross-entropy."""

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        yield recipe.segmenter(self, budget="long")

    @override
    def build(self, setting: Setting) -> Objective:
        return _TwoNetworks(self, setting)


class _TwoNetworks(Objective):
    def __init__(self, spec: Cps, setting: Setting) -> None:
        self._weight = spec.weight * setting.shared_loss.scale
        self._lr = setting.lr
        self._shared = setting.shared_loss
        self._nets = {name: setting.network(name) for name in ("segmenter", "rival")}

    @property
    @override
    def modules(self) -> Mapping[str, nn.Module]:
        return self._nets

    @property
    @override
    def phases(self) -> Sequence[Phase]:
        both = [parameter for net in self._nets.values() for parameter in net.parameters()]
        return [Phase("segment", both, self._loss, self._lr)]

    def _loss(self, batch: Batch, progress: TrainingProgress) -> Mapping[str, Tensor]:
        from bench.api import masked_mean, targets, unknown

        y_BKHW, w_BKHW = targets(batch.lab_BHW, batch.ps_BHW, batch.flags_BK)
        first, second = (net(batch.image_BCHW).float() for net in self._nets.values())
        supervised = self._shared(first, y_BKHW, w_BKHW) + self._shared(second, y_BKHW, w_BKHW)
        unknown_BKHW = unknown(batch.lab_BHW, w_BKHW)
        cross = _taught(first, second, unknown_BKHW) + _taught(second, first, unknown_BKHW)
        apart = masked_mean(((first >= 0) != (second >= 0)).float(), unknown_BKHW)
        return {
            "loss": supervised + self._weight * ramp(progress.share) * cross,
            "supervised": supervised,
            "cross": cross,
            "disagreement": apart,
        }


def _taught(logits_BKHW: Tensor, teacher_BKHW: Tensor, unknown_BKHW: Tensor) -> Tensor:
    """Return the cross-entropy with the other network's hard labels where the target is unknown."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    from bench.api import masked_mean

    hard_BKHW = (teacher_BKHW >= 0).float()
    loss_BKHW = binary_cross_entropy_with_logits(logits_BKHW, hard_BKHW, reduction="none")
    return masked_mean(loss_BKHW, unknown_BKHW)
