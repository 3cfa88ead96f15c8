"""Channels of an image: their names, and how their values are scaled for the networks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from bench.errors import BenchError
from bench.params import Params

Rule = Literal["window", "percentile", "zscore", "minmax"]
"""Values that are scaled to 0 and 1: the ends of a fixed HU window; the 0.5th and 99.5th percentile
of the volume; 4 standard deviations below and above its mean; its smallest and largest value."""
RULES: tuple[Rule, ...] = get_args(Rule)
PERCENTILES = (0.5, 99.5)
DEVIATIONS = 4.0
KEPT_STEPS = 100
"""Values of a window that are stored as whole numbers are at least so many."""
INT16 = 2**15 - 1
SCALED = (0.0, 10_000.0)
"""Stored values of 0 and 1 where values are not stored as they are, within int16."""

MIN_BONE_HU = 200.0
"""HU. Every CT of a trunk or head has voxels of bone above it."""
TISSUE_HU = -300.0
"""HU. Air and lung are below it."""
DENSE_HU, DENSE_SHARE = 700.0, 0.13
"""At most 6 % of the voxels above :data:`TISSUE_HU` are as dense in abdominal and head-and-neck CT;
20 % and more where 1024 was added."""

GreyValue = np.integer[Any] | np.float32
"""Values of an image, see :func:`bench.data.image.read_image`."""
ValueRange = tuple[float, float]
"""Values that are scaled to 0 and 1."""

_MODALITY = {
    "CT": re.compile("(cb|ce|nc|ld|hr)?ct"),
    "MR": re.compile("mri?|t[12].*|flair|adc|dwi|pdw?"),
    "PT": re.compile("pe?t|suv|fdg"),
}
"""Words of the name of a channel that tell its modality."""
_NNUNET: dict[str, Rule] = {"ct": "window", "zscore": "zscore", "rescale_to_0_1": "minmax"}
_UNSCALED = ("nonorm", "rgb_to_0_1")
"""nnU-Net's channel names for values that it does not scale per volume."""


def rule_of(name: str) -> Rule:
    """Return the rule for a channel called ``name`` in ``dataset.json``.

    CT has absolute values. Those of anything else (MR, PET, ultrasound) depend on the scan.

    Raises
    ------
    BenchError
        The name asks nnU-Net for values that are not scaled per volume.
    """
    plain = name.strip().lower()
    if plain in _UNSCALED:
        raise BenchError(
            f"channel {name}: values are always scaled to [0, 1]; say how with the option intensity"
            f" ({', '.join(RULES)}), or name the modality in dataset.json"
        )
    return _NNUNET.get(plain, "percentile")


class Channel(Params):
    """One channel of the images of a data set."""

    name: str
    rule: Rule
    hu_window: ValueRange
    """The window of the rule ``window``."""

    @property
    def modality(self) -> str | None:
        """``CT``, ``MR`` or ``PT`` as in DICOM, None where the name does not tell which."""
        words = re.split("[^a-z0-9]+", self.name.lower())
        named = {kind for kind, known in _MODALITY.items() if any(map(known.fullmatch, words))}
        if self.rule == "window":  # values in HU, whatever the name
            named = {"CT"}
        return named.pop() if len(named) == 1 else None

    @property
    def _kept(self) -> bool:
        """Whether values are stored as they are: rounded to int16, they have to be many and fit."""
        low, high = self.hu_window
        return self.rule == "window" and high - low >= KEPT_STEPS and max(-low, high) <= INT16

    @property
    def stored_range(self) -> ValueRange:
        """The stored values of 0 and 1."""
        return self.hu_window if self._kept else SCALED

    @override
    def identity(self) -> dict[str, Any]:
        # What was stored in whole HU, or wrapped around, before other windows were scaled.
        scaled = self.rule == "window" and not self._kept
        return super().identity() | ({"stored": list(SCALED)} if scaled else {})

    def volume_range(self, grey_XYZ: NDArray[GreyValue]) -> ValueRange:
        """Return the values of a volume that are scaled to 0 and 1."""
        if self.rule == "window":
            return self.hu_window
        image_XYZ = grey_XYZ.astype(np.float32)
        if self.rule == "zscore":
            mean, reach = float(image_XYZ.mean()), DEVIATIONS * float(image_XYZ.std())
            return mean - reach, mean + reach
        if self.rule == "minmax":
            return float(image_XYZ.min()), float(image_XYZ.max())
        low, high = np.percentile(image_XYZ, PERCENTILES)
        return float(low), float(high)

    def to_stored(
        self, image_XYZ: NDArray[np.float32], values: ValueRange | None = None
    ) -> NDArray[np.float32]:
        """Return a part of a volume clipped and scaled to :attr:`stored_range`.

        ``values`` is the :meth:`volume_range` of the volume, by default that of ``image_XYZ``.
        """
        if self._kept:
            clipped_XYZ: NDArray[np.float32] = np.clip(image_XYZ, *self.hu_window)
            return clipped_XYZ
        low, high = self.volume_range(image_XYZ) if values is None else values
        if low == high:  # a constant volume
            return np.zeros_like(image_XYZ)
        scaled_XYZ: NDArray[np.float32] = np.clip((image_XYZ - low) / (high - low), 0, 1)
        scaled_XYZ *= SCALED[1]
        return scaled_XYZ


def unlike_hu(image_XYZ: NDArray[GreyValue]) -> str | None:
    """Say why the values of a CT do not look like HU; None if they do.

    Padding far below air hides an offset from the minimum, so that the share of dense voxels is
    looked at, too.
    """
    low, high = float(image_XYZ.min()), float(image_XYZ.max())
    if low >= 0 or high < MIN_BONE_HU:
        return f"values from {low:g} to {high:g} do not look like HU"
    tissue = np.count_nonzero(image_XYZ > TISSUE_HU)
    dense = np.count_nonzero(image_XYZ > DENSE_HU)
    if dense > DENSE_SHARE * tissue:
        return (
            f"values from {low:g} to {high:g} do not look like HU: {100 * dense / tissue:.0f} % of"
            f" what is not air is above {DENSE_HU:g} HU, as if 1024 had been added"
        )
    return None


def lost_intercept(image_XYZ: NDArray[GreyValue]) -> bool:
    """Tell whether a CT holds stored values, HU + 1024: nothing below 0, and much as dense."""
    dense = np.count_nonzero(image_XYZ > DENSE_HU)
    return bool(image_XYZ.min() >= 0 and dense > DENSE_SHARE * image_XYZ.size)


def listed(channels: Sequence[Channel]) -> str:
    """Return the channels as text for messages: ``0 T2, 1 ADC``."""
    return ", ".join(f"{number} {channel.name}" for number, channel in enumerate(channels))
