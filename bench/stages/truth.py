"""Stage `Truth`: the complete labels of every case; no stage that trains takes it as an input."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from typing_extensions import override

from bench.data.dataset import Case, Dataset
from bench.files import slug
from bench.stage import Stage, StageContext

if TYPE_CHECKING:
    from bench.data.geometry import Geometry


class Truth(Stage):
    """Complete label maps on the native grid, canonical orientation, checked against the images."""

    dataset: Dataset
    name: str
    organs: tuple[str, ...]
    content: str

    @property
    @override
    def title(self) -> str:
        return slug(self.name)

    def run(self, ctx: StageContext) -> None:
        """Write one ``CASE.npz`` per case and ``index.json``."""
        from bench.data.hidden import TruthCase, TruthIndex, write_truth
        from bench.data.scan import read_label_map
        from bench.stages.pieces import Pieces

        cases = self.dataset.cases()
        pieces = Pieces(ctx, ".npz")

        def prepare(case: Case, file: IO[bytes]) -> Geometry:
            labels_XYZ, geometry = read_label_map(self.dataset, case)
            write_truth(file, labels_XYZ)
            return geometry

        geometries = pieces.prepare(self.dataset, cases, self.content, prepare)
        entries = []
        for case, geometry in zip(cases, geometries, strict=True):
            pieces.file(case).rename(ctx.out / f"{case.id}.npz")
            entries.append(TruthCase(case=case, geometry=geometry))
        index = TruthIndex(organs=self.organs, cases=tuple(entries))
        (ctx.out / "index.json").write_text(index.model_dump_json(indent=1))
