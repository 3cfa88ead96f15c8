"""The voxel grid of a scan: its affine, its canonical axes, and whether two grids are one."""

from __future__ import annotations

from typing import Any, TypeVar

import nibabel as nib
import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.params import Params

USUAL_MM = (0.05, 20.0)
"""Edges of the voxels of clinical scans."""

MIN_VOXEL_MM, MAX_VOXEL_MM = 1e-4, 1e3

RIGHT_ANGLES = 1e-4
"""Largest cosine between axes at right angles: headers hold rounded numbers."""

GRID_ROUNDING = 0.1
"""Part of a voxel by which the corners of a grid may differ from those of another in two headers of
one: they hold float32 or a few decimals, and some tools rewrite them as a quaternion."""

Row = tuple[float, float, float, float]
ScalarT = TypeVar("ScalarT", bound=np.generic)

_CANONICAL = orientations.axcodes2ornt(("R", "A", "S"))


class Geometry(Params):
    """The voxel grid of a file and its relation to the canonical (closest RAS) grid.

    Canonical axes differ from those of the file by a permutation and flips only, so an oblique scan
    stays oblique and nothing is interpolated.
    """

    native_shape: tuple[int, int, int]
    native_affine: tuple[Row, Row, Row, Row]
    """Voxel index to RAS world coordinates in mm, as in the file."""

    @classmethod
    def of(cls, shape: tuple[int, ...], affine: NDArray[np.floating[Any]]) -> Geometry:
        """Build from an array shape (three axes) and a 4 x 4 affine."""
        return cls.model_validate({"native_shape": shape, "native_affine": affine.tolist()})

    @property
    def canonical_shape(self) -> tuple[int, int, int]:
        """Shape [X, Y, Z] after reorientation."""
        shape = [0, 0, 0]
        for length, (axis, _flip) in zip(self.native_shape, self._orientation, strict=True):
            shape[int(axis)] = length
        return shape[0], shape[1], shape[2]

    @property
    def canonical_affine(self) -> NDArray[np.float64]:
        """Canonical voxel index to RAS world coordinates in mm, 4 x 4."""
        flip = orientations.inv_ornt_aff(self._orientation, self.native_shape)
        affine: NDArray[np.float64] = np.asarray(self.native_affine) @ flip
        return affine

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel edge lengths along X, Y, Z."""
        x, y, z = np.linalg.norm(self.canonical_affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def sheared(self) -> bool:
        """Whether the axes are not at right angles, as those of a tilted gantry.

        The qform of NIfTI, a rotation, cannot hold such an affine.
        """
        axes = np.asarray(self.native_affine)[:3, :3]
        axes = axes / np.linalg.norm(axes, axis=0)
        return bool(np.abs(axes.T @ axes - np.eye(3)).max() > RIGHT_ANGLES)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(np.asarray(self.native_affine)[:3, :3]))) / 1000.0

    def to_canonical(self, array: NDArray[ScalarT]) -> NDArray[ScalarT]:
        """Return a view of an array in the axes of the file as [X, Y, Z].

        The order in memory stays that of the file, slices are mostly contiguous.
        """
        turned: NDArray[ScalarT] = orientations.apply_orientation(array, self._orientation)
        return turned

    def to_native(self, array_XYZ: NDArray[ScalarT]) -> NDArray[ScalarT]:
        """Bring an array from [X, Y, Z] back to the axes of the file."""
        back = orientations.ornt_transform(_CANONICAL, self._orientation)
        return np.ascontiguousarray(orientations.apply_orientation(array_XYZ, back))

    @property
    def _orientation(self) -> NDArray[np.float64]:
        ornt: NDArray[np.float64] = orientations.io_orientation(np.asarray(self.native_affine))
        return ornt


def unusual_spacing(geometry: Geometry) -> str | None:
    """Say that no clinical scan has voxels of this size; None if some have."""
    if USUAL_MM[0] <= min(geometry.spacing_mm) and max(geometry.spacing_mm) <= USUAL_MM[1]:
        return None
    edges = " x ".join(f"{length:.3g}" for length in geometry.spacing_mm)
    return f"spacing {edges} mm; is the header in another unit than mm?"


def check_affine(affine: NDArray[np.float64], where: str) -> None:
    """Raise if an affine is not finite, has no inverse, or has voxels of no believable size."""
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and np.isfinite(sizes).all()):
        reason = "is not finite"
    elif abs(np.linalg.det(affine[:3, :3])) <= 1e-6 * sizes.prod():
        reason = "has no inverse, so voxels have no position"
    elif sizes.min() < MIN_VOXEL_MM or sizes.max() > MAX_VOXEL_MM:
        edges = " x ".join(f"{size:.3g}" for size in sizes)
        reason = f"has voxels of {edges} mm, edges must be {MIN_VOXEL_MM:g} to {MAX_VOXEL_MM:g} mm"
    else:
        return
    raise BenchError(
        f"{where}: the affine {reason}; correct the header (qform, sform) or convert the scan anew"
    )


def check_same_grid(wanted: Geometry, found: Geometry, where: str, other: str, remedy: str) -> None:
    """Raise if a file, named by ``where``, is not on the grid of ``other``."""
    if wanted.native_shape != found.native_shape:
        raise BenchError(
            f"{where}: shape {found.native_shape}, but {other} has {wanted.native_shape}; {remedy}"
        )
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(wanted.native_shape) - 1)
    of_wanted, of_found = (
        nib.affines.apply_affine(np.asarray(grid.native_affine), corners)
        for grid in (wanted, found)
    )
    apart = float(np.linalg.norm(of_wanted - of_found, axis=1).max())
    if apart > GRID_ROUNDING * min(wanted.spacing_mm):
        raise BenchError(
            f"{where}: the affine differs from that of {other} (corners up to {apart:.3g} mm"
            f" apart); {remedy}, or copy the header if only that is wrong"
        )
