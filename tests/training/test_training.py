"""The training loop, its batches and its augmentation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Finished
from helpers import Memory, compute, events_of, plan, stage_of, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bench.data.visible import TrainView
from bench.engine.events import read_events
from bench.engine.store import Store
from bench.errors import DivergedError
from bench.experiment.plan import Run
from bench.nets.catalogue import parse_network
from bench.nets.confidence import ConfidenceNet
from bench.seeds import generator
from bench.stages.train import Train
from bench.training.augment import Augmentation, resample, vary_intensity
from bench.training.batch import Batch
from bench.training.confidence import LearnedConfidence
from bench.training.config import Steps, TrainConfig
from bench.training.loader import BatchLoader
from bench.training.objective import Objective, Phase, Setting, TrainingProgress
from bench.training.readers import SliceReader
from bench.training.sampler import SliceSampler, Stream
from bench.training.shared_loss import SharedLoss
from bench.training.trainer import fit

IDENTITY = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])


# --- learning rate and loop ---------------------------------------------------------------------


class OneNumber(Objective):
    """Learns one number; may return a loss that is not finite, or stop in the middle."""

    def __init__(self, broken_at: int = -1, value: float = math.nan) -> None:
        self.net = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.net.weight)
        self.broken_at = broken_at
        self.value = value
        self.rates: list[float] = []
        self.shares: list[float] = []
        self.after: list[int] = []

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        return {"net": self.net}

    @property
    def phases(self) -> Sequence[Phase]:
        return [Phase("only", list(self.net.parameters()), self.loss, lr=0.1)]

    def loss(self, batch: Any, progress: TrainingProgress) -> Mapping[str, Tensor]:
        self.shares.append(progress.share)
        factor = self.value if progress.step == self.broken_at else 1.0
        noise = torch.rand(())  # as dropout would: the random state has to be resumed too
        return {"loss": (self.net.weight.sum() - batch - noise) ** 2 * factor}

    def after_step(self, progress: TrainingProgress) -> None:
        self.after.append(progress.step)


class Context:
    """A stage context on the CPU that never asks for a checkpoint, unless told so."""

    def __init__(self, folder: Path, due: Callable[[], bool] = lambda: False) -> None:
        self.out = self.scratch = folder
        self.key = "a training"
        self.device = torch.device("cpu")
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.events = SimpleNamespace(
            write=lambda step, v: self.logged.append((step, dict(v))),
            written=lambda: "",
            restore=lambda text: None,
        )
        self.ticks: list[tuple[int, int, str]] = []
        self.save_due = due
        self.saves = 0

    def tick(self, done: int, total: int, note: str = "") -> None:
        self.ticks.append((done, total, note))

    def saved(self) -> None:
        self.saves += 1


class Targets:
    """Batches that are a function of the step alone."""

    def batches(self, first: int, stop: int) -> Any:
        return (torch.tensor(math.sin(step)) for step in range(first, stop))


def train(objective: Objective, ctx: Any, steps: int = 50, precision: str = "fp32") -> None:
    config = TrainConfig(batch_size=4, lr=0.1, precision=precision)  # type: ignore[arg-type]
    fit(objective, Targets(), config, Steps(steps=steps), 7, ctx)  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", [1, 2, 50])
def test_the_rate_falls_exponentially_to_its_end(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    step = torch.optim.Adam.step

    def spy(self: Any, *args: Any, **kwargs: Any) -> Any:
        used.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    ctx = Context(tmp_path)
    objective = OneNumber()
    train(objective, ctx, steps)
    expected = [0.1 * 0.1 ** (j / max(1, steps - 1)) for j in range(steps)]
    assert used == pytest.approx(expected, rel=1e-9)
    assert [values["only/lr"] for _, values in ctx.logged] == pytest.approx(
        [expected[j] for j, _ in ctx.logged], rel=1e-9
    )
    assert ctx.logged[-1][0] == steps - 1
    assert objective.after == list(range(steps))
    assert objective.shares[0] == 0.0
    if steps > 1:
        assert objective.shares[-1] == 1.0
    assert all(done < steps for done, *_ in ctx.ticks)  # nothing stops it after its last step


def test_trainings_that_share_a_schedule_go_through_the_rates_of_one(tmp_path: Path) -> None:
    logged, after = [], []
    for number, (before, steps, left) in enumerate([(0, 21, 20), (21, 1, 19), (22, 19, 0)]):
        ctx, objective = Context(tmp_path / str(number)), OneNumber()
        config = TrainConfig(batch_size=4, lr=0.1, precision="fp32")
        length = Steps(steps=steps, before=before, after=left)
        fit(objective, Targets(), config, length, 7, ctx)  # type: ignore[arg-type]
        logged += [(before + j, values["only/lr"]) for j, values in ctx.logged]
        after += objective.after
    assert after == list(range(41))
    assert logged == [(j, pytest.approx(0.1 * 0.1 ** (j / 40))) for j, _ in logged]
    assert {0, 20, 21, 22, 40} <= {j for j, _ in logged}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_training(value: float, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="only/loss not finite at step 20; lower the lr"):
        train(OneNumber(broken_at=20, value=value), Context(tmp_path))


def test_a_loss_that_breaks_between_two_log_lines_is_found_at_the_next(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="not finite at step 40"):
        train(OneNumber(broken_at=23), Context(tmp_path))


def test_a_stop_during_the_last_step_loses_nothing(tmp_path: Path) -> None:
    last, ctx = OneNumber(), Context(tmp_path)

    def tick(done: int, total: int, note: str = "") -> None:
        if len(last.after) == 50:  # as a worker that was asked to stop by now
            raise AssertionError

    ctx.tick = tick  # type: ignore[method-assign]
    train(last, ctx)
    assert len(last.after) == 50


@pytest.mark.parametrize("stop_at", [1, 17, 49])
def test_a_stopped_loop_goes_on_bit_for_bit(stop_at: int, tmp_path: Path) -> None:
    whole, part, rest = OneNumber(), OneNumber(), OneNumber()
    (tmp_path / "whole").mkdir()
    train(whole, Context(tmp_path / "whole"))

    class StopError(Exception):
        pass

    ctx = Context(tmp_path, due=lambda: len(part.after) == stop_at)

    def saved() -> None:
        raise StopError

    ctx.saved = saved  # type: ignore[method-assign]
    with pytest.raises(StopError):
        train(part, ctx)
    assert part.after == list(range(stop_at))
    nn.init.constant_(rest.net.weight, 123.0)
    train(rest, Context(tmp_path))
    assert rest.after == list(range(stop_at, 50))
    assert torch.equal(rest.net.weight, whole.net.weight)


def test_checkpoints_do_not_change_the_result(tmp_path: Path) -> None:
    plain, saving = OneNumber(), OneNumber()
    (tmp_path / "plain").mkdir()
    train(plain, Context(tmp_path / "plain"))
    ctx = Context(tmp_path, due=lambda: True)
    train(saving, ctx)
    assert ctx.saves == 49  # none after the last step: the result itself follows
    assert torch.equal(plain.net.weight, saving.net.weight)


# --- batches ------------------------------------------------------------------------------------


def fake_view(
    flags_VK: Sequence[Sequence[int]], shown: Mapping[tuple[int, int], Sequence[int]]
) -> Any:
    """Return volumes of ten slices; ``shown`` says which of them show (volume, organ)."""
    flags = np.array(flags_VK, bool)
    volume_S = np.repeat(np.arange(len(flags)), 10)
    shown_SK = np.zeros((len(volume_S), flags.shape[1]), bool)
    for (v, k), slices in shown.items():
        shown_SK[[v * 10 + s for s in slices], k] = True
    return SimpleNamespace(
        cases=list(flags),
        volume_S=volume_S,
        shown_SK=shown_SK,
        supervised_V=flags.any(axis=1),
        incomplete_V=~flags.all(axis=1),
    )


MIXED = fake_view(
    [[1, 1], [1, 0], [0, 0], [0, 0], [0, 1]],
    {(0, 0): [2, 3], (0, 1): [3, 4], (1, 0): [5], (4, 1): [8, 9]},
)
COMPLETE = fake_view([[1, 1]] * 4, {(v, k): [4, 5 + k] for v in range(4) for k in range(2)})


def sample_rows(
    view: Any, streams: Sequence[Stream], n: int = 200, batch_size: int = 8, share: float = 0.5
) -> NDArray[np.intp]:
    sampler = SliceSampler(
        view, streams, batch_size, share, lambda step: generator(0, "slices", step)
    )
    return np.stack([sampler.batch(step).rows for step in range(n)])


def test_a_batch_is_a_function_of_its_number() -> None:
    in_order = sample_rows(MIXED, ["all"], 6)
    sampler = SliceSampler(MIXED, ["all"], 8, 0.5, lambda step: generator(0, "slices", step))
    for step in (5, 0, 3, 3):
        assert np.array_equal(sampler.batch(step).rows, in_order[step])
    assert len({tuple(batch) for batch in in_order}) == 6


@pytest.mark.parametrize(
    ("streams", "volumes"),
    [
        (["all"], {0, 1, 2, 3, 4}),
        (["supervised"], {0, 1, 4}),
        (["incomplete"], {1, 2, 3, 4}),
    ],
)
def test_streams_sample_from_their_volumes_uniformly(streams: Any, volumes: set[int]) -> None:
    rows = sample_rows(MIXED, streams, 500, share=0.0)
    counts = np.bincount(MIXED.volume_S[rows].ravel(), minlength=5)
    assert set(np.flatnonzero(counts)) == volumes
    assert counts[sorted(volumes)] == pytest.approx(4000 / len(volumes), rel=0.15)
    slices = np.bincount(rows.ravel() % 10, minlength=10)
    assert slices == pytest.approx(400, rel=0.25)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_a_fixed_share_of_every_batch_shows_a_label(share: float) -> None:
    shown = MIXED.shown_SK.any(axis=1)[sample_rows(MIXED, ["all"], share=share)]
    first = round(share * 8)
    assert shown[:, :first].all()
    if first < 8:  # the others are drawn without looking: 6 of 50 slices show a label
        assert shown[:, first:].mean() == pytest.approx(6 / 50, abs=0.06)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 6])
@pytest.mark.parametrize("streams", [["all"], ["supervised", "incomplete"]])
def test_small_batches_keep_the_share_over_steps_in_every_stream(
    streams: Any, batch_size: int
) -> None:
    sampler = SliceSampler(MIXED, streams, batch_size, 0.5, lambda j: generator(0, "slices", j))
    organs = np.stack([sampler.batch(step).organs for step in range(40)])
    for part in np.array_split(organs, min(len(streams), batch_size), axis=1):
        assert (part > 0).mean() == pytest.approx(0.5, abs=0.02)
    if batch_size == 2:
        assert ((organs > 0).sum(axis=1) == 1).all(), "streams take turns"


def test_shown_slices_come_from_organs_then_volumes_uniformly() -> None:
    rare = fake_view(
        [[1, 1], [1, 1], [1, 0]], {(0, 0): [0, 1, 2], (1, 0): [3], (2, 0): [4, 5], (0, 1): [9]}
    )
    rows = sample_rows(rare, ["all"], 500, share=1.0).ravel()
    counts = np.bincount(rows, minlength=30)
    assert counts[9] == pytest.approx(2000, rel=0.1)  # the organ that one slice shows
    by_volume = [counts[0:3].sum(), counts[13], counts[24:26].sum()]
    assert by_volume == pytest.approx([2000 / 3] * 3, rel=0.15)
    assert counts[0:3] == pytest.approx(2000 / 9, rel=0.3)


def test_two_streams_get_half_a_batch_each() -> None:
    rows = sample_rows(MIXED, ["supervised", "incomplete"], 300)
    volumes = MIXED.volume_S[rows]
    assert set(volumes[:, :4].ravel()) == {0, 1, 4}
    assert set(volumes[:, 4:].ravel()) == {1, 2, 3, 4}
    shown = MIXED.shown_SK.any(axis=1)[rows]
    assert shown[:, [0, 1, 4, 5]].all()


def test_an_odd_batch_is_shared_out_completely() -> None:
    for size in (2, 3, 5, 7):
        assert sample_rows(MIXED, ["all", "supervised", "incomplete"], 2, size).shape == (2, size)


def test_a_stream_without_volumes_gives_its_share_to_the_others() -> None:
    both = sample_rows(COMPLETE, ["supervised", "incomplete"])
    assert np.array_equal(both, sample_rows(COMPLETE, ["supervised"]))
    assert both.shape == (200, 8)


def test_naive_and_inerrant0_see_the_same_slices_where_all_is_annotated() -> None:
    assert np.array_equal(sample_rows(COMPLETE, ["all"]), sample_rows(COMPLETE, ["supervised"]))
    assert not np.array_equal(sample_rows(MIXED, ["all"]), sample_rows(MIXED, ["supervised"]))


def test_no_label_at_all_is_no_obstacle() -> None:
    nothing_shown = fake_view([[1, 1]] * 2, {})
    assert sample_rows(nothing_shown, ["all"], 3).shape == (3, 8)


def test_the_loader_yields_what_lies_on_disk(finished: Finished) -> None:
    store = finished.store
    model = finished.of("inerrant").rounds[-1].model
    assert model.pseudo is not None
    view = TrainView(store.out(model.images), store.out(model.labels), store.out(model.pseudo))
    assert view.pseudo is not None
    sampler = SliceSampler(view, ["supervised"], 4, 0.5, lambda j: generator(0, "s", j))
    still = Augmentation(shift=0, rotation_deg=0, zoom=0)
    loader = BatchLoader(
        sampler, SliceReader(view, still), lambda j: generator(0, "a", j), torch.device("cpu")
    )
    batches = list(loader.batches(0, 6))
    ((low, high),) = view.value_ranges
    for step, batch in enumerate(batches):
        rows = sampler.batch(step).rows
        assert batch.image_BCHW.shape == (4, 1, *view.grid)
        hu_BCHW = batch.image_BCHW.numpy() * (high - low) + low
        np.testing.assert_allclose(hu_BCHW, view.images_SCHW[view.image_row_S[rows]], atol=0.05)
        assert np.array_equal(batch.lab_BHW, view.labels.gather(rows))
        assert np.array_equal(batch.ps_BHW, view.pseudo.gather(rows))
        assert np.array_equal(batch.flags_BK, view.flags_VK[view.volume_S[rows]])
    later = list(loader.batches(3, 6))
    assert len(later) == 3
    assert all(same(a, b) for a, b in zip(later, batches[3:], strict=True))
    darker = SliceReader(view, still.model_copy(update={"gamma": 1.5}))
    loader = BatchLoader(sampler, darker, lambda j: generator(0, "a", j), torch.device("cpu"))
    for plain, changed in zip(batches, loader.batches(0, 6), strict=True):
        assert torch.equal(plain.lab_BHW, changed.lab_BHW)
        for before, after in zip(plain.image_BCHW, changed.image_BCHW, strict=True):
            at = before.argmax() if before.max() < 1 else (before - 0.5).abs().argmin()
            power = torch.log(after.flatten()[at]) / torch.log(before.flatten()[at])
            assert 1 / 1.5 <= power <= 1.5
            torch.testing.assert_close(after, before**power, atol=1e-4, rtol=0)


def same(a: Batch, b: Batch) -> bool:
    names = ("image_BCHW", "lab_BHW", "ps_BHW", "flags_BK")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


# --- augmentation -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(24, 40), (16, 24, 32)])
def test_an_affine_is_applied_as_torch_does(size: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    augmentation = Augmentation()
    theta = torch.from_numpy(
        augmentation.sample(rng, 3, size)
        if len(size) == 2
        else augmentation.sample_3d(rng, 3, size, augmentation.reach(size))
    )
    image = torch.rand(3, 2, *size)
    grid = functional.affine_grid(theta, [3, 1, *size], align_corners=False)
    expected = functional.grid_sample(image, grid, align_corners=False)
    found, _ = resample(image, image.byte(), theta, size)
    assert torch.equal(found, expected)


def test_the_identity_returns_what_came_in() -> None:
    image = torch.rand(1, 2, 12, 20)
    maps = torch.randint(0, 256, (1, 2, 12, 20), dtype=torch.uint8)
    out, moved = resample(image, maps, IDENTITY, image.shape[2:])
    torch.testing.assert_close(out, image, atol=1e-5, rtol=0)
    assert moved.dtype == torch.int64
    assert torch.equal(moved, maps.long())


def test_no_ranges_mean_no_change() -> None:
    theta = Augmentation(shift=0, rotation_deg=0, zoom=0).sample(generator(0, "x"), 3, (12, 20))
    assert theta.dtype == np.float32
    assert np.array_equal(theta, np.repeat(IDENTITY.numpy(), 3, axis=0))


@settings(max_examples=50, deadline=None)
@given(step=st.integers(0, 10**6), grid=st.tuples(st.integers(8, 64), st.integers(8, 64)))
def test_every_affine_is_a_rotation_a_zoom_and_a_shift_in_pixels(
    step: int, grid: tuple[int, int]
) -> None:
    H, W = grid
    augmentation = Augmentation(shift=0.1, rotation_deg=15, zoom=0.1)
    for theta in augmentation.sample(generator(0, "a", step), 4, grid).astype(np.float64):
        to_pixels = np.diag([W / 2, H / 2])
        matrix = to_pixels @ theta[:, :2] @ np.linalg.inv(to_pixels)
        scale = np.sqrt(np.linalg.det(matrix))
        np.testing.assert_allclose(matrix @ matrix.T, scale**2 * np.eye(2), atol=1e-5)
        assert 1 / 1.1 - 1e-5 <= scale <= 1 / 0.9 + 1e-5
        angle = np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0]))
        assert abs(angle) <= 15 + 1e-4
        assert (np.abs(theta[:, 2]) <= 0.2 + 1e-6).all()


def test_the_ranges_are_used_in_full_and_evenly() -> None:
    theta = Augmentation().sample(generator(0, "a"), 4000, (32, 48))
    angle = np.rad2deg(np.arctan2(theta[:, 1, 0] * 32 / 48, theta[:, 0, 0]))
    assert (angle.min(), angle.max()) == pytest.approx((-15, 15), abs=0.2)
    assert angle.mean() == pytest.approx(0, abs=0.6)
    for axis in range(2):
        shift = theta[:, axis, 2] / 2
        assert (shift.min(), shift.max()) == pytest.approx((-0.1, 0.1), abs=0.002)


@pytest.mark.parametrize("size", [(24, 40), (4, 6, 8)])
def test_intensity_changes_by_channel_and_stays_within_its_range(size: tuple[int, ...]) -> None:
    augmentation = Augmentation(contrast=0.3, brightness=0.1, gamma=1.4)
    change_BC3 = augmentation.sample_intensity(generator(0, "a"), 3, 2)
    image = torch.rand(3, 2, *size)
    found = vary_intensity(image.clone(), torch.from_numpy(change_BC3))
    for item, channel in product(range(3), range(2)):
        factor, offset, exponent = change_BC3[item, channel]
        values = image[item, channel].numpy()
        moved = (values - values.mean()) * factor + values.mean() + offset
        expected = np.clip(moved, 0, 1) ** exponent
        np.testing.assert_allclose(found[item, channel], expected, atol=1e-5)
    assert 0 <= found.min() <= found.max() <= 1


def test_what_varies_no_intensity_is_what_it_was() -> None:
    assert set(Augmentation().identity()) == {"shift", "rotation_deg", "zoom"}
    assert set(Augmentation(gamma=1.4).identity()) == {"shift", "rotation_deg", "zoom", "gamma"}


def test_ranges_of_intensity_are_used_in_full_and_evenly() -> None:
    augmentation = Augmentation(contrast=0.3, brightness=0.1, gamma=1.4)
    factor, offset, exponent = augmentation.sample_intensity(generator(0, "a"), 4000, 1)[:, 0].T
    for values, low, high in (
        (factor, 0.7, 1.3),
        (offset, -0.1, 0.1),
        (np.log(exponent), -np.log(1.4), np.log(1.4)),
    ):
        assert (values.min(), values.max()) == pytest.approx((low, high), abs=0.002)
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.02)


def test_a_rotation_keeps_distances_on_a_grid_that_is_not_square() -> None:
    maps = torch.zeros(1, 1, 40, 80, dtype=torch.uint8)
    maps[0, 0, 20, 25:56] = 1  # a line 31 pixels long
    theta = Augmentation(shift=0, rotation_deg=90, zoom=0)
    rng = SimpleNamespace(
        uniform=lambda low, high, n: np.full(n, 90.0 if high == 90 else (low + high) / 2)
    )
    turned = torch.from_numpy(theta.sample(rng, 1, (40, 80)))  # type: ignore[arg-type]
    _, moved = resample(torch.zeros(1, 1, 40, 80), maps, turned, (40, 80))
    rows, columns = np.nonzero(moved[0, 0].numpy())
    assert np.ptp(columns) <= 1
    assert np.ptp(rows) == pytest.approx(30, abs=1)


def test_outside_is_air_and_no_label() -> None:
    away = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]])  # half a side
    image, maps = torch.ones(1, 1, 8, 8), torch.full((1, 1, 8, 8), 255, dtype=torch.uint8)
    out, moved = resample(image, maps, away, image.shape[2:])
    assert torch.equal(out[0, 0, :, :4], torch.ones(8, 4))
    assert torch.equal(out[0, 0, :, 5:], torch.zeros(8, 3))
    assert torch.equal(moved[0, 0, :, :4], torch.full((8, 4), 255))
    assert torch.equal(moved[0, 0, :, 5:], torch.zeros(8, 3, dtype=torch.int64))


def test_labels_are_never_mixed_and_follow_the_image() -> None:
    rng = np.random.default_rng(0)
    maps = torch.from_numpy(rng.choice([0, 3, 7, 255], (16, 2, 24, 32)).astype(np.uint8))
    theta = torch.from_numpy(Augmentation().sample(generator(0, "a"), 16, (24, 32)))
    _, moved = resample(torch.zeros(16, 1, 24, 32), maps, theta, (24, 32))
    assert set(moved.unique().tolist()) == {0, 3, 7, 255}
    blob = torch.zeros(16, 1, 24, 32)
    blob[..., 8:16, 10:20] = 1.0
    image, labels = resample(blob, blob.byte(), theta, blob.shape[2:])
    assert ((image[:, 0] > 0.5) == (labels[:, 0] == 1)).float().mean() > 0.99
    assert labels.float().mean() > 0.05


# --- common random numbers ----------------------------------------------------------------------


def first_batch_and_weights(
    model: Train, store: Store, tmp_path: Path
) -> tuple[dict[str, Tensor], list[NDArray[np.intp]]]:
    """Prepare a training; return the initial weights and the rows of three batches."""
    ctx = SimpleNamespace(
        out=tmp_path, scratch=tmp_path, input=store.out, device=torch.device("cpu")
    )
    objective, loader = model.prepare(ctx)  # type: ignore[arg-type]
    weights = {
        f"{name}/{key}": value.clone()
        for name, module in objective.modules.items()
        for key, value in module.state_dict().items()
    }
    return weights, [loader.sampler.batch(step).rows for step in range(3)]


def test_methods_of_a_cell_start_from_equal_weights(finished: Finished, tmp_path: Path) -> None:
    starts = [
        first_batch_and_weights(run.rounds[0].model, finished.store, tmp_path)[0]
        for run in (finished.of("naive"), finished.of("inerrant0"), finished.of("full"))
    ]
    for other in starts[1:]:
        assert other.keys() == starts[0].keys()
        assert all(torch.equal(other[key], starts[0][key]) for key in other)


def test_only_naive_sees_volumes_without_any_label(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    runs = plan(store, Memory(n_cases=8, n_organs=1), "naive,inerrant0", labelled="1")
    labels = next(stage_of(runs, "Labels"))
    events_of([labels], store)
    view = TrainView(store.out(labels.images), store.out(labels))
    assert view.supervised_V.sum() == 1
    seen = {}
    for run in runs:
        model = run.rounds[0].model
        _, rows = first_batch_and_weights(model, store, tmp_path)
        seen[run.method] = view.supervised_V[view.volume_S[np.concatenate(rows)]]
    assert seen["inerrant0"].all()
    assert not seen["naive"].all()


def test_folds_and_seeds_start_from_other_weights(finished: Finished, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    firsts = []
    for fold, seed in [("0", 0), ("1", 0), ("0", 1)]:
        runs = plan(store, finished.root, "naive", folds=fold, seeds=[seed])
        inputs = [stage for kind in ("Images", "Truth", "Labels") for stage in stage_of(runs, kind)]
        events_of(inputs, store)
        model = runs[0].rounds[0].model
        begin, rows = first_batch_and_weights(model, store, tmp_path)
        firsts.append((begin["segmenter/" + next(iter(begin)).split("/", 1)[1]], rows))
    assert not torch.equal(firsts[0][0], firsts[1][0])
    assert not torch.equal(firsts[0][0], firsts[2][0])
    assert not np.array_equal(firsts[0][1], firsts[2][1])


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Run]]:
    """naive, inerrant0 and full where every organ of every case is annotated and shown."""
    import trees

    base = tmp_path_factory.mktemp("complete")
    root = trees.nnunet(base / "data", 4)
    store = Store(base / "store")
    runs = plan(store, root, "naive,inerrant0,full", labelled="100")
    compute(runs, store)
    return store, {run.method: run for run in runs}


def test_naive_is_inerrant0_where_everything_is_annotated(
    complete: tuple[Store, dict[str, Run]], tmp_path: Path
) -> None:
    store, runs = complete
    naive, inerrant0 = (runs[name].rounds[0].model for name in ("naive", "inerrant0"))
    assert naive.key != inerrant0.key
    a = first_batch_and_weights(naive, store, tmp_path)
    b = first_batch_and_weights(inerrant0, store, tmp_path)
    assert all(np.array_equal(x, y) for x, y in zip(a[1], b[1], strict=True))
    assert weights(naive, store) == weights(inerrant0, store)
    assert runs["full"].rounds[0].model.key == inerrant0.key


def test_naive_is_not_inerrant0_where_labels_are_hidden(finished: Finished) -> None:
    naive, inerrant0 = (finished.of(name).rounds[0].model for name in ("naive", "inerrant0"))
    assert weights(naive, finished.store) != weights(inerrant0, finished.store)


def test_a_training_logs_its_losses(finished: Finished) -> None:
    model = finished.of("inerrant0").rounds[0].model
    events = list(read_events(finished.store.events(model)))
    assert [event["step"] for event in events] == [0, 3]
    for event in events:
        assert {"segment/loss", "segment/known_share", "segment/lr", "time"} <= set(event)
        assert 0 < event["segment/known_share"] <= 1
        assert 0 < event["segment/loss"] < 10


def test_the_confidence_head_starts_from_the_prior_that_bits_are_right() -> None:
    network = parse_network("unet_t11[width=4]")
    setting = Setting(
        n_organs=3,
        lr=1e-3,
        shared_loss=SharedLoss(),
        network=lambda _purpose: network.build(1, 3),
        intensity_sd=lambda: (0.2,),
        seed=lambda _purpose: 0,
    )
    objective = LearnedConfidence(output_bias=2.5).build(setting)
    confidence = objective.modules["confidence"]
    assert isinstance(confidence, ConfidenceNet)
    assert confidence.head.output.bias is not None
    assert confidence.head.output.bias.tolist() == [2.5] * 3
