"""Holm's correction for many comparisons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return p values corrected by Holm's step-down method.

    NaN stays NaN and does not count as a comparison; statsmodels would count it.
    """
    from statsmodels.stats.multitest import multipletests

    raw = np.asarray(p, dtype=np.float64)
    corrected = np.full_like(raw, np.nan)
    known = ~np.isnan(raw)
    if known.any():
        corrected[known] = multipletests(raw[known], method="holm")[1]
    return corrected
