"""Holm's correction for many comparisons, of p values and of intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

ALPHA = 0.05
"""The level of a family of comparisons."""


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return p values corrected by Holm's step-down method.

    NaN stays NaN and does not count as a comparison; statsmodels would count it.
    """
    raw = np.asarray(p, dtype=np.float64)
    corrected = np.full_like(raw, np.nan)
    known = np.flatnonzero(~np.isnan(raw))
    order = known[np.argsort(raw[known], kind="stable")]
    steps = np.maximum.accumulate(raw[order] * np.arange(known.size, 0, -1))
    corrected[order] = np.minimum(steps, 1)
    return corrected


def holm_levels(p: ArrayLike, alpha: float = ALPHA) -> NDArray[np.float64]:
    """Return the level at which Holm's method judges each comparison (Serlin 1993).

    With m comparisons the j-th smallest p value is judged at alpha / (m - j + 1); all from the
    first that is not rejected on are judged at its level. The interval of the same test at
    confidence 1 minus this level excludes 0 exactly where the corrected p value is below alpha.

    Parameters
    ----------
    p
        Uncorrected p values; NaN stays NaN and does not count as a comparison.
    alpha
        The level of the family.
    """
    raw = np.asarray(p, dtype=np.float64)
    levels = np.full_like(raw, np.nan)
    known = np.flatnonzero(~np.isnan(raw))
    order = known[np.argsort(raw[known], kind="stable")]
    steps = alpha / np.arange(known.size, 0, -1)
    kept = np.flatnonzero(raw[order] >= steps)
    if kept.size:
        steps[kept[0] :] = steps[kept[0]]
    levels[order] = steps
    return levels
