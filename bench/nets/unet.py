"""The layers of the U-Net of INERRANT, Table 11 of Petit et al. 2021, in 2D and 3D."""

from __future__ import annotations

from torch import Tensor, cat, nn
from torch.nn import functional

from bench.nets.protocol import Dims

CONV: dict[Dims, type[nn.Conv2d | nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_BATCH_NORM: dict[Dims, type[nn.BatchNorm2d | nn.BatchNorm3d]] = {
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}
_MAX_POOL = {2: functional.max_pool2d, 3: functional.max_pool3d}

BN_EPS = 1e-3
BN_MOMENTUM = 0.01
"""The Keras constants (momentum 0.99 there): the paper's code was TensorFlow and states none."""


class UNet(nn.Module):
    """U-Net with batch normalisation after the second convolution of a block only.

    Parameters
    ----------
    in_channels
        Channels of the image.
    n_organs
        Output channels K.
    width
        Channels of the first block. 64 is Table 11, with 31,038,663 parameters at K=7; another
        value scales every width.
    dims
        2 for slices, 3 for volumes: the same design with 3D operations.
    features
        Channels of the two convolutions before the last one; 0 for ``width``, as in Table 11.
    """

    def __init__(
        self,
        in_channels: int,
        n_organs: int,
        width: int = 64,
        dims: Dims = 2,
        features: int = 0,
    ) -> None:
        super().__init__()
        features = features or width
        self._pool = _MAX_POOL[dims]
        c1, c2, c3, c4, c5 = (width * 2**level for level in range(5))
        self.encoder_block_1 = conv_block(in_channels, c1, dims)
        self.encoder_block_2 = conv_block(c1, c2, dims)
        self.encoder_block_3 = conv_block(c2, c3, dims)
        self.encoder_block_4 = conv_block(c3, c4, dims)
        self.decoder_block_4 = DecoderBlock(c4, c5, dims)
        self.decoder_block_3 = DecoderBlock(c5, c4, dims)
        self.decoder_block_2 = DecoderBlock(c4, c3, dims)
        self.decoder_block_1 = DecoderBlock(c3, c2, dims)
        self.final_prediction = nn.Sequential(
            CONV[dims](c2, features, 3, padding=1),
            nn.ReLU(inplace=True),
            CONV[dims](features, features, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.output = CONV[dims](features, n_organs, 1)
        self.apply(init_glorot)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return logits, shape [B, K, H, W]."""
        res_1 = self.encoder_block_1(image_BCHW)
        res_2 = self.encoder_block_2(self._pool(res_1, 2))
        res_3 = self.encoder_block_3(self._pool(res_2, 2))
        res_4 = self.encoder_block_4(self._pool(res_3, 2))
        x = self.decoder_block_4(self._pool(res_4, 2), res_4)
        x = self.decoder_block_3(x, res_3)
        x = self.decoder_block_2(x, res_2)
        x = self.decoder_block_1(x, res_1)
        logits: Tensor = self.output(self.final_prediction(x))
        return logits


class DecoderBlock(nn.Module):
    """Two convolutions, upsampling by two, a convolution of size 2 to half the width, a skip."""

    def __init__(self, in_channels: int, channels: int, dims: Dims) -> None:
        super().__init__()
        half = channels // 2
        self.convs = conv_block(in_channels, channels, dims)
        self.up = CONV[dims](channels, half, 2)
        self.up_norm = _BATCH_NORM[dims](half, eps=BN_EPS, momentum=BN_MOMENTUM)

    def forward(self, x_BCHW: Tensor, skip_BCHW: Tensor) -> Tensor:
        """Return the upsampled block followed by the skip connection, twice the size of ``x``."""
        x = functional.interpolate(self.convs(x_BCHW), scale_factor=2.0, mode="nearest")
        # TensorFlow's "same" padding of an even kernel is one more row and column at the end.
        x = self.up(functional.pad(x, (0, 1) * (x.ndim - 2)))
        return cat([functional.relu(self.up_norm(x), inplace=True), skip_BCHW], dim=1)


def conv_block(in_channels: int, channels: int, dims: Dims) -> nn.Sequential:
    """Return conv3x3, ReLU, conv3x3, batch normalisation, ReLU."""
    return nn.Sequential(
        CONV[dims](in_channels, channels, 3, padding=1),
        nn.ReLU(inplace=True),
        CONV[dims](channels, channels, 3, padding=1),
        _BATCH_NORM[dims](channels, eps=BN_EPS, momentum=BN_MOMENTUM),
        nn.ReLU(inplace=True),
    )


def init_glorot(module: nn.Module) -> None:
    """Set the Keras defaults of a convolution: Glorot-uniform weights, zero bias."""
    if isinstance(module, (nn.Conv2d, nn.Conv3d)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
