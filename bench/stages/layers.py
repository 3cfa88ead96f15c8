"""Stage `Layers`: the blocks of a network, their output and their size (Table 11)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from typing_extensions import override

from bench.data.window import Window
from bench.nets.network import Network
from bench.stage import StageContext
from bench.stages.images import Prepared
from bench.stages.records import RecordsStage

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.nets.protocol import FeatureNet

LISTED = 10
"""A block of more layers is summarised by the kinds of its layers."""


class Layers(RecordsStage):
    """Blocks of the segmentation network and of the confidence network, for one image or patch."""

    file: ClassVar[str] = "layers.json"

    images: Prepared
    network: Network
    n_organs: int = Field(ge=1)
    window: Window | None

    @property
    @override
    def title(self) -> str:
        return str(self.network)

    def run(self, ctx: StageContext) -> None:
        """Write ``layers.json``: one record per block."""
        import json

        from bench.data.index import SliceIndex

        grid = SliceIndex.read(ctx.input(self.images)).grid
        size = grid if self.window is None else self.window.patch
        n_channels = len(self.images.channels)
        records = blocks(self.network, n_channels, self.n_organs, size)
        (ctx.out / self.file).write_text(json.dumps(records, indent=0))


def blocks(
    network: Network, in_channels: int, n_organs: int, size: tuple[int, ...]
) -> list[dict[str, Any]]:
    """Return the blocks that an image of ``size`` passes through, without computing values.

    Returns
    -------
    list of dict
        ``network`` (segmentation or confidence), ``block``, ``layers``, ``output`` (sides, then
        channels), ``parameters``.
    """
    import torch

    from bench.nets.confidence import ConfidenceNet

    # Built with memory: several encoders compute with values while they are built.
    net = network.build(in_channels, n_organs).eval()
    confidence = ConfidenceNet.of(net, n_organs).eval().to("meta")
    net.to("meta")
    image_BCHW = torch.zeros(1, in_channels, *size, device="meta")
    with torch.no_grad():
        head = {"block": "confidence_network"} | _block(confidence.head, confidence(image_BCHW))
        return [
            *({"network": "segmentation"} | block for block in _blocks(net, image_BCHW)),
            {"network": "confidence"} | head,
        ]


def _blocks(net: FeatureNet, image_BCHW: Tensor) -> Iterator[dict[str, Any]]:
    """Yield the parts of a network that hold parameters, in the order in which they are called."""
    outputs: dict[str, Any] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: outputs.update({name: output})

    parts = dict(_parts(net))
    for name, part in parts.items():
        part.register_forward_hook(keep(name))
    net(image_BCHW)
    for name, output in outputs.items():
        if any(True for _ in parts[name].parameters()):
            yield {"block": name} | _block(parts[name], output)


def _parts(parent: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield name and module of the children, of lists and of wrapped networks instead of them."""
    from torch import nn

    for name, child in parent.named_children():
        if isinstance(child, nn.ModuleList):
            yield from _parts(child, f"{prefix}{name}.")
        elif name == "body":
            yield from _parts(child)
        elif not name.startswith("_"):
            yield prefix + name, child


def _block(module: nn.Module, output: Any) -> dict[str, Any]:
    from torch import nn

    last = output[-1] if isinstance(output, list | tuple) else output
    _, channels, *size = last.shape
    leaves = [leaf for leaf in module.modules() if not list(leaf.children())]
    leaves = [leaf for leaf in leaves if not isinstance(leaf, nn.Identity)]
    named = [text for text in map(_layer, leaves) if text]
    kinds = Counter(type(leaf).__name__ for leaf in leaves)
    return {
        "layers": ", ".join(named)
        if len(named) <= LISTED
        else ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())),
        "output": "x".join(map(str, [*size, channels])),
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
    }


def _layer(module: nn.Module) -> str:
    from torch import nn

    if isinstance(module, nn.Conv2d | nn.Conv3d):
        return f"conv{'x'.join(map(str, module.kernel_size))} ({module.out_channels})"
    if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
        return "BN"
    return type(module).__name__
