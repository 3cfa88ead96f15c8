"""Stage `Evaluate`: predictions of the test cases against their complete labels."""

from __future__ import annotations

from typing import ClassVar

from typing_extensions import override

from bench.evaluation.metrics import Metric
from bench.stage import Stage, StageContext
from bench.stages.predict import Predict
from bench.stages.records import RecordsStage
from bench.stages.truth import Truth


class Evaluate(RecordsStage):
    """The metrics per case and annotated organ, on the grid of the scan."""

    file: ClassVar[str] = "cases.json"

    version: ClassVar[int] = 3

    truth: Truth
    prediction: Predict
    metrics: dict[str, Metric]
    """By name. A further metric makes another stage, in which all are computed again."""

    @override
    def inputs(self) -> tuple[Stage, ...]:
        return *super().inputs(), self.prediction.labels  # its split lists the test cases

    @property
    @override
    def title(self) -> str:
        return self.prediction.title

    def run(self, ctx: StageContext) -> None:
        """Write ``cases.json``: one record per case and organ."""
        import json

        from bench.data.hidden import CompleteLabels
        from bench.data.labelmap import read_labels
        from bench.data.simulate import Split
        from bench.evaluation.cases import add_window_scores, case_scores
        from bench.evaluation.masks import without_void
        from bench.evaluation.metrics import NAN

        truth = CompleteLabels(ctx.input(self.truth))
        predictions = ctx.input(self.prediction)
        seen = self.prediction.seen(predictions)
        cases = sorted(Split.read(ctx.input(self.prediction.labels)).test)
        records = []
        for count, case_id in enumerate(cases, start=1):
            entry, path = truth[case_id], predictions / f"{case_id}.nii.gz"
            predicted_XYZ = read_labels(path, f"prediction {path}")
            labels = without_void(predicted_XYZ, truth.labels_XYZ(case_id))
            grid = entry.geometry
            scores = case_scores(
                *labels,
                entry.case.annotated,
                self.truth.organs,
                grid.spacing_mm if entry.case.spacing_known else (NAN,) * 3,
                self.metrics,
                grid.canonical_affine[:3, :3] if grid.sheared else None,
            )
            if box := seen.get(entry.case.id):
                add_window_scores(scores, *labels, self.truth.organs, box)
            names = {"case": entry.case.id, "patient": entry.case.patient}
            records += [names | score for score in scores]
            ctx.tick(count, len(cases))
        (ctx.out / self.file).write_text(json.dumps(records, indent=0))
