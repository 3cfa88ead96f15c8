"""Where the voxels of a stack of slices are: from the position of every slice to one affine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.errors import BenchError

TOLERANCE_MM = 0.01
"""By how much voxels may be elsewhere than their slice says, where it says it exactly."""

ROUNDED_MM = 0.1
"""The same at most, where positions were written with few decimals."""

MAX_TILT = 45.0
"""Degrees between the normal of the slices and the line on which they lie; gantries tilt by 30."""

_UNIT = 1e-3
_REMEDY = "export the series anew"


class Plane(NamedTuple):
    """The place of one slice, in the LPS millimetres of DICOM."""

    where: str
    """File and frame, the start of every message."""
    shape: tuple[int, int]
    """Rows and columns."""
    position: tuple[float, ...]
    """Centre of the first pixel."""
    orientation: tuple[float, ...]
    """Directions in which columns and rows are counted."""
    spacing: tuple[float, ...]
    """Distance of rows and of columns."""
    thickness: float
    """NaN if unknown."""
    decimals: int
    """Decimals with which the position was written."""

    @property
    def name(self) -> str:
        """File and frame without the folder."""
        return self.where.rsplit(os.sep, 1)[-1]

    @property
    def axes_32(self) -> NDArray[np.float64]:
        """Steps from column to column and from row to row."""
        return np.reshape(self.orientation, (2, 3)).T * self.spacing[::-1]


def stack(planes: Sequence[Plane]) -> tuple[list[int], NDArray[np.float64]]:
    """Order slices along their normal and return the affine of the volume.

    Returns
    -------
    order
        Index of the slices in their order.
    affine
        From column, row and slice to RAS millimetres, 4 x 4. Slices of a tilted gantry make it a
        sheared one: its third column is the step between positions.

    Raises
    ------
    BenchError
        Slices of different size, spacing or orientation, two at one place, or distances that are
        not even: no voxel may be further than :data:`TOLERANCE_MM` from where its slice says.
    """
    first = planes[0]
    normal_3 = _normal(first)
    for plane in planes[1:]:
        _check_alike(first, plane)
    places_S3 = np.array([plane.position for plane in planes])
    order = np.argsort(places_S3 @ normal_3, kind="stable")
    if len(planes) > 1:
        start_3, step_3 = _line([planes[k] for k in order], places_S3[order], normal_3)
    else:
        if not first.thickness > 0:
            raise BenchError(
                f"{first.where}: the only slice of its series, and the header has no thickness of"
                f" it; {_REMEDY}"
            )
        start_3, step_3 = places_S3[0], normal_3 * first.thickness
    affine = np.eye(4)
    affine[:3, :2], affine[:3, 2], affine[:3, 3] = first.axes_32, step_3, start_3
    affine[:2] *= -1  # DICOM's world is LPS, NIfTI's is RAS
    return [int(k) for k in order], affine


def _normal(plane: Plane) -> NDArray[np.float64]:
    along_columns, along_rows = np.reshape(plane.orientation, (2, 3))
    lengths = np.linalg.norm([along_columns, along_rows], axis=1)
    if np.abs(lengths - 1).max() > _UNIT or abs(along_columns @ along_rows) > _UNIT:
        raise BenchError(
            f"{plane.where}: the orientation {plane.orientation} is not two directions at right"
            f" angles; {_REMEDY}"
        )
    normal_3: NDArray[np.float64] = np.cross(along_columns, along_rows)
    return normal_3 / np.linalg.norm(normal_3)


def _check_alike(first: Plane, plane: Plane) -> None:
    if plane.shape != first.shape:
        raise BenchError(
            f"{plane.where}: {plane.shape[0]} x {plane.shape[1]} pixels, but {first.name} has"
            f" {first.shape[0]} x {first.shape[1]}; keep each series in a folder of its own"
        )
    extent_2 = np.array(first.shape[::-1]) - 1
    for what, differ in (
        ("spacing", np.subtract(plane.spacing, first.spacing)[::-1]),
        ("orientation", np.linalg.norm(plane.axes_32 - first.axes_32, axis=0)),
    ):
        if np.abs(differ * extent_2).max() > TOLERANCE_MM:
            raise BenchError(
                f"{plane.where}: the {what} {getattr(plane, what)} differs from that of"
                f" {first.name}, {getattr(first, what)}; keep each series in a folder of its own"
            )


def _line(
    planes: Sequence[Plane], places_S3: NDArray[np.float64], normal_3: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return start and step of the line through the ordered positions."""
    steps_S3 = np.diff(places_S3, axis=0)
    apart_S = np.linalg.norm(steps_S3, axis=1)
    k = int(apart_S.argmin())
    if apart_S[k] <= TOLERANCE_MM:
        raise BenchError(
            f"{planes[k + 1].where}: at the same place as {planes[k].name}; keep phases and"
            " reconstructions in folders of their own, or remove the copy"
        )
    number_S = np.arange(len(planes))
    step_3, start_3 = np.polyfit(number_S, places_S3, 1)
    off_S = np.linalg.norm(places_S3 - start_3 - number_S[:, None] * step_3, axis=1)
    rounding = 0.5 * 10.0 ** -min(plane.decimals for plane in planes)
    if off_S.max() > TOLERANCE_MM + min(rounding, ROUNDED_MM):
        usual_3 = np.median(steps_S3, axis=0)
        differ_S = np.linalg.norm(steps_S3 - usual_3, axis=1)
        k = int(differ_S.argmax())
        raise BenchError(
            f"{planes[k + 1].where}: {apart_S[k]:.4g} mm from {planes[k].name}, the step is"
            f" {differ_S[k]:.3g} mm off the usual one of {np.linalg.norm(usual_3):.4g} mm; add the"
            f" missing slices or {_REMEDY}"
        )
    if step_3 @ normal_3 < np.cos(np.deg2rad(MAX_TILT)) * np.linalg.norm(step_3):
        raise BenchError(
            f"{planes[0].where}: the slices lie on a line more than {MAX_TILT:g} degrees from their"
            f" normal, as no gantry tilts; {_REMEDY}"
        )
    return start_3, step_3
