"""The interface between a method and the training loop: networks, losses, and their updates.

An objective owns its networks and losses; the trainer owns the loop, precision, learning rate,
checkpoints and logging. One optimiser or several, a teacher that averages, a discriminator: all are
phases and modules of an objective, the loop does not change.
"""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from bench.stage import Part

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.nets.protocol import FeatureNet
    from bench.training.batch import Batch
    from bench.training.sampler import Stream
    from bench.training.shared_loss import SharedLoss


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """The position of a training in its learning-rate schedule."""

    step: int
    total: int

    @property
    def share(self) -> float:
        """Share of the steps already taken, 0 at the first and 1 at the last step."""
        return self.step / max(1, self.total - 1)


@dataclass(frozen=True)
class Phase:
    """One optimiser update per step: the parameters to update and the loss to minimise.

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
    """What a training stage passes to :meth:`ObjectiveSpec.build`."""

    n_organs: int
    lr: float
    network: Callable[[str], FeatureNet]
    """Builds a network for a purpose. ``segmenter`` starts from the initial weights of the stage:
    those of ``init``, or random ones that are equal for all methods of a condition. Any other
    purpose is the seed of random weights of its own."""
    shared_loss: SharedLoss
    """The loss over voxels of known target, the same for every method."""
    intensity_sd: Callable[[], tuple[float, ...]]
    """Standard deviation of each channel of the training images, whose values are in [0, 1]."""
    seed: Callable[[str], int] = field(repr=False)
    """Returns a seed for any other purpose, by name."""


class ObjectiveSpec(Part, abc.ABC):
    """The parameters of an objective; they are part of the training stage's key.

    Raises
    ------
    TypeError
        A subclass does not declare ``label`` or ``streams``.
    """

    label: ClassVar[str]
    """One word for folder names and progress lines."""
    streams: ClassVar[tuple[Stream, ...]]
    """Sets of volumes that batches are sampled from, an equal share from each."""
    trains_segmenter: ClassVar[bool] = True
    """Whether its steps count as segmentation steps in the budget."""

    @classmethod
    @override
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        for name in ("label", "streams"):
            if not inspect.isabstract(cls) and not hasattr(cls, name):
                raise TypeError(f"class {cls.__name__} declares no {name}")

    @abc.abstractmethod
    def build(self, setting: Setting) -> Objective:
        """Return the objective with its networks; torch is seeded by the caller."""


class Loss(ObjectiveSpec):
    """An objective that is one loss of one network; its fields are the loss's parameters."""

    @abc.abstractmethod
    def loss(
        self, net: FeatureNet, batch: Batch, progress: TrainingProgress, shared: SharedLoss
    ) -> Mapping[str, Tensor]:
        """Return named scalars of a batch.

        Parameters
        ----------
        net
            The segmenter: from images to logits, shape [B, K, H, W].
        batch
            Images, visible labels and pseudo-labels (:func:`bench.training.batch.targets`).
        progress
            Position in the schedule, for weights that change over a training.
        shared
            The loss over voxels of known target that all methods of a comparison share: a function
            of logits, target and ambiguity weight.

        Returns
        -------
        Mapping
            The one called ``loss`` is differentiated, all are logged.
        """

    @override
    def build(self, setting: Setting) -> Objective:
        return _OneNetwork(self, setting)


class _OneNetwork(Objective):
    """The segmenter, and one update of it per step."""

    def __init__(self, loss: Loss, setting: Setting) -> None:
        self._loss = loss
        self._lr = setting.lr
        self._shared = setting.shared_loss
        self._segmenter = setting.network("segmenter")

    @property
    @override
    def modules(self) -> Mapping[str, nn.Module]:
        return {"segmenter": self._segmenter}

    @property
    @override
    def phases(self) -> Sequence[Phase]:
        loss = partial(self._loss.loss, self._segmenter, shared=self._shared)
        return [Phase("segment", list(self._segmenter.parameters()), loss, self._lr)]
