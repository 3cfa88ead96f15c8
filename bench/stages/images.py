"""Stages `Images` and `Volumes`: the images of every case on the training grid, no labels."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, ClassVar

from pydantic import Field
from typing_extensions import override

from bench.data.dataset import Dataset
from bench.data.intensity import Channel
from bench.files import slug
from bench.stage import Stage, StageContext

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.data.geometry import Geometry
    from bench.data.grid import Placement
    from bench.data.intensity import GreyValue, ValueRange


SLICES_AT_ONCE = 16
"""Slices that are resized and written together."""


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

    def resized(self, image_CXYZ: NDArray[GreyValue], geometry: Geometry) -> NDArray[np.int16]:
        """Return the axial slices of a canonical image, within the ranges, shape [S, C, h, w]."""
        import numpy as np

        slices_SCHW = np.empty(self.shape(geometry), np.int16)
        start = 0
        for part_SCHW in self.parts(image_CXYZ, geometry):
            slices_SCHW[start : start + len(part_SCHW)] = part_SCHW
            start += len(part_SCHW)
        return slices_SCHW

    def shape(self, geometry: Geometry) -> tuple[int, int, int, int]:
        """Return the shape [S, C, h, w] of the slices of a case, without padding."""
        scaled, n_slices = self.size(geometry)
        return n_slices, len(self.channels), *scaled

    def parts(
        self, image_CXYZ: NDArray[GreyValue], geometry: Geometry
    ) -> Iterator[NDArray[np.int16]]:
        """Yield what :meth:`resized` returns, some slices at a time."""
        import numpy as np

        from bench.data.grid import depth_parts, resize_image

        n_slices, n_channels, h, w = self.shape(geometry)
        depth = geometry.canonical_shape[2]
        values = [
            channel.volume_range(grey_XYZ)
            for channel, grey_XYZ in zip(self.channels, image_CXYZ, strict=True)
        ]
        for rows, n in depth_parts(depth, n_slices, SLICES_AT_ONCE):
            part_SCHW = np.empty((n, n_channels, h, w), np.int16)
            for c, channel in enumerate(self.channels):
                grey_SXY = image_CXYZ[c, :, :, rows].transpose(2, 0, 1)
                image_XYZ = grey_SXY.astype(np.float32, order="C").transpose(1, 2, 0)
                stored_XYZ = channel.to_stored(image_XYZ, values[c])
                part_SCHW[:, c] = np.rint(resize_image(stored_XYZ, (h, w), n))
            yield part_SCHW

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
        from bench.data.dataset import Case, where_is
        from bench.data.grid import grid_shape
        from bench.data.image import read_image
        from bench.data.index import CaseSlices, SliceIndex
        from bench.data.slices import begin_array, read_slices
        from bench.stages.pieces import Pieces

        cases = self.dataset.cases()
        pieces = Pieces(ctx, ".npy")

        def prepare(case: Case, file: IO[bytes]) -> Geometry:
            where = where_is(self.dataset, case, "image")
            image = self.dataset.image(case)
            image_CXYZ, geometry = read_image(image, where, self.channels, self.refuse_size)
            begin_array(file, self.shape(geometry))
            for part_SCHW in self.parts(image_CXYZ, geometry):
                file.write(part_SCHW.data)
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
        # Not through a memory map, which counts as memory and ends the process on a full disk.
        with (ctx.out / "images.npy").open("wb") as file:
            begin_array(file, shape)
            for entry in entries:
                for slices_SCHW in read_slices(pieces.file(entry.case), SLICES_AT_ONCE):
                    file.write(self.padded(slices_SCHW, entry.placement, grid).data)
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
