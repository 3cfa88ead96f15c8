"""The noise floor of a table: what the means of equally good methods differ by, over replicates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .multiple import ALPHA
from .paired import NAN

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Noise(NamedTuple):
    """How far a difference between means of M methods over S replicates is chance.

    Attributes
    ----------
    floor
        Fisher's least significant difference: of 100 pairs of equally good methods 95 differ by
        less; NaN where the table does not tell.
    methods, replicates
        M and S.
    """

    floor: float
    methods: int
    replicates: int


def noise(values_MS: NDArray[np.float64]) -> Noise:
    """Return the noise floor of the means over replicates.

    What a replicate makes easier or harder for all methods is no noise, as they share it; what is
    left is how a replicate changes one method against the others (Fisher, The Design of
    Experiments, 1935): s^2 = sum of (v - mean of its method - mean of its replicate + mean)^2 /
    ((M - 1)(S - 1)), and the floor is t(0.975, (M - 1)(S - 1)) s sqrt(2 / S).

    Parameters
    ----------
    values_MS
        One value for each of M methods in each of S replicates, without gaps.
    """
    methods, replicates = values_MS.shape
    if min(methods, replicates) < 2:
        return Noise(NAN, methods, replicates)
    from scipy.special import stdtrit

    own, shared = values_MS.mean(axis=1, keepdims=True), values_MS.mean(axis=0, keepdims=True)
    df = (methods - 1) * (replicates - 1)
    left = values_MS - own - shared + values_MS.mean()
    error = math.sqrt(2 * float((left**2).sum()) / df / replicates)
    return Noise(float(stdtrit(df, 1 - ALPHA / 2)) * error, methods, replicates)
