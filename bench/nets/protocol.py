"""The interface of a segmentation network: features, logits, output bias.

In array names HW are the axes of an image: rows and columns of an axial slice, or with a 3D network
depth, rows and columns of a patch.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from bench.errors import BenchError

Dims = Literal[2, 3]
"""2 for a network of slices, 3 for one of patches of volumes."""


class FeatureNet(nn.Module):
    """A segmentation network that exposes the features before its last 1x1 convolution.

    ``forward`` is ``classify(features(x))``; the confidence head reads the features.
    """

    feature_channels: int
    """Channels of :meth:`features`."""
    width: int | None = None
    """Channels that a confidence head scales with; None: those of its features."""
    divisor: int
    """The sides of the input must be multiples of it."""
    dims: Dims
    """Whether it sees slices or patches of volumes."""

    def features(self, image_BCHW: Tensor) -> Tensor:
        """Return the penultimate features, shape [B, feature_channels, H', W']."""
        raise NotImplementedError

    def classify(self, features_BCHW: Tensor) -> Tensor:
        """Return logits from features, shape [B, K, H, W]."""
        raise NotImplementedError

    @property
    def output_bias(self) -> nn.Parameter:
        """The bias of the last convolution, shape [K]; the recipe initialises it."""
        raise NotImplementedError

    @property
    def bottleneck(self) -> nn.Module:
        """The module that returns the deepest features, alone or as the last of several maps."""
        raise NotImplementedError

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return logits, shape [B, K, H, W]."""
        return self.classify(self.features(image_BCHW))


class CutNet(FeatureNet):
    """Any network that ends in a convolution, split before its last layer.

    Parameters
    ----------
    net
        From image to logits; changed in place.
    last
        Dotted name of the layer, or short sequence, that turns features into logits. It holds one
        convolution, with a bias.
    bottleneck
        Dotted name of the layer that returns the deepest features.

    Raises
    ------
    BenchError
        The network has no such layers.
    """

    def __init__(self, net: nn.Module, last: str, bottleneck: str) -> None:
        super().__init__()
        parent, _, name = last.rpartition(".")
        try:
            layer = net.get_submodule(last)
            net.get_submodule(bottleneck)
        except AttributeError as error:
            raise BenchError(f"network {type(net).__name__}: {error}") from None
        setattr(net.get_submodule(parent), name, nn.Identity())
        self.body = net
        self._bottleneck = bottleneck
        self._last = last.replace(".", "_")  # in lists of layers it keeps its name
        self.add_module(self._last, layer)
        self.feature_channels = self._last_conv.in_channels

    @override
    def features(self, image_BCHW: Tensor) -> Tensor:
        features_BCHW: Tensor = self.body(image_BCHW)
        return features_BCHW

    @override
    def classify(self, features_BCHW: Tensor) -> Tensor:
        logits_BKHW: Tensor = self.get_submodule(self._last)(features_BCHW)
        return logits_BKHW

    @property
    @override
    def output_bias(self) -> nn.Parameter:
        assert isinstance(self._last_conv.bias, nn.Parameter)
        return self._last_conv.bias

    @property
    @override
    def bottleneck(self) -> nn.Module:
        return self.body.get_submodule(self._bottleneck)

    @property
    def _last_conv(self) -> nn.Conv2d | nn.Conv3d:
        layers = self.get_submodule(self._last).modules()
        convs = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Conv3d)]
        if len(convs) != 1 or convs[0].bias is None:
            raise BenchError(
                f"network {type(self.body).__name__}: its last layer must hold one convolution, "
                f"with a bias, and {self._last} holds {len(convs)}"
            )
        return convs[0]


def channels_last(module: nn.Module) -> nn.Module:
    """Convert the weights of a 2D or 3D network to channels-last layout, in place, and return it.

    With bf16 that is two to four times faster on a CPU and faster on tensor cores.
    """
    is_3d = any(parameter.ndim == 5 for parameter in module.parameters())
    layout = torch.channels_last_3d if is_3d else torch.channels_last
    return module.to(memory_format=layout)


def image_channels_last(image_BCHW: Tensor) -> Tensor:
    """Return a batch of images in the memory layout of :func:`channels_last`."""
    layout = torch.channels_last_3d if image_BCHW.ndim == 5 else torch.channels_last
    return image_BCHW.contiguous(memory_format=layout)


def resize(maps_BKHW: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return maps brought to ``size`` by linear interpolation along every axis."""
    if maps_BKHW.shape[2:] == size:
        return maps_BKHW
    mode = "trilinear" if maps_BKHW.ndim == 5 else "bilinear"
    return functional.interpolate(maps_BKHW, size=size, mode=mode, align_corners=False)
