"""Stage `Evaluate`: predictions of the test cases against their complete labels."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from bench.evaluation.metrics import Metric
from bench.stage import StageContext
from bench.stages.predict import Predict
from bench.stages.records import RecordsStage
from bench.stages.truth import Truth


class Evaluate(RecordsStage):
    """The metrics per case and annotated organ, on the grid of the scan."""

    file: ClassVar[str] = "cases.json"

    version: ClassVar[int] = 2

    truth: Truth
    prediction: Predict
    metrics: dict[str, Metric]
    """By name. A further metric makes another stage, in which all are computed again."""

    @property
    @override
    def title(self) -> str:
        return self.prediction.title

    def run(self, ctx: StageContext) -> None:
        """Write ``cases.json``: one record per case and organ."""
        import json

        import numpy as np

        from bench.data.hidden import CompleteLabels
        from bench.data.nifti import read_image
        from bench.evaluation.cases import add_window_scores, case_scores

        truth = CompleteLabels(ctx.input(self.truth))
        predictions = sorted(ctx.input(self.prediction).glob("*.nii.gz"))
        seen = self.prediction.seen(ctx.input(self.prediction))
        records = []
        for count, path in enumerate(predictions, start=1):
            entry = truth[path.name.removesuffix(".nii.gz")]
            (predicted_XYZ,), _ = read_image(path, f"prediction {path}")
            labels = predicted_XYZ.astype(np.uint8), truth.labels_XYZ(entry.case.id)
            scores = case_scores(
                *labels,
                entry.case.annotated,
                self.truth.organs,
                entry.geometry.spacing_mm,
                self.metrics,
            )
            if box := seen.get(entry.case.id):
                add_window_scores(scores, *labels, self.truth.organs, box)
            names = {"case": entry.case.id, "patient": entry.case.patient}
            records += [names | score for score in scores]
            ctx.tick(count, len(predictions))
        (ctx.out / self.file).write_text(json.dumps(records, indent=0))
