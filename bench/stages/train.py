"""Stage `Train`: one objective, budget and set of visible labels; all networks come from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from bench.data.window import Window
from bench.nets.network import Network
from bench.params import AddedLater, Params
from bench.seeds import generator, torch_seed
from bench.stage import Stage, StageContext
from bench.stages.images import Prepared
from bench.stages.labels import Labels
from bench.training.objective import ObjectiveSpec

if TYPE_CHECKING:
    from bench.nets.protocol import FeatureNet


class Optimisation(Params):
    """The recipe of all methods alike: budget, sampling, augmentation, learning rate, precision."""

    steps: int = Field(ge=1)
    steps_before: Annotated[int, AddedLater()] = Field(default=0, ge=0)
    """Steps of the learning-rate schedule that an earlier training has taken."""
    steps_after: Annotated[int, AddedLater()] = Field(default=0, ge=0)
    """Steps of the learning-rate schedule that are left to a later training."""
    batch_size: int = Field(ge=2)
    lr: float = Field(gt=0)
    lr_decay: float = Field(gt=0, le=1)
    foreground_share: float = Field(ge=0, le=1)
    output_bias: float
    shift: float = Field(ge=0)
    rotation_deg: float = Field(ge=0)
    zoom: float = Field(ge=0, lt=1)
    precision: Literal["bf16", "fp32"]

    @property
    def window(self) -> Window | None:
        """The part of a volume that is trained on at once; None trains on slices."""
        return None


class PatchOptimisation(Optimisation):
    """The recipe of 3D networks."""

    patches: Window

    @property
    def window(self) -> Window:
        """The patches."""
        return self.patches


class Train(Stage):
    """Train the networks of an objective. Reads images, visible labels and pseudo-labels only."""

    version: ClassVar[int] = 2
    uses_accelerator: ClassVar[bool] = True

    images: Prepared
    labels: Labels
    objective: ObjectiveSpec
    network: Network
    optimisation: Optimisation
    seed: int = Field(ge=0)
    init: Train | None = None
    """Start from this segmenter; fresh weights otherwise."""
    pseudo: Stage | None = None
    """Pseudo-labels to train on, a :class:`bench.stages.relabel.Relabel`."""

    @property
    def title(self) -> str:
        """Data set, fold, label fraction, objective and relabelling round."""
        return f"{self.labels.title}-{self.objective.label}-r{self.round}"

    @property
    def round(self) -> int:
        """How many trainings of a segmenter lie before this one."""
        return 0 if self.init is None else self.init.round + self.init.objective.trains_segmenter

    def run(self, ctx: StageContext) -> None:
        """Write one ``NAME.safetensors`` per network of the objective, and ``cost.json``."""
        import json

        import torch

        from bench.data.visible import TrainView
        from bench.nets.weights import check_savable, save_weights
        from bench.training.augment import Augmentation
        from bench.training.loader import BatchLoader
        from bench.training.objective import Setting
        from bench.training.readers import PatchReader, SliceReader
        from bench.training.sampler import SliceSampler
        from bench.training.trainer import Loop, fit

        recipe = self.optimisation
        # Names of random streams: never the method, never the label fraction (SPEC 0.0).
        context = (self.images.name, self.labels.fold, self.round)
        view = TrainView(
            ctx.input(self.images),
            ctx.input(self.labels),
            None if self.pseudo is None else ctx.input(self.pseudo),
        )
        init = None if self.init is None else ctx.input(self.init)
        torch.manual_seed(torch_seed(self.seed, "networks", *context))
        objective = self.objective.build(
            Setting(
                n_organs=len(self.images.organs),
                lr=recipe.lr,
                segmenter=lambda: self._initial_segmenter(init),
                rival=lambda: self._fresh_segmenter("rival weights"),
                intensity_sd=view.intensity_sd,
                seed=lambda purpose: torch_seed(self.seed, purpose, *context),
            )
        )
        for name, module in objective.modules.items():
            check_savable(name, module)
        role = self.objective.label if not self.objective.trains_segmenter else "segmenter"
        augmentation = Augmentation(
            shift=recipe.shift, rotation_deg=recipe.rotation_deg, zoom=recipe.zoom
        )
        loader = BatchLoader(
            SliceSampler(
                view,
                self.objective.streams,
                recipe.batch_size,
                recipe.foreground_share,
                lambda step: generator(self.seed, f"slices/{role}", *context, step),
            ),
            SliceReader(view, augmentation)
            if recipe.window is None
            else PatchReader(view, augmentation, recipe.window),
            lambda step: generator(self.seed, f"augmentation/{role}", *context, step),
            ctx.device,
        )
        loop = Loop(
            recipe.steps,
            recipe.batch_size,
            recipe.lr_decay,
            recipe.precision,
            torch_seed(self.seed, f"training/{role}", *context),
            recipe.steps_before,
            recipe.steps_after,
        )
        passes = fit(objective, loader, loop, ctx)
        for name, module in objective.modules.items():
            save_weights(module, ctx.out / f"{name}.safetensors")
        networks = {**objective.modules, **objective.frozen}
        parameters = {
            name: sum(parameter.numel() for parameter in net.parameters())
            for name, net in networks.items()
        }
        cost = {"parameters": parameters, "passes_per_step": passes}
        (ctx.out / "cost.json").write_text(json.dumps(cost, indent=1))

    def load_segmenter(self, folder: Path) -> FeatureNet:
        """Return the trained segmentation network from this stage's output folder, on the CPU."""
        from bench.nets.protocol import channels_last
        from bench.nets.weights import load_weights

        net = self.network.build(len(self.images.organs))
        load_weights(net, folder / "segmenter.safetensors")
        channels_last(net)
        return net

    def _initial_segmenter(self, init: Path | None) -> FeatureNet:
        if init is not None:
            assert self.init is not None
            return self.init.load_segmenter(init)
        return self._fresh_segmenter("weights")

    def _fresh_segmenter(self, purpose: str) -> FeatureNet:
        import torch

        torch.manual_seed(torch_seed(self.seed, purpose, self.images.name, self.labels.fold))
        return self.network.build(len(self.images.organs), self.optimisation.output_bias)
