"""How a label map lies on its image, told by the grey values below it, where headers disagree."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError

SOFT_HU = (-50.0, 200.0)
"""HU of abdominal organs, with and without contrast; fat and air are below it."""

MARGIN = 0.05
"""Share of the mask by which the best flip must be better than the next."""


def flips(
    image_XYZ: NDArray[np.floating[Any]], labels_XYZ: NDArray[Any], where: str
) -> tuple[slice, slice, slice]:
    """Return how to index labels so that their organs lie on soft tissue.

    The four flips of the second and the third axis are compared; the first is never reversed, which
    would exchange left and right.

    Raises
    ------
    BenchError
        Another shape than the image's, no labelled voxel, or two flips that fit nearly equally.
    """
    if image_XYZ.shape != labels_XYZ.shape:
        raise BenchError(
            f"{where}: shape {labels_XYZ.shape}, but the image has {image_XYZ.shape}; they are not"
            " of one scan, or the series is not complete"
        )
    labelled_3N = np.nonzero(labels_XYZ)
    if not len(labelled_3N[0]):
        raise BenchError(f"{where}: no voxel is labelled; download it again")
    x_N, y_N, z_N = labelled_3N
    _, n_y, n_z = image_XYZ.shape
    shares = {}
    for flip_y, flip_z in product((False, True), repeat=2):
        hu_N = image_XYZ[x_N, n_y - 1 - y_N if flip_y else y_N, n_z - 1 - z_N if flip_z else z_N]
        soft_N = (hu_N >= SOFT_HU[0]) & (hu_N <= SOFT_HU[1])
        shares[flip_y, flip_z] = float(soft_N.mean())
    (best, first), (_, second), *_ = sorted(shares.items(), key=lambda item: -item[1])
    if first - second < MARGIN:
        raise BenchError(
            f"{where}: {first:.0%} of it lie on soft tissue in one orientation and {second:.0%} in"
            " another; the data do not tell which is right"
        )
    forward, reverse = slice(None), slice(None, None, -1)
    return forward, reverse if best[0] else forward, reverse if best[1] else forward
