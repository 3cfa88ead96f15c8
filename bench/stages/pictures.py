"""Stages that draw: predictions of test cases, and what relabelling rounds added.

Slices are chosen by the complete labels alone, so they are the same for all methods of a cell.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from bench.stage import Stage, StageContext
from bench.stages.images import Prepared
from bench.stages.labels import Labels
from bench.stages.predict import Predict
from bench.stages.relabel import Relabel
from bench.stages.truth import Truth

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.data.hidden import CompleteLabels
    from bench.data.index import SliceIndex


class Drawn(NamedTuple):
    """A case to draw: label maps on the training grid and the organs to judge."""

    case: str
    labels_SHW: NDArray[np.uint8]
    truth_SHW: NDArray[np.uint8]
    judged_K: NDArray[np.bool_]


class Pictures(Stage, abc.ABC):
    """Right, wrong and missed voxels over the CT, a strip of slices per case."""

    images: Prepared
    truth: Truth

    @abc.abstractmethod
    def drawn(self, ctx: StageContext, index: SliceIndex, truth: CompleteLabels) -> Iterator[Drawn]:
        """Yield the cases to draw."""

    def run(self, ctx: StageContext) -> None:
        """Write ``pictures.json``: case, slices, and both PNG files in base 64."""
        import base64
        import json

        import numpy as np

        from bench.data.hidden import CompleteLabels
        from bench.data.index import SliceIndex
        from bench.data.visible import open_images
        from bench.overlay import choose_slices, overlay_png, scan_png, verdicts

        folder = ctx.input(self.images)
        index = SliceIndex.read(folder)
        images_SHW = open_images(folder, index)
        records = []
        for case, labels_SHW, truth_SHW, judged_K in self.drawn(
            ctx, index, CompleteLabels(ctx.input(self.truth))
        ):
            shown_SHW = np.concatenate([[False], judged_K])[truth_SHW]
            chosen = choose_slices(shown_SHW)
            scan = scan_png(images_SHW[index[case].rows][chosen], index.hu_window)
            said = overlay_png(verdicts(labels_SHW[chosen], truth_SHW[chosen], judged_K))
            records.append(
                {
                    "case": case,
                    "slices": ", ".join(str(number) for number in chosen),
                    "scan": base64.b64encode(scan).decode(),
                    "overlay": base64.b64encode(said).decode(),
                }
            )
        (ctx.out / "pictures.json").write_text(json.dumps(records, indent=0))


class PredictionPictures(Pictures):
    """Predictions of the test cases."""

    prediction: Predict

    @property
    def title(self) -> str:
        """The model's title."""
        return self.prediction.title

    def drawn(self, ctx: StageContext, index: SliceIndex, truth: CompleteLabels) -> Iterator[Drawn]:
        """Yield the test cases."""
        import numpy as np

        from bench.data.grid import labels_to_grid
        from bench.data.nifti import read_image

        paths = sorted(ctx.input(self.prediction).glob("*.nii.gz"))
        for count, path in enumerate(paths, start=1):
            case = path.name.removesuffix(".nii.gz")
            placement = index[case].placement
            predicted_XYZ, _ = read_image(path, f"prediction {path}")
            yield Drawn(
                case,
                labels_to_grid(predicted_XYZ.astype(np.uint8), placement, index.grid),
                labels_to_grid(truth.labels_XYZ(case), placement, index.grid),
                np.array(truth[case].case.annotated),
            )
            ctx.tick(count, len(paths))


class RelabelPictures(Pictures):
    """What a round and those before it relabelled, in the first training cases with hidden organs.

    Nothing is said about organs that were never hidden, nor about those that nobody annotated.
    """

    labels: Labels
    relabelling: Relabel
    n_cases: int = 3

    @property
    def title(self) -> str:
        """The relabelling's title."""
        return self.relabelling.title

    def drawn(self, ctx: StageContext, index: SliceIndex, truth: CompleteLabels) -> Iterator[Drawn]:
        """Yield training cases."""
        import numpy as np

        from bench.data.grid import labels_to_grid
        from bench.data.simulate import Split
        from bench.data.slices import LabelSlices

        pseudo = LabelSlices(ctx.input(self.relabelling) / "slices")
        manifest = ctx.input(self.labels) / "split.json"
        split = Split.model_validate_json(manifest.read_text())
        start, done = 0, 0
        for case in split.train:
            rows = range(start, start + index[case].n_slices)
            start = rows.stop
            hidden_K = np.array(truth[case].case.annotated) & ~np.array(split.flags[case])
            if not hidden_K.any():
                continue
            ps_SHW = pseudo.gather(rows)
            ps_SHW[ps_SHW > len(hidden_K)] = 0  # what was marked as background
            truth_SHW = labels_to_grid(truth.labels_XYZ(case), index[case].placement, index.grid)
            yield Drawn(case, ps_SHW, truth_SHW, hidden_K)
            done += 1
            ctx.tick(done, self.n_cases)
            if done == self.n_cases:
                return
