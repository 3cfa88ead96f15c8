"""Agreement of views as a score."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pointwise
import pytest
import torch
from numpy.typing import NDArray
from pointwise import Pointwise, grey
from scipy.ndimage import gaussian_filter
from torch import Tensor

from bench.data.window import Window
from bench.nets.protocol import Dims, FeatureNet
from bench.training.agreement import Agreement, predict_with_agreement

VIEWS_ALONE = Agreement(sigma_slices=0, sigma_pixels=0)


def of(function: Callable[[Tensor], Tensor], dims: Dims = 2) -> Pointwise:
    """Return a network of two logits: a function of the image, and -3."""

    def both(image_BCHW: Tensor) -> Tensor:
        first = function(image_BCHW)
        return torch.cat([first, torch.full_like(first, -3.0)], dim=1)

    return Pointwise(both, dims)


def agreed(
    net: FeatureNet,
    image_SCHW: NDArray[np.float32],
    rule: Agreement,
    missing: tuple[bool, bool] = (True, True),
    *,
    background: bool = False,
    window: Window | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    return predict_with_agreement(
        net,
        image_SCHW,
        np.array(missing),
        rule=rule,
        background=background,
        device=torch.device("cpu"),
        precision="fp32",
        window=window,
    )


@pytest.fixture
def blob() -> NDArray[np.float32]:
    return pointwise.blob()[:, None]


@pytest.mark.parametrize("window", [None, Window(patch=(48, 48, 64))])
def test_views_of_a_network_that_moves_with_the_image_agree(
    blob: NDArray[np.float32], window: Window | None
) -> None:
    """So does the way back of every view: none is turned or scaled to the wrong side."""
    net = of(grey, dims=2 if window is None else 3)
    pred, score = agreed(net, blob, VIEWS_ALONE, background=True, window=window)
    prob = 1 / (1 + np.exp(-(8 * blob[:, 0] - 4)))
    assert np.array_equal(pred, (prob >= 0.5).astype(np.uint8))
    expected = np.where(pred == 1, prob, 1 - np.maximum(prob, 1 / (1 + np.exp(3))))
    np.testing.assert_allclose(score, expected, atol=0.01)


def test_what_depends_on_the_view_scores_lower(blob: NDArray[np.float32]) -> None:
    def by_place(image_BCHW: Tensor) -> Tensor:
        columns = torch.arange(image_BCHW.shape[-1]).expand_as(image_BCHW)
        return torch.where(columns < 20, 4.0, -4.0)

    pred, score = agreed(of(by_place), blob, VIEWS_ALONE)
    sure = 1 / (1 + np.exp(-4.0))
    assert score[:, 20, 12] == pytest.approx(sure, abs=1e-3)
    assert (score[:, 20, 19] < sure - 0.1).all()
    assert not score[pred == 0].any()


def test_the_mean_is_smoothed_over_slices_and_pixels(blob: NDArray[np.float32]) -> None:
    net = of(lambda image: grey(image) + 4)  # predicted everywhere
    blob[0] *= 0.5
    pred, views = agreed(net, blob, VIEWS_ALONE)
    assert (pred == 1).all()
    _, smooth = agreed(net, blob, Agreement(sigma_slices=2, sigma_pixels=1))
    np.testing.assert_allclose(smooth, gaussian_filter(views, (2, 1, 1)), atol=1e-5)


def test_annotated_organs_are_not_scored(blob: NDArray[np.float32]) -> None:
    pred, score = agreed(of(grey), blob, Agreement(), (False, True))
    assert (pred == 1).any()
    assert not score.any()
