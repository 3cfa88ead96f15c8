"""MONAI's MedNeXt, after Roy et al., MICCAI 2023."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field
from typing_extensions import override

from bench.nets.network import Network
from bench.params import whole

if TYPE_CHECKING:
    from bench.nets.protocol import Dims, FeatureNet


class MedNeXt(Network):
    """MONAI's MedNeXt-S: ConvNeXt blocks, depthwise convolutions, residual up- and downsampling."""

    dims: ClassVar[Dims] = 3
    divisor: ClassVar[int] = 16

    width: int = Field(default=32, ge=1, le=1024)
    """Channels of the first level; they double at every level."""
    kernel: Annotated[Literal[3, 5], BeforeValidator(whole)] = 3
    """Side of the depthwise convolutions, in voxels."""

    @override
    def make(self, in_channels: int, n_organs: int) -> FeatureNet:
        from monai.networks.nets.mednext import MedNeXt
        from torch import nn

        from bench.nets.protocol import CutNet

        net = MedNeXt(
            spatial_dims=3,
            init_filters=self.width,
            in_channels=in_channels,
            out_channels=n_organs,
            kernel_size=self.kernel,
            use_residual_connection=True,
        )
        # Over one voxel a transposed convolution, as MONAI has it, is a convolution.
        net.out_0.conv_out = nn.Conv3d(self.width, n_organs, 1)
        return CutNet(net, last="out_0.conv_out", bottleneck="bottleneck")
