"""Stage `Relabel`: pseudo-labels for the organs that training cases lack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, model_validator
from typing_extensions import override

from bench.params import Added
from bench.stage import StageContext
from bench.stages.images import Prepared
from bench.stages.labels import Labels
from bench.stages.train import COST, PseudoLabels, Train
from bench.training.agreement import Agreement
from bench.training.gating import Gate, Stability
from bench.training.relabelling import RelabelRule, Selection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.data.visible import TrainCase, TrainView

LEFT_OUT = "left_out.npy"


class Relabel(PseudoLabels):
    """One round: predict incomplete training volumes, rank, select, unite with earlier rounds.

    Raises
    ------
    ValueError
        A gate with a rule that makes background of organs which it leaves out, or one that compares
        models where there is one.
    """

    uses_accelerator: ClassVar[bool] = True

    images: Prepared
    labels: Labels
    model: Train
    confidence: Train | None = None
    """Confidence network to rank by; without one, the predicted probability (MCP)."""
    agreement: Agreement | None = None
    """Rank by the agreement of several views instead."""
    previous: Self | None = None
    gate: Annotated[Gate | None, Added()] = None
    """Which pseudo-labels to leave out as a whole."""
    earlier: Annotated[tuple[Train, ...], Added()] = ()
    """Models before ``model``, in their order, whose predictions the gate compares."""
    gamma: float = Field(gt=0, le=1)
    rule: RelabelRule
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _gate_fits(self) -> Self:
        if self.gate is not None and self.rule.background not in ("ambiguous", "whole"):
            raise ValueError("a gate leaves organs unknown: choose background=whole or ambiguous")
        if isinstance(self.gate, Stability) and not self.earlier:
            raise ValueError("Stability compares models: name the earlier ones")
        return self

    @property
    @override
    def title(self) -> str:
        score = "mcp" if self.confidence is None else "confidence"
        if self.agreement is not None:
            score = "agreement"
        return f"{self.labels.title}-{score}-r{self.round}"

    @property
    @override
    def round(self) -> int:
        """1 for the first relabelling."""
        return self.model.round + 1

    def run(self, ctx: StageContext) -> None:
        """Write ``slices/``, ``shown.npy`` and ``selections/`` (the candidates, for the audit).

        With pseudo-labels of whole volumes also ``whole.npy``, with a gate ``left_out.npy``; and
        ``cost.json``.
        """
        import json

        import numpy as np

        from bench.data.slices import LabelSliceWriter, organs_shown
        from bench.data.visible import WHOLE, TrainView
        from bench.seeds import generator
        from bench.training.relabelling import relabel

        view = TrainView(
            ctx.input(self.images),
            ctx.input(self.labels),
            None if self.previous is None else ctx.input(self.previous),
        )
        network = _Network(self, view, ctx)
        volumes = [_Volume(case, view, network) for case in view.cases]
        incomplete = [volume for volume in volumes if not volume.flags_K.all()]
        context = (self.images.name, self.labels.fold, self.round)
        random = partial(generator, self.seed, "relabel", *context)
        left_out_VK = np.zeros_like(view.flags_VK)
        if self.gate is not None:
            left_out_VK = self.gate.left_out(volumes)
            np.save(ctx.out / LEFT_OUT, left_out_VK)
        left_out = {(volumes[v].id, int(k) + 1) for v, k in np.argwhere(left_out_VK)}
        relabelled = relabel(incomplete, self.gamma, self.rule, random, left_out)
        (ctx.out / "selections").mkdir()
        shown = []
        with LabelSliceWriter(ctx.out / "slices", view.grid) as writer:
            for count, volume in enumerate(volumes, start=1):
                if volume.flags_K.all():
                    _, ps_SHW = volume.known()
                else:
                    ps_SHW, selections = next(relabelled)
                    _write_selections(ctx.out / "selections" / f"{volume.id}.npz", selections)
                writer.append(ps_SHW)
                shown.append(organs_shown(ps_SHW, len(self.images.organs)))
                ctx.tick(count, len(volumes))
        np.save(ctx.out / "shown.npy", np.concatenate(shown))
        (ctx.out / COST).write_text(json.dumps({"slices": network.slices}, indent=1))
        if self.rule.background == "whole":
            np.save(ctx.out / WHOLE, ~view.flags_VK & ~left_out_VK)

    @staticmethod
    def slices(out: Path) -> int:
        """Return how many slices, or windows of a 3D network, the networks saw in all.

        0 if the output is of a version that did not count.
        """
        import json

        path = out / COST
        return sum(json.loads(path.read_text())["slices"].values()) if path.exists() else 0

    @staticmethod
    def left_out(out: Path, cases: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
        """Return by case which organs have a pseudo-label that was left out, shape [K].

        ``cases`` are all training cases, in the order of their split; none without a gate.
        """
        import numpy as np

        path = out / LEFT_OUT
        return dict(zip(cases, np.load(path), strict=True)) if path.exists() else {}


@dataclass(frozen=True)
class _Volume:
    """A training volume as the input of :func:`bench.training.relabelling.relabel` and gates."""

    case: TrainCase
    view: TrainView
    network: _Network

    @property
    def id(self) -> str:
        return self.case.id

    @property
    def flags_K(self) -> NDArray[np.bool_]:
        return self.case.flags_K

    def known(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        import numpy as np

        rows = range(self.case.labels.start, self.case.labels.stop)
        lab_SHW = self.view.labels.gather(rows)
        pseudo = self.view.pseudo
        return lab_SHW, np.zeros_like(lab_SHW) if pseudo is None else pseudo.gather(rows)

    def predicted(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        return self.network.predict(self.case)

    def labels(self) -> NDArray[np.uint8]:
        import numpy as np

        lab_SHW, _ = self.known()
        if self.flags_K.all():
            return lab_SHW
        pred_SHW, _ = self.predicted()
        missing = np.flatnonzero(~self.flags_K) + 1
        return np.where((lab_SHW == 0) & np.isin(pred_SHW, missing), pred_SHW, lab_SHW)

    def predictions(self) -> list[NDArray[np.uint8]]:
        return [*self.network.predict_earlier(self.case), self.predicted()[0]]

    def features(self) -> NDArray[np.float64]:
        return self.network.features(self.case, self.labels())


class _Network:
    """Predicts training volumes with the stage's networks."""

    def __init__(self, stage: Relabel, view: TrainView, ctx: StageContext) -> None:
        from bench.nets.confidence import ConfidenceNet
        from bench.nets.protocol import channels_last
        from bench.nets.weights import load_weights
        from bench.training.confidence import LearnedConfidence
        from bench.training.cost import PassCounter

        self._view = view
        self._device = ctx.device
        self._agreement = stage.agreement
        self._background = stage.rule.background == "confident"
        self._window = stage.model.window
        self._precision = stage.model.config.precision
        self._segmenter = stage.model.load_segmenter(ctx.input(stage.model)).to(ctx.device)
        self._earlier = [
            model.load_segmenter(ctx.input(model)).to(ctx.device) for model in stage.earlier
        ]
        self._confidence = None
        if stage.confidence is not None:
            learned = stage.confidence.objective
            assert isinstance(learned, LearnedConfidence)
            net = ConfidenceNet.of(self._segmenter, len(stage.images.organs), start=learned.start)
            load_weights(net, ctx.input(stage.confidence) / "confidence.safetensors")
            self._confidence = net.to(ctx.device)
            channels_last(net)
        trunks = {"segmenter": self._segmenter}
        trunks |= {f"earlier {number}": net for number, net in enumerate(self._earlier)}
        if self._confidence is not None:
            trunks["confidence"] = self._confidence.trunk
        # Predictions call parts of a network, never the network itself.
        self._counter = PassCounter({name: net.bottleneck for name, net in trunks.items()})
        # The last prediction is kept: a volume that competes alone is predicted twice in a row.
        self._latest: tuple[str, tuple[NDArray[np.uint8], NDArray[np.float32]]] | None = None

    @property
    def slices(self) -> dict[str, int]:
        """How many slices each network saw."""
        return self._counter.slices

    def predict(self, case: TrainCase) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return predicted labels and the confidence in each, shape [S, H, W]."""
        from bench.nets.inference import predict_with_score
        from bench.training.agreement import predict_with_agreement

        if self._latest is not None and self._latest[0] == case.id:
            return self._latest[1]
        self._latest = None  # one volume at a time in memory
        predict = (
            partial(predict_with_score, confidence=self._confidence)
            if self._agreement is None
            else partial(predict_with_agreement, rule=self._agreement)
        )
        found = predict(
            self._segmenter,
            self._images(case),
            ~case.flags_K,
            background=self._background,
            device=self._device,
            precision=self._precision,
            window=self._window,
        )
        self._latest = case.id, found
        return found

    def predict_earlier(self, case: TrainCase) -> list[NDArray[np.uint8]]:
        """Return what the earlier models predict, shape [S, H, W] each."""
        from bench.nets.inference import predict_volume

        predict = partial(
            predict_volume,
            image_SCHW=self._images(case),
            device=self._device,
            precision=self._precision,
            window=self._window,
        )
        return [predict(net) for net in self._earlier]

    def features(self, case: TrainCase, label_SHW: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the mean features of each organ of a label map, [K, C]; NaN without voxels."""
        from bench.nets.inference import mean_features

        return mean_features(
            self._segmenter,
            self._images(case),
            label_SHW,
            len(case.flags_K),
            device=self._device,
            precision=self._precision,
            window=self._window,
        )

    def _images(self, case: TrainCase) -> NDArray[np.float32]:
        from bench.data.visible import normalise

        return normalise(self._view.images_SCHW[case.images], self._view.value_ranges)


def _write_selections(path: Path, selections: list[Selection]) -> None:
    import numpy as np

    arrays: dict[str, NDArray[np.generic]] = {}
    for selection in selections:
        arrays[f"index_{selection.organ}"] = selection.index_E.astype(np.uint32)
        arrays[f"score_{selection.organ}"] = selection.score_E
        arrays[f"selected_{selection.organ}"] = selection.selected_E
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_selections(folder: Path, cases: Iterable[str]) -> Iterator[tuple[str, list[Selection]]]:
    """Yield case id and selections of the cases, those that a relabelling found incomplete."""
    import numpy as np

    from bench.data.archive import open_npz

    for case in cases:
        with open_npz(folder / "selections" / f"{case}.npz") as archive:
            organs = sorted(int(name.partition("_")[2]) for name in archive if "index" in name)
            yield (
                case,
                [
                    Selection(
                        organ,
                        archive[f"index_{organ}"].astype(np.int64),
                        archive[f"score_{organ}"],
                        archive[f"selected_{organ}"],
                    )
                    for organ in organs
                ],
            )
