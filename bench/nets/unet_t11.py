"""The U-Net of INERRANT, Table 11 of Petit et al. 2021, in 2D and 3D."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from typing_extensions import override

from bench.nets.network import Network

if TYPE_CHECKING:
    from bench.nets.protocol import Dims, FeatureNet


class UNetT11(Network):
    """The 2D U-Net of the INERRANT paper, Table 11."""

    divisor: ClassVar[int] = 16

    width: int = Field(default=64, ge=1, le=1024)
    """Channels of the first block, 64 in the paper; every width scales with it."""
    features: int = Field(default=0, ge=0, le=1024)
    """Channels before the output, which all organs share; 0: as many as in the first block."""
    bn_momentum: float = Field(default=0.01, gt=0, le=1)
    """Share of a batch in the running statistics. The default is Keras' 0.99; a few hundred steps
    need more, or the statistics still hold their initial values at the end."""

    @override
    def make(self, in_channels: int, n_organs: int) -> FeatureNet:
        from torch import nn

        from bench.nets.protocol import CutNet
        from bench.nets.unet import UNet

        net = UNet(in_channels, n_organs, self.width, self.dims, self.features)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                module.momentum = self.bn_momentum
        cut = CutNet(net, last="output", bottleneck="decoder_block_4.convs")
        cut.width = self.width
        return cut


class UNet3dT11(UNetT11):
    """The U-Net of the INERRANT paper with 3D operations."""

    dims: ClassVar[Dims] = 3

    width: int = Field(default=32, ge=1, le=1024)
    """Channels of the first block; every width scales with it."""
