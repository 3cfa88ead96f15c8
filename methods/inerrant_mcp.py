"""INERRANT ranked by the predicted probability, without a confidence network (SMILE)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from typing_extensions import override

from bench.api import Method, Recipe, Train

from .inerrant import Inerrant


class InerrantMcp(Method):
    """`inerrant[score=mcp]` under the name that tables use (specification: Confidence)."""

    title: ClassVar[str] = "INERRANT (MCP)"
    colour: ClassVar[str] = "#8CD9BE"
    order: ClassVar[int] = 25
    citation: ClassVar[str] = "Petit et al., MICCAI-DLMIA 2018 (SMILE); ablation of INERRANT 2021"
    departs: ClassVar[str] = "fine-tunes in rounds, rate and optimiser restarted, as published"

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        yield from Inerrant(score="mcp").plan(recipe)
