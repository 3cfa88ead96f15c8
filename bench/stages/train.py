"""Stage `Train`: train the networks of one objective on visible labels."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from typing_extensions import override

from bench.data.window import Window
from bench.nets.network import Network
from bench.seeds import generator, torch_seed
from bench.stage import Stage, StageContext
from bench.stages.images import Prepared
from bench.stages.labels import Labels
from bench.training.config import Steps, TrainConfig
from bench.training.objective import ObjectiveSpec

if TYPE_CHECKING:
    from bench.nets.protocol import FeatureNet
    from bench.training.loader import BatchLoader
    from bench.training.objective import Objective

COST = "cost.json"
GRID = "grid.json"


class PseudoLabels(Stage, abc.ABC):
    """Pseudo-labels that a trained segmenter leads to."""

    @property
    @abc.abstractmethod
    def round(self) -> int:
        """Number of trainings of a segmenter before these labels."""


class Train(Stage):
    """Train the networks of an objective. Reads images, visible labels and pseudo-labels only."""

    version: ClassVar[int] = 2
    uses_accelerator: ClassVar[bool] = True
    large_files: ClassVar[str | None] = "*.safetensors"

    images: Prepared
    labels: Labels
    objective: ObjectiveSpec
    network: Network
    config: TrainConfig
    length: Steps
    window: Window | None
    """The size of a 3D patch; None trains on slices."""
    seed: int = Field(ge=0)
    init: Train | None = None
    """Start from this segmenter; without one, from random weights."""
    pseudo: PseudoLabels | None = None
    """Pseudo-labels to train on as well."""

    @property
    @override
    def title(self) -> str:
        return f"{self.labels.title}-{self.objective.label}-r{self.round}"

    @property
    @override
    def training_steps(self) -> int:
        return self.length.steps

    @property
    def round(self) -> int:
        """Number of trainings of a segmenter before this one."""
        if self.init is not None:
            return self.init.round + self.init.objective.trains_segmenter
        return 0 if self.pseudo is None else self.pseudo.round

    @property
    def batch_size(self) -> int:
        """Slices or patches in a batch."""
        return self.config.batch_size if self.window is None else self.config.patch_batch_size

    def run(self, ctx: StageContext) -> None:
        """Write ``cost.json``, ``grid.json``, and a ``NAME.safetensors`` per trained network."""
        import json

        from bench.data.index import SliceIndex
        from bench.nets.weights import save_weights
        from bench.training.trainer import fit

        objective, loader = self.prepare(ctx)
        seed = self._seed(f"training/{self._role}")
        slices = fit(objective, loader, self.config, self.length, seed, ctx)
        for name, module in objective.modules.items():
            save_weights(module, ctx.out / f"{name}.safetensors")
        networks = {**objective.modules, **objective.frozen}
        parameters = {
            name: sum(parameter.numel() for parameter in net.parameters())
            for name, net in networks.items()
        }
        passes = {name: seen / self.batch_size for name, seen in slices.items()}
        cost = {"parameters": parameters, "passes_per_step": passes}
        (ctx.out / COST).write_text(json.dumps(cost, indent=1))
        grid = SliceIndex.read(ctx.input(self.images)).grid
        (ctx.out / GRID).write_text(json.dumps(grid))

    @staticmethod
    def grid(out: Path) -> tuple[int, int]:
        """Return rows and columns of the grid that a model was trained on, from its folder.

        (1, 1), which every scan exceeds, of a model that is older than this note.
        """
        import json

        path = out / GRID
        rows, columns = json.loads(path.read_text()) if path.is_file() else (1, 1)
        return rows, columns

    @staticmethod
    def cost(out: Path) -> dict[str, dict[str, Any]]:
        """Return ``parameters`` and ``passes_per_step`` by network, from the folder of a run."""
        import json

        found: dict[str, dict[str, Any]] = json.loads((out / COST).read_text())
        return found

    def prepare(self, ctx: StageContext) -> tuple[Objective, BatchLoader]:
        """Return the objective with its initial networks, and the batches it is trained on.

        Raises
        ------
        BenchError
            A network whose weights cannot be saved.
        """
        import torch

        from bench.data.visible import TrainView
        from bench.nets.weights import check_savable
        from bench.training.loader import BatchLoader
        from bench.training.objective import Setting
        from bench.training.readers import PatchReader, SliceReader
        from bench.training.sampler import SliceSampler

        view = TrainView(
            ctx.input(self.images),
            ctx.input(self.labels),
            None if self.pseudo is None else ctx.input(self.pseudo),
        )
        init = None if self.init is None else ctx.input(self.init)
        shared_loss = self.config.supervised
        if shared_loss.loss == "balanced":
            shared_loss = shared_loss.on(view.organ_share())
        torch.manual_seed(self._seed("networks"))
        objective = self.objective.build(
            Setting(
                n_organs=len(self.images.organs),
                lr=self.config.lr,
                shared_loss=shared_loss,
                network=lambda purpose: self._initial_network(purpose, init),
                intensity_sd=view.intensity_sd,
                seed=self._seed,
            )
        )
        for name, module in objective.modules.items():
            check_savable(name, module)
        augmentation = self.config.augmentation
        loader = BatchLoader(
            SliceSampler(
                view,
                self.objective.streams,
                self.batch_size,
                self.config.foreground_share,
                lambda step: generator(self.seed, f"slices/{self._role}", *self._stream, step),
            ),
            SliceReader(view, augmentation)
            if self.window is None
            else PatchReader(view, augmentation, self.window),
            lambda step: generator(self.seed, f"augmentation/{self._role}", *self._stream, step),
            ctx.device,
        )
        return objective, loader

    @property
    def _role(self) -> str:
        return "segmenter" if self.objective.trains_segmenter else self.objective.label

    @property
    def _stream(self) -> tuple[str, int, int]:
        """Context of the random seeds: never the method, never the label fraction."""
        return self.images.name, self.labels.fold, self.round

    def _seed(self, purpose: str) -> int:
        return torch_seed(self.seed, purpose, *self._stream)

    def load_segmenter(self, folder: Path) -> FeatureNet:
        """Return the trained segmentation network from this stage's output folder, on the CPU."""
        from bench.nets.protocol import channels_last
        from bench.nets.weights import load_weights

        net = self._build()
        load_weights(net, folder / "segmenter.safetensors")
        channels_last(net)
        return net

    def _initial_network(self, purpose: str, init: Path | None) -> FeatureNet:
        import torch

        if purpose == "segmenter" and self.init is not None:
            assert init is not None
            return self.init.load_segmenter(init)
        weights = "weights" if purpose == "segmenter" else f"{purpose} weights"
        torch.manual_seed(torch_seed(self.seed, weights, self.images.name, self.labels.fold))
        return self._build()

    def _build(self) -> FeatureNet:
        n_channels, n_organs = len(self.images.channels), len(self.images.organs)
        return self.network.build(n_channels, n_organs, self.config.output_bias)
