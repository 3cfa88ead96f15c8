from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import logit
from torch import Tensor, nn

from bench.data.window import Window
from bench.errors import BenchError
from bench.nets.catalogue import parse_network
from bench.nets.confidence import ConfidenceNet
from bench.nets.inference import decide, predict_volume, predict_with_score
from bench.nets.protocol import FeatureNet

NETWORK = parse_network("unet_t11[width=4]")


@pytest.fixture
def net() -> FeatureNet:
    torch.manual_seed(0)
    net = NETWORK.build(1, 3, output_bias=0.0)
    with torch.no_grad():
        net.output.weight *= 3  # type: ignore[operator, union-attr]
    return net


@pytest.fixture
def image_SCHW() -> NDArray[np.float32]:
    return np.random.default_rng(0).random((5, 1, 20, 27), np.float32)


def expected_logits(net: FeatureNet, image_SCHW: NDArray[np.float32]) -> Tensor:
    """Logits by the plain definition, with slices padded to 32 by 32."""
    padded = np.pad(image_SCHW, ((0, 0), (0, 0), (0, 12), (0, 5)))
    net.eval()
    with torch.no_grad():
        logits: Tensor = net(torch.from_numpy(padded))[:, :, :20, :27]
    net.train()
    return logits


def test_decision_of_the_example() -> None:
    prob = torch.tensor(
        [
            [0.1, 0.9, 0.8, 0.2, 0.3, 0.05],
            [0.2, 0.1, 0.1, 0.7, 0.2, 0.1],
            [0.1, 0.05, 0.2, 0.4, 0.8, 0.6],
        ]
    )
    label = decide(torch.logit(prob).view(1, 3, 1, 6))
    assert label.dtype == torch.uint8
    assert label.flatten().tolist() == [0, 1, 1, 2, 3, 3]


def test_one_half_is_foreground_and_ties_go_to_the_lowest_organ() -> None:
    logits = torch.tensor([[-1e-6, 0.0, 2.0, -1.0], [-1.0, 0.0, 2.0, 0.0]]).view(1, 2, 1, 4)
    assert decide(logits).flatten().tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_volume_is_predicted_slice_by_slice_at_its_own_size(
    net: FeatureNet, image_SCHW: NDArray[np.float32], batch_size: int
) -> None:
    logits = expected_logits(net, image_SCHW)
    clear = (logits.abs().amin(dim=1) > 1e-4).numpy()
    label = predict_volume(net, image_SCHW, device="cpu", batch_size=batch_size)
    assert label.dtype == np.uint8
    assert len(np.unique(label)) == 4
    assert np.array_equal(label[clear], decide(logits).numpy()[clear])
    assert net.training  # as it came


def test_probability_of_the_predicted_bit_is_the_score_without_a_confidence_net(
    net: FeatureNet, image_SCHW: NDArray[np.float32]
) -> None:
    prob = expected_logits(net, image_SCHW).sigmoid().numpy()
    missing = np.array([True, False, True])
    pred, score = predict_with_score(net, image_SCHW, missing, device="cpu", batch_size=2)
    assert np.array_equal(pred, predict_volume(net, image_SCHW, device="cpu", batch_size=2))
    assert (pred == 0).any()
    background = (1 - prob[:, missing]).min(axis=1)
    predicted = np.take_along_axis(prob, np.maximum(pred, 1)[:, None].astype(int) - 1, 1)[:, 0]
    np.testing.assert_allclose(score, np.where(pred == 0, background, predicted), atol=1e-5)
    assert score.dtype == np.float32


def test_confidence_net_scores_the_predicted_bit(
    net: FeatureNet, image_SCHW: NDArray[np.float32]
) -> None:
    confidence = ConfidenceNet.of(net, 3)
    with torch.no_grad():
        confidence.head.output.weight *= 100
    padded = np.pad(image_SCHW, ((0, 0), (0, 0), (0, 12), (0, 5)))
    with torch.no_grad():
        chat = confidence(torch.from_numpy(padded)).sigmoid()[:, :, :20, :27].numpy()
    missing = np.array([False, True, True])
    pred, score = predict_with_score(
        net, image_SCHW, missing, confidence=confidence, device="cpu", batch_size=3
    )
    for organ in (1, 2, 3):
        mine = pred == organ
        np.testing.assert_allclose(score[mine], chat[:, organ - 1][mine], atol=1e-5)
    mine = pred == 0
    np.testing.assert_allclose(score[mine], chat[:, missing].min(axis=1)[mine], atol=1e-5)


