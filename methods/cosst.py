"""COSST: pseudo-labels whose features lie far from those of the annotated organs are left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field
from typing_extensions import override

from bench.api import Method, Range, Recipe, RelabelRule, Supervised, Train, Typicality


class Cosst(Method):
    """`bai` with a gate: in every round, outliers among the pseudo-labels stay unknown.

    All that is known of the voxels trains: the annotated organs, their voxels as certain negatives
    of the others, and the predictions. Of each organ, the predictions are left out whose mean
    features are the farthest from those of the volumes in which the organ is annotated
    (specification: Pseudo-labels of the whole volume).
    """

    title: ClassVar[str] = "COSST"
    colour: ClassVar[str] = "#17BECF"
    order: ClassVar[int] = 33
    citation: ClassVar[str] = "Liu et al., IEEE Trans. Med. Imaging 2024"
    departs: ClassVar[str] = (
        "fine-tunes in rounds, rate and optimiser restarted; distance and share of the outliers "
        "are this suite's"
    )

    rounds: int = Field(default=2, ge=1, le=100)
    """Relabelling and fine-tuning."""
    drop: Annotated[float, Range(0, 0.3)] = Field(default=0.1, ge=0, lt=1)
    """Share of the pseudo-labels of an organ that is left out."""

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        objective = Supervised(unlabelled="ignored")
        rule = RelabelRule(background="whole")
        model = recipe.segmenter(objective)
        yield model
        for _ in range(self.rounds):
            relabelled = recipe.relabel(model, rule, gamma=1.0, gate=Typicality(share=self.drop))
            model = recipe.segmenter(objective, init=model, pseudo=relabelled, budget="round")
            yield model
