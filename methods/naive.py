"""Naive training: unannotated organs count as background."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from typing_extensions import override

from bench.api import Method, Recipe, Supervised, Train


class Naive(Method):
    """Supervised training on the visible labels as if they were complete (w = 1 everywhere).

    The same sigmoid head and loss as `inerrant0`, so the ambiguity weight is the only difference
    (specification: Networks).
    """

    title: ClassVar[str] = "Naive"
    colour: ClassVar[str] = "#0072B2"
    order: ClassVar[int] = 5
    citation: ClassVar[str] = "Baseline of Petit, Thome & Soler, Comput. Med. Imaging Graph. 2021"
    departs: ClassVar[str] = "nothing but its loss: unannotated organs count as background"

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        yield recipe.segmenter(Supervised(unlabelled="background"))
