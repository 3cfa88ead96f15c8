"""Stage `Labels`: the visible labels of one fold at one label fraction.

Hidden labels are physically absent: the slices written here hold the visible organs only.
"""

from __future__ import annotations

from pydantic import Field
from typing_extensions import override

from bench.files import slug
from bench.stage import Stage, StageContext
from bench.stages.images import Prepared
from bench.stages.truth import Truth


class Labels(Stage):
    """The simulator's output: split manifest, flags and visible label slices of training cases."""

    images: Prepared
    truth: Truth
    fold: int = Field(ge=0)
    n_folds: int = Field(ge=2)
    label_pct: int = Field(ge=1, le=100)
    seed: int = Field(ge=0)

    @property
    @override
    def title(self) -> str:
        return f"{slug(self.images.name)}-f{self.fold}-a{self.label_pct}"

    def run(self, ctx: StageContext) -> None:
        """Write ``split.json``, ``slices/`` and ``shown.npy`` (slice x organ)."""
        import numpy as np

        from bench.data.grid import labels_to_grid
        from bench.data.hidden import CompleteLabels
        from bench.data.index import SliceIndex
        from bench.data.simulate import make_split
        from bench.data.slices import LabelSliceWriter, organs_shown
        from bench.labels import VOID

        truth = CompleteLabels(ctx.input(self.truth))
        index = SliceIndex.read(ctx.input(self.images))
        split = make_split(
            [entry.case for entry in index.cases],
            self.images.organs,
            dataset=self.images.name,
            fold=self.fold,
            n_folds=self.n_folds,
            label_pct=self.label_pct,
            seed=self.seed,
        )
        shown = []
        with LabelSliceWriter(ctx.out / "slices", index.grid) as writer:
            for count, case_id in enumerate(split.train, start=1):
                visible = np.zeros(256, np.bool_)
                visible[1 : len(self.images.organs) + 1] = split.flags[case_id]
                visible[VOID] = True
                labels_XYZ = truth.labels_XYZ(case_id)
                kept_XYZ = np.where(visible[labels_XYZ], labels_XYZ, 0).astype(np.uint8)
                slices = labels_to_grid(kept_XYZ, index[case_id].placement, index.grid)
                writer.append(slices)
                shown.append(organs_shown(slices, len(self.images.organs)))
                ctx.tick(count, len(split.train))
        np.save(ctx.out / "shown.npy", np.concatenate(shown))
        split.write(ctx.out)
