"""What the suite asks of a segmentation network."""

from __future__ import annotations

from torch import Tensor, nn


class FeatureNet(nn.Module):
    """A segmentation network that exposes the features before its last 1x1 convolution.

    ``forward`` is ``classify(features(x))``; the confidence head of SPEC section 4 reads the
    features.
    """

    feature_channels: int
    """Channels of :meth:`features`."""
    divisor: int
    """Height and width of the input must be multiples of it."""

    def features(self, image_B1HW: Tensor) -> Tensor:
        """Return the penultimate features, shape [B, feature_channels, H', W']."""
        raise NotImplementedError

    def classify(self, features_BCHW: Tensor) -> Tensor:
        """Return logits from features, shape [B, K, H, W]."""
        raise NotImplementedError

    @property
    def output_bias(self) -> nn.Parameter:
        """The bias of the last convolution, shape [K]; the recipe initialises it (SPEC 0.0 (6))."""
        raise NotImplementedError

    @property
    def dropout_sites(self) -> tuple[nn.Module, ...]:
        """The bottleneck and the penultimate features: where UA-MT drops channels (SPEC 6.3)."""
        raise NotImplementedError

    def forward(self, image_B1HW: Tensor) -> Tensor:
        """Return logits, shape [B, K, H, W]."""
        return self.classify(self.features(image_B1HW))
