"""What methods do with unlabelled voxels: the specific part of each works as it is defined."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.labels import VOID
from bench.methods._dropout import add_dropout
from bench.methods._views import boxes_of_share
from bench.methods.asdnet import Adversarial
from bench.methods.asdnet.discriminator import Discriminator
from bench.methods.bcp import Bcp
from bench.methods.cps import Cps
from bench.methods.entropy_min import EntropyMin
from bench.methods.fixmatch import Fixmatch
from bench.methods.marginal import Marginal, excluded_overlap, marginal_dice, merged_log_probs
from bench.methods.mean_teacher import MeanTeacher
from bench.methods.uamt import Uamt, entropy_limit, entropy_nats
from bench.methods.unimatch import Unimatch
from bench.nets.catalogue import parse_network
from bench.nets.inference import decide
from bench.training.batch import Batch, targets
from bench.training.losses import binary_entropy, masked_bce, masked_mean
from bench.training.objective import Objective, ObjectiveSpec, Setting, TrainingProgress
from bench.training.shared_loss import SharedLoss

NETWORK = parse_network("unet_t11[width=4]")
K = 3
START, MIDDLE, END = TrainingProgress(0, 101), TrainingProgress(50, 101), TrainingProgress(100, 101)

SEMI: Mapping[str, tuple[ObjectiveSpec, str]] = {
    "mean_teacher": (MeanTeacher(), "consistency"),
    "uamt": (Uamt(), "consistency"),
    "entropy_min": (EntropyMin(), "entropy"),
    "cps": (Cps(), "cross"),
    "asdnet": (Adversarial(), "adversarial"),
    "bcp": (Bcp(), "taught"),
    "fixmatch": (Fixmatch(threshold=0.6), "strong"),
    "unimatch": (Unimatch(threshold=0.6), "features"),
}
"""Objective, and the name of its term for unknown bits."""
every_semi = pytest.mark.parametrize("name", SEMI)


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    built = NETWORK.build(1, K, output_bias=0.0)
    nn.init.normal_(built.output.weight, std=0.5)
    return built


def setting(n_organs: int = K, shared: SharedLoss | None = None) -> Setting:
    return Setting(
        n_organs=n_organs,
        lr=1e-3,
        shared_loss=shared or SharedLoss(),
        network=lambda purpose: net(0 if purpose == "segmenter" else 1),
        intensity_sd=lambda: (0.2,),
        seed=lambda _purpose: 3,
    )


def batch(flags: list[list[bool]] | None = None, *, labelled: bool = True) -> Batch:
    rng = torch.Generator().manual_seed(5)
    flags_BK = torch.tensor(flags or [[True, False, False], [False, False, True]])
    lab_BHW = torch.randint(0, K + 1, (2, 32, 32), generator=rng)
    known = functional.pad(flags_BK, (1, 0), value=True)
    visible = known.gather(1, lab_BHW.flatten(1)).view_as(lab_BHW)
    return Batch(
        torch.rand(2, 1, 32, 32, generator=rng),
        lab_BHW * visible * labelled,
        torch.zeros_like(lab_BHW),
        flags_BK,
    )


ALL_KNOWN = [[True] * K] * 2


def step(objective: Objective, data: Batch, progress: TrainingProgress) -> dict[str, Tensor]:
    """Run every phase's loss and backward pass; return the first one's values."""
    found: dict[str, Tensor] = {}
    for module in objective.modules.values():
        module.train()
    for phase in objective.phases:
        values = phase.loss(data, progress)
        values["loss"].backward()
        found |= {f"{phase.name}/{name}": value for name, value in values.items()}
    return found


def gradient(module: nn.Module) -> float:
    grads = [p.grad.abs().max().item() for p in module.parameters() if p.grad is not None]
    return max(grads, default=0.0)


# --- what all of them owe -----------------------------------------------------------------------


@every_semi
def test_the_unlabelled_term_is_there_and_reaches_the_segmenter(name: str) -> None:
    spec, term = SEMI[name]
    torch.manual_seed(0)
    objective = spec.build(setting())
    values = objective.phases[0].loss(batch(), END)
    assert values[term] > 0
    (values["loss"] - values["supervised"]).backward()
    assert gradient(objective.modules["segmenter"]) > 0


@every_semi
def test_complete_labels_leave_the_supervised_loss(name: str) -> None:
    spec, term = SEMI[name]
    torch.manual_seed(0)
    objective = spec.build(setting())
    data = batch(ALL_KNOWN)
    values = objective.phases[0].loss(data, END)
    assert torch.isfinite(values["loss"])
    if name == "asdnet":  # deceives the discriminator on annotated organs too, as published
        assert values["semi"] == 0
        return
    assert values[term] == 0
    assert torch.equal(values["loss"], values["supervised"])


@every_semi
def test_nothing_is_learned_from_voxels_of_unknown_class(name: str) -> None:
    spec, term = SEMI[name]
    torch.manual_seed(0)
    objective = spec.build(setting())
    data = batch()
    values = objective.phases[0].loss(
        dataclasses.replace(data, lab_BHW=torch.full_like(data.lab_BHW, VOID)), END
    )
    assert values[term] == 0
    assert torch.equal(values["loss"], values["supervised"])


@every_semi
def test_no_labels_at_all_is_no_division_by_zero(name: str) -> None:
    spec, _ = SEMI[name]
    objective = spec.build(setting())
    values = step(objective, batch([[False] * K] * 2), START)
    assert all(torch.isfinite(value).all() for value in values.values())


@pytest.mark.parametrize("name", ["mean_teacher", "uamt", "entropy_min", "cps"])
def test_the_unlabelled_term_grows_as_published(name: str) -> None:
    spec, term = SEMI[name]
    for progress, factor in ((START, math.exp(-5)), (MIDDLE, math.exp(-1.25)), (END, 1.0)):
        torch.manual_seed(0)
        values = spec.build(setting()).phases[0].loss(batch(), progress)
        added = values["loss"] - values["supervised"]
        # The difference of two float32 numbers near 1 has an error of its own.
        expected = 0.1 * factor * values[term].item()
        assert added.item() == pytest.approx(expected, rel=2e-3, abs=6e-8)


@pytest.mark.parametrize("name", ["mean_teacher", "uamt", "entropy_min", "cps"])
def test_the_unlabelled_term_counts_as_much_beside_another_loss(name: str) -> None:
    spec, term = SEMI[name]
    balanced = SharedLoss(loss="balanced")
    torch.manual_seed(0)
    values = spec.build(setting(shared=balanced)).phases[0].loss(batch(), END)
    added = values["loss"] - values["supervised"]
    assert added.item() == pytest.approx(0.1 * balanced.scale * values[term].item(), rel=2e-3)
    assert balanced.scale > 50


# --- mean teacher, UA-MT --------------------------------------------------------


def teacher_and_student(objective: Objective) -> tuple[nn.Module, nn.Module]:
    return objective.modules["teacher"], objective.modules["segmenter"]


@pytest.mark.parametrize("spec", [MeanTeacher(), Uamt()])
def test_the_teacher_follows_its_formula(spec: ObjectiveSpec) -> None:
    objective = spec.build(setting())
    teacher, student = teacher_and_student(objective)
    expected = [p.detach().clone() for p in teacher.parameters()]
    for j in range(4):
        for parameter in student.parameters():
            parameter.data.add_(0.1 * (j + 1))
        objective.after_step(TrainingProgress(j, 101))
        alpha = min(1 - 1 / (j + 1), 0.99)
        expected = [
            alpha * mean + (1 - alpha) * now
            for mean, now in zip(expected, student.parameters(), strict=True)
        ]
        for got, want in zip(teacher.parameters(), expected, strict=True):
            torch.testing.assert_close(got, want)
        if j == 0:
            for got, want in zip(teacher.parameters(), student.parameters(), strict=True):
                assert torch.equal(got, want)


@pytest.mark.parametrize("spec", [MeanTeacher(), Uamt()])
def test_no_gradient_reaches_the_teacher(spec: ObjectiveSpec) -> None:
    torch.manual_seed(0)
    objective = spec.build(setting())
    step(objective, batch(), END)
    teacher, student = teacher_and_student(objective)
    assert gradient(student) > 0
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def test_the_entropy_limit_rises_to_the_entropy_of_a_coin() -> None:
    assert entropy_limit(0.0) == pytest.approx((0.75 + 0.25 * math.exp(-5)) * math.log(2))
    assert entropy_limit(1.0) == pytest.approx(math.log(2))
    assert entropy_nats(torch.tensor(0.5)).item() == pytest.approx(math.log(2), abs=1e-5)
    assert entropy_nats(torch.tensor([0.0, 1.0])).abs().max() < 1e-5


def test_only_certain_bits_are_followed() -> None:
    torch.manual_seed(0)
    shares = []
    for progress in (START, END):
        values = Uamt().build(setting()).phases[0].loss(batch(), progress)
        shares.append(values["followed_share"].item())
    assert 0 < shares[0] < shares[1] <= 1


def test_the_teacher_may_be_the_one_tested() -> None:
    objective = Uamt(tested="teacher").build(setting())
    assert set(objective.modules) == {"segmenter", "student"}
    student, teacher = objective.modules["student"], objective.modules["segmenter"]
    step(objective, batch(), END)
    for buffer in student.buffers():
        buffer.add_(1)
    objective.after_step(END)
    for kept, buffer in zip(teacher.buffers(), student.buffers(), strict=True):
        assert torch.equal(kept, buffer)


@pytest.mark.parametrize("network", ["unet_t11[width=4]", "unet/resnet18", "fpn/resnet18"])
def test_dropout_is_off_at_test_and_leaves_names_alone(network: str) -> None:
    torch.manual_seed(0)
    built = parse_network(network).build(1, 2)
    plain = list(built.state_dict())
    image = torch.rand(2, 1, 64, 64)
    built.eval()
    before = built(image)
    add_dropout(built, 0.5)
    assert torch.equal(built(image), before)
    assert list(built.state_dict()) == plain
    built.train()
    assert not torch.equal(built(image), built(image))


# --- entropy, cross pseudo supervision ----------------------------------------------------------


def test_the_entropy_of_bits() -> None:
    logits = torch.tensor([0.0, 3.0, -3.0, 40.0, -40.0])
    prob = logits.double().sigmoid()
    expected = -(prob * prob.log() + (1 - prob) * (1 - prob).log()).nan_to_num() / math.log(2)
    torch.testing.assert_close(binary_entropy(logits).double(), expected, atol=1e-6, rtol=1e-4)


def test_the_mean_over_nothing_is_zero() -> None:
    assert masked_mean(torch.ones(3), torch.zeros(3, dtype=torch.bool)) == 0
    assert masked_mean(torch.tensor([1.0, 5.0]), torch.tensor([False, True])) == 5


def test_boxes_that_change_places_have_two_thirds_of_every_side() -> None:
    torch.manual_seed(0)
    box = boxes_of_share(torch.zeros(50, 1, 30, 45), 2 / 3).squeeze(1)
    assert set(box.sum(dim=(1, 2)).tolist()) == {20 * 30}
    starts = box.flatten(1).int().argmax(dim=1)
    assert len(starts.unique()) > 30


def test_a_box_brings_its_targets_along() -> None:
    """A network that reads the label off the image is right about every known voxel."""
    data = batch()
    image = data.lab_BHW.float().unsqueeze(1) / 10
    objective = Bcp(warm_up=0.5).build(setting())

    class Reads(nn.Module):
        def forward(self, image_BCHW: Tensor) -> Tensor:
            lab = (image_BCHW * 10).round()
            return torch.cat([50.0 * ((lab == k).float() - 0.5) for k in range(1, K + 1)], dim=1)

    objective._student = Reads()  # type: ignore[attr-defined]
    values = objective.phases[0].loss(dataclasses.replace(data, image_BCHW=image), START)
    assert values["supervised"] < 1e-6
    assert torch.equal(values["loss"], values["supervised"])


def test_two_networks_start_apart_and_both_learn() -> None:
    objective = Cps().build(setting())
    values = step(objective, batch(), END)
    first, second = objective.modules["segmenter"], objective.modules["rival"]
    assert values["segment/disagreement"] > 0
    assert gradient(first) > 0
    assert gradient(second) > 0


# --- ASDNet ---------------------------------------------------------------------


def test_segmenter_and_discriminator_do_not_leak_into_each_other() -> None:
    objective = Adversarial().build(setting())
    segment, discriminate = objective.phases
    segmenter, judge = objective.modules["segmenter"], objective.modules["discriminator"]
    segment.loss(batch(), END)["loss"].backward()
    assert gradient(segmenter) > 0
    assert gradient(judge) == 0
    segmenter.zero_grad()
    discriminate.loss(batch(), END)["loss"].backward()
    assert gradient(judge) > 0
    assert gradient(segmenter) == 0


def test_complete_labels_make_the_original_discriminator() -> None:
    objective = Adversarial().build(setting())
    data = batch(ALL_KNOWN)
    segment, discriminate = objective.phases
    segment.loss(data, END)
    judge = objective.modules["discriminator"]
    prob = objective.modules["segmenter"](data.image_BCHW).sigmoid()
    y, _ = targets(data.lab_BHW, data.ps_BHW, data.flags_BK)
    ones, zeros = torch.ones_like(prob), torch.zeros_like(prob)
    bce = functional.binary_cross_entropy_with_logits
    expected = (bce(judge(y.float()), ones) + bce(judge(prob), zeros)) / 2
    torch.testing.assert_close(discriminate.loss(data, END)["loss"], expected)


def test_the_composite_label_hides_missing_organs_from_the_discriminator() -> None:
    objective = Adversarial().build(setting())
    data = batch()
    segment, discriminate = objective.phases
    segment.loss(data, END)
    seen = []
    judge = objective.modules["discriminator"]
    judge.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    discriminate.loss(data, END)
    real, fake = seen
    missing = ~data.flags_BK
    assert torch.equal(real[missing], fake[missing])
    assert set(real[data.flags_BK].unique().tolist()) <= {0.0, 1.0}


def test_hard_labels_wait_for_the_warm_up_and_for_confidence() -> None:
    spec = Adversarial(threshold=0.0, warm_up=0.5)
    early = spec.build(setting()).phases[0].loss(batch(), START)
    late = spec.build(setting()).phases[0].loss(batch(), END)
    assert early["semi"] > 0
    torch.testing.assert_close(early["loss"], early["supervised"] + early["adversarial"])
    torch.testing.assert_close(
        late["loss"], late["supervised"] + late["adversarial"] + 0.5 * late["semi"]
    )
    nobody = Adversarial(threshold=1.0).build(setting()).phases[0].loss(batch(), END)
    assert nobody["semi"] == 0
    assert nobody["trusted_share"] == 0


@pytest.mark.parametrize("shared", [SharedLoss(), SharedLoss(loss="balanced").on(0.003)])
def test_the_weights_of_asdnet_follow_the_shared_loss_on_the_data(shared: SharedLoss) -> None:
    plain, scaled = (
        Adversarial(threshold=0.0, output_bias=bias)
        .build(setting(shared=shared))
        .phases[0]
        .loss(batch(), END)
        for bias in (None, -4.6)
    )
    torch.testing.assert_close(
        scaled["adversarial"], plain["adversarial"] * shared.uninformed(-4.6)
    )
    added = scaled["loss"] - scaled["supervised"] - scaled["adversarial"]
    torch.testing.assert_close(added, 0.5 * shared.scale * scaled["semi"])


def test_the_limit_follows_the_dice_of_labelled_training_batches() -> None:
    objective = Adversarial().build(setting())
    memory = objective.modules["discriminator"].get_buffer("dsc")
    assert memory == 0
    data = batch(ALL_KNOWN)
    objective.phases[0].loss(data, END)
    predicted = decide(objective.modules["segmenter"](data.image_BCHW))
    both = ((predicted == data.lab_BHW) & (predicted > 0)).sum()
    dsc = 2 * both / ((predicted > 0).sum() + (data.lab_BHW > 0).sum())
    assert memory.item() == pytest.approx(0.01 * dsc.item(), rel=1e-4)
    assert "dsc" in objective.modules["discriminator"].state_dict()


def test_the_discriminator_is_as_large_as_published() -> None:
    # 4x4 kernels: 19-64-128-256-512-1 of Hung et al. is 2.76 million parameters at 1 map out
    judge = Discriminator(1, 64)
    assert sum(p.numel() for p in judge.parameters()) == sum(
        16 * a * b + b for a, b in ((1, 64), (64, 128), (128, 256), (256, 512), (512, 1))
    )
    assert judge(torch.rand(2, 1, 48, 80)).shape == (2, 1, 48, 80)


# --- marginal and exclusion -----------------------------------------------------------


def test_probabilities_are_merged_not_logits() -> None:
    logits = torch.randn(2, K, 4, 4, generator=torch.Generator().manual_seed(0))
    flags = torch.tensor([[True, False, False], [True, True, True]])
    prob = functional.softmax(functional.pad(logits, (0, 0, 0, 0, 1, 0)), dim=1)
    merged = merged_log_probs(logits, flags).exp()
    torch.testing.assert_close(merged[0, 0], prob[0, 0] + prob[0, 2] + prob[0, 3])
    torch.testing.assert_close(merged[1], prob[1])


def test_with_all_labels_it_is_cross_entropy_and_dice() -> None:
    data = batch(ALL_KNOWN)
    objective = Marginal(exclusion=0.0).build(setting())
    values = objective.phases[0].loss(data, START)
    logits = objective.modules["segmenter"](data.image_BCHW)
    expected = functional.cross_entropy(functional.pad(logits, (0, 0, 0, 0, 1, 0)), data.lab_BHW)
    torch.testing.assert_close(values["cross_entropy"], expected)
    torch.testing.assert_close(values["loss"], values["cross_entropy"] + values["dice"])


def test_the_largest_probability_is_what_all_methods_decide() -> None:
    logits = torch.randn(2, K, 8, 8, generator=torch.Generator().manual_seed(1))
    prob = merged_log_probs(logits, torch.ones(2, K, dtype=torch.bool))
    assert torch.equal(prob.argmax(dim=1).to(torch.uint8), decide(logits))


def test_dice_counts_annotated_organs_only() -> None:
    lab = torch.tensor([[[0, 1], [0, 0]]])
    perfect = functional.one_hot(lab, 3).permute(0, 3, 1, 2).float()
    flags = torch.tensor([[True, False]])
    assert marginal_dice(perfect, lab, flags) == 1
    worse = perfect.clone()
    worse[:, 2] = 1.0  # the organ that is not annotated does not count
    assert marginal_dice(worse, lab, flags) == 1
    worse[:, 1] = 0.0
    assert marginal_dice(worse, lab, flags) < 1


def test_an_organ_that_no_slice_shows_is_not_pushed_away() -> None:
    flags = torch.tensor([[True, True]])
    prob = torch.full((1, 3, 4, 4), 0.01, requires_grad=True)
    marginal_dice(prob, torch.zeros(1, 4, 4, dtype=torch.uint8), flags).backward()
    organs, background = prob.grad[:, 1:].abs().max(), prob.grad[:, 0].abs().max()
    assert organs < 1e-2 * background


def test_the_slices_of_a_batch_are_one_set() -> None:
    lab = torch.zeros(2, 4, 4, dtype=torch.uint8)
    lab[0] = 1
    prob = torch.stack([(lab == 0), (lab == 1)], dim=1).float()
    prob[1, 1, 0, 0] = 1.0  # one false positive beside sixteen true ones
    annotated = marginal_dice(prob, lab, torch.ones(2, 1, dtype=torch.bool))
    torch.testing.assert_close(annotated, torch.tensor((1.0 + 32 / 33) / 2))
    unknown = marginal_dice(prob, lab, torch.tensor([[True], [False]]))
    torch.testing.assert_close(unknown, torch.tensor(1.0))


def test_organs_are_kept_off_each_other() -> None:
    lab = torch.tensor([[[1, 1], [0, 0]]])
    flags = torch.tensor([[True, False]])

    def overlap(second_organ_at: tuple[int, int]) -> float:
        logits = torch.full((1, 2, 2, 2), -9.0)
        logits[0, 0, 0] = 9.0
        logits[0, 1, *second_organ_at] = 12.0
        return float(excluded_overlap(logits, lab, flags))

    assert overlap((0, 0)) > overlap((1, 0))  # on the annotated first organ, or beside it


def test_a_masked_loss_of_no_organ_has_no_gradient() -> None:
    logits = torch.zeros(1, 1, 4, 4, requires_grad=True)
    data = torch.zeros(1, 4, 4, dtype=torch.long)
    y, w = targets(data, data, torch.tensor([[False]]))
    masked_bce(logits, y, w).backward()
    assert logits.grad is not None
    assert not logits.grad.any()
