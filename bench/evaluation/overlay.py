"""Small pictures of label maps over scans: correct, wrong and missed voxels of a few slices.

A strip lays the slices side by side in radiological view (the patient's right on the left, front
on top). The scan is a grey PNG. The verdicts on a label map are a second PNG of the same size,
transparent where there is none, so that one scan serves many label maps.
"""

from __future__ import annotations

import io
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.labels import VOID

ScalarT = TypeVar("ScalarT", bound=np.generic)

RIGHT, WRONG, MISSED, UNKNOWN, LEFT_OUT = 1, 2, 3, 4, 5
COLOURS = {
    RIGHT: "#00C8D7",
    WRONG: "#E3262E",
    MISSED: "#F0E442",
    UNKNOWN: "#A56EFF",
    LEFT_OUT: "#B0B0B0",
}
"""Cyan and red as in Figure 5 of the paper; yellow, violet and grey for the states it lacks."""


def among(flags_K: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return for every value of a label map whether it is one of the flagged organs."""
    table = np.zeros(256, np.bool_)
    table[1 : len(flags_K) + 1] = flags_K
    return table


def choose_slices(shown_SHW: NDArray[np.bool_], n: int = 3) -> NDArray[np.intp]:
    """Return ``n`` slices that split the marked voxels into equal parts, from below to above.

    Without any, they split the volume.
    """
    return split_evenly(shown_SHW.sum(axis=(1, 2)), n)


def split_evenly(weight_S: NDArray[np.int64], n: int) -> NDArray[np.intp]:
    """Return ``n`` slices that split the weight of all into equal parts; weight 1 if all have 0."""
    if not weight_S.any():
        weight_S = np.ones_like(weight_S)
    reached_S = np.cumsum(weight_S.astype(np.float64)) / weight_S.sum()
    return np.searchsorted(reached_S, (np.arange(n) + 0.5) / n)


def body_box(slices_SHW: NDArray[np.number], air: float, margin: int = 3) -> tuple[slice, slice]:
    """Return rows and columns around the largest object of some slices: the body without the table.

    Parameters
    ----------
    slices_SHW
        One channel, as stored.
    air
        Largest value of air.
    margin
        Pixels kept around the body.
    """
    from scipy import ndimage

    objects, count = ndimage.label((slices_SHW > air).any(axis=0))
    if not count:
        return slice(None), slice(None)
    largest = int(np.bincount(objects.ravel())[1:].argmax())
    rows, columns = ndimage.find_objects(objects)[largest]
    return (
        slice(max(0, rows.start - margin), rows.stop + margin),
        slice(max(0, columns.start - margin), columns.stop + margin),
    )


def square_pixels(slices_SHW: NDArray[ScalarT], sides: tuple[float, float]) -> NDArray[ScalarT]:
    """Return slices whose pixels are square: rows or columns of the longer side are repeated.

    Parameters
    ----------
    sides
        Height and width of a pixel, in any unit.
    """

    def nearest(n: int, side: float) -> NDArray[np.intp]:
        centres = (np.arange(round(n * side / min(sides))) + 0.5) * min(sides) / side
        # Rounding may have added half a pixel more than there is.
        return np.clip(centres.astype(np.intp), 0, n - 1)

    rows, columns = map(nearest, slices_SHW.shape[1:], sides)
    return slices_SHW[:, rows[:, None], columns]


def verdicts(
    predicted: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    judged_K: NDArray[np.bool_],
    unknown_K: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Return RIGHT, WRONG, MISSED, UNKNOWN or LEFT_OUT (VOID) per voxel, 0 elsewhere.

    Parameters
    ----------
    predicted, truth
        Label maps, 0 or 1..K, of one shape; the truth may hold VOID.
    judged_K
        Organs whose truth is known; the others get no verdict.
    unknown_K
        Organs without a truth that are shown all the same; none by default.
    """
    judged = among(judged_K)
    found = np.zeros(predicted.shape, np.uint8)
    if unknown_K is not None:
        found[among(unknown_K)[predicted]] = UNKNOWN
    found[judged[truth] & (predicted == 0)] = MISSED
    found[judged[predicted] & (predicted != truth)] = WRONG
    found[judged[predicted] & (predicted == truth)] = RIGHT
    found[truth == VOID] = LEFT_OUT
    return found


def scan_png(slices_SHW: NDArray[np.int16], value_range: tuple[float, float]) -> bytes:
    """Return some slices of a scan as a grey strip."""
    low, high = value_range
    grey = np.clip((slices_SHW.astype(np.float32) - low) / (high - low), 0, 1) * 255
    return _png(_strip(grey.astype(np.uint8)), "L")


def overlay_png(verdicts_SHW: NDArray[np.uint8]) -> bytes:
    """Return the verdicts on some slices as a PNG strip, transparent where there is none."""
    palette = [0, 0, 0]
    last = max(UNKNOWN, int(verdicts_SHW.max(initial=0)))  # a longer palette is another file
    for verdict in range(1, last + 1):
        palette += [int(COLOURS[verdict][i : i + 2], 16) for i in (1, 3, 5)]
    return _png(_strip(verdicts_SHW), "P", palette)


def score_png(
    score_SHW: NDArray[np.float32], scored_SHW: NDArray[np.bool_], low: float = 0.5
) -> bytes:
    """Return scores as a strip, red at ``low`` and below, blue at 1, as in Figure 5 of the paper.

    Parameters
    ----------
    score_SHW
        Scores in 0..1.
    scored_SHW
        Where there is a score; transparent elsewhere.
    low
        Score of the reddest colour.
    """
    share_SHW = np.clip((score_SHW - low) / (1 - low), 0, 1)
    index_SHW = np.where(scored_SHW, 1 + np.rint(254 * share_SHW), 0).astype(np.uint8)
    share = np.arange(255) / 254
    ramp = np.stack([1 - share, 0.25 + 0.5 * (1 - np.abs(2 * share - 1)), share], axis=1)
    palette = [0, 0, 0, *np.rint(255 * ramp).astype(int).ravel().tolist()]
    return _png(_strip(index_SHW), "P", palette)


def _strip(slices_SHW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Join slices side by side."""
    return np.concatenate([radiological(slice_HW) for slice_HW in slices_SHW], axis=1)


def radiological(slice_HW: NDArray[ScalarT]) -> NDArray[ScalarT]:
    """Return a slice as rows of pixels: X grows to the patient's right, Y to the front."""
    return slice_HW[::-1].T[::-1]


def _png(pixels: NDArray[np.uint8], mode: str, palette: list[int] | None = None) -> bytes:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    file = io.BytesIO()
    if palette is None:
        picture.save(file, "PNG", optimize=True)
    else:
        picture = picture.convert("L")
        picture.putpalette(palette)  # makes the values indices of the palette
        picture.save(file, "PNG", optimize=True, transparency=0)
    return file.getvalue()
