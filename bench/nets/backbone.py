"""The choice of a segmentation network as data: ``unet_t11[width=16]``, ``unet/resnet34``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from bench.errors import BenchError, unknown_name
from bench.params import format_brackets, parse_brackets
from bench.stage import Part

if TYPE_CHECKING:
    from bench.nets.confidence import ConfidenceMode, ConfidenceNet
    from bench.nets.protocol import FeatureNet

OWN = "unet_t11"

SMP_ARCHITECTURES = (
    "deeplabv3",
    "deeplabv3plus",
    "fpn",
    "linknet",
    "manet",
    "pan",
    "pspnet",
    "segformer",
    "unet",
    "unetplusplus",
    "upernet",
)
"""The architectures of segmentation_models_pytorch; DPT is left out, its input size is fixed."""


class Backbone(Part):
    """A segmentation network and its confidence head, described without importing torch."""

    name: str = OWN
    """``unet_t11`` or ``architecture/encoder`` of segmentation_models_pytorch."""
    width: int = Field(default=64, ge=1)
    """Channels of the first block, of ``unet_t11`` only."""
    bn_momentum: float = Field(default=0.01, gt=0, le=1)
    """Share of a batch in the running statistics, of ``unet_t11`` only. The default is Keras' 0.99;
    a few hundred steps need more, or the statistics still hold their initial values at the end."""
    weights: str = "none"
    """Pretrained encoder weights, such as ``imagenet``; of an smp network only."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.name == OWN:
            if self.weights != "none":
                raise BenchError(f"backbone {OWN} has no pretrained weights: leave out weights=")
            return self
        architecture, slash, encoder = self.name.partition("/")
        if not slash:
            known = [OWN, *(f"{known}/resnet34" for known in SMP_ARCHITECTURES)]
            if architecture in SMP_ARCHITECTURES:
                raise BenchError(
                    f"backbone {self.name!r} lacks an encoder: write {architecture}/resnet34"
                )
            raise unknown_name("backbone", self.name, known)
        if architecture not in SMP_ARCHITECTURES:
            raise unknown_name("architecture", architecture, SMP_ARCHITECTURES)
        if not encoder:
            raise BenchError(
                f"backbone {self.name!r} lacks an encoder: write {architecture}/resnet34"
            )
        for field in ("width", "bn_momentum"):
            if getattr(self, field) != type(self).model_fields[field].default:
                raise BenchError(
                    f"backbone {self.name}: {field}= belongs to {OWN} only, leave it out"
                )
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the backbone of a notation such as ``deeplabv3plus/resnet18[weights=imagenet]``.

        An encoder is looked up in segmentation_models_pytorch, which takes seconds to import:
        a mistyped name fails here, not in a job.

        Raises
        ------
        BenchError
            An unknown name (with a suggestion), or parameters that do not belong to the backbone.
        """
        name, overrides = parse_brackets(text)
        if "name" in overrides:
            raise BenchError(f"cannot read {text!r}: name is no parameter of a backbone")
        backbone = cls.from_overrides("backbone", name, {"name": name} | overrides)
        if backbone.name != OWN:
            from bench.nets.smp import check_encoder

            check_encoder(backbone.name.partition("/")[2], backbone._weights)
        return backbone

    @staticmethod
    def names() -> list[str]:
        """Return what there is to choose from; ENCODER stands for any encoder of the library."""
        return [OWN, *(f"{architecture}/ENCODER" for architecture in SMP_ARCHITECTURES)]

    def __str__(self) -> str:
        overrides = {key: value for key, value in self.overrides().items() if key != "name"}
        return format_brackets(self.name, overrides)

    @property
    def divisor(self) -> int:
        """Height and width of slices must be multiples of it; a network may ask for less."""
        return 16 if self.name == OWN else 32

    def build(self, n_organs: int, output_bias: float = -6.5) -> FeatureNet:
        """Return a new network; the caller seeds torch before.

        Parameters
        ----------
        n_organs
            Output channels K.
        output_bias
            Initial bias of the last convolution: the log-odds of a positive (SPEC 0.0, decision 6).
        """
        from torch import nn

        from bench.nets.smp import SmpNet
        from bench.nets.unet_t11 import UNetT11

        net: FeatureNet
        if self.name == OWN:
            net = UNetT11(n_organs, self.width)
            for module in net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.momentum = self.bn_momentum
        else:
            architecture, _, encoder = self.name.partition("/")
            net = SmpNet(architecture, encoder, n_organs, self._weights)
        if self.divisor % net.divisor:
            raise BenchError(
                f"backbone {self.name}: slices would have to be multiples of {net.divisor}, "
                f"which is not supported; choose another encoder"
            )
        nn.init.constant_(net.output_bias, output_bias)
        return net

    def confidence_net(
        self, segmenter: FeatureNet, n_organs: int, mode: ConfidenceMode = "finetune"
    ) -> ConfidenceNet:
        """Return a confidence network for ``segmenter``; the caller seeds torch before.

        Its head is as wide as the features, 64 at most: Table 11 where ``width`` is 64.
        """
        from bench.nets.confidence import ConfidenceHead, ConfidenceNet

        channels = segmenter.feature_channels
        return ConfidenceNet(segmenter, ConfidenceHead(channels, n_organs, min(channels, 64)), mode)

    @property
    def _weights(self) -> str | None:
        return None if self.weights == "none" else self.weights
