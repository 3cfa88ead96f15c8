import math

import pytest
import torch
from torch import Tensor

from bench.errors import BenchError
from bench.experiment.profiles import parse_profile
from bench.training.batch import targets
from bench.training.losses import confidence_loss, masked_bce, true_class_probability
from bench.training.shared_loss import SharedLoss

# specification: Targets and loss: six voxels, three organs, the third one not annotated.
LAB = torch.tensor([0, 1, 1, 2, 0, 0]).view(1, 1, 6)
FLAGS = torch.tensor([[True, True, False]])
PROB = torch.tensor(
    [
        [0.1, 0.9, 0.8, 0.2, 0.3, 0.05],
        [0.2, 0.1, 0.1, 0.7, 0.2, 0.1],
        [0.1, 0.05, 0.2, 0.4, 0.8, 0.6],
    ],
    dtype=torch.float64,
).view(1, 3, 1, 6)
LOGITS = torch.logit(PROB)


@pytest.fixture
def y_w() -> tuple[Tensor, Tensor]:
    return targets(LAB, torch.zeros_like(LAB), FLAGS)


def test_ambiguity_map_of_the_example(y_w: tuple[Tensor, Tensor]) -> None:
    _, w = y_w
    assert w[0, :, 0].int().tolist() == [[1] * 6, [1] * 6, [0, 1, 1, 1, 0, 0]]


@pytest.mark.parametrize(
    ("norm", "expected"), [("sum", 2.969282), ("mean_all", 0.164960), ("mean_valid", 0.197952)]
)
def test_masked_bce_of_the_example(y_w: tuple[Tensor, Tensor], norm: str, expected: float) -> None:
    y, w = y_w
    assert masked_bce(LOGITS, y, w, norm).item() == pytest.approx(expected, abs=1e-6)  # type: ignore[arg-type]


def test_naive_is_the_same_loss_with_every_weight_one(y_w: tuple[Tensor, Tensor]) -> None:
    y, w = y_w
    assert masked_bce(LOGITS, y, torch.ones_like(w), "sum").item() == pytest.approx(
        5.600372, abs=1e-6
    )
    all_flags = torch.ones_like(FLAGS)
    y, w = targets(LAB, torch.zeros_like(LAB), all_flags)
    assert torch.equal(masked_bce(LOGITS, y, w), masked_bce(LOGITS, y, torch.ones_like(w)))


@pytest.mark.parametrize("norm", ["sum", "mean_all", "mean_valid"])
def test_an_unlabelled_single_organ_volume_gives_no_gradient(norm: str) -> None:
    lab = torch.zeros(2, 4, 4, dtype=torch.int64)
    y, w = targets(lab, lab, torch.tensor([[False], [False]]))
    logits = torch.randn(2, 1, 4, 4, requires_grad=True)
    loss = masked_bce(logits, y, w, norm)  # type: ignore[arg-type]
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_balanced_loss_of_three_voxels() -> None:
    """By hand: an organ of one voxel of three, none of the second organ, one bit unknown."""
    prob = torch.tensor([[0.8, 0.3, 0.1], [0.2, 0.1, 0.5]], dtype=torch.float64).view(1, 2, 1, 3)
    y = torch.tensor([[1, 0, 0], [0, 0, 0]], dtype=torch.bool).view(1, 2, 1, 3)
    w = torch.tensor([[1, 1, 1], [1, 1, 0]], dtype=torch.bool).view(1, 2, 1, 3)
    first = 0.25 * 0.2**2 * -math.log(0.8)
    first += 0.75 * (0.3**2 * -math.log(0.7) + 0.1**2 * -math.log(0.9))
    second = 0.75 * (0.2**2 * -math.log(0.8) + 0.1**2 * -math.log(0.9))
    focal = (first / 1.5 + second / 1.5) / 2  # at least half of three voxels
    dice = 1 - (2 * 0.8 + 1e-5) / (0.8 + 0.3 + 0.1 + 1 + 1e-5)
    for weight in (0.0, 2.0):
        shared = SharedLoss(loss="balanced", floor=2, dice=weight).on(0.25)
        found = shared(prob.logit(), y, w)
        assert found.item() == pytest.approx(focal + weight * dice, rel=1e-6)


def test_balanced_without_its_parts_is_half_the_mean_cross_entropy(
    y_w: tuple[Tensor, Tensor],
) -> None:
    plain = SharedLoss(loss="balanced", focus=0, positives=0.5, floor=1, dice=0).on(1.0)
    assert plain(LOGITS, *y_w).item() == pytest.approx(SharedLoss()(LOGITS, *y_w).item() / 2)


def test_the_floor_of_the_balanced_loss_goes_with_the_size_of_organs() -> None:
    """Nothing shows: what is divided by is `floor` average organs in every slice."""
    logits = torch.zeros(2, 1, 10, 10)
    nothing, known = torch.zeros_like(logits).bool(), torch.ones_like(logits).bool()
    shared = SharedLoss(loss="balanced", floor=2)
    alarms = 0.75 * 200 * 0.25 * math.log(2)
    for share in (0.01, 0.1):
        found = shared.on(share)(logits, nothing, known)
        assert found.item() == pytest.approx(alarms / (2 * share * 200))
    assert shared.on(0.1).identity() == shared.identity()  # no number of the profile


def test_a_number_of_the_other_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="norm belongs to loss=cross_entropy"):
        SharedLoss(loss="balanced", norm="sum")
    with pytest.raises(BenchError, match="dice belongs to loss=balanced"):
        parse_profile("smoke[dice=2]")


