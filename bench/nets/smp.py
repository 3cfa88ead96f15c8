"""Networks of segmentation_models_pytorch behind the suite's network protocol."""

from __future__ import annotations

from torch import Tensor, nn

from bench.errors import BenchError, unknown_name
from bench.nets.protocol import FeatureNet


class SmpNet(FeatureNet):
    """One architecture and encoder of segmentation_models_pytorch.

    The features are the decoder's output, which many architectures keep at a quarter of the image's
    resolution; the library's own segmentation head classifies and upsamples.

    Parameters
    ----------
    architecture, encoder
        The library's names, such as ``unet`` and ``resnet34``; ``tu-`` leads to timm's encoders.
    n_organs
        Output channels K.
    weights
        Name of pretrained encoder weights, ``None`` for random ones. Weights are downloaded.

    Raises
    ------
    BenchError
        An encoder or weights that the library does not know, or that do not go together.
    """

    def __init__(
        self, architecture: str, encoder: str, n_organs: int, weights: str | None = None
    ) -> None:
        import segmentation_models_pytorch as smp

        super().__init__()
        check_encoder(encoder, weights)
        try:
            self.body = smp.create_model(
                architecture,
                encoder_name=encoder,
                encoder_weights=weights,
                in_channels=1,
                classes=n_organs,
            )
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BenchError(
                f"backbone {architecture}/{encoder}: the architecture cannot use this encoder "
                f"({reason}); choose another encoder"
            ) from error
        self.head: nn.Module = self.body.segmentation_head
        self.body.segmentation_head = nn.Identity()
        self.feature_channels = self._last_conv.in_channels
        self.divisor = int(self.body.encoder.output_stride)
        if architecture == "pan":  # halves the encoder's last map three times more
            self.divisor *= 8

    def features(self, image_BCHW: Tensor) -> Tensor:
        """Return the decoder's output, shape [B, feature_channels, H', W']."""
        features: Tensor = self.body(image_BCHW)
        return features

    def classify(self, features_BCHW: Tensor) -> Tensor:
        """Return logits at the image's resolution, shape [B, K, H, W]."""
        logits: Tensor = self.head(features_BCHW)
        return logits

    @property
    def output_bias(self) -> nn.Parameter:
        """The bias of the head's convolution, shape [K]."""
        assert isinstance(self._last_conv.bias, nn.Parameter)
        return self._last_conv.bias

    @property
    def bottleneck(self) -> nn.Module:
        """The encoder, whose last map is the deepest."""
        encoder: nn.Module = self.body.encoder
        return encoder

    @property
    def _last_conv(self) -> nn.Conv2d:
        (conv,) = (module for module in self.head.modules() if isinstance(module, nn.Conv2d))
        return conv


def check_encoder(encoder: str, weights: str | None) -> None:
    """Raise BenchError, with a suggestion, unless the library knows the encoder and its weights."""
    from segmentation_models_pytorch.encoders import encoders

    if encoder.startswith("tu-"):
        import timm

        if not timm.is_model(encoder.removeprefix("tu-")):
            raise unknown_name("encoder", encoder, (f"tu-{name}" for name in timm.list_models()))
    elif encoder not in encoders:
        raise unknown_name("encoder", encoder, encoders)
    elif weights is not None and weights not in encoders[encoder]["pretrained_settings"]:
        raise unknown_name(
            f"weights of encoder {encoder}", weights, encoders[encoder]["pretrained_settings"]
        )
