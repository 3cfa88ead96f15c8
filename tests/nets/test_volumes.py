"""3D: cubic voxels and back, patches, windows, and networks that see them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import nibabel as nib
import numpy as np
import pytest
import torch
from helpers import compute, plan, stage_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.data.catalogue import parse_dataset
from bench.data.grid import (
    Placement,
    centred,
    cubic,
    grid_shape,
    labels_to_grid,
    logits_to_native,
    native_box,
    native_slices,
    resize_image,
)
from bench.data.image import read_image
from bench.data.index import SliceIndex
from bench.data.window import Window
from bench.engine.store import Store
from bench.errors import BenchError
from bench.experiment.collect import collect
from bench.experiment.method import Condition, Recipe, Source
from bench.experiment.profiles import parse_profile
from bench.nets.catalogue import parse_network
from bench.nets.confidence import ConfidenceNet
from bench.nets.inference import decide, predict_volume, predict_with_score
from bench.nets.protocol import FeatureNet, channels_last, image_channels_last
from bench.reports.leaderboard import Leaderboard
from bench.seeds import generator
from bench.stages.images import Prepared
from bench.training.augment import Augmentation, resample
from bench.training.cost import PassCounter
from bench.training.readers import PatchReader, RawBatch
from bench.training.sampler import SampledSlices

STILL = Augmentation(shift=0, rotation_deg=0, zoom=0)
SMALL = Window(patch=(48, 32, 32))


# --- the grid -----------------------------------------------------------------------------------


def test_a_volume_in_cubic_voxels_keeps_its_lengths() -> None:
    assert cubic((512, 512, 100), (0.8, 0.8, 5.0), 2.0) == ((205, 205), 250)
    assert cubic((10, 10, 1), (0.1, 0.1, 0.1), 2.0) == ((1, 1), 1)


@pytest.mark.parametrize(
    ("spacing_mm", "voxel_mm", "free", "limit"),
    [
        (2.0, 0.001, 2**60, "more than 2147483648"),
        (2.0, 1e-200, 2**60, "more than 2147483648"),
        (500.0, 2.0, 2**60, "more than 2147483648"),
        (2.0, 1.0, 2**17, "more than fit into the 0.0 GiB of memory that are free"),
    ],
)
def test_a_volume_of_too_many_cubic_voxels_is_refused_unread(
    spacing_mm: float,
    voxel_mm: float,
    free: int,
    limit: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unread(*_: object, **__: object) -> None:
        raise AssertionError("the voxels were read")

    monkeypatch.setattr("bench.machine.memory.available", lambda: free)
    monkeypatch.setattr(nib.Nifti1Image, "get_fdata", unread)
    image = nib.Nifti1Image(np.zeros((20, 20, 20), np.float32), np.diag([*[spacing_mm] * 3, 1]))
    images = volumes(voxel_mm)
    said = rf"^a\.nii: its .* mm are .* {limit}; .*voxel_mm="
    with pytest.raises(BenchError, match=said) as error:
        read_image(image, "a.nii", images.channels, images.refuse_size)
    assert "\n" not in str(error.value)
    monkeypatch.setattr("bench.machine.memory.available", lambda: 2**60)
    fine = nib.Nifti1Image(np.zeros((20, 20, 20), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    with pytest.raises(AssertionError, match="the voxels were read"):
        read_image(fine, "a.nii", images.channels, volumes(2.0).refuse_size)


def volumes(voxel_mm: float) -> Prepared:
    network = parse_network("unet3d_t11[width=2]")
    profile = parse_profile(f"smoke[voxel_mm={voxel_mm}]")
    source = Source(parse_dataset("phantom"), "0")
    return Recipe(Condition(source, 0, 30, network, profile)).images


def test_axes_that_shrink_are_averaged_and_axes_that_grow_are_interpolated() -> None:
    ramp_XYZ = np.broadcast_to(np.arange(4, dtype=np.float32), (8, 6, 4))
    out = resize_image(np.ascontiguousarray(ramp_XYZ), (4, 6), n_slices=8)
    assert out.shape == (8, 4, 6)
    np.testing.assert_allclose(out[:, 0, 0], [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(st.integers(6, 30), st.integers(6, 30), st.integers(4, 30)),
    spacing=st.tuples(*[st.floats(0.7, 3.0)] * 3),
)
def test_labels_come_back_from_cubic_voxels(
    shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    """A large box returns where it was, up to a voxel of the coarser grid at its faces."""
    x, y, z = shape
    labels_XYZ = np.zeros(shape, np.uint8)
    box = tuple(slice(n // 4, n - n // 4) for n in shape)
    labels_XYZ[box] = 1
    scaled, n_slices = cubic(shape, spacing, 2.0)
    grid = grid_shape([scaled], 16)
    placement = centred((x, y), scaled, grid, depth=(z, n_slices))
    on_grid = labels_to_grid(labels_XYZ, placement, grid)
    assert on_grid.shape == (n_slices, *grid)
    logits_SKHW = torch.from_numpy(np.where(on_grid == 1, 4.0, -4.0)[:, None]).float()
    rows = [
        logits_to_native(native_slices(logits_SKHW, placement, slice(s, s + 1)), placement)
        for s in range(z)
    ]
    back_ZXY = decide(torch.cat(rows)).numpy()
    assert back_ZXY.shape == (z, x, y)
    for axis, native in enumerate((z, x, y)):
        others = tuple(a for a in range(3) if a != axis)
        extent = np.flatnonzero(back_ZXY.any(axis=others))
        wanted = np.flatnonzero(labels_XYZ.transpose(2, 0, 1).any(axis=others))
        tolerance = 1 + native / (n_slices, *scaled)[axis]
        assert abs(extent[0] - wanted[0]) <= tolerance
        assert abs(extent[-1] - wanted[-1]) <= tolerance


def test_a_box_on_the_grid_is_a_box_of_voxels() -> None:
    placement = Placement(native=(40, 20), scaled=(20, 20), offset=(6, 6), depth=(15, 30))
    box = native_box(placement, 30, (-2, 8, 0), (12, 10, 32))
    assert box == (slice(4, 24), slice(0, 20), slice(0, 5))


def test_slices_that_are_the_scans_own_are_left_alone() -> None:
    logits = torch.rand(5, 2, 4, 4)
    placement = Placement(native=(4, 4), scaled=(4, 4))
    assert torch.equal(native_slices(logits, placement, slice(1, 3)), logits[1:3])


# --- windows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(32, 48, 48), (48, 16, 32), (48, 40, 48), (48, 48)])
def test_a_window_that_networks_cannot_take_is_refused(size: tuple[int, ...]) -> None:
    notation = ":".join(map(str, size))
    with pytest.raises(BenchError, match=r"profile quick: window\.patch"):
        parse_profile(f"quick[patch={notation}]")


def test_a_patch_is_written_with_colons() -> None:
    profile = parse_profile("quick[patch=64:96:96]")
    assert profile.window.patch == (64, 96, 96)
    assert profile.label == "quick[patch=64:96:96]"
    assert parse_profile(profile.label) == profile


def test_the_paper_profile_looks_at_the_centre() -> None:
    paper = parse_profile("paper")
    assert (paper.window.patch, paper.window.sampling, paper.voxel_mm) == (
        (96, 144, 144),
        "centre",
        2.0,
    )


@pytest.mark.parametrize("name", ["unet3d_t11[width=2]", "dynunet[width=2]", "segresnet[width=8]"])
def test_bf16_gradients_of_the_smallest_patch_are_sound(name: str) -> None:
    """With two slices at the bottleneck they are not; the window forbids that."""
    gradients = []
    for enabled in (True, False):
        torch.manual_seed(0)
        net = channels_last(parse_network(name).build(1, 2, 0.0))
        image = image_channels_last(torch.rand(2, 1, *SMALL.patch))
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits = net(image)
        (logits.float() - 1).square().mean().backward()
        gradients.append([p.grad for p in net.parameters() if p.grad is not None])
    for rough, exact in zip(*gradients, strict=True):
        assert rough.norm() <= 3 * exact.norm() + 0.1


# --- networks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "millions"),
    [("unet3d_t11[width=16]", 5.65), ("unet3d_t11", 22.58), ("unet3d_t11[width=64]", 90.30)],
)
def test_the_papers_3d_network_has_the_published_size(name: str, millions: float) -> None:
    net = parse_network(name).build(1, 7)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize("name", ["unet3d_t11[width=2]", "dynunet[width=2]", "segresnet[width=8]"])
def test_a_3d_network_keeps_the_protocol(name: str) -> None:
    network = parse_network(name)
    assert network.dims == 3
    net = network.build(1, 3, output_bias=-4.0)
    assert net.dims == 3
    image = torch.rand(1, 1, *SMALL.patch)
    counter = PassCounter({"net": net.bottleneck})
    features = net.features(image)
    assert counter.slices == {"net": 1}
    assert features.shape[:2] == (1, net.feature_channels)
    logits = net(image)
    assert logits.shape == (1, 3, *SMALL.patch)
    torch.testing.assert_close(logits, net.classify(features))
    assert net.output_bias.tolist() == [-4.0] * 3
    confidence = ConfidenceNet.of(net, 3)
    assert confidence(image).shape == logits.shape


def test_the_confidence_head_of_the_papers_3d_network_is_table_11s() -> None:
    network = parse_network("unet3d_t11")
    head = ConfidenceNet.of(network.build(1, 1), 1).head
    widths = [m.out_channels for m in head.hidden if isinstance(m, nn.Conv3d)]
    assert widths == [400, 120, 64, 64]


# --- patches ------------------------------------------------------------------------------------


@dataclass
class Labels:
    """Label slices in memory."""

    slices: NDArray[np.uint8]

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        out: NDArray[np.uint8] = self.slices[row]
        return out

    def gather(self, rows: Any) -> NDArray[np.uint8]:
        out: NDArray[np.uint8] = self.slices[list(rows)]
        return out


def volume_view(n_slices: int = 80, side: int = 64) -> Any:
    """Two volumes whose voxels know where they are; organ 1 is a small box in the second."""
    shape = (n_slices, side, side)
    place = np.indices(shape).sum(axis=0).astype(np.int16)
    labels = np.zeros((2 * n_slices, side, side), np.uint8)
    labels[n_slices + 10 : n_slices + 13, 50:54, 3:6] = 1
    cases = [
        SimpleNamespace(
            images=slice(v * n_slices, (v + 1) * n_slices),
            labels=slice(v * n_slices, (v + 1) * n_slices),
        )
        for v in range(2)
    ]
    return SimpleNamespace(
        grid=(side, side),
        value_ranges=((-160.0, 240.0),),
        images_SCHW=np.concatenate([place, place + 1])[:, None],
        labels=Labels(labels),
        pseudo=None,
        cases=cases,
        known_VK=np.array([[True], [False]]),
        volume_S=np.repeat([0, 1], n_slices),
    )


def read(
    view: Any, rows: list[int], organs: list[int], augmentation: Augmentation = STILL, seed: int = 0
) -> RawBatch:
    draws = SampledSlices(np.array(rows), np.array(organs))
    return PatchReader(view, augmentation, SMALL).read(draws, generator(seed, "a"))


def test_a_still_patch_is_a_piece_of_its_volume() -> None:
    view = volume_view()
    raw = read(view, [5, 85], [0, 0])
    assert raw.image_BCHW.shape == (2, 1, *SMALL.patch)
    assert raw.flags_BK.tolist() == [[True], [False]]
    for number, image in enumerate(raw.image_BCHW[:, 0].numpy()):
        corner = image[0, 0, 0] - number
        steps = np.indices(SMALL.patch).sum(axis=0)
        assert np.array_equal(image - number, corner + steps)
    moved, _ = resample(raw.image_BCHW.float(), raw.maps_BMHW, raw.theta, raw.size)
    torch.testing.assert_close(moved, raw.image_BCHW.float(), atol=1e-2, rtol=0)


def test_every_channel_of_a_patch_shows_the_same_place() -> None:
    view = volume_view(n_slices=20, side=16)
    view.images_SCHW = np.concatenate([view.images_SCHW, view.images_SCHW + 1000], axis=1)
    view.value_ranges = ((-160.0, 240.0), (0.0, 10_000.0))
    first, second = read(view, [3], [0]).image_BCHW[0].numpy()
    inside = first >= 0
    assert 0 < inside.sum() < inside.size
    assert np.array_equal(second[inside], first[inside] + 1000)
    assert set(first[~inside]) == {-160}
    assert set(second[~inside]) == {0}


@pytest.mark.parametrize("augmentation", [STILL, Augmentation()])
def test_a_patch_drawn_for_an_organ_shows_it(augmentation: Augmentation) -> None:
    view = volume_view()
    for seed in range(20):
        raw = read(view, [91], [1], augmentation, seed)
        assert (raw.maps_BMHW[0, 0] == 1).any()


def test_patches_are_drawn_from_everywhere() -> None:
    view = volume_view()
    corners = [
        int(read(view, [row], [0], seed=row).image_BCHW[0, 0, 0, 0, 0]) for row in range(0, 80, 2)
    ]
    assert min(corners) < 15
    assert max(corners) > 65  # of at most 32 + 32 + 32
    assert len(set(corners)) > 20


def test_a_volume_smaller_than_the_patch_lies_in_its_middle() -> None:
    raw = read(volume_view(n_slices=20, side=16), [3], [0])
    image = raw.image_BCHW[0, 0].numpy()
    inside = (slice(14, 34), slice(8, 24), slice(8, 24))
    assert image[inside].min() == 0
    outside = np.ones(SMALL.patch, bool)
    outside[inside] = False
    assert (image[outside] == -160).all()


def test_the_centre_is_read_when_only_the_centre_is_looked_at() -> None:
    window = Window(patch=SMALL.patch, sampling="centre")
    draws = SampledSlices(np.array([0, 79]), np.array([0, 1]))
    raw = PatchReader(volume_view(), STILL, window).read(draws, generator(0, "a"))
    assert raw.image_BCHW[:, 0, 0, 0, 0].tolist() == [16 + 16 + 16] * 2


def test_augmentation_turns_in_the_axial_plane_and_zooms_alike() -> None:
    """A bar along the body keeps its axis, and its length follows the zoom of the plane."""
    size = (48, 48, 48)
    augmentation = Augmentation(shift=0.1, rotation_deg=15, zoom=0.1)
    source = augmentation.reach(size)
    assert all(s > n for s, n in zip(source, size, strict=True))
    theta = torch.from_numpy(augmentation.sample_3d(generator(0, "a"), 64, size, source))
    bar = torch.zeros(64, *source)
    centre = [n // 2 for n in source]
    bar[:, centre[0] - 10 : centre[0] + 10, centre[1], centre[2]] = 1
    _, moved = resample(torch.zeros(64, 1, *source), (bar[:, None] > 0).byte(), theta, size)
    voxels = torch.nonzero(moved[:, 0])
    assert (voxels[:, 2:] - 23.5).abs().max() <= 2
    lengths = torch.stack([(moved[b, 0].flatten(1).any(dim=1)).sum() for b in range(64)])
    scale = 1 / torch.linalg.det(theta[:, :2, :2] * torch.tensor(
        [[source[2] / 48], [source[1] / 48]]
    )).sqrt()  # fmt: skip
    assert (lengths - 20 * scale).abs().max() <= 1.5
    assert lengths.float().std() > 0.5


@pytest.mark.parametrize(("size", "turn"), [((48, 48, 64), 15), ((32, 48, 96), 90)])
def test_nothing_outside_the_source_turns_up_in_a_patch(
    size: tuple[int, int, int], turn: float
) -> None:
    augmentation = Augmentation(rotation_deg=turn)
    source = augmentation.reach(size)
    theta = torch.from_numpy(augmentation.sample_3d(generator(0, "a"), 50, size, source))
    image, _ = resample(
        torch.ones(50, 1, *source), torch.zeros(50, 1, *source, dtype=torch.uint8), theta, size
    )
    # Half a voxel at the rim may mix with the outside.
    assert (image[:, 0, 1:-1, 1:-1, 1:-1] > 0.999).all()


# --- prediction ---------------------------------------------------------------------------------


class Local(FeatureNet):
    """A 3D network that looks at single voxels, so that windows cannot change its answer."""

    dims = 3
    divisor = 16
    feature_channels = 1

    def features(self, image_BCHW: Tensor) -> Tensor:
        return image_BCHW

    def classify(self, features_BCHW: Tensor) -> Tensor:
        return torch.cat([features_BCHW - 0.5, 0.2 - features_BCHW], dim=1) * 10


@pytest.mark.parametrize("shape", [(60, 70, 40), (20, 33, 50)])
def test_windows_put_together_are_the_volume(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).random(shape, np.float32)
    label = predict_volume(Local(), image[:, None], device="cpu", window=SMALL, batch_size=7)
    clear = (np.abs(image - 0.5) > 1e-3) & (np.abs(image - 0.2) > 1e-3)
    expected = np.where(image > 0.5, 1, np.where(image < 0.2, 2, 0))
    assert np.array_equal(label[clear], expected[clear])
    missing = np.array([True, False])
    pred, score = predict_with_score(
        Local(), image[:, None], missing, device="cpu", window=SMALL, batch_size=7
    )
    assert np.array_equal(pred, label)
    mine = pred == 1
    expected_score = 1 / (1 + np.exp(-10 * (image[mine] - 0.5)))
    np.testing.assert_allclose(score[mine], expected_score, atol=1e-4)


class Second(Local):
    """Looks at the second of two channels."""

    def features(self, image_BCHW: Tensor) -> Tensor:
        return image_BCHW[:, 1:]


@pytest.mark.parametrize("sampling", ["anywhere", "centre"])
def test_channels_keep_their_order_in_windows(sampling: Literal["anywhere", "centre"]) -> None:
    image_SCHW = np.random.default_rng(0).random((60, 2, 70, 40), np.float32)
    window = Window(patch=SMALL.patch, sampling=sampling)
    label = predict_volume(Second(), image_SCHW, device="cpu", window=window)
    expected = predict_volume(Local(), image_SCHW[:, 1:], device="cpu", window=window)
    assert np.array_equal(label, expected)


def test_beyond_a_window_in_the_centre_all_is_background() -> None:
    image = np.ones((60, 70, 40), np.float32)
    window = Window(patch=(48, 48, 48), sampling="centre")
    label = predict_volume(Local(), image[:, None], device="cpu", window=window)
    assert (label[6:54, 11:59, :] == 1).all()
    assert label.sum() == 48 * 48 * 40


def test_a_3d_prediction_lies_on_the_native_slices() -> None:
    image = np.zeros((30, 32, 32), np.float32)
    image[10:20, 6:16, 6:16] = 1
    placement = Placement(native=(40, 20), scaled=(20, 20), offset=(6, 6), depth=(15, 30))
    label = predict_volume(Local(), image[:, None], device="cpu", window=SMALL, placement=placement)
    assert label.shape == (15, 40, 20)
    assert np.array_equal(np.flatnonzero((label == 1).any(axis=(1, 2))), np.arange(5, 10))
    assert np.array_equal(np.flatnonzero((label == 1).any(axis=(0, 2))), np.arange(0, 20))
    assert np.array_equal(np.flatnonzero((label == 1).any(axis=(0, 1))), np.arange(0, 10))


# --- end to end ---------------------------------------------------------------------------------


def test_a_3d_experiment_runs_and_shares_nothing_with_a_2d_one(tmp_path: Path) -> None:
    store, data = Store(tmp_path / "store"), "phantom[n_cases=4,scale=0.25]"
    network = "unet3d_t11[width=2,bn_momentum=0.1]"
    runs = plan(store, data, "inerrant", networks=[network])
    compute(runs, store)
    (volumes,) = stage_of(runs, "Volumes")
    index = SliceIndex.read(store.out(volumes))
    for entry in index.cases:
        (h, w), n_slices = volumes.size(entry.geometry)
        assert (entry.placement.scaled, entry.n_slices) == ((h, w), n_slices)
        lengths = np.array(entry.geometry.canonical_shape) * entry.geometry.spacing_mm
        assert np.abs(np.array([h, w, n_slices]) * 8 - lengths).max() <= 4
    for training in stage_of(runs, "Train"):
        assert training.window == SMALL
    flat = plan(store, data, "inerrant")
    assert not {t.key for t in stage_of(runs, "Train")} & {t.key for t in stage_of(flat, "Train")}


def test_what_lies_outside_of_a_centre_crop_is_counted(tmp_path: Path) -> None:
    runs = plan(
        Store(tmp_path / "store"),
        "phantom[n_cases=4,scale=0.25]",
        "inerrant0",
        profile="smoke[steps=2,voxel_mm=4,sampling=centre,patch=48:32:32]",
        networks=["unet3d_t11[width=2,bn_momentum=0.1]"],
    )
    store = Store(tmp_path / "store")
    compute(runs, store)
    tables = collect(runs, store)
    assert tables.results["coverage"].between(0, 100).all()
    assert tables.results["coverage"].min() < 100
    text = Leaderboard().build(tables).files["leaderboard.md"]
    assert "The network sees the centre of a volume" in text
