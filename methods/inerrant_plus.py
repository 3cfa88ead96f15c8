"""INERRANT+: relabel once and late, largest object only, on one learning-rate schedule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from typing_extensions import override

from bench.api import Method, Recipe, Train

from .inerrant import Inerrant


class InerrantPlus(Method):
    """Relabelling without restarts: the variant of `inerrant` that was best on development data.

    Trains like `inerrant0` for three quarters of the steps, relabels once the most probable two
    thirds of the largest object predicted of a missing organ, and trains on with the same falling
    learning rate. ``docs/explanation/development.md`` has the ablation that led here.
    """

    title: ClassVar[str] = "INERRANT+"
    colour: ClassVar[str] = "#00634A"
    order: ClassVar[int] = 20
    citation: ClassVar[str] = "this suite; after Petit, Thome & Soler 2021"
    departs: ClassVar[str] = "the last quarter of the schedule trains on relabelled volumes"

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        relabelled_late = Inerrant(
            rounds=1, extra_rounds=1, schedule="continued", score="mcp", one_object=True
        )
        yield from relabelled_late.plan(recipe)
