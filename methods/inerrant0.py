"""INERRANT⁰: voxels of unknown target are left out of the loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import ValidationInfo, field_validator
from typing_extensions import override

from bench.api import Consensus, Method, Recipe, Supervised, SupervisedFrom, Train


class Inerrant0(Method):
    """Binary cross-entropy per organ with ambiguity maps (specification: Targets and loss).

    Where an organ is annotated, all its voxels are known; where it is not, the voxels of the other
    annotated organs are certain negatives and everything else is ignored.
    """

    title: ClassVar[str] = "INERRANT⁰"
    colour: ClassVar[str] = "#D55E00"
    order: ClassVar[int] = 10
    citation: ClassVar[str] = "Petit, Thome & Soler, Comput. Med. Imaging Graph. 2021, section 3.1"

    budget: Literal["base", "long"] = "base"
    """`long` trains for the total number of steps of the default `inerrant`: the control for it."""

    volumes: Literal["labelled", "complete"] = "labelled"
    """`complete` leaves out volumes that lack some label, to measure what they add (Table 8)."""

    source: str = ""
    """Train on the cases of this source of a `union` or `fusion` alone: one row of Table 8 each."""

    predict: Literal["image", "views"] = "image"
    """`views` predicts what five views agree on, without small objects: the control for methods
    that do."""

    @field_validator("source")
    @classmethod
    def _one_choice(cls, source: str, info: ValidationInfo) -> str:
        if source and info.data.get("volumes") == "complete":
            raise ValueError("and volumes=complete choose volumes both: leave one out")
        return source

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        if self.source:
            source = recipe.source(self.source)
            objective: Supervised = SupervisedFrom(unlabelled="ignored", source=source)
        else:
            complete = self.volumes == "complete"
            objective = Supervised(unlabelled="ignored", complete_only=complete)
        yield recipe.segmenter(objective, budget=self.budget)

    @override
    def consensus(self) -> Consensus | None:
        return Consensus() if self.predict == "views" else None
