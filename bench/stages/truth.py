"""Stage `Truth`: the complete labels of every case; no stage that trains takes it as an input."""

from __future__ import annotations

from typing_extensions import override

from bench.data.dataset import Dataset
from bench.stage import Stage, StageContext
from bench.stages.images import slug


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
        from bench.data.dataset import Case
        from bench.data.hidden import TruthCase, TruthIndex, write_truth
        from bench.data.nifti import read_scan
        from bench.data.pool import map_cases

        def prepare(case: Case) -> TruthCase:
            scan = read_scan(self.dataset, case)
            write_truth(ctx.out, case.id, scan.labels_XYZ)
            return TruthCase(case=case, geometry=scan.geometry)

        entries = map_cases(prepare, self.dataset.cases(), ctx.tick)
        index = TruthIndex(organs=self.organs, cases=tuple(entries))
        (ctx.out / "index.json").write_text(index.model_dump_json(indent=1))
