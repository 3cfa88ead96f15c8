"""3D networks of MONAI behind the suite's network protocol."""

from __future__ import annotations

from torch import Tensor, nn

from bench.nets.protocol import FeatureNet

_WIDEST = 320
"""nnU-Net's limit on the channels of a 3D network."""


class DynUNet3d(FeatureNet):
    """MONAI's DynUNet as nnU-Net configures it: five levels, instance normalisation, leaky ReLU.

    Parameters
    ----------
    n_organs
        Output channels K.
    width
        Channels of the first level; they double at every level, up to 320.
    """

    dims = 3
    divisor = 16

    def __init__(self, n_organs: int, width: int = 32) -> None:
        from monai.networks.nets.dynunet import DynUNet

        super().__init__()
        strides = [1, 2, 2, 2, 2]
        self.body = DynUNet(
            spatial_dims=3,
            in_channels=1,
            out_channels=n_organs,
            kernel_size=[3] * len(strides),
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=[min(width * 2**level, _WIDEST) for level in range(len(strides))],
        )
        del self.body.skip_layers  # a second registration of every block
        self.feature_channels = width

    def features(self, image_BCHW: Tensor) -> Tensor:
        """Return the output of the last decoder level, shape [B, width, D, H, W]."""
        x: Tensor = self.body.input_block(image_BCHW)
        skips = [x]
        for down in self.body.downsamples:
            x = down(x)
            skips.append(x)
        x = self.body.bottleneck(x)
        for up in self.body.upsamples:
            x = up(x, skips.pop())
        return x

    def classify(self, features_BCHW: Tensor) -> Tensor:
        """Return logits from features, shape [B, K, D, H, W]."""
        logits: Tensor = self.body.output_block(features_BCHW)
        return logits

    @property
    def output_bias(self) -> nn.Parameter:
        """The bias of the 1x1x1 convolution, shape [K]."""
        return _output_bias(self.body.output_block)

    @property
    def bottleneck(self) -> nn.Module:
        """The network's bottleneck block."""
        block: nn.Module = self.body.bottleneck
        return block


class SegResNet3d(FeatureNet):
    """MONAI's SegResNet: residual blocks with group normalisation, after Myronenko 2018.

    Parameters
    ----------
    n_organs
        Output channels K.
    width
        Channels of the first level, a multiple of the 8 groups; they double at every level.
    """

    dims = 3
    divisor = 8

    def __init__(self, n_organs: int, width: int = 16) -> None:
        from monai.networks.nets.segresnet import SegResNet

        super().__init__()
        self.body = SegResNet(
            spatial_dims=3,
            init_filters=width,
            in_channels=1,
            out_channels=n_organs,
            blocks_down=(1, 2, 2, 4),
            blocks_up=(1, 1, 1),
        )
        *final, self.output = self.body.conv_final
        self.body.conv_final = nn.Sequential(*final)
        self.feature_channels = width

    def features(self, image_BCHW: Tensor) -> Tensor:
        """Return the normalised output of the decoder, shape [B, width, D, H, W]."""
        features: Tensor = self.body(image_BCHW)
        return features

    def classify(self, features_BCHW: Tensor) -> Tensor:
        """Return logits from features, shape [B, K, D, H, W]."""
        logits: Tensor = self.output(features_BCHW)
        return logits

    @property
    def output_bias(self) -> nn.Parameter:
        """The bias of the 1x1x1 convolution, shape [K]."""
        return _output_bias(self.output)

    @property
    def bottleneck(self) -> nn.Module:
        """The deepest level."""
        level: nn.Module = self.body.down_layers[-1]
        return level


def _output_bias(block: nn.Module) -> nn.Parameter:
    (conv,) = (module for module in block.modules() if isinstance(module, nn.Conv3d))
    assert isinstance(conv.bias, nn.Parameter)
    return conv.bias
