"""MONAI's SegResNet, after Myronenko, BrainLes 2018."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from typing_extensions import override

from bench.nets.network import Network

if TYPE_CHECKING:
    from bench.nets.protocol import Dims, FeatureNet


class SegResNet(Network):
    """MONAI's SegResNet: residual blocks, group norm."""

    dims: ClassVar[Dims] = 3
    divisor: ClassVar[int] = 16

    width: int = Field(default=16, ge=1, le=1024, multiple_of=8)
    """Channels of the first level, a multiple of its 8 groups; they double at every level."""

    @override
    def make(self, in_channels: int, n_organs: int) -> FeatureNet:
        from monai.networks.nets.segresnet import SegResNet

        from bench.nets.protocol import CutNet

        net = SegResNet(
            spatial_dims=3,
            init_filters=self.width,
            in_channels=in_channels,
            out_channels=n_organs,
            blocks_down=(1, 2, 2, 4),
            blocks_up=(1, 1, 1),
        )
        return CutNet(net, last="conv_final.2", bottleneck="down_layers.3")
