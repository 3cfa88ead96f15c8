"""Stage `Audit`: precision and recall of pseudo-labels, against the hidden labels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from bench.stage import Stage, StageContext
from bench.stages.images import Prepared
from bench.stages.records import RecordsStage
from bench.stages.relabel import Relabel
from bench.stages.truth import Truth

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.training.relabelling import Selection

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

        from bench.data.grid import labels_to_grid
        from bench.data.hidden import CompleteLabels
        from bench.data.index import SliceIndex
        from bench.data.simulate import Split
        from bench.stages.relabel import read_selections

        truth = CompleteLabels(ctx.input(self.truth))
        index = SliceIndex.read(ctx.input(self.images))
        folder = ctx.input(self.relabelling)
        tallies = [_Tally(organ) for organ in self.truth.organs]
        split = Split.read(ctx.input(self.relabelling.labels))
        cases = split.incomplete
        out = Relabel.left_out(folder, split.train)
        for count, (case_id, selections) in enumerate(read_selections(folder, cases), start=1):
            entry = index[case_id]
            truth_SHW = labels_to_grid(truth.labels_XYZ(case_id), entry.placement, index.grid)
            for selection in selections:
                k = selection.organ - 1
                if truth[case_id].case.annotated[k]:
                    is_out = case_id in out and bool(out[case_id][k])
                    tallies[k].add(selection, truth_SHW, is_out=is_out)
            ctx.tick(count, len(cases))
        records = [tally.record() for tally in tallies if tally.volumes]
        (ctx.out / self.file).write_text(json.dumps(records, indent=0))


@dataclass(slots=True)
class _Tally:
    """What is counted of an organ over the volumes in which it was hidden."""

    organ: str
    added: int = 0
    tp: int = 0
    gt_missing: int = 0
    volumes: int = 0
    left_out: int = 0
    dsc: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})
    """By whether the pseudo-label was left out; nothing where organ and candidates are empty."""
    scores: list[NDArray[np.float32]] = field(default_factory=list)
    successes: list[NDArray[np.bool_]] = field(default_factory=list)

    def add(self, selection: Selection, truth_SHW: NDArray[np.uint8], *, is_out: bool) -> None:
        """Count the candidates of a volume."""
        success_E = truth_SHW.ravel()[selection.index_E] == selection.organ
        n_true = int((truth_SHW == selection.organ).sum())
        self.volumes += 1
        self.left_out += is_out
        if n_true + len(success_E):
            self.dsc[is_out].append(2 * int(success_E.sum()) / (n_true + len(success_E)))
        self.added += int(selection.selected_E.sum())
        self.tp += int((success_E & selection.selected_E).sum())
        self.gt_missing += n_true
        self.scores.append(selection.score_E)
        self.successes.append(success_E)

    def record(self) -> dict[str, Any]:
        """Return the row of the organ."""
        import numpy as np

        from bench.evaluation.ranking import ranking_scores

        score_E, success_E = np.concatenate(self.scores), np.concatenate(self.successes)
        sure_E = score_E >= SURE
        return {
            "organ": self.organ,
            "added": self.added,
            "tp": self.tp,
            "gt_missing": self.gt_missing,
            **ranking_scores(score_E, success_E)._asdict(),
            "sure": int(sure_E.sum()),
            "sure_right": int((sure_E & success_E).sum()),
            "volumes": self.volumes,
            "left_out": self.left_out,
            "dsc_kept": _mean(self.dsc[False]),
            "dsc_left_out": _mean(self.dsc[True]),
        }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan
