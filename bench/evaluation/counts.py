"""How many voxels of each organ a label map holds, slice by slice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def areas(labels_SHW: NDArray[np.uint8], n_organs: int) -> NDArray[np.int64]:
    """Return the number of voxels of every organ in every slice, shape [S, K].

    One pass over the volume: a comparison for each of a hundred organs takes ten times as long.
    """
    # By slices: counting takes eight times the memory of what is counted.
    counts = [np.bincount(slice_HW.ravel(), minlength=256) for slice_HW in labels_SHW]
    area_SK: NDArray[np.int64] = np.array(counts)[:, 1 : n_organs + 1]
    return area_SK
