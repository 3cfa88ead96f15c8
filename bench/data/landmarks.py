"""Landmarks of a scan: points that stand out, and what lies around them, by which twins are found.

However its file is written, and after cropping or resampling, the same scan shows the same points
at the same distances from each other. Scans of two patients share a few at most.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.intensity import GreyValue, lost_intercept

VERSION = 3
"""Raised with every change after which a scan has other landmarks."""
CELL_MM = 4.0
"""Edges of the cubic cells on which scans are compared; also the standard deviation of the Gaussian
that takes out noise and the voxel size of the file."""
HU_RANGE = (-300.0, 300.0)
"""Fat, soft tissue, the edges of bone and lung; metal, table and padding beyond it look alike."""
N_LANDMARKS = 96
REACH, STEP = 2, 2
"""Described are 5 x 5 x 5 values, every second cell: 32 mm along each axis."""
MARGIN = REACH * STEP
LEAST_CONTRAST = 10.0
"""HU by which a landmark differs from the mean around it."""
ALIKE = 0.94
"""Correlation above which two landmarks look the same."""
APART_CELLS = 1.25
"""What landmarks may be off after resampling, along each axis."""
LEAST_COMMON = 12
"""Landmarks that must agree under one shift."""
LEAST_SHARE = 0.45
"""Share of the landmarks in the part shown by both scans that must agree."""
LEAST_OWN = 6
"""Landmarks that must agree and look like no other of their own scan. Scans of patients have 50 and
more; a body without texture, as generated ones are, looks the same in many places and like any
other of its kind."""
SHIFTS_TRIED = 64
SLICES_AT_ONCE = 16
WHOLE_FROM = 100.0
"""Range of values from which on whole numbers tell scans apart."""
MOST = 2**30
"""What larger values count as."""

Scaling = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Brings values into the range of HU."""


class Landmarks(NamedTuple):
    """What is remembered of a scan."""

    content: bytes
    """Digest of shape and voxels, rounded to whole HU or to a thousandth of a smaller range."""
    cells_N3: NDArray[np.float32]
    """Positions along canonical X, Y, Z, in cells from the first one."""
    size_3: NDArray[np.float32]
    """Extent of the scan in cells."""
    looks_ND: NDArray[np.int8]
    """The surroundings of each, up to brightness and contrast."""


class Agreement(NamedTuple):
    """How far two scans agree under the best shift."""

    share: float
    """Of the landmarks in their common part, those that agree."""
    common: int
    """Landmarks that agree."""
    own: int
    """Of these, those that look like no other of their own scan."""

    @property
    def one_scan(self) -> bool:
        """Whether both are one scan."""
        return self.share >= LEAST_SHARE and self.common >= LEAST_COMMON and self.own >= LEAST_OWN


class Twins(NamedTuple):
    """Two scans of a list that are one, and on what evidence."""

    first: int
    second: int
    share: float
    """Share of the landmarks in the common part that agree; 1 if every voxel is equal."""
    common: int
    """Landmarks that agree; 0 if every voxel is equal and none was looked at."""


