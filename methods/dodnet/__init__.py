"""DoDNet: one network with a head conditioned on the organ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from typing_extensions import override

from bench.api import Method, Recipe, Supervised, Train

from .network import ConditionalNetwork


class Dodnet(Method):
    """`inerrant0` with a dynamic head, whose weights follow from the organ and the image.

    The loss is that of `inerrant0`, so the two methods differ only in the head. The
    publication trains on one data set per organ, takes cross-entropy and Dice, and feeds the
    controller with features of the encoder (:class:`~.head.ConditionalNet`).
    """

    title: ClassVar[str] = "DoDNet"
    colour: ClassVar[str] = "#7A4FB5"
    order: ClassVar[int] = 65
    citation: ClassVar[str] = "Zhang et al., CVPR 2021"
    departs: ClassVar[str] = "a conditional head in place of the last convolution, as published"

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        network = ConditionalNetwork(body=recipe.condition.network)
        yield recipe.with_network(network).segmenter(Supervised(unlabelled="ignored"))
