"""Stage `Predict`: label maps of the test cases, as NIfTI on the grid of their files."""

from __future__ import annotations

from typing import ClassVar

from bench.stage import Stage, StageContext
from bench.stages.images import Prepared
from bench.stages.labels import Labels
from bench.stages.train import Train


class Predict(Stage):
    """Slice-wise prediction of one fold's test cases with the last iterate of a model."""

    uses_accelerator: ClassVar[bool] = True

    images: Prepared
    labels: Labels
    model: Train

    @property
    def title(self) -> str:
        """The model's title."""
        return self.model.title

    def run(self, ctx: StageContext) -> None:
        """Write one ``CASE.nii.gz`` per test case, and ``view.json`` if only its centre is seen."""
        import json

        import nibabel as nib

        from bench.data.grid import native_box
        from bench.data.index import SliceIndex
        from bench.data.nifti import to_native
        from bench.data.simulate import Split
        from bench.data.visible import normalise, open_images
        from bench.nets.inference import predict_volume

        images = ctx.input(self.images)
        index = SliceIndex.read(images)
        images_SCHW = open_images(images, index)
        manifest = ctx.input(self.labels) / "split.json"
        split = Split.model_validate_json(manifest.read_text())
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
            )
            labels_XYZ = labels_ZXY.transpose(1, 2, 0)
            nib.save(to_native(labels_XYZ, entry.geometry), ctx.out / f"{case_id}.nii.gz")
            if window is not None and window.sampling == "centre":
                first = window.centre((entry.n_slices, *index.grid))
                box = native_box(entry.placement, entry.n_slices, first, window.patch)
                seen[case_id] = [(side.start, side.stop) for side in box]
            ctx.tick(count, len(split.test))
        if seen:
            (ctx.out / "view.json").write_text(json.dumps(seen))
