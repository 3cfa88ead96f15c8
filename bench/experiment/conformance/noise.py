"""One step of a training on a batch of noise: what it learns, in a second and without data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from bench.nets.protocol import FeatureNet
    from bench.stages.train import Train
    from bench.training.batch import Batch
    from bench.training.objective import Objective

ROUNDING = 1e-8
"""A gradient below it is none. On the batch of noise, probabilities that add up to one only to
seven digits give 3e-9, the weakest true term (a discriminator that was never trained) 6e-8."""


def objective_on_noise(training: Train, *, known: bool) -> tuple[Objective, Batch]:
    """Return a training's objective on fresh networks, and a batch of noise."""
    import torch

    from bench.training.batch import Batch
    from bench.training.objective import Setting

    n_channels, n_organs = len(training.images.channels), len(training.images.organs)

    def network(purpose: str) -> FeatureNet:
        torch.manual_seed(0 if purpose == "segmenter" else 1)
        net = training.network.build(n_channels, n_organs, output_bias=0.0)
        # Some organs are predicted with confidence, for losses that trust nothing else.
        net.output_bias.data = torch.tensor([4.0, 0.0, -4.0]).repeat(n_organs)[:n_organs]
        return net

    torch.manual_seed(0)
    objective = training.objective.build(
        Setting(
            n_organs=n_organs,
            lr=1e-2,
            shared_loss=training.config.supervised,
            network=network,
            intensity_sd=lambda: (0.2,) * n_channels,
            seed=lambda _purpose: 2,
        )
    )
    shape = (4, *_smallest_image(training))
    labels = torch.randint(0, n_organs + 1, shape) if known else torch.zeros(shape).long()
    flags = torch.full((len(labels), n_organs), known)
    image_BCHW = torch.rand(len(labels), n_channels, *shape[1:])
    batch = Batch(image_BCHW, labels, torch.zeros_like(labels), flags)
    for module in objective.modules.values():
        module.train()
    return objective, batch


def _smallest_image(training: Train) -> tuple[int, ...]:
    """Return the sides of an image that the network can take."""
    if training.window is not None:
        return training.window.patch
    side = math.ceil(32 / training.network.divisor) * training.network.divisor
    return side, 2 * side


def take_last_step(training: Train, objective: Objective, batch: Batch) -> None:
    """Take the last step of a training, where every term has its full weight."""
    import torch

    from bench.training.objective import TrainingProgress
    from bench.training.trainer import Updater

    updater = Updater(objective, training.config.precision, torch.device("cpu"))
    updater.step(batch, TrainingProgress(step=9, total=10))


def gradients_of(objective: Objective, batch: Batch) -> list[list[torch.Tensor]]:
    """Return the gradients of every phase; the segmenter's is the first one."""
    import torch

    from bench.training.objective import TrainingProgress

    torch.manual_seed(0)
    gradients = []
    for phase in objective.phases:
        loss = phase.loss(batch, TrainingProgress(step=9, total=10))["loss"]
        gradients.append(
            [
                torch.zeros_like(parameter) if gradient is None else gradient
                for parameter, gradient in zip(
                    phase.parameters,
                    torch.autograd.grad(loss, phase.parameters, allow_unused=True),
                    strict=True,
                )
            ]
        )
    return gradients


def move_segmenter(gradients: list[list[torch.Tensor]]) -> bool:
    """Tell whether the segmenter learns by these gradients, which those of rounding do not."""
    return max(float(gradient.abs().max()) for gradient in gradients[0]) > ROUNDING


def are_equal(one: list[list[torch.Tensor]], other: list[list[torch.Tensor]]) -> bool:
    """Tell whether the gradients of all phases are the same, bit for bit."""
    pairs = zip(one, other, strict=True)
    return all(a.equal(b) for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True))
