"""Grid, smooth random fields and signed distances: the geometry of the phantom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

Array = npt.NDArray[np.float64]
Box = tuple[slice, slice, slice]

_EXTENT_MM = np.array([480.0, 360.0, 360.0])
"""Region around the patient's origin that random fields cover, independent of the grid."""
_BSPLINE_SD = (151.0 / 315.0) ** 1.5
"""Standard deviation of white noise after a separable cubic B-spline in three dimensions."""


def as_field(values: npt.ArrayLike) -> Array:
    """Return double precision, which all fields are kept in.

    Processors round sines and sums differently, in the last digits. In double precision that moves
    no voxel across a surface and no CT number to the next integer.
    """
    return np.asarray(values, np.float64)


class Lattice(NamedTuple):
    """White noise on a coarse lattice, independent of the image grid."""

    values: Array
    pitch: float

    def at_axes(self, axes: tuple[Array, Array, Array]) -> Array:
        """Return the smooth unit-variance field on a rectilinear grid."""
        field = self.values
        for axis in range(3):
            weights = self._weights(axes[axis], axis)
            field = np.moveaxis(np.tensordot(weights, field, axes=(1, axis)), 0, axis)
        return as_field(np.ascontiguousarray(field))

    def at_points(self, points_N3: Array) -> Array:
        """Return the field at scattered points."""
        middle = (np.array(self.values.shape) - 1) / 2
        index = (points_N3 / self.pitch + middle).T
        return as_field(ndimage.map_coordinates(self.values, index, order=3, prefilter=False))

    def _weights(self, positions: Array, axis: int) -> Array:
        count = self.values.shape[axis]
        knots = (np.arange(count) - (count - 1) / 2) * self.pitch
        t = np.abs(positions[:, None] - knots[None, :]) / self.pitch
        near = 2 / 3 - t**2 + t**3 / 2
        far = np.clip(2 - t, 0, None) ** 3 / 6
        return as_field(np.where(t < 1, near, far))


def draw_lattice(rng: np.random.Generator, pitch: float) -> Lattice:
    """Sample a lattice of the given pitch in mm."""
    shape = tuple(int(n) for n in np.ceil(_EXTENT_MM / pitch) + 3)
    values = as_field(rng.standard_normal(shape, dtype=np.float32)) / _BSPLINE_SD
    return Lattice(values, pitch)


class Part3D(NamedTuple):
    """A signed distance in mm (negative inside) known inside a box of the grid."""

    box: Box
    distance: Array


