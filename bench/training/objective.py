"""The seam between a method and the training loop: networks, losses, and their updates.

An objective owns its networks and losses; the trainer owns the loop, precision, learning rate,
checkpoints and logging. One optimiser or several, a teacher that averages, a discriminator: all are
phases and modules of an objective, the loop does not change.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from bench.stage import Part

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.nets.protocol import FeatureNet
    from bench.training.batch import Batch
    from bench.training.sampler import Stream


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where training stands in its learning-rate schedule."""

    step: int
    total: int

    @property
    def share(self) -> float:
        """Share of the steps that are behind, 0 at the first and 1 at the last step."""
        return self.step / max(1, self.total - 1)


@dataclass(frozen=True)
class Phase:
    """One optimiser update per step: which parameters follow which loss.

    ``loss`` returns named scalars; the one called ``loss`` is differentiated, all are logged.
    """

    name: str
    parameters: Sequence[nn.Parameter]
    loss: Callable[[Batch, TrainingProgress], Mapping[str, Tensor]]
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)


class Objective(abc.ABC):
    """Networks and losses of one training stage."""

    @property
    @abc.abstractmethod
    def modules(self) -> Mapping[str, nn.Module]:
        """Every network to move, save and resume; each is written as ``NAME.safetensors``."""

    @property
    @abc.abstractmethod
    def phases(self) -> Sequence[Phase]:
        """The updates of one step, in order. Called once, before training."""

    @property
    def frozen(self) -> Mapping[str, nn.Module]:
        """Networks that are only read: moved to the device, in evaluation mode, never saved."""
        return {}

    def after_step(self, progress: TrainingProgress) -> None:
        """Run after all phases of a step (a moving average, say); nothing by default."""
        return


@dataclass(frozen=True)
class Setting:
    """What a stage gives an objective to build itself from."""

    n_organs: int
    lr: float
    segmenter: Callable[[], FeatureNet]
    """A network with the stage's initial weights: those of ``init``, or fresh ones that are equal
    for all methods of a cell."""
    rival: Callable[[], FeatureNet]
    """A network of the same kind with other fresh weights, for methods that train two."""
    intensity_sd: Callable[[], float]
    """Standard deviation of the training images in units of the HU window."""
    seed: Callable[[str], int] = field(repr=False)
    """Seed of a further random purpose, by name."""


class OneNetwork(Objective):
    """An objective whose only network is the segmenter; its subclass is a loss."""

    def __init__(self, setting: Setting) -> None:
        self.segmenter = setting.segmenter()
        self._lr = setting.lr

    @abc.abstractmethod
    def loss(self, batch: Batch, progress: TrainingProgress) -> Mapping[str, Tensor]:
        """Return named scalars of a batch, ``loss`` among them."""

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """The segmenter."""
        return {"segmenter": self.segmenter}

    @property
    def phases(self) -> Sequence[Phase]:
        """One update of the segmenter."""
        return [Phase("segment", list(self.segmenter.parameters()), self.loss, self._lr)]


class ObjectiveSpec(Part, abc.ABC):
    """The parameters of an objective; they are part of the training stage's key."""

    streams: ClassVar[tuple[Stream, ...]]
    """Volumes the batches are drawn from, equal shares of each."""
    trains_segmenter: ClassVar[bool] = True
    """Whether its steps count as segmentation steps in the budget."""

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """One word for folder names and progress lines."""

    @abc.abstractmethod
    def build(self, setting: Setting) -> Objective:
        """Return the objective with its networks; torch is seeded by the caller."""
