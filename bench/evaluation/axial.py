"""Axial slices of a scan with its organs in colour.

Radiological view: the patient's right on the left, front on top.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.evaluation.overlay import body_box, radiological, split_evenly
from bench.evaluation.surfaces import border
from bench.labels import VOID

Colour = tuple[int, int, int]

COLOURS = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#870fff",
    "#00ff00", "#ff00c3", "#ff005a", "#0069ff", "#69691e", "#4ba50f", "#ffb487", "#963cb4",
    "#00ff96", "#c3f096", "#ff0000", "#00f0ff", "#b43c3c", "#b4a5ff", "#a5f000", "#d20f78",
)  # fmt: skip
"""Okabe and Ito's colour-blind safe palette without black, then colours as far from those before
them in CIELAB as any that stand out on grey. Organs beyond the last start over."""

FILL = 0.3
"""Opacity of a drawn organ within its outline."""
VOID_COLOUR: Colour = (255, 255, 255)
MOST_PIXELS = 1024
"""Side of the slices that are kept; of larger ones every second pixel, or fewer."""
WELL_SHOWN = 0.2
"""A slice shows an organ if it cuts at least this share of the organ's largest cross-section."""


def colour(k: int) -> Colour:
    """Return the colour of organ ``k`` (0..K-1) as red, green and blue."""
    text = COLOURS[k % len(COLOURS)]
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


class Chosen(NamedTuple):
    """Numbers of slices, the best first."""

    numbers: tuple[int, ...]
    needed: int
    """How many of them it takes to show every organ that they show."""


def choose(area_SK: NDArray[np.int64], most: int) -> Chosen:
    """Return the slices that together show most organs, at most ``most``.

    Each adds the organs that those before it cut barely or not at all, the larger cuts the better.
    After them, or where nothing is drawn, slices that split what is drawn into equal parts, the
    middle first.
    """
    share_SK = area_SK / np.maximum(area_SK.max(axis=0), 1)
    wanted_K = share_SK.any(axis=0)
    numbers: list[int] = []
    while wanted_K.any() and len(numbers) < most:
        gain_S = np.sqrt(share_SK[:, wanted_K]).sum(axis=1)
        numbers.append(int(gain_S.argmax()))
        wanted_K &= share_SK[numbers[-1]] < WELL_SHOWN
    needed = len(numbers)
    parts = split_evenly(area_SK.sum(axis=1), most)
    for place in np.argsort(np.abs(np.arange(most) - (most - 1) / 2), kind="stable"):
        if int(parts[place]) not in numbers:
            numbers.append(int(parts[place]))
    return Chosen(tuple(numbers[:most]), needed)


@dataclass(frozen=True)
class Cut:
    """Some slices of a scan, cropped to the body and to everything labelled."""

    grey_SHW: NDArray[np.uint8]
    labels_SHW: NDArray[np.uint8]
    chosen: Chosen
    depth: int
    """Slices of the scan."""
    pixel_mm: tuple[float, float]
    """Sides of a pixel along X and Y."""

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height of a slice as shown."""
        _, h, w = self.grey_SHW.shape
        return h * self.pixel_mm[0], w * self.pixel_mm[1]


def cut(
    image_SHW: NDArray[np.float32] | NDArray[np.int16],
    labels_SHW: NDArray[np.uint8],
    chosen: Chosen,
    pixel_mm: tuple[float, float],
    value_range: tuple[float, float],
) -> Cut:
    """Cut slices out of a volume; they keep nothing of it alive.

    Parameters
    ----------
    image_SHW, labels_SHW
        Axial slices from below; H is canonical X, W is canonical Y.
    value_range
        Values shown as black and white.
    """
    low, high = value_range
    numbers = list(chosen.numbers)
    values_SHW = np.asarray(image_SHW[numbers], np.float32)
    shown_SHW = labels_SHW[numbers]
    drawn_HW: NDArray[np.bool_] = np.any(shown_SHW, axis=0)
    rows, columns = (
        _including(window, np.flatnonzero(np.any(drawn_HW, axis=axis)))
        for window, axis in zip(body_box(values_SHW, low), (1, 0), strict=True)
    )
    step = -(-max(drawn_HW[rows, columns].shape) // MOST_PIXELS)
    box = (slice(None), *(slice(at.start, at.stop, step) for at in (rows, columns)))
    share_SHW = (values_SHW[box] - low) / (high - low if high > low else 1)
    grey_SHW = (np.clip(share_SHW, 0, 1) * 255).astype(np.uint8)
    sides = pixel_mm[0] * step, pixel_mm[1] * step
    return Cut(grey_SHW, shown_SHW[box].copy(), chosen, len(image_SHW), sides)


def paint(
    grey_HW: NDArray[np.uint8],
    labels_HW: NDArray[np.uint8],
    size: tuple[int, int],
    dotted: Collection[int] = (),
) -> NDArray[np.uint8]:
    """Return a slice as a picture, organs filled within their outline, shape [rows, columns, 3].

    Parameters
    ----------
    grey_HW, labels_HW
        The slice; VOID is striped.
    size
        Columns and rows of the picture.
    dotted
        Organs (0..K-1) shown as a dotted outline alone.
    """
    from PIL import Image

    resampling = Image.Resampling

    def resized(slice_HW: NDArray[np.uint8], how: int) -> NDArray[np.uint8]:
        turned = np.ascontiguousarray(radiological(slice_HW))
        return np.asarray(Image.fromarray(turned).resize(size, how))

    picture = np.repeat(resized(grey_HW, resampling.BICUBIC)[..., None], 3, axis=2)
    rows, columns = np.indices(picture.shape[:2])
    for value in np.unique(labels_HW[labels_HW > 0]):
        covered = resized(np.where(labels_HW == value, 255, 0).astype(np.uint8), resampling.BOX)
        # Where slices shrink, an organ thinner than a pixel covers none by half.
        mask = covered >= min(128, int(covered.max()))
        if not mask.any() or not covered.max():
            continue
        edge = border(mask)
        if value == VOID:
            picture[mask & ((rows + columns) % 6 < 2)] = VOID_COLOUR
            continue
        own = np.array(colour(int(value) - 1), np.uint8)
        if int(value) - 1 in dotted:
            edge &= (rows + columns) % 4 < 2
        else:
            picture[mask] = ((1 - FILL) * picture[mask] + FILL * own).astype(np.uint8)
        picture[edge] = own
    return picture


def _including(window: slice, held: Sequence[int] | NDArray[np.intp]) -> slice:
    """Return a window widened so that it includes some indices."""
    if not len(held):
        return window
    stop = None if window.stop is None else max(window.stop, int(held[-1]) + 1)
    return slice(min(window.start or 0, int(held[0])), stop)