@dataclass(frozen=True, eq=False)
class Grid:
    """Axes in mm, patient coordinates (x to the right side, y to the front, z to the head).

    Soft organs are painted in deformed coordinates: grid position plus displacement.
    """

    axes: tuple[Array, Array, Array]
    displacement: tuple[Lattice, Lattice, Lattice]
    amplitude: float
    deformed: tuple[Array, Array, Array]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each axis."""
        return (len(self.axes[0]), len(self.axes[1]), len(self.axes[2]))

    def box(self, low: npt.ArrayLike, high: npt.ArrayLike) -> Box:
        """Return the part of the grid between two corners (deformed coordinates, mm)."""
        reach = 3.0 * self.amplitude
        low = np.asarray(low) - reach
        high = np.asarray(high) + reach
        sides = []
        for axis, start, stop in zip(self.axes, low, high, strict=True):
            first, last = np.searchsorted(axis, [start, stop])
            sides.append(slice(int(first), int(last)))
        return (sides[0], sides[1], sides[2])

    def ellipsoid(
        self,
        center: npt.ArrayLike,
        radii: npt.ArrayLike,
        rotation: npt.NDArray[np.float64] | None = None,
        bend: float = 0.0,
        box: Box | None = None,
    ) -> Part3D:
        """Return a (rotated, bent) ellipsoid; ``bend`` shifts its x by ``bend * z**2``."""
        center, radii = np.asarray(center, float), np.asarray(radii, float)
        if box is None:
            reach = radii if rotation is None else np.full(3, radii.max())
            box = self.box(center - reach - 8, center + reach + 8)
        offsets = [field[box] - c for field, c in zip(self.deformed, center, strict=True)]
        local = offsets
        if rotation is not None:
            dx, dy, dz = offsets
            local = [a * dx + b * dy + c * dz for a, b, c in rotation.T]
        if bend:
            local[0] = local[0] + bend * local[2] ** 2
        squares = [(p / r) ** 2 for p, r in zip(local, radii, strict=True)]
        inner = np.sqrt(squares[0] + squares[1] + squares[2])
        per_r2 = [s / (r * r) for s, r in zip(squares, radii, strict=True)]
        outer = np.sqrt(per_r2[0] + per_r2[1] + per_r2[2])
        return Part3D(box, as_field(inner * (inner - 1) / np.maximum(outer, 1e-6)))

    def tube(self, points: npt.ArrayLike, radii: npt.ArrayLike, reach: float = 6.0) -> Part3D:
        """Return a tube along dense points.

        The distance is exact up to ``reach`` mm outside the surface.
        """
        points, radii = as_field(points), as_field(radii)
        shift = np.stack([lattice.at_points(points) for lattice in self.displacement], axis=1)
        seen = points - self.amplitude * shift
        margin = (radii + reach)[:, None]
        starts = np.stack(
            [np.searchsorted(a, (seen - margin)[:, k]) for k, a in enumerate(self.axes)], axis=1
        )
        stops = np.stack(
            [np.searchsorted(a, (seen + margin)[:, k]) for k, a in enumerate(self.axes)], axis=1
        )
        keep = np.flatnonzero((stops > starts).all(axis=1))
        if not len(keep):
            empty = (slice(0, 0), slice(0, 0), slice(0, 0))
            return Part3D(empty, np.zeros((0, 0, 0)))
        low, high = starts[keep].min(axis=0), stops[keep].max(axis=0)
        box: Box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
        x, y, z = (field[box] for field in self.deformed)
        distance = np.full(x.shape, 1e3)
        for n in keep:
            a, b = starts[n] - low, stops[n] - low
            part = (slice(a[0], b[0]), slice(a[1], b[1]), slice(a[2], b[2]))
            px, py, pz = points[n]
            new = np.sqrt((x[part] - px) ** 2 + (y[part] - py) ** 2 + (z[part] - pz) ** 2)
            new -= radii[n]
            np.minimum(distance[part], new, out=distance[part])
        return Part3D(box, distance)


def make_grid(
    axes: tuple[Array, Array, Array],
    displacement: tuple[Lattice, Lattice, Lattice],
    amplitude: float,
) -> Grid:
    """Return the grid with its dense deformed coordinates; ``amplitude`` is the sd in mm."""
    plain = np.meshgrid(*axes, indexing="ij", copy=False)
    deformed = tuple(
        position + amplitude * lattice.at_axes(axes)
        for position, lattice in zip(plain, displacement, strict=True)
    )
    return Grid(axes, displacement, amplitude, (deformed[0], deformed[1], deformed[2]))


def curve(
    control_N3: npt.ArrayLike, radii_N: npt.ArrayLike, spacing: float = 0.35
) -> tuple[Array, Array]:
    """Return dense points and radii of a smooth curve, ``spacing`` radii apart."""
    control = np.asarray(control_N3, float)
    radii = np.asarray(radii_N, float)
    chord = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(control, axis=0), axis=1))]
    count = int(np.ceil(1.15 * chord[-1] / (spacing * max(radii.min(), 2.5)))) + 2
    along = np.linspace(0, chord[-1], count)
    points = CubicSpline(chord, control)(along)
    return as_field(points), as_field(np.interp(along, chord, radii))


def rotation(tilt_x: float, tilt_y: float, tilt_z: float) -> npt.NDArray[np.float64]:
    """Return the matrix whose columns are the turned axes (angles in degrees about x, y, z)."""
    turn = Rotation.from_euler("xyz", [tilt_x, tilt_y, tilt_z], degrees=True)
    return np.asarray(turn.as_matrix(), np.float64)


def smooth_union(a: Array, b: Array, blend: float) -> Array:
    """Return the union of two distances with a fillet of about ``blend`` mm."""
    overlap = np.clip(blend - np.abs(a - b), 0, None)
    return as_field(np.minimum(a, b) - overlap**2 / (4 * blend))
