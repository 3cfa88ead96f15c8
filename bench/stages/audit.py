"""Stage `Audit`: precision and recall of pseudo-labels, against the hidden labels."""

from __future__ import annotations

import math
from typing import ClassVar

from typing_extensions import override

from bench.stage import Stage, StageContext
from bench.stages.images import Prepared
from bench.stages.records import RecordsStage
from bench.stages.relabel import Relabel
from bench.stages.truth import Truth

SURE = 0.95
"""Score from which a candidate is sure, as the threshold of FixMatch and UniMatch."""


class Audit(RecordsStage):
    """Counts and ranking quality per organ, pooled over the training volumes that lack it.

    Beside them how many candidates have a score of at least 0.95, the number of these volumes, how
    many of their pseudo-labels were left out as a whole, and the mean DSC of the candidates of both
    kinds, NaN without any. Volumes without any annotation of an organ are left out: there is no
    truth to compare with.
    """

    file: ClassVar[str] = "audit.json"

    version: ClassVar[int] = 4

    images: Prepared
    truth: Truth
    relabelling: Relabel

    @override
    def inputs(self) -> tuple[Stage, ...]:
        return *super().inputs(), self.relabelling.labels  # its split lists the cases

    @property
    @override
    def title(self) -> str:
        return self.relabelling.title

    def run(self, ctx: StageContext) -> None:
        """Write ``audit.json``: one record per organ."""
        import json

        import numpy as np

        from bench.data.grid import labels_to_grid
        from bench.data.hidden import CompleteLabels
        from bench.data.index import SliceIndex
        from bench.data.simulate import Split
        from bench.evaluation.ranking import ranking_scores
        from bench.stages.relabel import read_selections

        truth = CompleteLabels(ctx.input(self.truth))
        index = SliceIndex.read(ctx.input(self.images))
        folder = ctx.input(self.relabelling)
        K = len(self.truth.organs)
        added, tp, gt_missing = (np.zeros(K, np.int64) for _ in range(3))
        volumes, left_out = (np.zeros(K, np.int64) for _ in range(2))
        dsc: list[dict[bool, list[float]]] = [{False: [], True: []} for _ in range(K)]
        scores: list[list[np.ndarray]] = [[] for _ in range(K)]
        successes: list[list[np.ndarray]] = [[] for _ in range(K)]
        split = Split.read(ctx.input(self.relabelling.labels))
        cases = split.incomplete
        out = Relabel.left_out(folder, split.train)
        for count, (case_id, selections) in enumerate(read_selections(folder, cases), start=1):
            entry = index[case_id]
            truth_SHW = labels_to_grid(truth.labels_XYZ(case_id), entry.placement, index.grid)
            for selection in selections:
                k = selection.organ - 1
                if not truth[case_id].case.annotated[k]:
                    continue
                success_E = truth_SHW.ravel()[selection.index_E] == selection.organ
                n_true = int((truth_SHW == selection.organ).sum())
                is_out = case_id in out and bool(out[case_id][k])
                volumes[k] += 1
                left_out[k] += is_out
                if n_true + len(success_E):
                    dsc[k][is_out].append(2 * int(success_E.sum()) / (n_true + len(success_E)))
                added[k] += selection.selected_E.sum()
                tp[k] += (success_E & selection.selected_E).sum()
                gt_missing[k] += n_true
                scores[k].append(selection.score_E)
                successes[k].append(success_E)
            ctx.tick(count, len(cases))
        records = []
        for k, organ_name in enumerate(self.truth.organs):
            if not scores[k]:
                continue
            ranking = ranking_scores(np.concatenate(scores[k]), np.concatenate(successes[k]))
            counts = {"added": int(added[k]), "tp": int(tp[k]), "gt_missing": int(gt_missing[k])}
            sure = np.concatenate(scores[k]) >= SURE
            whole = {
                "sure": int(sure.sum()),
                "sure_right": int((sure & np.concatenate(successes[k])).sum()),
                "volumes": int(volumes[k]),
                "left_out": int(left_out[k]),
                "dsc_kept": _mean(dsc[k][False]),
                "dsc_left_out": _mean(dsc[k][True]),
            }
            records.append({"organ": organ_name} | counts | ranking._asdict() | whole)
        (ctx.out / self.file).write_text(json.dumps(records, indent=0))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan
