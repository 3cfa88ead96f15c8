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
from bench.training.objects import keep_objects

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
        """Return a label map, uint8 of shape [S, H, W], without the small objects of each organ."""

        def large(sizes_N: NDArray[np.intp]) -> NDArray[np.bool_]:
            enough_N: NDArray[np.bool_] = sizes_N >= self.smallest_object * sizes_N.max()
            return enough_N

        return keep_objects(labels_SHW, large)
