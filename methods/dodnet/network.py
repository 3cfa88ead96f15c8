"""The network of DoDNet as data: any network, with another head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from bench.api import Network

if TYPE_CHECKING:
    from bench.api import Dims, FeatureNet


class ConditionalNetwork(Network):
    """A network with a head that is conditioned on the organ to segment."""

    name: Literal["conditional"] = "conditional"
    body: Network

    @property
    def dims(self) -> Dims:  # type: ignore[override]
        """Those of the body."""
        return self.body.dims

    @property
    def divisor(self) -> int:  # type: ignore[override]
        """That of the body."""
        return self.body.divisor

    @override
    def make(self, in_channels: int, n_organs: int) -> FeatureNet:
        from .head import ConditionalNet

        return ConditionalNet(self.body.build(in_channels, n_organs), n_organs)
