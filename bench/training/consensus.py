"""Consensus: a model predicts what several views of a scan agree on, without scattered objects.

Errors change with the view, and many of them are small objects far from the organ. It costs passes
at prediction, and no training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from bench.stage import Part
from bench.training.augment import in_plane_affine

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Views(Part):
    """Five views of a slice: as it is, turned either way, and scaled down and up."""

    rotation_deg: float = 10.0
    """Two views are turned by this angle, either way."""
    zoom_out: float = 0.9
    zoom_in: float = 1.12
    """Two views are scaled by these factors."""

    def affines(self, grid: tuple[int, int]) -> NDArray[np.float32]:
        """Return one affine per view in normalised coordinates, the identity first: [5, 2, 3]."""
        angle_deg = np.array([0, self.rotation_deg, -self.rotation_deg, 0, 0])
        zoom = np.array([1, 1, 1, self.zoom_out, self.zoom_in])
        return in_plane_affine(np.deg2rad(angle_deg), zoom, np.zeros((len(zoom), 2)), grid)


class Consensus(Views):
    """The mean over the views, and the objects that remain of it."""

    smallest_object: float = Field(default=0.1, ge=0, le=1)
    """Objects of an organ below this share of its largest one are left out."""

    def without_small_objects(self, labels_SHW: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a label map, uint8 of shape [S, H, W], without the small objects of each organ.

        An object is a set of voxels of one organ that touch, also at corners.
        """
        from scipy import ndimage

        kept_SHW = labels_SHW.copy()
        for organ, box in enumerate(ndimage.find_objects(labels_SHW), start=1):
            if box is None:
                continue
            objects_SHW, count = ndimage.label(labels_SHW[box] == organ, np.ones((3, 3, 3)))
            if count > 1:
                sizes = np.bincount(objects_SHW.ravel())
                sizes[0] = 0
                small = sizes < self.smallest_object * sizes.max()
                small[0] = False
                kept_SHW[box][small[objects_SHW]] = 0
        return kept_SHW
