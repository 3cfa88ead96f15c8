"""The choice of a segmentation network as data: ``unet_t11[width=16]``, ``unet/resnet34``, 3D ones.

A network of slices or of volumes: the backbone decides which, and with it how data are prepared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from bench.errors import BenchError, unknown_name
from bench.params import format_brackets, parse_brackets
from bench.stage import Part

if TYPE_CHECKING:
    from bench.nets.confidence import ConfidenceMode, ConfidenceNet
    from bench.nets.protocol import Dims, FeatureNet

OWN = {"unet_t11": 64, "unet3d_t11": 32, "dynunet": 32, "segresnet": 16}
"""Networks with a width, and its default: the paper's (2D and 3D), then MONAI's, which are 3D."""

OUTPUT_BIAS = -6.5
"""About the log-odds of a positive voxel of a small organ."""

_PAPER = ("unet_t11", "unet3d_t11")

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

    name: str = "unet_t11"
    """A key of :data:`OWN`, or ``architecture/encoder`` of segmentation_models_pytorch."""
    width: int = Field(default=64, ge=1)
    """Channels of the first block; the default is 64 in 2D, 32 in 3D, 16 of ``segresnet``."""
    bn_momentum: float = Field(default=0.01, gt=0, le=1)
    """Share of a batch in the running statistics, of the paper's networks only. The default is
    Keras' 0.99; a few hundred steps need more, or the statistics still hold their initial values
    at the end.
    """
    weights: str = "none"
    """Pretrained encoder weights, such as ``imagenet``; of an smp network only."""

    @model_validator(mode="before")
    @classmethod
    def _fill_width(cls, data: Any) -> Any:
        if isinstance(data, dict) and "width" not in data and data.get("name") in OWN:
            return data | {"width": OWN[data["name"]]}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.name in OWN:
            if self.weights != "none":
                raise BenchError(
                    f"backbone {self.name} has no pretrained weights: leave out weights="
                )
            if self.name not in _PAPER:
                self._refuse_changed("bn_momentum")
            if self.name == "segresnet" and self.width % 8:
                raise BenchError(
                    f"backbone segresnet: width={self.width} is no multiple of its 8 groups"
                )
            return self
        architecture, slash, encoder = self.name.partition("/")
        if not slash:
            known = [*OWN, *(f"{known}/resnet34" for known in SMP_ARCHITECTURES)]
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
        self._refuse_changed("width")
        self._refuse_changed("bn_momentum")
        return self

    def _refuse_changed(self, field: str) -> None:
        if getattr(self, field) != type(self).model_fields[field].default:
            raise BenchError(f"backbone {self.name}: {field}= does not apply to it, leave it out")

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
        if backbone.name not in OWN:
            from bench.nets.smp import check_encoder

            check_encoder(backbone.name.partition("/")[2], backbone._weights)
        return backbone

    @staticmethod
    def names() -> list[str]:
        """Return what there is to choose from; ENCODER stands for any encoder of the library."""
        return [*OWN, *(f"{architecture}/ENCODER" for architecture in SMP_ARCHITECTURES)]

    def __str__(self) -> str:
        overrides = {k: v for k, v in self.overrides().items() if k not in ("name", "width")}
        if self.name in OWN and self.width != OWN[self.name]:
            overrides = {"width": self.width} | overrides
        return format_brackets(self.name, overrides)

    @property
    def dims(self) -> Dims:
        """Whether the network sees slices or patches of volumes."""
        return 2 if self.name == "unet_t11" or self.name not in OWN else 3

    @property
    def divisor(self) -> int:
        """The sides of slices or patches must be multiples of it; a network may ask for less."""
        if self.name in OWN:
            return 16
        return 128 if self.name.startswith("pan/") else 32

    def build(self, n_organs: int, output_bias: float = OUTPUT_BIAS) -> FeatureNet:
        """Return a new network; the caller seeds torch before.

        Parameters
        ----------
        n_organs
            Output channels K.
        output_bias
            Initial bias of the last convolution: the log-odds of a positive (SPEC 0.0, decision 6).
        """
        from torch import nn

        from bench.nets.monai import DynUNet3d, SegResNet3d
        from bench.nets.smp import SmpNet
        from bench.nets.unet_t11 import UNetT11

        net: FeatureNet
        if self.name in _PAPER:
            net = UNetT11(n_organs, self.width, self.dims)
            for module in net.modules():
                if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                    module.momentum = self.bn_momentum
        elif self.name == "dynunet":
            net = DynUNet3d(n_organs, self.width)
        elif self.name == "segresnet":
            net = SegResNet3d(n_organs, self.width)
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

        Its head is as wide as the features, 64 at most: Table 11 where ``width`` is 64. In 3D it is
        twice as wide, so that Table 11 goes with ``width`` 32 (SPEC 2.3).
        """
        from bench.nets.confidence import ConfidenceHead, ConfidenceNet

        channels = segmenter.feature_channels
        width = min(channels * (self.dims - 1), 64)
        head = ConfidenceHead(channels, n_organs, width, self.dims)
        return ConfidenceNet(segmenter, head, mode)

    @property
    def _weights(self) -> str | None:
        return None if self.weights == "none" else self.weights


class ConditionalBackbone(Backbone):
    """A backbone with a head that is told which organ to segment; part of the method `dodnet`."""

    def build(self, n_organs: int, output_bias: float = OUTPUT_BIAS) -> FeatureNet:
        """Return a new network; the caller seeds torch before."""
        from torch import nn

        from bench.nets.conditional import ConditionalNet

        net = ConditionalNet(super().build(n_organs, output_bias), n_organs)
        nn.init.constant_(net.output_bias, output_bias)
        return net
