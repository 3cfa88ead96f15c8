"""The confidence network: it estimates the true-class probability of each prediction."""

from __future__ import annotations

import copy
from typing import Literal, Self

import torch
from torch import Tensor, nn

from bench.nets.protocol import Dims, FeatureNet, resize
from bench.nets.unet import CONV, init_glorot

PAPER_WIDTHS = (400, 120, 64, 64)

ConfidenceMode = Literal["freeze", "finetune"]
ConfidenceStart = Literal["constant", "certainty"]


class ConfidenceHead(nn.Module):
    """Table 11's ``confidence_network``: four 3x3 convolutions and a 1x1 one, to logits.

    The sigmoid is left to the caller, who applies it in float32 outside autocast.

    Parameters
    ----------
    in_channels
        Channels of the features it reads.
    n_organs
        Output channels K.
    width
        64 is Table 11 (769,487 parameters for 64 features and K=7); the widths scale with it.
    dims
        2 for slices, 3 for volumes.
    """

    def __init__(self, in_channels: int, n_organs: int, width: int = 64, dims: Dims = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for paper_width in PAPER_WIDTHS:
            out = max(1, round(paper_width * width / 64))
            layers += [CONV[dims](channels, out, 3, padding=1), nn.ReLU(inplace=True)]
            channels = out
        self.hidden = nn.Sequential(*layers)
        self.output = CONV[dims](channels, n_organs, 1)
        self.apply(init_glorot)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return confidence logits at the resolution of the features."""
        logits_BKHW: Tensor = self.output(self.hidden(features_BCHW))
        return logits_BKHW


class ConfidenceNet(nn.Module):
    """A trunk and a confidence head: image to confidence logits at the size of the image.

    The trunk stays in evaluation mode even after :meth:`train`: batch-normalisation statistics
    are fixed and dropout is off while the confidence is learned (specification: Confidence).

    Parameters
    ----------
    segmenter
        The network whose confidence is estimated. It is never changed.
    head
        Reads ``segmenter.features``.
    mode
        ``finetune`` trains a copy of the segmenter along with the head; ``freeze`` trains the head
        alone, on the features of the segmenter itself.
    start
        ``constant``: the head's output is the logit of the confidence, as published.
        ``certainty``: it is what the absolute logit of the segmenter lacks, 0 before training.
    """

    def __init__(
        self,
        segmenter: FeatureNet,
        head: ConfidenceHead,
        mode: ConfidenceMode = "finetune",
        start: ConfidenceStart = "constant",
    ) -> None:
        super().__init__()
        # A copy in both modes: freezing must not reach the segmenter. Its last layer is not used.
        self.trunk = copy.deepcopy(segmenter).requires_grad_(mode == "finetune")
        self.head = head
        self.mode = mode
        self.start = start
        if start == "certainty":
            nn.init.zeros_(head.output.weight)
        self.train(self.training)

    @classmethod
    def of(
        cls,
        segmenter: FeatureNet,
        n_organs: int,
        mode: ConfidenceMode = "finetune",
        start: ConfidenceStart = "constant",
    ) -> Self:
        """Return a network with a new head for ``segmenter``; the caller seeds torch before.

        The head is as wide as the network, or its features, 64 at most: Table 11 where they are 64.
        In 3D it is twice as wide, so that Table 11 goes with features of width 32.
        """
        channels = segmenter.feature_channels
        width = min((segmenter.width or channels) * (segmenter.dims - 1), 64)
        head = ConfidenceHead(channels, n_organs, width, segmenter.dims)
        return cls(segmenter, head, mode, start)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the head; the trunk stays in evaluation mode."""
        super().train(mode)
        self.trunk.eval()
        return self

    def hidden(self, image_BCHW: Tensor) -> Tensor:
        """Return the features before the last 1x1 convolution, shape [B, C, H', W']."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.mode == "finetune"):
            features_BCHW = self.trunk.features(image_BCHW)
        hidden_BCHW: Tensor = self.head.hidden(features_BCHW)
        return hidden_BCHW

    def classify(self, hidden_BCHW: Tensor, size: tuple[int, ...]) -> Tensor:
        """Return the head's output at ``size``, linearly interpolated, shape [B, K, *size]."""
        return resize(self.head.output(hidden_BCHW), size)

    def combine(self, output_BKHW: Tensor, logits_BKHW: Tensor) -> Tensor:
        """Return confidence logits, given the head's output and the segmenter's logits."""
        if self.start == "certainty":
            return output_BKHW.float() + logits_BKHW.float().abs()
        return output_BKHW

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return the head's output, shape [B, K, H, W]."""
        return self.classify(self.hidden(image_BCHW), image_BCHW.shape[2:])
