"""From a case's files to validated arrays in one orientation.

Other modules can rely on a :class:`Scan`: three dimensions, finite values, labels 0..K of annotated
organs only, channels and labels on one grid, canonical RAS orientation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from bench.data.dataset import Case, Dataset, where_is
from bench.data.geometry import Geometry, check_same_grid
from bench.data.image import read_image
from bench.data.intensity import GreyValue
from bench.data.labelmap import map_labels
from bench.data.voxels import read_voxels
from bench.errors import BenchError
from bench.labels import VOID
from bench.reporting.text import counted


class Scan(NamedTuple):
    """A validated case in canonical orientation."""

    image_CXYZ: NDArray[GreyValue]
    """CT in HU, other channels as in their file; see :func:`read_image`."""
    labels_XYZ: NDArray[np.uint8]
    """0..K, or VOID; only annotated organs occur."""
    geometry: Geometry


def read_scan(dataset: Dataset, case: Case) -> Scan:
    """Read and validate image and label map of one case.

    Raises
    ------
    BenchError
        Any problem of the files, in one line with case, file and remedy. That includes voxels of an
        organ flagged as not annotated: keeping them would give methods labels that the simulation
        of missing labels ignores, dropping them would silently discard annotations. Only the user
        can tell whether the flag or the map is right.
    """
    return assemble(dataset, case, dataset.image(case), dataset.labels(case))


def assemble(dataset: Dataset, case: Case, image: Nifti1Image, labels: Nifti1Image) -> Scan:
    """Validate what ``dataset`` returned for ``case``, see :func:`read_scan`."""
    where = where_is(dataset, case, "image")
    image_CXYZ, geometry = read_image(image, where, dataset.channels)
    return Scan(image_CXYZ, _annotations(dataset, case, labels, geometry), geometry)


def read_label_map(dataset: Dataset, case: Case) -> tuple[NDArray[np.uint8], Geometry]:
    """Validate a case as :func:`read_scan`, and return its labels alone: the image is let go."""
    where = where_is(dataset, case, "image")
    geometry = read_image(dataset.image(case), where, dataset.channels)[1]
    return _annotations(dataset, case, dataset.labels(case), geometry), geometry


def _annotations(
    dataset: Dataset, case: Case, labels: Nifti1Image, geometry: Geometry
) -> NDArray[np.uint8]:
    """Return the validated labels on the grid of the image, in canonical orientation."""
    where = where_is(dataset, case, "label map")
    values, label_geometry = read_voxels(labels, where)
    check_same_grid(
        geometry,
        label_geometry,
        where,
        "the image",
        "resample the labels to it (nearest neighbour)",
    )
    known = {0: "background"} | dict(enumerate(dataset.organs, start=1)) | {VOID: "unknown class"}
    native = map_labels(values, {value: value for value in known}, known, where)
    table = dataset.owner(case)[0].table
    remedy = (
        f"set it to 1 in {table}, or erase them"
        if table
        else "is the map that of the release? erase them if it is"
    )
    for k, (organ, annotated) in enumerate(zip(dataset.organs, case.annotated, strict=True), 1):
        if not annotated and (count := np.count_nonzero(native == k)):
            raise BenchError(
                f"{where}: {counted(int(count), 'voxel')} of {organ}, which is flagged as not"
                f" annotated in this case; {remedy}"
            )
    return geometry.to_canonical(native).copy(order="K")
