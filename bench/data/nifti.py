"""From a case's files to validated arrays in one orientation, and back to the grid of the file.

Everything that can be wrong with a CT or its label map is found here, so that whatever reads a
:class:`Scan` can rely on it: three dimensions, finite HU, labels 0..K of annotated organs only,
image and labels on one grid, canonical RAS orientation.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import nibabel as nib
import numpy as np
from nibabel import orientations
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Image
from nibabel.nifti2 import Nifti2Image
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from bench.data.dataset import Case, Dataset
from bench.errors import BenchError
from bench.params import Params

SUFFIXES = (".nii.gz", ".nii")
"""File names read as NIfTI."""

MAX_LABEL = 65535
"""Largest label value of a file, before it becomes 0..K."""

_ALIEN = 255
"""Marks unknown values in a look-up table; targets are smaller (MAX_ORGANS is 254)."""

Row = tuple[float, float, float, float]
ScalarT = TypeVar("ScalarT", bound=np.generic)

_UNREADABLE = (
    EOFError,
    zlib.error,
    OSError,
    ValueError,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
)
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
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(np.asarray(self.native_affine)[:3, :3]))) / 1000.0

    def to_canonical(self, array: NDArray[ScalarT]) -> NDArray[ScalarT]:
        """Bring an array from the axes of the file to [X, Y, Z].

        The order in memory stays that of the file (slices mostly lie together), which is several
        times faster than C order and suits reading by slice.
        """
        turned: NDArray[ScalarT] = orientations.apply_orientation(array, self._orientation)
        return turned.copy(order="K")

    def to_native(self, array_XYZ: NDArray[ScalarT]) -> NDArray[ScalarT]:
        """Bring an array from [X, Y, Z] back to the axes of the file."""
        back = orientations.ornt_transform(_CANONICAL, self._orientation)
        return np.ascontiguousarray(orientations.apply_orientation(array_XYZ, back))

    @property
    def _orientation(self) -> NDArray[np.float64]:
        ornt: NDArray[np.float64] = orientations.io_orientation(np.asarray(self.native_affine))
        return ornt


class Scan(NamedTuple):
    """A validated case in canonical orientation."""

    image_XYZ: NDArray[np.float32]
    """HU."""
    labels_XYZ: NDArray[np.uint8]
    """0..K; only annotated organs occur."""
    geometry: Geometry


def read_scan(dataset: Dataset, case: Case) -> Scan:
    """Read and validate image and label map of one case.

    Raises
    ------
    BenchError
        Whatever is wrong with the files, in one line naming case, file and remedy. That includes
        voxels of an organ whose flag says "not annotated": to keep them would hand a method labels
        that the simulation of missing labels does not know of, to drop them would discard
        somebody's work without a word, and which of flag and map is right only the user can tell.
    """
    return assemble(dataset, case, dataset.image(case), dataset.labels(case))


def assemble(dataset: Dataset, case: Case, image: Nifti1Image, labels: Nifti1Image) -> Scan:
    """Validate what ``dataset`` returned for ``case``, see :func:`read_scan`."""
    image_XYZ, geometry = read_image(image, where_is(dataset, case, "image"))
    where = where_is(dataset, case, "label map")
    values, label_geometry = _voxels(labels, where)
    _same_grid(geometry, label_geometry, where)
    known = {0: "background"} | dict(enumerate(dataset.organs, start=1))
    native = map_labels(values, {value: value for value in known}, known, where)
    for k, (organ, annotated) in enumerate(zip(dataset.organs, case.annotated, strict=True), 1):
        if not annotated and (count := np.count_nonzero(native == k)):
            raise BenchError(
                f"{where}: {count} voxels of {organ}, flagged as not annotated in this case"
                " (annotations.csv, or the data set, contradicts the map); set it to 1 or erase"
            )
    return Scan(image_XYZ, geometry.to_canonical(native), geometry)


def read_image(source: Path | Nifti1Image, where: str) -> tuple[NDArray[np.float32], Geometry]:
    """Read a CT as HU in canonical orientation.

    Parameters
    ----------
    source
        A NIfTI file, or the image itself.
    where
        Case and file, the start of every error message.

    Returns
    -------
    image_XYZ
        float32, HU.
    geometry
        The grid of the file.

    Raises
    ------
    BenchError
        Truncated or corrupt file, not one 3D volume, singular affine, NaN or infinite voxels.
    """
    image = load(source, where) if isinstance(source, Path) else source
    values, geometry = _voxels(image, where, dtype=np.float32)
    if not (np.isfinite(values.min()) and np.isfinite(values.max())):
        bad = np.argwhere(~np.isfinite(values))
        raise BenchError(
            f"{where}: {len(bad)} voxels are NaN or infinite, the first at index"
            f" {tuple(bad[0].tolist())}; replace them (air is -1024 HU) or convert the scan anew"
        )
    return geometry.to_canonical(values), geometry


def load(path: Path, where: str) -> Nifti1Image:
    """Open a NIfTI file; a compressed one is read in full, so that its checksum is verified.

    Raises
    ------
    BenchError
        Missing, truncated or corrupt file, or not NIfTI.
    """
    try:
        if path.name.endswith(".gz"):
            return _from_bytes(gzip.decompress(path.read_bytes()))
        # Not memory-mapped: a file that changes or a share that drops would kill the process.
        image = nib.load(path, mmap=False)
    except FileNotFoundError:
        raise BenchError(f"{where}: file not found: {path}") from None
    except _UNREADABLE as error:
        raise _unreadable(where, error) from None
    if not isinstance(image, Nifti1Image):
        raise BenchError(f"{where}: not a single-file NIfTI; convert it to .nii.gz")
    return image


def load_labels(
    path: Path, values: Mapping[int, int], names: Mapping[int, str], where: str
) -> Nifti1Image:
    """Open a label map and bring its values to 0..K.

    Parameters
    ----------
    values
        Target value of every value that may occur in the file; 0 (background) is always known.
    names
        What the file's values mean, for the message about an unknown one.

    Raises
    ------
    BenchError
        As :func:`load`, and for values that are not whole numbers or not in ``values``.
    """
    image = load(path, where)
    array, geometry = _voxels(image, where)
    labels = map_labels(array, {0: 0} | dict(values), {0: "background"} | dict(names), where)
    return _as_nifti(labels, geometry)


def map_labels(
    array: NDArray[Any], values: Mapping[int, int], names: Mapping[int, str], where: str
) -> NDArray[np.uint8]:
    """Replace every label value by its target in ``values``, see :func:`load_labels`."""
    if not np.issubdtype(array.dtype, np.integer):
        whole = np.isfinite(array) & (array == np.rint(array))
        if not whole.all():
            raise BenchError(
                f"{where}: {int((~whole).sum())} voxels are not whole numbers, for example"
                f" {array[~whole][0]:g}; never interpolate a label map linearly, export it as"
                f" integers"
            )
        array = np.clip(array, -(2**30), 2**30).astype(np.int32)
    # A table look-up, because np.isin copies a volume of this size several times.
    table = np.full(MAX_LABEL + 1, _ALIEN, np.uint8)
    for value, target in values.items():
        table[value] = target
    if array.min(initial=0) < 0 or array.max(initial=0) > MAX_LABEL:
        alien = ~np.isin(array, list(values))
    else:
        mapped: NDArray[np.uint8] = table[array]
        alien = mapped == _ALIEN
    if alien.any():
        found = ", ".join(str(value) for value in np.unique(array[alien])[:10])
        expected = ", ".join(f"{value} {names.get(value, '?')}" for value in sorted(values))
        raise BenchError(
            f"{where}: unknown label {found} in {int(alien.sum())} voxels; known are {expected}:"
            f" correct the map or the data set's list of labels"
        )
    return mapped


def to_native(labels_XYZ: NDArray[np.uint8], geometry: Geometry) -> Nifti1Image:
    """Return a label map as uint8 NIfTI on the very grid and affine the scan was read from."""
    if labels_XYZ.shape != geometry.canonical_shape:
        raise ValueError(f"shape {labels_XYZ.shape}, geometry {geometry.canonical_shape}")
    return _as_nifti(geometry.to_native(labels_XYZ.astype(np.uint8, copy=False)), geometry)


def where_is(dataset: Dataset, case: Case, what: Literal["image", "label map"]) -> str:
    """Return how messages name the image or label map of a case: data set, case and file."""
    files = dataset.files(case)
    if len(files) == 2:
        path: Path | None = files[0 if what == "image" else 1]
    else:
        path = files[0].parent if files else None
    return locate(dataset.name, case.id, path, what)


def locate(dataset: str, case: str, path: Path | None, what: str) -> str:
    """Return how messages name a file of a case."""
    return f"{dataset}, case {case}, {what} {path if path else '(generated)'}"


def _voxels(
    image: Nifti1Image, where: str, dtype: type[np.floating[Any]] | None = None
) -> tuple[NDArray[Any], Geometry]:
    """Return the 3D array in the axes of the file and its geometry."""
    stored = image.get_data_dtype()
    if stored.fields is not None or not np.issubdtype(stored, np.number) or stored.kind == "c":
        raise BenchError(
            f"{where}: voxels of type {stored}, not numbers; export one grey value each"
        )
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise BenchError(
            f"{where}: {len(shape)} dimensions {shape}, expected one 3D volume; split the series"
        )
    affine = np.asarray(image.affine, np.float64)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) <= 1e-6 * sizes.prod():
        raise BenchError(
            f"{where}: the affine has no inverse, voxels have no place in the body; correct"
            " the header (qform, sform) or convert the scan anew"
        )
    try:
        if dtype is None:
            array = np.asanyarray(image.dataobj)
        else:
            array = image.get_fdata(dtype=dtype, caching="unchanged")
    except _UNREADABLE as error:
        raise _unreadable(where, error) from None
    return array.reshape(shape), Geometry.of(shape, affine)


def _same_grid(image: Geometry, labels: Geometry, where: str) -> None:
    if image.native_shape != labels.native_shape:
        raise BenchError(
            f"{where}: shape {labels.native_shape}, but the image has {image.native_shape};"
            f" resample the labels to the image (nearest neighbour)"
        )
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(image.native_shape) - 1)
    of_image, of_labels = (
        nib.affines.apply_affine(np.asarray(grid.native_affine), corners)
        for grid in (image, labels)
    )
    apart = float(np.linalg.norm(of_image - of_labels, axis=1).max())
    # Headers hold float32, some tools rewrite them as a quaternion: that much is rounding.
    if apart > 1e-3 + 1e-5 * float(np.abs(of_image).max()):
        raise BenchError(
            f"{where}: the affine differs from the image's (corners up to {apart:.3g} mm apart);"
            f" resample the labels to the image, or copy the image's header if only that is wrong"
        )


def _as_nifti(labels: NDArray[np.uint8], geometry: Geometry) -> Nifti1Image:
    affine = np.asarray(geometry.native_affine)
    image = Nifti1Image(labels, affine, dtype=np.uint8)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    return image


def _from_bytes(raw: bytes) -> Nifti1Image:
    kind = Nifti2Image if Nifti2Image.header_class.may_contain_header(raw) else Nifti1Image
    image: Nifti1Image = kind.from_bytes(raw)
    return image


def _unreadable(where: str, error: Exception) -> BenchError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return BenchError(
        f"{where}: cannot be read, truncated or corrupt ({reason}); copy or download it again"
    )
