"""Strong views, and the methods that learn from them."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from bench.methods import _views
from bench.methods.fixmatch import Fixmatch
from bench.methods.multitalent import Multitalent, batch_dice
from bench.training.batch import Batch
from bench.training.objective import TrainingProgress
from bench.training.shared_loss import SharedLoss

K = 3
END = TrainingProgress(9, 10)


def batch() -> Batch:
    """Return two slices of noise in which the first of three organs is annotated."""
    rng = torch.Generator().manual_seed(5)
    lab_BHW = (torch.rand(2, 32, 32, generator=rng) < 0.3).long()
    flags_BK = torch.tensor([[True, False, False]] * 2)
    return Batch(torch.rand(2, 1, 32, 32, generator=rng), lab_BHW, lab_BHW * 0, flags_BK)


@pytest.mark.parametrize("shape", [(5, 2, 24, 40), (3, 1, 6, 24, 16)])
def test_a_blur_is_that_of_scipy_image_by_image(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    sigmas = torch.linspace(0.3, 1.9, shape[0])
    monkeypatch.setattr(_views, "_uniform", lambda *_: sigmas.view(-1, *(1,) * (len(shape) - 1)))
    found = _views.blurred(image)
    for n, sigma in enumerate(sigmas.tolist()):
        for channel in range(shape[1]):
            expected = ndimage.gaussian_filter(
                image[n, channel].numpy(), sigma, mode="nearest", radius=6
            )
            assert found[n, channel].numpy() == pytest.approx(expected, abs=1e-5)


def test_boxes_cover_what_is_published() -> None:
    torch.manual_seed(0)
    box = _views.boxes(torch.zeros(2000, 1, 64, 64)).squeeze(1)
    share = box.float().mean(dim=(1, 2))
    assert (share > 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    covered = share[share > 0]
    assert 0.015 < covered.min() < 0.04
    assert 0.3 < covered.max() < 0.42
    rows, columns = box.any(dim=2).sum(dim=1), box.any(dim=1).sum(dim=1)
    assert torch.equal(rows * columns, box.sum(dim=(1, 2)))  # rectangles without holes


def test_targets_move_with_the_box_that_is_pasted() -> None:
    torch.manual_seed(3)
    image = torch.arange(4.0).div(4).view(4, 1, 1, 1).expand(4, 1, 16, 16)
    view = _views.strong_view(image)
    plain = _views.View(torch.where(view.box_B1HW, image.roll(1, 0), image), view.box_B1HW)
    assert view.box_B1HW.any()
    assert torch.equal(plain.image_BCHW, view.moved(image))


def test_grey_values_stay_in_range_and_change_most_of_the_images() -> None:
    torch.manual_seed(0)
    image = torch.rand(200, 1, 8, 8)
    seen = _views.jittered(image)
    assert seen.min() >= 0
    assert seen.max() <= 1
    assert (seen != image).any(dim=(1, 2, 3)).all()


class Says(nn.Module):
    """Returns the same logits for every image, and counts its calls."""

    def __init__(self, logits_BKHW: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits_BKHW)
        self.calls = 0

    def forward(self, _image: Tensor) -> Tensor:
        self.calls += 1
        return self.logits


def test_only_confident_predictions_of_unknown_target_are_learnt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_views, "PASTE", 0.0)
    data = batch()
    logits = torch.zeros(2, K, 32, 32)
    logits[:, 1], logits[:, 2, :16], logits[:, 2, 16:] = 2.0, 4.0, -4.0
    net = Says(logits)
    values = Fixmatch().loss(net, data, END, SharedLoss())  # type: ignore[arg-type]
    unknown = (data.lab_BHW == 0).float()
    surprise = -math.log(1 / (1 + math.exp(-4.0)))  # of either half; 2.0 is not confident
    expected = surprise * unknown.mean().item() / K / 2
    assert values["strong"].item() == pytest.approx(expected, rel=1e-5)
    assert values["trusted_share"].item() == pytest.approx(0.5, abs=0.01)
    assert net.calls == 2


@pytest.mark.parametrize(("step", "warm_up"), [(20, 0.25), (30, 0.25), (0, 0.0)])
def test_changed_views_learn_after_the_labels(step: int, warm_up: float) -> None:
    net = Says(torch.full((2, K, 32, 32), -4.0))  # background, which is all that it says at first
    progress = TrainingProgress(step, 101)
    method = Fixmatch(warm_up=warm_up)
    found = method.loss(net, batch(), progress, SharedLoss())  # type: ignore[arg-type]
    assert (found["loss"] > found["supervised"]).item() == (step >= 100 * warm_up)


def test_multitalent_of_three_voxels() -> None:
    """By hand: two volumes, the second organ annotated in one of them."""
    prob = torch.tensor([[[0.8, 0.3], [0.4, 0.1]], [[0.6, 0.2], [0.7, 0.5]]]).double()
    y = torch.tensor([[[1, 0], [0, 0]], [[1, 0], [0, 1]]], dtype=torch.bool)
    known = torch.tensor([[[1, 1], [0, 0]], [[1, 1], [1, 1]]], dtype=torch.bool)
    dice = batch_dice(*(x.unsqueeze(2) for x in (prob, y, known)))
    assert dice.tolist() == pytest.approx([2 * 1.4 / (1.9 + 2), 2 * 0.5 / (1.2 + 1)])


def test_multitalent_leaves_certain_negatives_to_the_cross_entropy() -> None:
    data = batch()
    net = Says(torch.zeros(2, K, 32, 32))
    found = Multitalent().loss(net, data, END, SharedLoss())  # type: ignore[arg-type]
    assert found["loss"].item() == pytest.approx((found["cross_entropy"] - found["dice"]).item())
    (gradient,) = torch.autograd.grad(found["dice"], [net.logits], retain_graph=True)
    assert gradient[:, 0].any()
    assert not gradient[:, 1:].any()
    (gradient,) = torch.autograd.grad(found["cross_entropy"], [net.logits])
    assert torch.equal(gradient[:, 1] != 0, data.lab_BHW != 0)