def landmarks(
    grey_XYZ: NDArray[GreyValue], spacing_mm: tuple[float, float, float], *, hu: bool = True
) -> Landmarks:
    """Return the landmarks of a scan in canonical orientation.

    Parameters
    ----------
    hu
        The values are HU, or HU + 1024; others are scaled to them by their 0.5th and 99.5th
        percentile.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter

    scaled = _as_hu(grey_XYZ) if hu else _scale_of(grey_XYZ)
    weights_x, weights_y, weights_z = map(_weights, grey_XYZ.shape, spacing_mm)
    low, per_unit = _whole_numbers(grey_XYZ)
    content = hashlib.blake2b(f"{grey_XYZ.shape}".encode(), digest_size=16)
    parts = []
    # A scan of a thousand slices is large: float32 are only those at hand.
    for start in range(0, grey_XYZ.shape[2], SLICES_AT_ONCE):
        part_XYZ = grey_XYZ[..., start : start + SLICES_AT_ONCE].astype(np.float32)
        whole_XYZ = np.clip(np.rint((part_XYZ - low) * per_unit), -MOST, MOST).astype(np.int32)
        content.update(np.ascontiguousarray(whole_XYZ.T).data)
        part_XYZ = np.clip(scaled(part_XYZ), *HU_RANGE)
        parts.append(np.einsum("ix,jy,xyz->ijz", weights_x, weights_y, part_XYZ, optimize=True))
    cells_XYZ = np.concatenate(parts, axis=2) @ weights_z.T
    contrast_XYZ: NDArray[np.float32] = np.abs(cells_XYZ - gaussian_filter(cells_XYZ, 2.0))
    peak_XYZ = (contrast_XYZ == maximum_filter(contrast_XYZ, 3)) & (contrast_XYZ > LEAST_CONTRAST)
    inner_XYZ = np.zeros(contrast_XYZ.shape, np.bool_)
    inner = tuple(slice(MARGIN, max(n - MARGIN, MARGIN)) for n in peak_XYZ.shape)
    inner_XYZ[inner] = peak_XYZ[inner]
    strongest = np.argsort(-contrast_XYZ[inner_XYZ], kind="stable")[:N_LANDMARKS]
    at_N3 = _refined(contrast_XYZ, np.argwhere(inner_XYZ)[strongest])
    steps = np.arange(-REACH, REACH + 1) * STEP
    around_D3 = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    sampled_P3 = (at_N3[:, None] + around_D3).reshape(-1, 3)
    looks_ND = map_coordinates(cells_XYZ, sampled_P3.T, order=1, mode="nearest")
    looks_ND = looks_ND.reshape(len(at_N3), len(around_D3))
    looks_ND = looks_ND - looks_ND.mean(axis=1, keepdims=True)
    largest_N1 = np.abs(looks_ND).max(axis=1, keepdims=True, initial=1e-6)
    size = [n * mm / CELL_MM for n, mm in zip(grey_XYZ.shape, spacing_mm, strict=True)]
    return Landmarks(
        content=content.digest(),
        cells_N3=at_N3.astype(np.float32),
        size_3=np.array(size, np.float32),
        looks_ND=np.rint(127 * looks_ND / largest_N1).astype(np.int8),
    )


def twins(scans: Sequence[Landmarks]) -> Iterator[Twins]:
    """Yield every pair that is one scan, in the order of the list."""
    looks = [_unit(scan.looks_ND) for scan in scans]
    own = [_own(look_ND) for look_ND in looks]
    starts = np.cumsum([0, *map(len, looks)])
    all_TD = np.concatenate(looks) if looks else np.empty((0, 0), np.float32)
    for first, look_ND in enumerate(looks):
        others_TD = all_TD[starts[first + 1] :]
        alike_NT = look_ND @ others_TD.T
        has_T = np.append((alike_NT > ALIKE).any(axis=0), False)
        ends = starts[first + 1 :] - starts[first + 1]
        for second in range(first + 1, len(scans)):
            columns = slice(*ends[second - first - 1 : second - first + 1])
            if scans[first].content == scans[second].content:
                yield Twins(first, second, 1.0, 0)
            elif np.count_nonzero(has_T[columns]) >= LEAST_COMMON:
                own_NM = own[first][:, None] & own[second]
                found = _agreement(scans[first], scans[second], alike_NT[:, columns], own_NM)
                if found.one_scan:
                    yield Twins(first, second, found.share, found.common)


def agreement(one: Landmarks, other: Landmarks) -> Agreement:
    """Return how far two scans agree."""
    looks_ND, looks_MD = _unit(one.looks_ND), _unit(other.looks_ND)
    own_NM = _own(looks_ND)[:, None] & _own(looks_MD)
    return _agreement(one, other, looks_ND @ looks_MD.T, own_NM)


def recognisable(scan: Landmarks) -> bool:
    """Tell whether another file of the scan can be found although its voxels are not equal."""
    own_N = _own(_unit(scan.looks_ND))
    return len(own_N) >= LEAST_COMMON and int(np.count_nonzero(own_N)) >= LEAST_OWN


def _own(looks_ND: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which landmarks look like no other of their scan."""
    alike_NN = looks_ND @ looks_ND.T > ALIKE
    np.fill_diagonal(alike_NN, val=False)
    return ~np.asarray(alike_NN.any(axis=1))


