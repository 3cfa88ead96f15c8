"""A fully convolutional discriminator between annotations and predictions."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from bench.api import Dims, resize

PAPER_WIDTH = 64


class Discriminator(nn.Module):
    """Hung et al., BMVC 2018: five convolutions of size 4, stride 2, leaky ReLU, no norm.

    K maps in and K confidence maps out, so that it can learn from volumes with any annotated organs
    (specification: Adversarial learning).

    Parameters
    ----------
    n_organs
        Channels in and out, K.
    width
        Channels of the first convolution; 64 is the publication's (64, 128, 256, 512, K).
    dims
        2 for slices, 3 for volumes.
    """

    def __init__(self, n_organs: int, width: int = PAPER_WIDTH, dims: Dims = 2) -> None:
        super().__init__()
        widths = [n_organs, width, 2 * width, 4 * width, 8 * width, n_organs]
        conv = nn.Conv3d if dims == 3 else nn.Conv2d
        self.convs = nn.ModuleList(
            conv(before, after, 4, stride=2, padding=1) for before, after in pairwise(widths)
        )

    def forward(self, maps_BKHW: Tensor) -> Tensor:
        """Return logits of "is an annotation" at the size of the maps, shape [B, K, H, W]."""
        x: Tensor = maps_BKHW
        *hidden, last = self.convs
        for conv in hidden:
            x = functional.leaky_relu(conv(x), 0.2, inplace=True)
        return resize(last(x), maps_BKHW.shape[2:])
