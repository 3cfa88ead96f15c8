"""INERRANT-V: what several views agree on is relabelled, late, and predicted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field
from typing_extensions import override

from bench.api import Consensus, Method, Range, Recipe, Train

from .inerrant import Inerrant


class InerrantViews(Method):
    """Agreement of views as the score of pseudo-labels and as the decision at prediction.

    Trains like `inerrant0` for three quarters of the steps, relabels once the two thirds of the
    largest object of each missing organ on which views of the scan agree most, and trains on with
    the same falling learning rate. A prediction is the mean over the views, without objects far
    smaller than the largest one of their organ. ``docs/explanation/development.md`` has the
    ablation; `inerrant0[budget=long,predict=views]` is the control.
    """

    title: ClassVar[str] = "INERRANT-V"
    colour: ClassVar[str] = "#8C564B"
    order: ClassVar[int] = 21
    citation: ClassVar[str] = "this suite; after Petit, Thome & Soler 2021"
    departs: ClassVar[str] = "the last quarter of the schedule trains on relabelled volumes"

    gamma_max: Annotated[float, Range(0.1, 1)] = Field(default=2 / 3, gt=0, le=1)
    """Share of the candidates that is relabelled."""

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        relabelled_late = Inerrant(
            rounds=1,
            extra_rounds=1,
            schedule="continued",
            score="agreement",
            one_object=True,
            gamma_max=self.gamma_max,
        )
        yield from relabelled_late.plan(recipe)

    @override
    def consensus(self) -> Consensus:
        return Consensus()
