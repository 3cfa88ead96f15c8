"""Training and prediction on a second device: nothing is left on the CPU, nothing waits.

Every stage that computes on a GPU runs on the fake one of ``tests/fake_device.py``, from prepared
data to files, and has to write what it writes on the CPU. In float32, since autocast knows real
devices only.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from fake_device import DEVICE, FakeDevice, HostSync, Mixed
from helpers import ALL_METHODS, Memory, events_of, plan
from torch import Tensor
from typing_extensions import override

from bench.engine.store import Store
from bench.engine.worker import Interrupted, RunContext
from bench.experiment.plan import Run, graph_of
from bench.nets.protocol import FeatureNet
from bench.stage import Stage, ancestors
from bench.stages.train import Train
from bench.training.batch import Batch
from bench.training.objective import Loss, TrainingProgress
from bench.training.sampler import Stream
from bench.training.shared_loss import SharedLoss

pytestmark = pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
NETWORKS = {2: "unet_t11[width=2]", 3: "unet3d_t11[width=2]"}
STEPS = {2: 2, 3: 1}
CHEAPER = {"uamt": "uamt[passes=2]"}

MEANT = {
    "torch.nn.modules.module.Module.to": "networks, before the first step",
    "bench.training.trainer._check_finite": "losses, every LOG_EVERY steps",
    "bench.training.trainer._ResumeState.save": "the resume state, once a minute",
    "bench.training.trainer._ResumeState.load": "the resume state, before the first step",
    "bench.nets.weights.save_weights": "weights, after the last step",
    "bench.nets.weights.load_weights": "weights, before a prediction",
    "bench.nets.inference._batches": "slices of a volume, batch by batch",
    "bench.nets.inference._windowed": "a volume for a 3D network; MONAI's blending weights",
    "bench.nets.inference._checked": "whether a logit is NaN, once per batch",
    "bench.nets.inference._organs": "organs that are not annotated, once per volume",
    "bench.nets.inference._to_rank": "which slices have anything to rank, once per batch",
    "bench.nets.inference._cropped": "label maps and scores, once per batch",
}
"""Where the host may wait for the device, and what for. Nothing of a method is among it."""

OF_THE_STORE = {"DONE", "events.jsonl"}
"""Beside what a stage writes."""


class Elsewhere(RunContext):
    """A context on the fake device; it may ask for a checkpoint, and stops there."""

    device = DEVICE
    stops = False

    def save_due(self) -> bool:
        return self.stops

    def saved(self) -> None:
        raise Interrupted


@dataclass
class Laboratory:
    """A store per network for results of the CPU, and what ran on the fake device already."""

    folder: Path
    synced: dict[str, Counter[str]] = field(default_factory=dict)

    def run(self, method: str, dims: int) -> tuple[Run, Store]:
        store = Store(self.folder / f"{dims}d")
        (run,) = plan(
            store,
            Memory(n_cases=4, n_organs=2),
            method,
            profile=f"smoke[steps={STEPS[dims]},precision=fp32]",
            networks=[NETWORKS[dims]],
        )
        return run, store

    def waited(self, stage: Stage, store: Store, *, compared: bool = True) -> Counter[str]:
        """Run a stage on the fake device, and on the CPU; return where the host waited."""
        if stage.key not in self.synced:
            needed = list(ancestors(stage))
            events_of([one for one in needed if compared or one != stage], store)
            self.synced[stage.key] = elsewhere(stage, store, compared=compared)
        return self.synced[stage.key]


def elsewhere(
    stage: Stage, store: Store, *, compared: bool = True, stops: bool = False
) -> Counter[str]:
    """Run a stage on the fake device; it has to write what the store holds."""
    out = store.scratch(stage) / "elsewhere"
    out.mkdir(parents=True, exist_ok=True)
    context = Elsewhere(store, stage, out, lambda *_: None)
    context.stops = stops
    with FakeDevice(MEANT) as device:
        stage.run(context)
    if compared:
        held = contents(store.out(stage))
        assert contents(out) == {name: held[name] for name in held.keys() - OF_THE_STORE}
    return device.synced


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    return Laboratory(tmp_path_factory.mktemp("elsewhere"))


def first_training(run: Run) -> Train:
    return next(stage for stage in run.all_trainings() if stage.init is None)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("method", ALL_METHODS)
def test_a_method_trains_on_the_device(method: str, dims: int, laboratory: Laboratory) -> None:
    run, store = laboratory.run(CHEAPER.get(method, method), dims)
    training = first_training(run)
    synced = laboratory.waited(training, store, compared=dims == 2)
    assert synced["bench.training.trainer._check_finite"] == len({0, training.length.steps - 1})


@pytest.mark.parametrize(
    ("method", "dims", "kinds"),
    [
        ("inerrant[rounds=1]", 2, {"Train": 2, "Relabel": 1, "Predict": 2}),
        ("inerrant[rounds=1,background=confident]", 3, {"Train": 2, "Relabel": 1, "Predict": 2}),
        ("bai", 2, {"Train": 1, "Relabel": 1, "Predict": 2}),
        ("dodnet", 3, {"Predict": 1}),
    ],
)
def test_every_other_stage_computes_there(
    method: str, dims: int, kinds: dict[str, int], laboratory: Laboratory
) -> None:
    run, store = laboratory.run(method, dims)
    found = Counter[str]()
    for stage in graph_of([run]).in_order():
        if stage.uses_accelerator and stage != first_training(run):
            laboratory.waited(stage, store)
            found[type(stage).__name__] += 1
    assert found == kinds


def test_a_stopped_training_goes_on(laboratory: Laboratory) -> None:
    run, store = laboratory.run("asdnet", 2)
    training = first_training(run)
    laboratory.waited(training, store)
    with pytest.raises(Interrupted):
        elsewhere(training, store, stops=True)
    synced = elsewhere(training, store)
    assert synced["bench.training.trainer._ResumeState.load"] > 0


# --- the device itself: what it refuses ---------------------------------------------------------


class Reads(Loss):
    """A loss that looks at its value."""

    label: ClassVar[str] = "reads"
    streams: ClassVar[tuple[Stream, ...]] = ("supervised",)

    @override
    def loss(
        self, net: FeatureNet, batch: Batch, progress: TrainingProgress, shared: SharedLoss
    ) -> Mapping[str, Tensor]:
        loss = net(batch.image_BCHW).square().mean()
        return {"loss": loss if loss.item() > 0 else -loss}


class Stays(Reads):
    """A loss with a tensor that nobody moved."""

    label: ClassVar[str] = "stays"

    @override
    def loss(
        self, net: FeatureNet, batch: Batch, progress: TrainingProgress, shared: SharedLoss
    ) -> Mapping[str, Tensor]:
        weight_K = torch.ones(batch.flags_BK.shape[1])
        return {"loss": net(batch.image_BCHW).square().mean(dim=(0, 2, 3)).dot(weight_K)}


@pytest.mark.parametrize(("loss", "refused"), [(Reads(), HostSync), (Stays(), Mixed)])
def test_a_loss_that_waits_or_stays_behind_is_found(
    loss: Loss, refused: type[Exception], laboratory: Laboratory
) -> None:
    run, store = laboratory.run("inerrant0", 2)
    training = first_training(run).model_copy(update={"objective": loss})
    events_of(training.inputs(), store)
    training.run(RunContext(store, training, store.scratch(training), lambda *_: None))
    with pytest.raises(refused, match=r"_local_scalar_dense|shape \(2,\)"):
        elsewhere(training, store, compared=False)


def on_device(*values: float) -> Tensor:
    return torch.tensor(values).pin_memory().to(DEVICE, non_blocking=True)


WAITING: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "bool": lambda x: bool(x.sum() > 0),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "copy out": lambda x: torch.zeros(3).copy_(x),
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
    "mask": lambda x: x[x > 0],
    "assignment by mask": lambda x: x.__setitem__(x > 0, x[:1]),
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x),
    "pickle": lambda x: torch.save(x, io.BytesIO()),
    "tensor of a list": lambda x: torch.tensor([1.0], device=x.device),
    "as_tensor": lambda x: torch.as_tensor([1.0], device=x.device),
    "new_tensor": lambda x: x.new_tensor([1.0]),
    "not pinned": lambda x: torch.zeros(3).to(x.device, non_blocking=True),
    "blocking": lambda x: torch.zeros(3).pin_memory().to(x.device),
    "copy in": lambda x: x.copy_(torch.zeros(3)),
}


@pytest.mark.parametrize("name", WAITING)
def test_what_waits_is_refused_unless_it_is_meant(name: str) -> None:
    with FakeDevice(), pytest.raises(HostSync):
        WAITING[name](on_device(1.0, 0.0, 2.0))
    with FakeDevice({f"{__name__}.meant"}) as device:
        meant(WAITING[name])
    assert device.synced == {f"{__name__}.meant": 1}


def meant(read: Callable[[Tensor], object]) -> None:
    read(on_device(1.0, 0.0, 2.0))


def test_a_tensor_left_on_the_cpu_is_refused() -> None:
    with FakeDevice():
        x = on_device(1.0, 0.0, 2.0)
        for stranger in (torch.ones(3), torch.ones(())):
            with pytest.raises(Mixed):
                x + stranger
        with pytest.raises(Mixed):
            torch.cat([x, torch.ones(1)])
        with pytest.raises((TypeError, RuntimeError), match=r"numpy|meta"):
            x.numpy()


def test_values_and_gradients_are_those_of_the_cpu() -> None:
    def gradient(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.requires_grad_()
        y = (x.exp() * x[:1]).relu_()
        y.sum().backward()
        assert x.grad is not None
        return y.detach(), x.grad

    with FakeDevice():
        found = gradient(on_device(1.0, -2.0, 3.0))
    expected = gradient(torch.tensor([1.0, -2.0, 3.0]))
    assert all(map(torch.equal, [value.host for value in found], expected))
