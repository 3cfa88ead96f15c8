"""Bai et al.: predictions become the labels of everything that is not annotated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field
from typing_extensions import override

from bench.api import Choice, Method, Recipe, RelabelRule, Supervised, Train


class Bai(Method):
    """Complete pseudo-labels after `inerrant0` (specification: Pseudo-labels of the whole volume).

    In every round the organs that a volume lacks are labelled as predicted, background included;
    known negatives stay. Labels of a round replace those of the round before. The publication
    refines them with a dense CRF, which the INERRANT paper's comparison does not mention.
    """

    title: ClassVar[str] = "Bai et al."
    colour: ClassVar[str] = "#E69F00"
    order: ClassVar[int] = 30
    citation: ClassVar[str] = "Bai et al., MICCAI 2017"
    departs: ClassVar[str] = "fine-tunes in rounds, rate and optimiser restarted, as published"

    rounds: int = Field(default=1, ge=1, le=100)
    """Relabelling and fine-tuning; the INERRANT paper describes a single one."""
    positives_only: Annotated[bool, Choice(False, True)] = False
    """Predicted background stays unknown."""

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        objective = Supervised(unlabelled="ignored")
        rule = RelabelRule(background="ambiguous" if self.positives_only else "rest")
        model = recipe.segmenter(objective)
        yield model
        for _ in range(self.rounds):
            relabelled = recipe.relabel(model, rule, gamma=1.0)
            model = recipe.segmenter(objective, init=model, pseudo=relabelled, budget="round")
            yield model
