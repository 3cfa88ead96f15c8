"""What several views agree on, and the objects that remain of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pointwise
import pytest
import torch
from numpy.typing import NDArray
from pointwise import Pointwise, grey
from torch import Tensor

from bench.data.window import Window
from bench.nets.inference import predict_volume
from bench.nets.protocol import Dims
from bench.training.consensus import Consensus

VOLUME = Window(patch=(48, 48, 64))


def logits(
    function: Callable[[Tensor], Tensor], image_SHW: NDArray[np.float32], **options: Any
) -> NDArray[np.float32]:
    """Return the logits that decide."""
    found = np.empty(image_SHW.shape, np.float32)

    def each(rows: slice, logits_BKHW: Tensor) -> None:
        found[rows] = logits_BKHW[:, 0].numpy()

    dims: Dims = 3 if options.get("window") else 2
    label_SHW = predict_volume(
        Pointwise(function, dims, divisor=16),
        image_SHW[:, None],
        device="cpu",
        batch_size=3,
        each=each,
        **options,
    )
    assert np.array_equal(label_SHW, found >= 0)
    return found


@pytest.fixture
def blob() -> NDArray[np.float32]:
    """Slices of sides that are padded."""
    return pointwise.blob()


@pytest.mark.parametrize("window", [None, VOLUME])
def test_views_of_a_network_that_moves_with_the_image_agree(
    blob: NDArray[np.float32], window: Window | None
) -> None:
    """So does the way back of every view: none is turned or scaled to the wrong side."""
    alone = logits(grey, blob, window=window)
    agreed = logits(grey, blob, window=window, views=Consensus().affines)
    inside = np.s_[:, 4:-4, 4:-4]
    np.testing.assert_allclose(agreed[inside], alone[inside], atol=0.1)
    assert ((agreed >= 0) == (alone >= 0)).mean() > 0.995


def test_the_mean_of_the_views_decides(blob: NDArray[np.float32]) -> None:
    """A network that says yes at the left of every view: near the limit views disagree."""

    def by_place(image_BCHW: Tensor) -> Tensor:
        columns = torch.arange(image_BCHW.shape[-1]).expand_as(image_BCHW)
        return torch.where(columns < 20, 4.0, -4.0)

    agreed = logits(by_place, blob, views=Consensus().affines)
    assert agreed[:, 20, 12] == pytest.approx(4, abs=1e-2)
    assert (np.abs(agreed[:, 20, 19]) < 3).all()
    assert agreed[:, 20, 40] == pytest.approx(-4, abs=1e-2)


def test_a_voxel_outside_of_some_views_is_the_mean_of_the_others(
    blob: NDArray[np.float32],
) -> None:
    everywhere = logits(torch.ones_like, blob, views=Consensus().affines)
    np.testing.assert_allclose(everywhere, 1, atol=1e-3)


def test_a_window_in_the_centre_is_no_background_to_views_that_reach_beyond_it() -> None:
    """All inside is as sure as the image alone says, all beyond is background."""
    image_SHW = np.ones((50, 80, 96), np.float32)
    window = Window(patch=(48, 48, 64), sampling="centre")
    alone = logits(torch.ones_like, image_SHW, window=window)
    agreed = logits(torch.ones_like, image_SHW, window=window, views=Consensus().affines)
    assert (alone == 1).sum() == 48 * 48 * 64
    np.testing.assert_allclose(agreed[alone == 1], 1, atol=1e-3)
    assert (agreed[alone < 1] < -10).all()


def test_certainty_has_a_finite_logit(blob: NDArray[np.float32]) -> None:
    sure = logits(lambda image: torch.full_like(image, 200), blob, views=Consensus().affines)
    assert np.isfinite(sure).all()
    assert (sure > 10).all()


@pytest.fixture
def scattered() -> NDArray[np.uint8]:
    """Organ 1 in objects of 27, 3 and 2 voxels, organ 3 in two of 4, organ 2 nowhere."""
    labels_SHW = np.zeros((6, 12, 12), np.uint8)
    labels_SHW[:3, :3, :3] = 1
    labels_SHW[0, 6, 0:3] = 1
    labels_SHW[5, 11, 10:12] = 1
    labels_SHW[5, 0:2, 0:2] = 3
    labels_SHW[0, 10:12, 4:6] = 3
    return labels_SHW


@pytest.mark.parametrize(
    ("share", "left"), [(0, 27 + 3 + 2), (2 / 27, 32), (0.1, 30), (3 / 27, 30), (0.2, 27), (1, 27)]
)
def test_objects_below_a_share_of_the_largest_are_left_out(
    scattered: NDArray[np.uint8], share: float, left: int
) -> None:
    before = scattered.copy()
    kept = Consensus(smallest_object=share).without_small_objects(scattered)
    assert np.array_equal(scattered, before)
    assert (kept == 1).sum() == left
    assert (kept == 3).sum() == 8  # equally large, both stay
    assert np.array_equal(kept, np.where(kept != 0, before, 0))


def test_objects_that_touch_at_corners_are_one() -> None:
    labels_SHW = np.zeros((3, 4, 4), np.uint8)
    labels_SHW[0, :2, :2] = 1
    labels_SHW[1, 2, 2] = 1
    assert np.array_equal(
        Consensus(smallest_object=1).without_small_objects(labels_SHW), labels_SHW
    )


def test_nothing_predicted_stays_nothing() -> None:
    assert not Consensus().without_small_objects(np.zeros((2, 4, 4), np.uint8)).any()