def _agreement(
    one: Landmarks,
    other: Landmarks,
    alike_NM: NDArray[np.float32],
    own_NM: NDArray[np.bool_],
) -> Agreement:
    i_P, j_P = np.nonzero(alike_NM > ALIKE)
    if not len(i_P):
        return Agreement(0.0, 0, 0)
    shift_P3 = one.cells_N3[i_P] - other.cells_N3[j_P]
    tried = np.argsort(-alike_NM[i_P, j_P], kind="stable")[:SHIFTS_TRIED]
    apart_TP3 = np.abs(shift_P3[tried, None] - shift_P3)
    near_TP = np.asarray((apart_TP3 < APART_CELLS).all(axis=2))
    near_P = near_TP[np.argmax(near_TP.sum(axis=1))]
    common = min(len(np.unique(i_P[near_P])), len(np.unique(j_P[near_P])))
    shift_3 = shift_P3[near_P].mean(axis=0)
    shared = min(
        _inside(one.cells_N3 - shift_3, other.size_3), _inside(other.cells_N3 + shift_3, one.size_3)
    )
    own = int(np.count_nonzero(own_NM[i_P[near_P], j_P[near_P]]))
    return Agreement(min(1.0, common / max(shared, common, 1)), common, own)


def _inside(cells_N3: NDArray[np.float32], size_3: NDArray[np.float32]) -> int:
    """Return how many points lie where a scan of this size could have landmarks."""
    margin = MARGIN + 1
    inside_N = ((cells_N3 >= margin) & (cells_N3 <= size_3 - 1 - margin)).all(axis=1)
    return int(np.count_nonzero(inside_N))


def _unit(looks_ND: NDArray[np.int8]) -> NDArray[np.float32]:
    floats_ND = looks_ND.astype(np.float32)
    length_N1 = np.linalg.norm(floats_ND, axis=1, keepdims=True)
    unit_ND: NDArray[np.float32] = floats_ND / np.maximum(length_N1, 1e-6)
    return unit_ND


def _whole_numbers(grey_XYZ: NDArray[GreyValue]) -> tuple[np.float32, np.float32]:
    """Return what is taken from values, and by what they are multiplied, before they are rounded.

    Maps of diffusion have values of a thousandth, and others are scaled to 1.
    """
    low, high = float(grey_XYZ.min()), float(grey_XYZ.max())
    if high - low >= WHOLE_FROM or high == low:
        return np.float32(0.0), np.float32(1.0)
    return np.float32(low), np.float32(1000.0 / max(high - low, 1e-30))


def _as_hu(grey_XYZ: NDArray[GreyValue]) -> Scaling:
    """Return what gives a CT back the rescale intercept that it lost, if it did."""
    offset = np.float32(1024.0 if lost_intercept(grey_XYZ) else 0.0)
    return lambda part_XYZ: part_XYZ - offset


def _scale_of(grey_XYZ: NDArray[GreyValue]) -> Scaling:
    """Return what brings values without a unit into the range of HU."""
    low, high = np.percentile(grey_XYZ, (0.5, 99.5))
    bottom, top = HU_RANGE
    factor, offset = np.float32((top - bottom) / max(high - low, 1e-6)), np.float32(bottom)
    return lambda part_XYZ: (part_XYZ - np.float32(low)) * factor + offset


def _weights(n: int, mm: float) -> NDArray[np.float32]:
    """Return blur and resampling of one axis as a matrix [cells, voxels]."""
    centres = (np.arange(max(1, round(n * mm / CELL_MM))) + 0.5) * CELL_MM
    away = centres[:, None] - (np.arange(n) + 0.5) * mm
    sd = np.sqrt(max(CELL_MM**2 - mm**2 / 12, mm**2 / 4))  # a voxel is a mean over its own width
    weights = np.exp(-0.5 * (away / sd) ** 2)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-30)
    return np.asarray(weights, np.float32)


def _refined(values_XYZ: NDArray[Any], at_N3: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return maxima to a part of a cell, by a parabola along each axis."""
    refined_N3 = at_N3.astype(np.float64)
    for axis, step_3 in enumerate(np.eye(3, dtype=np.intp)):
        below, here, above = (
            values_XYZ[tuple((at_N3 + k * step_3).T)].astype(np.float64) for k in (-1, 0, 1)
        )
        curve = np.minimum(below - 2 * here + above, -1e-9)
        refined_N3[:, axis] += (0.5 * (below - above) / curve).clip(-0.5, 0.5)
    return refined_N3
