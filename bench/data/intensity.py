"""From the values of a scan to those that networks see: an HU window for CT, else per volume."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Rule = Literal["window", "percentile", "zscore"]
"""How values are brought to [0, 1]: a fixed window of HU; the 0.5th to the 99.5th percentile of the
volume; 4 standard deviations around the mean of the volume."""
RULES: tuple[Rule, ...] = get_args(Rule)
PERCENTILES = (0.5, 99.5)
DEVIATIONS = 4.0
SCALED = (0.0, 10_000.0)
"""What is stored where values are no HU: [0, 1] in steps that 16 bits hold."""


def rule_of(channel: str) -> Rule:
    """Return the rule for a channel called ``channel`` in ``dataset.json``.

    CT has absolute values. Those of anything else (MR, PET, ultrasound) depend on the scan.
    """
    return "window" if channel.strip().lower() == "ct" else "percentile"


def stored_range(rule: Rule, hu_window: tuple[float, float]) -> tuple[float, float]:
    """Return the stored values that stand for 0 and 1."""
    return hu_window if rule == "window" else SCALED


def to_stored(
    image_XYZ: NDArray[np.float32], rule: Rule, hu_window: tuple[float, float]
) -> NDArray[np.float32]:
    """Return a volume within :func:`stored_range`."""
    if rule == "window":
        clipped_XYZ: NDArray[np.float32] = np.clip(image_XYZ, *hu_window)
        return clipped_XYZ
    low, high = volume_range(image_XYZ, rule, hu_window)
    if low == high:  # a constant volume
        return np.zeros_like(image_XYZ)
    scaled_XYZ: NDArray[np.float32] = np.clip((image_XYZ - low) / (high - low), 0, 1) * SCALED[1]
    return scaled_XYZ.astype(np.float32, copy=False)


def volume_range(
    image_XYZ: NDArray[np.float32], rule: Rule, hu_window: tuple[float, float]
) -> tuple[float, float]:
    """Return the values of a volume that stand for 0 and 1."""
    if rule == "window":
        return hu_window
    if rule == "percentile":
        low, high = np.percentile(image_XYZ, PERCENTILES)
        return float(low), float(high)
    mean, reach = float(image_XYZ.mean()), DEVIATIONS * float(image_XYZ.std())
    return mean - reach, mean + reach
