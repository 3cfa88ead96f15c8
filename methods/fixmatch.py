"""FixMatch: a strongly changed view learns what is predicted with confidence from the image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bench.api import Method, Recipe, Train

from ._weak_to_strong import Trusted, WeakToStrong, strong

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api import FeatureNet, SharedLoss


class Fixmatch(Method, WeakToStrong):
    """The network predicts the image; confident hard labels are targets of one strong view of it.

    The image itself, under the augmentation of all methods, is the weak view. Supervised and
    unsupervised term have equal weight (specification: From weak to strong views).
    """

    title: ClassVar[str] = "FixMatch"
    colour: ClassVar[str] = "#7570B3"
    order: ClassVar[int] = 52
    citation: ClassVar[str] = "Sohn et al., NeurIPS 2020"
    departs: ClassVar[str] = (
        "half of a batch from incomplete volumes; strong views, as published, after a quarter"
    )

    label: ClassVar[str] = "fixmatch"

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        yield recipe.segmenter(self, budget="long")

    @override
    def unlabelled(
        self, net: FeatureNet, image_BCHW: Tensor, trusted: Trusted, shared: SharedLoss
    ) -> Mapping[str, Tensor]:
        return {"strong": strong(net, image_BCHW, trusted, shared) / 2}
