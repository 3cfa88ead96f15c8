"""Stage `Images`: the CT of every case as axial slices on the training grid, no labels."""

from __future__ import annotations

import shutil

from pydantic import Field

from bench.data.dataset import Dataset
from bench.stage import Stage, StageContext


class Images(Stage):
    """Canonical orientation, HU window, reduction and padding; shared by every run on the data."""

    dataset: Dataset
    name: str
    organs: tuple[str, ...]
    content: str
    """Fingerprint of the cases and files (:mod:`bench.data.fingerprint`)."""
    max_side: int = Field(ge=16)
    multiple_of: int = Field(default=16, ge=1)

    @property
    def title(self) -> str:
        """Data set and resolution."""
        return f"{slug(self.name)}-{self.max_side}px"

    def run(self, ctx: StageContext) -> None:
        """Write ``images.bin`` (int16 HU, [S, H, W]) and ``index.json``."""
        import numpy as np

        from bench.data.dataset import Case
        from bench.data.grid import centred, grid_shape, reduce_image, reduced
        from bench.data.index import CaseSlices, SliceIndex
        from bench.data.nifti import Geometry, read_image, where_is
        from bench.data.pool import map_cases

        low, high = self.dataset.hu_window
        pieces = ctx.scratch / "reduced"
        pieces.mkdir(exist_ok=True)

        def prepare(case: Case) -> tuple[Geometry, tuple[int, ...]]:
            image = self.dataset.image(case)
            where = where_is(self.dataset, case, "image")
            image_XYZ, geometry = read_image(image, where)
            x, y, _ = image_XYZ.shape
            slices = reduce_image(np.clip(image_XYZ, low, high), reduced((x, y), self.max_side))
            np.save(pieces / f"{case.id}.npy", np.rint(slices).astype(np.int16))
            return geometry, slices.shape

        cases = self.dataset.cases()
        prepared = map_cases(prepare, cases, ctx.tick)
        grid = grid_shape([(h, w) for _, (_, h, w) in prepared], self.multiple_of)
        entries: list[CaseSlices] = []
        with (ctx.out / "images.bin").open("wb") as file:
            for case, (geometry, (n_slices, h, w)) in zip(cases, prepared, strict=True):
                x, y, _ = geometry.canonical_shape
                placement = centred((x, y), (h, w), grid)
                slices = np.full((n_slices, *grid), round(low), np.int16)
                slices[(slice(None), *placement.window)] = np.load(pieces / f"{case.id}.npy")
                slices.tofile(file)
                start = entries[-1].rows.stop if entries else 0
                entries.append(
                    CaseSlices(
                        case=case,
                        start=start,
                        n_slices=n_slices,
                        placement=placement,
                        geometry=geometry,
                    )
                )
        SliceIndex(grid=grid, hu_window=self.dataset.hu_window, cases=tuple(entries)).write(ctx.out)
        shutil.rmtree(pieces)


def slug(text: str) -> str:
    """Return ``text`` with everything but letters, digits, ``_`` and ``.`` turned into ``_``."""
    return "".join(c if c.isalnum() or c in "_." else "_" for c in text).strip("_")
