"""Stage `Sheet`: a contact sheet of the cases of a fold, for people; no stage reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from typing_extensions import override

from bench.stage import StageContext
from bench.stages.images import Prepared
from bench.stages.labels import Labels
from bench.stages.pictures import SHOWN
from bench.stages.records import RecordsStage
from bench.stages.truth import Truth

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.data.dataset import Case
    from bench.data.hidden import CompleteLabels
    from bench.data.index import SliceIndex
    from bench.data.simulate import Split
    from bench.evaluation.sheet import Card


class Sheet(RecordsStage):
    """The sheet of ``bench data preview``, drawn of what is prepared, on the training grid."""

    file: ClassVar[str] = "sheet.json"

    images: Prepared
    truth: Truth
    labels: Labels
    n_cases: int = Field(default=12, ge=1)
    """Cases shown, evenly spread over all."""
    n_slices: int = Field(default=3, ge=1)
    """Most slices of a case."""

    @property
    @override
    def title(self) -> str:
        return self.labels.title

    def run(self, ctx: StageContext) -> None:
        """Write ``sheet.json``: one record with title and PNG in base 64."""
        import base64
        import io
        import json

        from bench.data.hidden import CompleteLabels
        from bench.data.index import SliceIndex
        from bench.data.preview import heading, select
        from bench.data.simulate import Split
        from bench.data.visible import open_images
        from bench.evaluation.sheet import SMALL, page

        folder = ctx.input(self.images)
        index, images_SCHW = SliceIndex.read(folder), open_images(folder)
        complete = CompleteLabels(ctx.input(self.truth))
        split = Split.read(ctx.input(self.labels))
        cases = [entry.case for entry in index.cases]
        selection = select(cases, self.n_cases)
        cards = []
        for count, case in enumerate(selection.cases, start=1):
            image_SHW = images_SCHW[index[case.id].rows, SHOWN]
            cards.append(self._card(case, image_SHW, index, complete, split))
            ctx.tick(count, len(selection.cases))
        channel = self.images.channels[SHOWN]
        top = heading(self.images.name, self.images.organs, cases, channel, selection, split)
        png = io.BytesIO()
        # A palette: a third of the size, and no eye sees it.
        page(top, cards, SMALL).quantize(256).save(png, "PNG", optimize=True)
        record = {"title": top.title, "png": base64.b64encode(png.getvalue()).decode()}
        (ctx.out / self.file).write_text(json.dumps([record]))

    def _card(
        self,
        case: Case,
        image_SHW: NDArray[np.int16],
        index: SliceIndex,
        complete: CompleteLabels,
        split: Split,
    ) -> Card:
        from bench.data.grid import labels_to_grid
        from bench.data.preview import facts, hidden_in
        from bench.evaluation.sheet import card

        entry = index[case.id]
        return card(
            case.id,
            facts(case, entry.geometry, split),
            image_SHW,
            labels_to_grid(complete.labels_XYZ(case.id), entry.placement, index.grid),
            entry.placement.pixel_mm(entry.geometry.spacing_mm),
            index.value_ranges[SHOWN],
            case.annotated,
            hidden_in(case, split),
            self.n_slices,
        )
