"""Networks of segmentation_models_pytorch: any of its architectures with any of its encoders."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from bench.errors import BenchError, unknown_name
from bench.nets.network import Network

if TYPE_CHECKING:
    from bench.nets.protocol import FeatureNet


class SmpNetwork(Network):
    """One architecture and encoder of segmentation_models_pytorch, in 2D.

    The features are the decoder's output, which many architectures keep at a quarter of the image's
    resolution; the library's own segmentation head classifies and upsamples. Encoders whose names
    start with ``tu-`` come from timm.
    """

    weights: str = "none"
    """Pretrained encoder weights, such as ``imagenet``, which are downloaded; none by default."""

    @property
    def divisor(self) -> int:  # type: ignore[override]
        """Encoders halve the sides five times (32); ``pan`` seven times (128)."""
        return 128 if self._architecture == "pan" else 32

    @override
    def check(self) -> None:
        import torch
        from segmentation_models_pytorch.encoders import encoders

        if self._encoder.startswith("tu-"):
            import timm

            known = timm.list_models()
            if not timm.is_model(self._encoder.removeprefix("tu-")):
                raise unknown_name("encoder", self._encoder, (f"tu-{name}" for name in known))
            weights = ("imagenet",)  # those that timm has of it
        elif self._encoder not in encoders:
            raise unknown_name("encoder", self._encoder, encoders)
        else:
            weights = tuple(encoders[self._encoder]["pretrained_settings"])
        if self.weights not in ("none", *weights):
            raise unknown_name(f"weights of encoder {self._encoder}", self.weights, weights)
        side = 2 * self.divisor
        try:
            with torch.no_grad():
                self._create(1, 1, None).eval()(torch.zeros(1, 1, side, side))
        except Exception as error:  # libraries raise anything
            reason = re.sub(r"\s+", " ", str(error)) or type(error).__name__
            raise BenchError(
                f"network {self.name}: the architecture cannot use this encoder on slices of any "
                f"multiple of {self.divisor} ({reason}); choose another encoder"
            ) from error

    @override
    def make(self, in_channels: int, n_organs: int) -> FeatureNet:
        from bench.nets.protocol import CutNet

        weights = None if self.weights == "none" else self.weights
        net = self._create(in_channels, n_organs, weights)
        return CutNet(net, last="segmentation_head", bottleneck="encoder")

    def _create(self, in_channels: int, n_organs: int, weights: str | None) -> Any:
        import segmentation_models_pytorch as smp

        return smp.create_model(
            self._architecture,
            encoder_name=self._encoder,
            encoder_weights=weights,
            in_channels=in_channels,
            classes=n_organs,
        )

    @property
    def _architecture(self) -> str:
        return self.name.partition("/")[0]

    @property
    def _encoder(self) -> str:
        return self.name.partition("/")[2]
