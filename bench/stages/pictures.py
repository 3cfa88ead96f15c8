"""Stages that render predictions of test cases, and pseudo-labels of training cases.

Slices are chosen by the complete labels alone, so they are the same for all methods of a condition.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from typing_extensions import override

from bench.stage import Stage, StageContext
from bench.stages.images import Prepared
from bench.stages.labels import Labels
from bench.stages.predict import Predict
from bench.stages.records import RecordsStage
from bench.stages.relabel import Relabel, read_selections
from bench.stages.truth import Truth

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.data.hidden import CompleteLabels
    from bench.data.index import SliceIndex


SHOWN = 0
"""Channel of an image that pictures show."""


class PictureCase(NamedTuple):
    """A case to render: label maps on the training grid, the organs to compare, scores if any."""

    case: str
    labels_SHW: NDArray[np.uint8]
    truth_SHW: NDArray[np.uint8]
    judged_K: NDArray[np.bool_]
    score_SHW: NDArray[np.float32] | None = None
    """Scores of candidates; NaN elsewhere."""
    unknown_K: NDArray[np.bool_] | None = None
    """Organs without ground truth that are rendered all the same."""


class Pictures(RecordsStage, abc.ABC):
    """Right, wrong and missed voxels over the first channel, a strip of slices per case."""

    file: ClassVar[str] = "pictures.json"

    version: ClassVar[int] = 3

    kind: ClassVar[str]
    """The kind of label map, in one word."""
    shows_truth: ClassVar[bool] = False
    """Whether the complete labels are rendered as well."""

    images: Prepared
    truth: Truth

    @abc.abstractmethod
    def picture_cases(
        self, ctx: StageContext, index: SliceIndex, truth: CompleteLabels
    ) -> Iterator[PictureCase]:
        """Yield the cases to render."""

    def run(self, ctx: StageContext) -> None:
        """Write ``pictures.json``: kind, case, slices, and both PNG files in base 64."""
        import base64
        import json

        import numpy as np

        from bench.data.hidden import CompleteLabels
        from bench.data.index import SliceIndex
        from bench.data.visible import open_images
        from bench.evaluation.overlay import (
            among,
            body_box,
            choose_slices,
            overlay_png,
            scan_png,
            score_png,
            square_pixels,
            verdicts,
        )

        folder = ctx.input(self.images)
        index = SliceIndex.read(folder)
        images_SCHW = open_images(folder)
        complete = CompleteLabels(ctx.input(self.truth))
        records = []
        for shown in self.picture_cases(ctx, index, complete):
            case, labels_SHW, truth_SHW, judged_K, score_SHW, unknown_K = shown
            entry = index[case]
            sides = entry.placement.pixel_mm(entry.geometry.spacing_mm)
            chosen = choose_slices(among(judged_K)[truth_SHW])
            scan_SHW = images_SCHW[entry.rows][chosen, SHOWN]
            shown_range = index.value_ranges[SHOWN]
            box = (slice(None), *body_box(scan_SHW, shown_range[0]))
            scan = scan_png(square_pixels(scan_SHW[box], sides), shown_range)
            labels, truth = (
                square_pixels(maps_SHW[chosen][box], sides) for maps_SHW in (labels_SHW, truth_SHW)
            )
            overlays = {self.kind: overlay_png(verdicts(labels, truth, judged_K, unknown_K))}
            if self.shows_truth:
                overlays["truth"] = overlay_png(verdicts(truth, truth, judged_K))
            if score_SHW is not None:
                score = square_pixels(score_SHW[chosen][box], sides)
                overlays["confidence"] = score_png(score, ~np.isnan(score))
            records += [
                {
                    "kind": kind,
                    "case": case,
                    "slices": ", ".join(str(number) for number in chosen),
                    "scan": base64.b64encode(scan).decode(),
                    "overlay": base64.b64encode(overlay).decode(),
                }
                for kind, overlay in overlays.items()
            ]
        (ctx.out / self.file).write_text(json.dumps(records, indent=0))


class PredictionPictures(Pictures):
    """Predictions of the test cases, and their complete labels."""

    kind: ClassVar[str] = "prediction"
    shows_truth: ClassVar[bool] = True

    prediction: Predict

    @override
    def inputs(self) -> tuple[Stage, ...]:
        return *super().inputs(), self.prediction.labels  # its split lists the test cases

    @property
    @override
    def title(self) -> str:
        return self.prediction.title

    @override
    def picture_cases(
        self, ctx: StageContext, index: SliceIndex, truth: CompleteLabels
    ) -> Iterator[PictureCase]:
        import numpy as np

        from bench.data.grid import labels_to_grid
        from bench.data.labelmap import read_labels
        from bench.data.simulate import Split

        cases = sorted(Split.read(ctx.input(self.prediction.labels)).test)
        for count, case in enumerate(cases, start=1):
            path = ctx.input(self.prediction) / f"{case}.nii.gz"
            placement = index[case].placement
            predicted_XYZ = read_labels(path, f"prediction {path}")
            yield PictureCase(
                case,
                labels_to_grid(predicted_XYZ, placement, index.grid),
                labels_to_grid(truth.labels_XYZ(case), placement, index.grid),
                np.array(truth[case].case.annotated),
            )
            ctx.tick(count, len(cases))


class RelabelPictures(Pictures):
    """Voxels relabelled up to a round, in the first training cases that lack an organ.

    The scores that ranked the round's candidates are rendered as well. Organs labelled for training
    are left out; pseudo-labels of organs without any annotation are marked as unknown.
    """

    kind: ClassVar[str] = "relabelling"

    labels: Labels
    relabelling: Relabel
    n_cases: int = 3

    @property
    @override
    def title(self) -> str:
        return self.relabelling.title

    @override
    def picture_cases(
        self, ctx: StageContext, index: SliceIndex, truth: CompleteLabels
    ) -> Iterator[PictureCase]:
        import numpy as np

        from bench.data.grid import labels_to_grid
        from bench.data.simulate import Split
        from bench.data.slices import LabelSlices

        folder = ctx.input(self.relabelling)
        pseudo = LabelSlices(folder / "slices")
        split = Split.read(ctx.input(self.labels))
        start, done = 0, 0
        for case in split.train:
            rows = range(start, start + index[case].n_slices)
            start = rows.stop
            annotated_K = np.array(truth[case].case.annotated)
            missing_K = ~np.array(split.flags[case])
            if not missing_K.any():
                continue
            ps_SHW = pseudo.gather(rows)
            ps_SHW[ps_SHW > len(missing_K)] = 0  # what was marked as background
            truth_SHW = labels_to_grid(truth.labels_XYZ(case), index[case].placement, index.grid)
            score_SHW = np.full(ps_SHW.shape, np.nan, np.float32)
            ((_, selections),) = read_selections(folder, [case])
            for selection in selections:
                score_SHW.ravel()[selection.index_E] = selection.score_E
            judged_K, unknown_K = missing_K & annotated_K, missing_K & ~annotated_K
            yield PictureCase(case, ps_SHW, truth_SHW, judged_K, score_SHW, unknown_K)
            done += 1
            ctx.tick(done, self.n_cases)
            if done == self.n_cases:
                return
