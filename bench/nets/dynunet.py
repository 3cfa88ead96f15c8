"""MONAI's DynUNet as nnU-Net configures it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from typing_extensions import override

from bench.nets.network import Network

if TYPE_CHECKING:
    from bench.nets.protocol import Dims, FeatureNet

_WIDEST = 320
"""nnU-Net's limit on the channels of a 3D network."""


class DynUNet(Network):
    """MONAI's DynUNet as nnU-Net configures it: five levels, instance norm, leaky ReLU."""

    dims: ClassVar[Dims] = 3
    divisor: ClassVar[int] = 16

    width: int = Field(default=32, ge=1, le=1024)
    """Channels of the first level; they double at every level, up to 320."""

    @override
    def make(self, in_channels: int, n_organs: int) -> FeatureNet:
        from monai.networks.nets.dynunet import DynUNet

        from bench.nets.protocol import CutNet

        strides = [1, 2, 2, 2, 2]
        net = DynUNet(
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=n_organs,
            kernel_size=[3] * len(strides),
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=[min(self.width * 2**level, _WIDEST) for level in range(len(strides))],
        )
        # Its forward pass reads the blocks from a second registration: keep it, unregistered.
        vars(net)["skip_layers"] = net._modules.pop("skip_layers")
        return CutNet(net, last="output_block", bottleneck="bottleneck")
