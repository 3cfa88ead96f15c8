"""Base class of segmentation networks as parameters: their options and requirements on images.

A network of slices or of volumes: the network decides which, and with it how data are prepared.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, ClassVar

from bench.params import format_brackets
from bench.stage import Part

if TYPE_CHECKING:
    from bench.nets.protocol import Dims, FeatureNet

OUTPUT_BIAS = -6.5
"""About the log-odds of a positive voxel of a small organ."""


class Network(Part, abc.ABC):
    """A segmentation network: its fields are its options, :meth:`make` builds it.

    One class per file. torch is imported inside :meth:`make`, so that planning stays fast.
    """

    dims: ClassVar[Dims] = 2
    """2 for a network of slices, 3 for one of patches of volumes."""
    divisor: ClassVar[int]
    """The sides of slices or patches must be multiples of it."""

    name: str
    """Its name in commands, without options."""

    @abc.abstractmethod
    def make(self, in_channels: int, n_organs: int) -> FeatureNet:
        """Return a new network with random weights; torch is seeded by the caller.

        Parameters
        ----------
        in_channels
            Channels C of an image.
        n_organs
            Channels K of the logits.
        """

    def check(self) -> None:
        """Raise BenchError for options that only the library can validate; called when chosen."""
        return

    def build(
        self, in_channels: int, n_organs: int, output_bias: float = OUTPUT_BIAS
    ) -> FeatureNet:
        """Return a network of :meth:`make` whose logits start at ``output_bias``."""
        from torch import nn

        net = self.make(in_channels, n_organs)
        net.dims, net.divisor = self.dims, self.divisor
        nn.init.constant_(net.output_bias, output_bias)
        return net

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the docstring."""
        return (cls.__doc__ or "").strip().split("\n")[0]

    def __str__(self) -> str:
        overrides = {name: value for name, value in self.overrides().items() if name != "name"}
        return format_brackets(self.name, overrides)
