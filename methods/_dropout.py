"""Add dropout to a network that has none, for Monte Carlo passes."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from bench.api import FeatureNet


def add_dropout(net: FeatureNet, p: float) -> RemovableHandle:
    """Drop whole channels at the network's bottleneck while it is in training mode.

    Published networks also drop some before the last convolution. There the networks here are
    narrow (8 to 32 channels), and organs, rare in a cross-entropy, are never found.
    The weights and their names stay those of the plain network, so that it loads them.

    Parameters
    ----------
    net
        Changed in place.
    p
        Probability that a channel is dropped.

    Returns
    -------
    torch.utils.hooks.RemovableHandle
        Its ``remove`` takes the dropout away again.
    """

    def drop(module: nn.Module, _inputs: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return drop_channels(output, p, training=module.training)
        *shallow, deepest = output  # the feature maps of an encoder
        return [*shallow, drop_channels(deepest, p, training=module.training)]

    drop_channels = functional.dropout3d if net.dims == 3 else functional.dropout2d
    return net.bottleneck.register_forward_hook(drop)
