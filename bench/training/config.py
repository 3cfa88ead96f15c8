"""The numbers of a training: those that all methods of a comparison share, and its steps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bench.nets.network import OUTPUT_BIAS
from bench.params import Params
from bench.training.augment import Augmentation
from bench.training.objective import TrainingProgress
from bench.training.shared_loss import SharedLoss


class TrainConfig(Params):
    """Sampling, augmentation, learning rate and precision, the same for every method."""

    batch_size: int = Field(ge=2, le=4096)
    """Slices in a batch of a 2D network."""
    patch_batch_size: int = Field(default=2, ge=2, le=1024)
    """Patches in a batch of a 3D network."""
    lr: float = Field(gt=0, le=1e6)
    """Adam's initial rate; it falls exponentially to ``lr * lr_decay`` at the last step."""
    lr_decay: float = Field(default=0.1, gt=0, le=1)
    foreground_share: float = Field(default=0.5, ge=0, le=1)
    """Share of every batch sampled from slices that show a visible label."""
    output_bias: float = OUTPUT_BIAS
    """Initial bias of the output layer: about the log-odds of a positive voxel of a small organ.
    From a higher one the first steps push the output weights of rare organs below 0, where some
    stay for the whole of a short training."""
    augmentation: Augmentation = Augmentation()
    supervised: SharedLoss = SharedLoss()
    precision: Literal["bf16", "fp32"] = "bf16"
    """What networks compute in. bf16 is fp32 on a processor that lacks it."""


class Steps(Params):
    """The steps of a training, and their position in a learning-rate schedule."""

    steps: int = Field(ge=1)
    before: int = Field(default=0, ge=0)
    """Steps of the schedule that an earlier training has taken."""
    after: int = Field(default=0, ge=0)
    """Steps of the schedule that a later training will take."""

    def progress(self, step: int) -> TrainingProgress:
        """Return the position of a step of this training in the schedule."""
        return TrainingProgress(self.before + step, self.before + self.steps + self.after)
