"""Stages `Images` and `Volumes`: the images of every case on the training grid, no labels."""

from __future__ import annotations

import abc
from typing import IO, TYPE_CHECKING, ClassVar

from pydantic import Field
from typing_extensions import override

from bench.data.dataset import Dataset
from bench.data.intensity import Channel
from bench.stage import Stage, StageContext

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.data.grid import Placement
    from bench.data.intensity import ValueRange
    from bench.data.nifti import Geometry


SLICES_AT_ONCE = 64


class Prepared(Stage, abc.ABC):
    """Canonical orientation, scaling, resizing and padding; shared by every run on the data."""

    version: ClassVar[int] = 2

    dataset: Dataset
    name: str
    organs: tuple[str, ...]
    content: str
    """Fingerprint of the cases and files (:mod:`bench.data.fingerprint`)."""
    channels: tuple[Channel, ...]
    multiple_of: int = Field(default=16, ge=1)
    """Height and width of the grid are padded to a multiple of it."""

    @abc.abstractmethod
    def size(self, geometry: Geometry) -> tuple[tuple[int, int], int]:
        """Return slice shape and number of slices of a case on the grid, without padding."""

    def refuse_size(self, geometry: Geometry, where: str) -> None:
        """Refuse a case that is too large on the grid, before memory is taken for it.

        Raises
        ------
        BenchError
            With the start ``where``, the case and its file.
        """

    @property
    def value_ranges(self) -> tuple[ValueRange, ...]:
        """The stored values of 0 and 1, per channel."""
        return tuple(channel.stored_range for channel in self.channels)

    def resized(self, image_CXYZ: NDArray[np.float32], geometry: Geometry) -> NDArray[np.int16]:
        """Return the axial slices of a canonical image, within the ranges, shape [S, C, h, w]."""
        import numpy as np

        from bench.data.grid import resize_image

        scaled, n_slices = self.size(geometry)
        depth = geometry.canonical_shape[2]
        # Slices that keep their number do not depend on each other: memory for some of them.
        size = SLICES_AT_ONCE if n_slices == depth else depth
        slices_SCHW = np.empty((n_slices, len(self.channels), *scaled), np.int16)
        for c, (channel, image_XYZ) in enumerate(zip(self.channels, image_CXYZ, strict=True)):
            values = channel.volume_range(image_XYZ)
            for start in range(0, depth, size):
                stored_XYZ = channel.to_stored(image_XYZ[..., start : start + size], values)
                n = stored_XYZ.shape[2] if n_slices == depth else n_slices
                slices_SCHW[start : start + n, c] = np.rint(resize_image(stored_XYZ, scaled, n))
        return slices_SCHW

    def placement(self, geometry: Geometry, grid: tuple[int, int]) -> Placement:
        """Return the position of a case, centred on the grid."""
        from bench.data.grid import centred

        x, y, z = geometry.canonical_shape
        scaled, n_slices = self.size(geometry)
        return centred((x, y), scaled, grid, depth=None if n_slices == z else (z, n_slices))

    def padded(
        self, slices_SCHW: NDArray[np.int16], placement: Placement, grid: tuple[int, int]
    ) -> NDArray[np.int16]:
        """Return slices of :meth:`resized` on the grid, padded with the stored value of 0."""
        import numpy as np

        on_grid = np.empty((*slices_SCHW.shape[:2], *grid), np.int16)
        for channel, (low, _) in enumerate(self.value_ranges):
            on_grid[:, channel] = round(low)
        on_grid[(..., *placement.window)] = slices_SCHW
        return on_grid

    def run(self, ctx: StageContext) -> None:
        """Write ``images.npy`` (int16, [S, C, H, W]) and ``index.json``."""
        import numpy as np

        from bench.data.dataset import Case
        from bench.data.grid import grid_shape
        from bench.data.index import CaseSlices, SliceIndex
        from bench.data.nifti import read_image, where_is
        from bench.files import reserve
        from bench.stages.pieces import Pieces

        cases = self.dataset.cases()
        pieces = Pieces(ctx, ".npy")

        def prepare(case: Case, file: IO[bytes]) -> Geometry:
            where = where_is(self.dataset, case, "image")
            image = self.dataset.image(case)
            image_CXYZ, geometry = read_image(image, where, self.channels, self.refuse_size)
            np.save(file, self.resized(image_CXYZ, geometry))
            return geometry

        geometries = pieces.prepare(self.dataset, cases, self.content, prepare)
        grid = grid_shape([self.size(geometry)[0] for geometry in geometries], self.multiple_of)
        entries: list[CaseSlices] = []
        for case, geometry in zip(cases, geometries, strict=True):
            start = entries[-1].rows.stop if entries else 0
            placement = self.placement(geometry, grid)
            _, n_slices = self.size(geometry)
            entries.append(
                CaseSlices(
                    case=case,
                    start=start,
                    n_slices=n_slices,
                    placement=placement,
                    geometry=geometry,
                )
            )
        shape = (entries[-1].rows.stop, len(self.channels), *grid)
        path = ctx.out / "images.npy"
        images_SCHW = np.lib.format.open_memmap(path, "w+", np.int16, shape)
        reserve(path)
        for entry in entries:
            slices_SCHW = np.load(pieces.file(entry.case))
            images_SCHW[entry.rows] = self.padded(slices_SCHW, entry.placement, grid)
        images_SCHW.flush()
        index = SliceIndex(grid=grid, value_ranges=self.value_ranges, cases=tuple(entries))
        index.write(ctx.out)


class Images(Prepared):
    """For 2D networks: the slices of the scan, downsampled where a side exceeds ``max_side``."""

    max_side: int = Field(ge=16)

    @property
    @override
    def title(self) -> str:
        return f"{slug(self.name)}-{self.max_side}px"

    def size(self, geometry: Geometry) -> tuple[tuple[int, int], int]:
        """Return the reduced slice shape and the scan's own number of slices."""
        from bench.data.grid import reduced

        x, y, z = geometry.canonical_shape
        return reduced((x, y), self.max_side), z


class Volumes(Prepared):
    """For 3D networks: the scan in cubic voxels (specification: Networks)."""

    voxel_mm: float = Field(gt=0)
    """Side of the cubic voxels."""

    @property
    @override
    def title(self) -> str:
        return f"{slug(self.name)}-{self.voxel_mm:g}mm"

    def size(self, geometry: Geometry) -> tuple[tuple[int, int], int]:
        """Return slice shape and number of slices at the spacing."""
        from bench.data.grid import cubic

        return cubic(geometry.canonical_shape, geometry.spacing_mm, self.voxel_mm)

    @override
    def refuse_size(self, geometry: Geometry, where: str) -> None:
        from bench.data.grid import refuse_cubic

        shape, spacing = geometry.canonical_shape, geometry.spacing_mm
        refuse_cubic(shape, spacing, self.voxel_mm, len(self.channels), where)


def slug(text: str) -> str:
    """Return ``text`` with everything but letters, digits, ``_`` and ``.`` turned into ``_``."""
    return "".join(c if c.isalnum() or c in "_." else "_" for c in text).strip("_")
