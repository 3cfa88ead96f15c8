"""INERRANT: relabel the voxels of highest learned confidence, fine-tune, repeat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from bench.api import (
    Agreement,
    Choice,
    LearnedConfidence,
    Method,
    Range,
    Recipe,
    Relabel,
    RelabelRule,
    Supervised,
    Train,
    gamma_at,
)


class Inerrant(Method):
    """Iterative confidence relabelling (Algorithm 2 of the paper).

    Starts from `inerrant0`. In round t the share ``gamma_max * t / rounds`` of the voxels predicted
    as a missing organ, the most confident ones, become positives; then the network is fine-tuned.
    """

    title: ClassVar[str] = "INERRANT"
    colour: ClassVar[str] = "#009E73"
    order: ClassVar[int] = 15
    citation: ClassVar[str] = "Petit, Thome & Soler, Comput. Med. Imaging Graph. 2021"
    departs: ClassVar[str] = (
        "fine-tunes in rounds, rate and optimiser restarted; the confidence network has a "
        "rate and budget of its own, as published"
    )

    rounds: int = Field(default=2, ge=1, le=100)
    gamma_max: Annotated[float, Range(0.1, 1)] = Field(default=2 / 3, gt=0, le=1)
    score: Literal["confidence", "mcp", "agreement"] = "confidence"
    """Rank by the confidence network, by the predicted probability itself, or by its mean over
    turned and zoomed views and over neighbouring voxels (not published)."""
    confidence_mode: Literal["finetune", "freeze"] = "finetune"
    confidence_start: Literal["constant", "certainty"] = "certainty"
    """What the confidence network says before it learns: the same everywhere (published), or the
    predicted probability, which it then corrects."""
    confidence_voxels: Literal["all_known", "predicted_positive"] = "predicted_positive"
    """Known voxels on which the confidence is learned: all (Eq. 3), or those predicted as an organ,
    the only ones that are ranked."""
    background: Annotated[
        Literal["ambiguous", "predicted", "confident"],
        Choice("ambiguous", "predicted", "confident"),
    ] = "ambiguous"
    """Targets of unselected voxels in relabelled volumes."""
    scope: Annotated[
        Literal["volume", "slice", "dataset"], Choice("volume", "slice", "dataset")
    ] = "volume"
    gamma_mode: Literal["cumulative", "remaining"] = "cumulative"
    pseudo_negatives: bool = True
    one_object: bool = False
    """Candidates come from the largest connected object predicted of an organ (not published)."""
    extra_rounds: int = Field(default=0, ge=0)
    """Further steps before the first relabelling, in budgets of one round (not published)."""
    schedule: Literal["restarted", "continued"] = "restarted"
    """The learning rate starts anew in every round, or falls once over all of them (not
    published)."""

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        objective = Supervised(unlabelled="ignored", pseudo_negatives=self.pseudo_negatives)
        rule = RelabelRule(
            background=self.background,
            scope=self.scope,
            gamma_mode=self.gamma_mode,
            one_object=self.one_object,
        )
        model = recipe.segmenter(
            Supervised(unlabelled="ignored"),
            extra_rounds=self.extra_rounds,
            rounds_after=self.rounds if self.schedule == "continued" else 0,
        )
        yield model
        relabelled: Relabel | None = None
        for t in range(1, self.rounds + 1):
            confidence = None
            if self.score == "confidence":
                learned = LearnedConfidence(
                    mode=self.confidence_mode,
                    start=self.confidence_start,
                    voxels=self.confidence_voxels,
                )
                confidence = recipe.confidence(model, learned)
            gamma = gamma_at(t, self.rounds, self.gamma_max)
            relabelled = recipe.relabel(
                model,
                rule,
                gamma,
                confidence=confidence,
                agreement=Agreement() if self.score == "agreement" else None,
                previous=relabelled,
            )
            model = recipe.segmenter(objective, init=model, pseudo=relabelled, budget="round")
            yield model
