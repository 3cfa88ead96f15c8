"""Full labels: the upper bound, trained with every annotation visible."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from typing_extensions import override

from bench.api import Method, Recipe, Supervised, Train


class Full(Method):
    """`inerrant0` with 100 % of the labels at every label fraction; natural gaps stay."""

    title: ClassVar[str] = "Full labels"
    colour: ClassVar[str] = "#000000"
    upper_bound: ClassVar[bool] = True
    citation: ClassVar[str] = (
        "Upper bound of Petit, Thome & Soler, Comput. Med. Imaging Graph. 2021"
    )
    departs: ClassVar[str] = "nothing but its labels: it sees all of them"

    budget: Literal["base", "long"] = "base"
    """`long` trains for the total number of steps of the default `inerrant`: the bound for every
    method of that length, where `base` is the bound for `naive` and `inerrant0`."""

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        """Yield one model, the same in every label fraction of a fold."""
        yield recipe.at(label_pct=100).segmenter(
            Supervised(unlabelled="ignored"), budget=self.budget
        )
