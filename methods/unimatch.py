"""UniMatch: FixMatch with two strong views and one whose features are dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field
from typing_extensions import override

from bench.api import Method, Range, Recipe, Train

from ._weak_to_strong import Trusted, WeakToStrong, strong

if TYPE_CHECKING:
    from torch import Tensor

    from bench.api import FeatureNet, SharedLoss


class Unimatch(Method, WeakToStrong):
    """Confident hard labels are targets of two strong views and of the image with dropped features.

    Weights as published: half for the labels, an eighth for each strong view, a quarter for the
    dropped features. Channels are dropped at the bottleneck only, where every network has them; the
    publication drops them at every level of its encoder.
    """

    title: ClassVar[str] = "UniMatch"
    colour: ClassVar[str] = "#E7298A"
    order: ClassVar[int] = 53
    citation: ClassVar[str] = "Yang et al., CVPR 2023"
    departs: ClassVar[str] = (
        "half of a batch from incomplete volumes; strong views and dropped features, as published, "
        "after a quarter"
    )

    label: ClassVar[str] = "unimatch"

    dropout: Annotated[float, Range(0.1, 0.7)] = Field(default=0.5, ge=0, lt=1)
    """Share of the channels dropped at the bottleneck."""

    @override
    def plan(self, recipe: Recipe) -> Iterator[Train]:
        yield recipe.segmenter(self, budget="long")

    @override
    def unlabelled(
        self, net: FeatureNet, image_BCHW: Tensor, trusted: Trusted, shared: SharedLoss
    ) -> Mapping[str, Tensor]:
        from ._dropout import add_dropout

        dropping = add_dropout(net, self.dropout)
        dropped = shared(net(image_BCHW), *trusted)
        dropping.remove()
        views = {name: strong(net, image_BCHW, trusted, shared) for name in ("first", "second")}
        return {**{name: view / 8 for name, view in views.items()}, "features": dropped / 4}
