"""Connected objects of a label map."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def keep_objects(
    labels_SHW: NDArray[np.uint8], chosen: Callable[[NDArray[np.intp]], NDArray[np.bool_]]
) -> NDArray[np.uint8]:
    """Return a label map, uint8 of shape [S, H, W], with the chosen objects of each organ.

    Parameters
    ----------
    labels_SHW
        Organs, 0 is background.
    chosen
        Which objects of an organ stay, by their sizes in voxels. An object is a set of voxels of
        one organ that touch, also at corners.
    """
    from scipy import ndimage

    kept_SHW = labels_SHW.copy()
    for organ, box in enumerate(ndimage.find_objects(labels_SHW), start=1):
        if box is None:
            continue
        objects_SHW, _ = ndimage.label(labels_SHW[box] == organ, np.ones((3, 3, 3)))
        stay = chosen(np.bincount(objects_SHW.ravel())[1:])
        kept_SHW[box][~np.concatenate([[True], stay])[objects_SHW]] = 0
    return kept_SHW
