"""Stage `Targets`: training targets compared with the complete labels (Table 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from bench.stage import StageContext
from bench.stages.images import Prepared
from bench.stages.labels import Labels
from bench.stages.records import RecordsStage
from bench.stages.truth import Truth

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Targets(RecordsStage):
    """Counts of training voxels with right and wrong targets, per rule and organ.

    Volumes without any annotation of an organ are left out: there is no truth to compare with.
    """

    file: ClassVar[str] = "targets.json"

    version: ClassVar[int] = 2

    images: Prepared
    truth: Truth
    labels: Labels

    @property
    @override
    def title(self) -> str:
        return self.labels.title

    def run(self, ctx: StageContext) -> None:
        """Write ``targets.json``: one record per rule and organ."""
        import json

        import numpy as np

        from bench.data.grid import labels_to_grid
        from bench.data.hidden import CompleteLabels
        from bench.data.index import SliceIndex
        from bench.data.visible import TrainView

        truth = CompleteLabels(ctx.input(self.truth))
        index = SliceIndex.read(ctx.input(self.images))
        view = TrainView(ctx.input(self.images), ctx.input(self.labels))
        pairs, annotated = [], []
        for count, case in enumerate(view.cases, start=1):
            truth_SHW = labels_to_grid(
                truth.labels_XYZ(case.id), index[case.id].placement, index.grid
            )
            seen_SHW = view.labels.gather(range(case.labels.start, case.labels.stop))
            pairs.append(joint_counts(truth_SHW, seen_SHW, len(self.truth.organs)))
            annotated.append(truth[case.id].case.annotated)
            ctx.tick(count, len(view.cases))
        records = target_counts(np.array(pairs), view.flags_VK, np.array(annotated))
        named = [record | {"organ": self.truth.organs[record["organ"]]} for record in records]
        (ctx.out / self.file).write_text(json.dumps(named, indent=0))


def joint_counts(
    truth: NDArray[np.uint8], seen: NDArray[np.uint8], n_organs: int
) -> NDArray[np.int64]:
    """Return how often label i of the truth meets visible label j, shape [K + 1, K + 1].

    Voxels of unknown class (VOID) are left out.
    """
    import numpy as np

    from bench.labels import VOID

    sides = (n_organs + 1, n_organs + 1)
    said = truth != VOID
    flat = np.ravel_multi_index((truth[said], seen[said]), sides)
    return np.bincount(flat, minlength=sides[0] * sides[1]).reshape(sides)


def target_counts(
    pairs_VCC: NDArray[np.int64], flags_VK: NDArray[np.bool_], annotated_VK: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Return the counts of right and wrong training targets, from pairs of true and visible label.

    Parameters
    ----------
    pairs_VCC
        :func:`joint_counts` of each training volume.
    flags_VK
        Organ k is labelled for training in volume v.
    annotated_VK
        Organ k has a truth in volume v; elsewhere it is not counted.

    Returns
    -------
    list of dict
        ``rule``, ``organ`` (0..K-1), ``volumes``, ``labelled``, ``voxels``, ``organ_voxels``,
        ``other_voxels`` (of other organs), ``tp``, ``fn``, ``fp``, ``tn``.
    """
    import numpy as np
    import torch

    from bench.training.batch import targets

    V, C, _ = pairs_VCC.shape
    seen_V1C = torch.arange(C).expand(V, 1, C)
    y, w = (
        maps.numpy()[:, :, 0]
        for maps in targets(seen_V1C, torch.zeros_like(seen_V1C), torch.from_numpy(flags_VK))
    )
    records = []
    for rule, known_VKC in (("background", np.ones_like(w)), ("ignored", w)):
        for k in range(C - 1):
            chosen = annotated_VK[:, k]
            pairs, positive, known = pairs_VCC[chosen], y[chosen, k], known_VKC[chosen, k]
            organ_VC = pairs[:, k + 1]
            rest_VC = pairs.sum(axis=1) - organ_VC
            records.append(
                {
                    "rule": rule,
                    "organ": k,
                    "volumes": int(chosen.sum()),
                    "labelled": int(flags_VK[chosen, k].sum()),
                    "voxels": int(pairs.sum()),
                    "organ_voxels": int(organ_VC.sum()),
                    "other_voxels": int(rest_VC.sum() - pairs[:, 0].sum()),
                    "tp": int(organ_VC[known & positive].sum()),
                    "fn": int(organ_VC[known & ~positive].sum()),
                    "fp": int(rest_VC[known & positive].sum()),
                    "tn": int(rest_VC[known & ~positive].sum()),
                }
            )
    return records