def test_no_gradient_from_ambiguous_voxels_and_the_right_one_elsewhere(
    y_w: tuple[Tensor, Tensor],
) -> None:
    y, w = y_w
    logits = LOGITS.float().requires_grad_()
    masked_bce(logits, y, w, "sum").backward()
    torch.testing.assert_close(logits.grad, (LOGITS.float().sigmoid() - y.float()) * w)


def test_half_precision_logits_do_not_overflow() -> None:
    logits = torch.full((2, 1, 256, 256), 5.0, dtype=torch.float16)
    y = torch.zeros_like(logits, dtype=torch.bool)
    loss = masked_bce(logits, y, ~y, "sum")
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(5.0067153 * y.numel(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_judged_in_float32(dtype: torch.dtype) -> None:
    logits = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    y = torch.rand(logits.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    w = torch.ones_like(y)
    exact = logits.double()
    with torch.autocast("cpu", torch.bfloat16):
        assert masked_bce(logits, y, w).item() == pytest.approx(
            masked_bce(exact, y, w).item(), rel=1e-6
        )
        assert confidence_loss(logits, -logits, y, w).item() == pytest.approx(
            confidence_loss(exact, -exact, y, w).item(), rel=1e-6
        )


def test_confidence_target_is_one_minus_p_on_a_wrong_bit() -> None:
    logits = torch.logit(torch.tensor([0.9, 0.9, 0.2, 0.2])).view(1, 1, 1, 4)
    y = torch.tensor([True, False, True, False]).view(1, 1, 1, 4)
    target = true_class_probability(logits.requires_grad_(), y)
    assert target.flatten().tolist() == pytest.approx([0.9, 0.1, 0.2, 0.8])
    assert not target.requires_grad


def test_confidence_loss_of_the_example(y_w: tuple[Tensor, Tensor]) -> None:
    y, w = y_w
    chat = torch.logit((PROB - 0.05).clip(0, 1))
    assert confidence_loss(chat, LOGITS, y, w).item() == pytest.approx(0.443833, abs=1e-6)
    everywhere = confidence_loss(chat, LOGITS, y, torch.ones_like(w))
    assert everywhere.item() == pytest.approx(0.428056, abs=1e-6)


def test_confidence_loss_over_predicted_positives_and_with_error_weight() -> None:
    prob = torch.tensor([[0.9, 0.6, 0.3, 0.2], [0.2, 0.8, 0.1, 0.1]]).view(1, 2, 1, 4)
    y = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0]]).view(1, 2, 1, 4).bool()
    w = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]).view(1, 2, 1, 4).bool()
    chat = torch.full_like(prob, 0.5)
    args = (torch.logit(chat), torch.logit(prob), y, w)
    # Predicted labels are 1, 2, 0, 0: bit (1, voxel 0) is right, bit (2, voxel 1) is wrong.
    right, wrong = (0.5 - 0.9) ** 2, (0.5 - (1 - 0.8)) ** 2
    loss = confidence_loss(*args, voxels="predicted_positive")
    assert loss.item() == pytest.approx((right + wrong) / 2)
    loss = confidence_loss(*args, voxels="predicted_positive", error_weight=3.0)
    assert loss.item() == pytest.approx((right + 3 * wrong) / 2)
    # Over all seven known bits, the missed voxel 2 of organ 1 is wrong too.
    missed = (0.5 - 0.3) ** 2
    gained = confidence_loss(*args, error_weight=3.0) - confidence_loss(*args)
    assert gained.item() == pytest.approx(2 * (wrong + missed) / 7)


def test_confidence_loss_without_known_bits_is_zero_and_trains_the_head_only() -> None:
    chat = torch.zeros(1, 1, 2, 2, requires_grad=True)
    logits = torch.ones(1, 1, 2, 2, requires_grad=True)
    y = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    assert confidence_loss(chat, logits, y, y).item() == 0
    confidence_loss(chat, logits, y, ~y).backward()
    assert chat.grad is not None
    assert chat.grad.any()
    assert logits.grad is None


@pytest.mark.parametrize("output_bias", [-6.5, -3.0])
@pytest.mark.parametrize(
    "shared",
    [
        SharedLoss(),
        SharedLoss(norm="mean_valid"),
        SharedLoss(loss="balanced"),
        SharedLoss(loss="balanced", focus=1, positives=0.5, floor=10, dice=0.3),
    ],
)
def test_what_a_loss_begins_at(shared: SharedLoss, output_bias: float) -> None:
    logits = torch.full((1, 2, 1000, 1000), output_bias)
    organ = torch.rand(logits.shape, generator=torch.Generator().manual_seed(0)) < logits.sigmoid()
    found = shared(logits, organ, torch.ones_like(organ))
    assert float(found) == pytest.approx(shared.uninformed(output_bias), rel=0.05)


def test_added_terms_keep_their_weight_beside_the_cross_entropy() -> None:
    assert SharedLoss().uninformed(0.0) == pytest.approx(math.log(2))
    assert SharedLoss().uninformed() == pytest.approx(0.01126, abs=1e-5)
    assert SharedLoss().scale == SharedLoss(norm="sum").scale == 1.0
    balanced = SharedLoss(loss="balanced")
    assert balanced.scale == pytest.approx(balanced.uninformed() / 0.01126, rel=1e-3)
