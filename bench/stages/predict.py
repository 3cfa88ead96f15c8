"""Stage `Predict`: label maps of the test cases, as NIfTI on the grid of their files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from typing_extensions import override

from bench.params import Added
from bench.stage import Stage, StageContext
from bench.stages.images import Prepared
from bench.stages.labels import Labels
from bench.stages.train import Train
from bench.training.consensus import Consensus

VIEW = "view.json"


class Predict(Stage):
    """Prediction of one fold's test cases with the last iterate of a model."""

    uses_accelerator: ClassVar[bool] = True

    images: Prepared
    labels: Labels
    model: Train
    consensus: Annotated[Consensus | None, Added()] = None
    """Predict what several views agree on; None: what the model says of the image as it is."""

    @property
    @override
    def title(self) -> str:
        return self.model.title

    def run(self, ctx: StageContext) -> None:
        """Write one ``CASE.nii.gz`` per test case; ``view.json`` if the window covers a part."""
        import json

        import nibabel as nib

        from bench.data.grid import native_box
        from bench.data.index import SliceIndex
        from bench.data.labelmap import to_native
        from bench.data.simulate import Split
        from bench.data.visible import normalise, open_images
        from bench.nets.inference import predict_volume

        images = ctx.input(self.images)
        index = SliceIndex.read(images)
        images_SCHW = open_images(images)
        split = Split.read(ctx.input(self.labels))
        net = self.model.load_segmenter(ctx.input(self.model)).to(ctx.device)
        window = self.model.window
        seen: dict[str, list[tuple[int, int]]] = {}
        for count, case_id in enumerate(split.test, start=1):
            entry = index[case_id]
            labels_ZXY = predict_volume(
                net,
                normalise(images_SCHW[entry.rows], index.value_ranges),
                device=ctx.device,
                precision=self.model.config.precision,
                placement=entry.placement,
                window=window,
                views=None if self.consensus is None else self.consensus.affines,
            )
            if self.consensus is not None:
                labels_ZXY = self.consensus.without_small_objects(labels_ZXY)
            labels_XYZ = labels_ZXY.transpose(1, 2, 0)
            nib.save(to_native(labels_XYZ, entry.geometry), ctx.out / f"{case_id}.nii.gz")
            if window is not None and window.sampling == "centre":
                first = window.centre((entry.n_slices, *index.grid))
                box = native_box(entry.placement, entry.n_slices, first, window.patch)
                seen[case_id] = [(side.start, side.stop) for side in box]
            ctx.tick(count, len(split.test))
        if seen:
            (ctx.out / VIEW).write_text(json.dumps(seen))

    @staticmethod
    def seen(out: Path) -> dict[str, list[tuple[int, int]]]:
        """Return the box that the network saw of each case; empty if it saw all of them."""
        import json

        path = out / VIEW
        found = json.loads(path.read_text()) if path.is_file() else {}
        return {case: [(start, stop) for start, stop in box] for case, box in found.items()}