@pytest.mark.parametrize("window", [None, Window(patch=(48, 32, 32))])
def test_a_confidence_that_starts_from_the_certainty_ranks_as_the_probability_does(
    net: FeatureNet, image_SCHW: NDArray[np.float32], window: Window | None
) -> None:
    if window is not None:
        net = parse_network("unet3d_t11[width=2]").build(1, 3, output_bias=0.0)
    confidence = ConfidenceNet.of(net, 3, start="certainty")
    assert confidence.head.output.bias is not None
    predict = partial(predict_with_score, net, image_SCHW, np.ones(3, np.bool_), device="cpu")
    pred, probability = predict(window=window)
    _, untrained = predict(confidence=confidence, window=window)
    np.testing.assert_allclose(untrained, probability, atol=1e-5)
    with torch.no_grad():
        confidence.head.output.bias[:] = torch.tensor([2.0, 0.0, -2.0])
    _, trained = predict(confidence=confidence, window=window)
    for organ, shift in ((1, 2.0), (2, 0.0), (3, -2.0)):
        mine = pred == organ
        assert mine.any()
        moved = logit(trained[mine].astype(float)) - logit(probability[mine].astype(float))
        np.testing.assert_allclose(moved, shift, atol=1e-3)


def test_slices_without_anything_to_rank_are_not_scored(
    net: FeatureNet, image_SCHW: NDArray[np.float32]
) -> None:
    image_SCHW[[1, 3]] = 0
    pred = predict_volume(net, image_SCHW, device="cpu")
    (organ, *_) = sorted(set(np.unique(pred[0])) - set(np.unique(pred[[1, 3]])) - {0})
    missing = np.arange(1, 4) == organ
    confidence = ConfidenceNet.of(net, 3)
    scored: list[int] = []
    hidden = confidence.hidden
    confidence.hidden = lambda image: scored.append(len(image)) or hidden(image)  # type: ignore
    _, everywhere = predict_with_score(
        net, image_SCHW, missing, confidence=confidence, device="cpu"
    )
    scored.clear()
    _, score = predict_with_score(
        net, image_SCHW, missing, confidence=confidence, background=False, device="cpu"
    )
    assert sum(scored) == 3
    assert not score[[1, 3]].any()
    mine = pred == organ
    np.testing.assert_allclose(score[mine], everywhere[mine], atol=1e-5)


def test_confidence_of_a_coarse_decoder_comes_at_the_size_of_the_image() -> None:
    torch.manual_seed(0)
    network = parse_network("fpn/tu-resnet10t")
    net = network.build(1, 1, output_bias=0.0)
    confidence = ConfidenceNet.of(net, 1)
    assert isinstance(confidence, ConfidenceNet)
    image = np.random.default_rng(0).random((1, 1, 40, 64), np.float32)
    _, score = predict_with_score(net, image, np.array([True]), confidence=confidence, device="cpu")
    assert score.shape == (1, 40, 64)
    assert len(np.unique(score)) > image.size // 2


def test_bf16_stays_close_and_does_not_collapse_scores_into_ties(
    net: FeatureNet, image_SCHW: NDArray[np.float32]
) -> None:
    missing = np.ones(3, np.bool_)
    exact = predict_with_score(net, image_SCHW, missing, device="cpu")
    rounded = predict_with_score(net, image_SCHW, missing, device="cpu", precision="bf16")
    assert (exact[0] == rounded[0]).mean() > 0.9
    np.testing.assert_allclose(exact[1], rounded[1], atol=0.15)
    assert len(np.unique(rounded[1])) > 0.9 * len(np.unique(exact[1]))


def test_a_diverged_network_is_reported(net: FeatureNet, image_SCHW: NDArray[np.float32]) -> None:
    nn.init.constant_(net.output_bias, float("nan"))
    with pytest.raises(BenchError, match="not a number"):
        predict_volume(net, image_SCHW, device="cpu")
    assert net.training
