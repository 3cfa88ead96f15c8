"""The table of a prepared data set: which rows of the slice arrays belong to which case."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from bench.data.dataset import Case
from bench.data.geometry import Geometry
from bench.data.grid import Placement
from bench.data.intensity import ValueRange
from bench.params import Params


class CaseSlices(Params):
    """The slices of one case in the image array, and the geometry of its file."""

    case: Case
    start: int
    n_slices: int
    placement: Placement
    geometry: Geometry

    @property
    def rows(self) -> slice:
        """Rows of the image array."""
        return slice(self.start, self.start + self.n_slices)


class SliceIndex(Params):
    """All cases of a prepared data set, in order, on one grid."""

    grid: tuple[int, int]
    value_ranges: tuple[ValueRange, ...]
    """The stored values of 0 and 1, for each of the C channels."""
    cases: tuple[CaseSlices, ...]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read ``index.json`` of an output folder."""
        return cls.model_validate_json((folder / "index.json").read_text())

    def write(self, folder: Path) -> None:
        """Write ``index.json``."""
        (folder / "index.json").write_text(self.model_dump_json(indent=1))

    def __getitem__(self, case_id: str) -> CaseSlices:
        return next(entry for entry in self.cases if entry.case.id == case_id)
