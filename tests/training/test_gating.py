"""Gates: the pseudo-labels that are left out are the bad ones, and nothing else is lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bench.data.window import Window
from bench.nets.catalogue import parse_network
from bench.nets.inference import mean_features
from bench.nets.protocol import FeatureNet
from bench.training.gating import (
    Gate,
    Stability,
    Typicality,
    distances,
    instability,
    most_doubtful,
)
from bench.training.relabelling import RelabelRule, relabel

WHOLE = RelabelRule(background="whole")


@dataclass
class Held:
    """A volume of two organs as a gate and a relabelling see it."""

    id: str
    flags_K: NDArray[np.bool_]
    features_KC: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, 1)))
    predicted_PSHW: tuple[NDArray[np.uint8], ...] = ()

    def labels(self) -> NDArray[np.uint8]:
        raise AssertionError("features are given")

    def predictions(self) -> tuple[NDArray[np.uint8], ...]:
        return self.predicted_PSHW

    def features(self) -> NDArray[np.float64]:
        return self.features_KC

    def known(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        nothing = np.zeros_like(self.predicted_PSHW[-1])
        return nothing, nothing

    def predicted(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        latest = self.predicted_PSHW[-1]
        return latest, np.full(latest.shape, 0.9, np.float32)


def line(*values: int) -> NDArray[np.uint8]:
    return np.array(values, np.uint8).reshape(1, 1, -1)


def flags(*annotated: bool) -> NDArray[np.bool_]:
    return np.array(annotated)


def left_out(gate: Gate, volumes: list[Any]) -> list[list[bool]]:
    found: list[list[bool]] = gate.left_out(volumes).tolist()
    return found


@pytest.mark.parametrize(
    ("doubts", "share", "expected"),
    [
        ([0.1, 0.9, 0.5, 0.2], 0.25, [False, True, False, False]),
        ([0.1, 0.9, 0.5, 0.2], 0.5, [False, True, True, False]),
        ([0.1, 0.9, 0.5, 0.2], 0.12, [False] * 4),
        ([0.1, 0.9, 0.5, 0.2], 0.125, [False, True, False, False]),  # half up
        ([np.inf, 0.9, np.inf, 0.2], 0.25, [True, False, True, False]),
        ([0.0, 0.0, 0.0], 0.34, [False, False, True]),
        ([], 0.5, []),
    ],
)
def test_the_most_doubtful_share_is_left_out(
    doubts: list[float], share: float, expected: list[bool]
) -> None:
    assert most_doubtful(np.array(doubts), share).tolist() == expected


def test_instability_by_hand() -> None:
    first, second = line(1, 1, 2, 0, 0), line(1, 0, 2, 2, 0)
    # Organ 1: one of two voxels went, one is left. Organ 2: one came, two are there. 3: never.
    assert instability([first, second], 3).tolist() == [1.0, 0.5, 0.0]
    assert instability([second, first], 3).tolist() == [0.5, 1.0, 0.0]
    third = line(0, 0, 2, 2, 0)
    assert instability([first, second, third], 3).tolist() == [np.inf, 0.25, 0.0]
    # A voxel that goes from one organ to another is a change of both.
    assert instability([line(1, 2), line(2, 2)], 2).tolist() == [np.inf, 0.5]


def test_an_unstable_pseudo_label_is_left_out_and_the_others_are_kept() -> None:
    steady = (line(1, 1, 2, 2), line(1, 1, 2, 2))
    jumped = (line(1, 1, 0, 2), line(2, 0, 1, 2))
    volumes = [
        Held("a", flags(False, True), predicted_PSHW=steady),
        Held("b", flags(False, True), predicted_PSHW=jumped),
        Held("c", flags(True, False), predicted_PSHW=jumped),
        Held("d", flags(True, True)),
    ]
    assert left_out(Stability(share=0.5), volumes) == [
        [False, False],
        [True, False],
        [False, True],
        [False, False],
    ]
    assert not Stability(share=0.4).left_out(volumes)[2].any()  # one of one is too many


def cloud(n: int, centre: float, seed: int) -> NDArray[np.float64]:
    """Return features about a centre, whose two channels are correlated."""
    spread = np.array([[1.0, 0.0], [0.9, 0.3]])
    return centre + np.random.default_rng(seed).normal(size=(n, 2)) @ spread.T


def test_an_implausible_pseudo_label_is_left_out_and_good_ones_are_kept() -> None:
    annotated, good = cloud(12, 5.0, seed=0), cloud(9, 5.0, seed=1)
    planted = np.array([[6.5, 3.5]])  # near in each channel, far from how they go together
    ones = np.concatenate([annotated, good, planted])
    is_annotated = [True] * 12 + [False] * 10
    volumes = [
        Held(str(n), flags(said, True), np.array([features, [0.0, 0.0]]))
        for n, (features, said) in enumerate(zip(ones, is_annotated, strict=True))
    ]
    out_VK = Typicality(share=0.1).left_out(volumes)
    assert np.argwhere(out_VK).tolist() == [[21, 0]]
    assert not Typicality(share=0.0).left_out(volumes).any()


def test_a_distance_is_one_of_mahalanobis() -> None:
    features_VKC = np.stack([cloud(400, 5.0, seed=0), cloud(400, -3.0, seed=1)], axis=1)
    annotated_VK = np.ones((400, 2), np.bool_)
    annotated_VK[0, 0] = False
    features_VKC[0, 0] = [8.0, 3.0]
    found = distances(features_VKC, annotated_VK)[0, 0]
    offset = np.array([8.0, 3.0]) - features_VKC[1:, 0].mean(axis=0)
    residuals = np.concatenate([features_VKC[1:, 0] - features_VKC[1:, 0].mean(axis=0),
                                features_VKC[:, 1] - features_VKC[:, 1].mean(axis=0)])  # fmt: skip
    covariance = residuals.T @ residuals / len(residuals)
    expected = np.sqrt(offset @ np.linalg.solve(covariance, offset))
    assert found == pytest.approx(expected, rel=0.05)  # but for the shrinkage
    # It does not depend on the scale of a channel.
    scaled = distances(features_VKC * [1e-3, 50.0], annotated_VK)[0, 0]
    assert scaled == pytest.approx(found, rel=1e-6)


def test_without_features_it_is_left_out_and_without_annotations_it_is_not_doubted() -> None:
    features_VKC = np.zeros((3, 2, 2))
    features_VKC[2] = np.nan
    features_VKC[1] = 7.0
    annotated_VK = np.array([[True, False], [False, False], [False, False]])
    found = distances(features_VKC, annotated_VK)
    assert np.isinf(found[2]).all()
    assert not found[1, 1]
    assert np.isfinite(found[:2]).all()


def test_a_unit_that_never_fires_does_not_count() -> None:
    features_VKC = cloud(20, 1.0, seed=2)[:, np.newaxis]
    silent_VKC = np.concatenate([features_VKC, np.zeros((20, 1, 1))], axis=2)
    annotated_VK = np.arange(20)[:, np.newaxis] < 10
    assert distances(silent_VKC, annotated_VK) == pytest.approx(
        distances(features_VKC, annotated_VK)
    )


def test_equal_doubts_are_no_reason_to_leave_one_out() -> None:
    class Equal(Gate):
        def doubts(self, volumes: Any) -> Any:
            return np.zeros((len(volumes), 2))

    volumes = [Held(str(v), flags(False, True)) for v in range(4)]
    assert not Equal(share=0.5).left_out(volumes).any()


def test_of_a_pseudo_label_that_is_left_out_no_voxel_is_selected() -> None:
    volumes = [Held(name, flags(False, False), predicted_PSHW=(line(1, 1, 2, 0),)) for name in "ab"]
    (first, _), (second, selections) = relabel(
        volumes, 1.0, WHOLE, lambda *_: np.random.default_rng(0), {("b", 1)}
    )
    assert first.ravel().tolist() == [1, 1, 2, 0]  # and no mark of background
    assert second.ravel().tolist() == [0, 0, 2, 0]
    one, two = selections
    assert (len(one.index_E), one.selected_E.any(), two.selected_E.all()) == (2, False, True)


def plain_means(
    net: FeatureNet, image_BCHW: torch.Tensor, label_BHW: torch.Tensor
) -> NDArray[np.float64]:
    with torch.no_grad():
        features = net.eval().features(image_BCHW).transpose(0, 1)
    means = [features[:, label_BHW == organ].mean(dim=1) for organ in (1, 2)]
    return torch.stack(means).double().numpy()


def test_features_are_averaged_over_the_voxels_of_each_organ() -> None:
    torch.manual_seed(0)
    net = parse_network("unet_t11[width=4]").build(1, 3)
    image = torch.rand(5, 1, 32, 32)
    label = torch.randint(0, 3, (5, 32, 32))
    label[0] = 254  # of unknown class
    found = mean_features(
        net, image.numpy(), label.numpy().astype(np.uint8), 3, device="cpu", batch_size=2
    )
    assert found.shape == (3, net.feature_channels)
    assert found[:2] == pytest.approx(plain_means(net, image, label), abs=1e-5)
    assert np.isnan(found[2]).all()


def test_features_of_a_volume_that_a_window_covers() -> None:
    torch.manual_seed(0)
    net = parse_network("unet3d_t11[width=2]").build(1, 3)
    image = torch.rand(48, 1, 32, 32)
    label = torch.randint(0, 3, (48, 32, 32))
    for sampling in ("anywhere", "centre"):
        window = Window(patch=(48, 32, 32), sampling=sampling)  # type: ignore[arg-type]
        found = mean_features(
            net, image.numpy(), label.numpy().astype(np.uint8), 2, device="cpu", window=window
        )
        expected = plain_means(net, image.transpose(0, 1)[None], label[None])
        assert found == pytest.approx(expected, abs=1e-5)
