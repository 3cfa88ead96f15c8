"""A network whose logits are a function of the image, and an image to look at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bench.nets.protocol import Dims, FeatureNet


class Pointwise(FeatureNet):
    """A network whose logits are a function of the image."""

    def __init__(
        self, function: Callable[[Tensor], Tensor], dims: Dims = 2, divisor: int = 1
    ) -> None:
        super().__init__()
        self.function = function
        self.dims = dims
        self.divisor = divisor

    def features(self, image_BCHW: Tensor) -> Tensor:
        return image_BCHW

    def classify(self, features_BCHW: Tensor) -> Tensor:
        return self.function(features_BCHW)


def grey(image_BCHW: Tensor) -> Tensor:
    return 8 * image_BCHW[:, :1] - 4


def blob() -> NDArray[np.float32]:
    """A smooth object in four slices of unequal sides, off the centre, shape [S, H, W]."""
    rows, columns = np.mgrid[:40, :56]
    one_HW = np.exp(-(((rows - 16) / 9) ** 2) - ((columns - 30) / 12) ** 2)
    return np.repeat(one_HW[None].astype(np.float32), 4, axis=0)
