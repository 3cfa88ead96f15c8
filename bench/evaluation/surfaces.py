"""Distances between the surfaces of two masks: from border voxel to nearest border voxel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.machine.processor import cores

if TYPE_CHECKING:
    from numpy.typing import NDArray


def border(mask_XYZ: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels of a mask that share a face with its outside or the edge of the array."""
    padded = np.pad(mask_XYZ, 1)
    inner_XYZ = mask_XYZ.copy()
    for axis, length in enumerate(mask_XYZ.shape):
        for start in (0, 2):
            window = [slice(1, -1)] * mask_XYZ.ndim
            window[axis] = slice(start, start + length)
            inner_XYZ &= padded[tuple(window)]
    return mask_XYZ ^ inner_XYZ


def surface_distances(
    prediction_XYZ: NDArray[np.bool_],
    truth_XYZ: NDArray[np.bool_],
    axes_mm: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how far every border voxel of each mask is from the other's border.

    Parameters
    ----------
    prediction_XYZ, truth_XYZ
        Masks on one grid, neither empty.
    axes_mm
        Steps of one voxel along X, Y and Z: the columns of a 3 x 3 matrix.

    Returns
    -------
    to_truth, to_prediction
        Exact Euclidean distances in mm between centres of voxels: from the border of the
        prediction to that of the truth, and the reverse; in the order of the voxels in the array.
    """
    predicted_mm, true_mm = (_centres(border(m), axes_mm) for m in (prediction_XYZ, truth_XYZ))
    return _nearest(predicted_mm, true_mm), _nearest(true_mm, predicted_mm)


def _centres(mask_XYZ: NDArray[np.bool_], axes_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where the voxels of a mask are, [N, 3] in mm."""
    # Several times as fast as argwhere.
    indices = np.unravel_index(np.flatnonzero(mask_XYZ), mask_XYZ.shape)
    return np.stack(indices, axis=1) @ axes_mm.T


def _nearest(points_mm: NDArray[np.float64], others_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial import KDTree

    # Cells cut in the middle, not at the median: voxels tie along every axis, and the search for
    # those far from the other border takes a third of the time.
    tree = KDTree(others_mm, leafsize=32, compact_nodes=False, balanced_tree=False)
    distances_mm, _ = tree.query(points_mm, workers=cores())
    return np.asarray(distances_mm)
