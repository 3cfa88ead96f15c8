"""What the publications rest on, shown on data (`docs/explanation/evidence.md`)."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import trees
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bench.methods.asdnet import Adversarial
from bench.methods.cps import Cps
from bench.methods.dodnet.head import ConditionalNet
from bench.methods.entropy_min import EntropyMin
from bench.methods.marginal import Marginal
from bench.methods.mean_teacher import MeanTeacher
from bench.methods.uamt import Uamt, entropy_limit, entropy_nats
from bench.nets.catalogue import parse_network
from bench.nets.protocol import FeatureNet
from bench.training.batch import Batch
from bench.training.objective import Objective, ObjectiveSpec, Setting, TrainingProgress
from bench.training.relabelling import RelabelRule, relabel
from bench.training.shared_loss import SharedLoss

K = 2
STEPS = 40
END = TrainingProgress(STEPS - 1, STEPS)


def network(seed: int) -> FeatureNet:
    torch.manual_seed(seed)
    return parse_network("unet_t11[width=4,bn_momentum=0.1]").build(1, K, output_bias=-2.0)


def built(spec: ObjectiveSpec, loss: SharedLoss | None = None) -> Objective:
    setting = Setting(
        n_organs=K,
        lr=3e-3,
        shared_loss=loss or SharedLoss(),
        network=lambda purpose: network(0 if purpose == "segmenter" else 1),
        intensity_sd=lambda: (0.2,),
        seed=lambda _purpose: 3,
    )
    return spec.build(setting)


@pytest.fixture(scope="module")
def scans() -> list[tuple[Tensor, Tensor]]:
    """Two generated patients: images [B, 1, H, W] and labels of two organs."""
    found = []
    for number in range(2):
        scan = trees.volume(number, shape=(32, 32, 10), organs=("liver", "spleen"))
        image_BHW = torch.from_numpy(scan.image_XYZ.T.astype(np.float32))
        lab_BHW = torch.from_numpy(scan.labels_XYZ.T.astype(np.int64))
        found.append((image_BHW.add(200).div(500).clamp(0, 1)[:, None], lab_BHW))
    return found


def batch(image_BCHW: Tensor, lab_BHW: Tensor, *flags: bool) -> Batch:
    """Return slices in which organs without a flag are not annotated."""
    known = torch.tensor([True, *flags])[lab_BHW]
    flags_BK = torch.tensor(flags).expand(len(lab_BHW), K)
    return Batch(image_BCHW, lab_BHW * known, torch.zeros_like(lab_BHW), flags_BK)


class Fixed(nn.Module):
    """A network that says the same of every image."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, _image: Tensor) -> Tensor:
        return self.logits


def train(objective: Objective, data: Batch) -> None:
    phases = objective.phases
    optimisers = [torch.optim.Adam(phase.parameters, phase.lr) for phase in phases]
    for module in objective.modules.values():
        module.train()
    torch.manual_seed(0)
    for j in range(STEPS):
        progress = TrainingProgress(j, STEPS)
        for phase, optimiser in zip(phases, optimisers, strict=True):
            optimiser.zero_grad()
            phase.loss(data, progress)["loss"].backward()
            optimiser.step()
        objective.after_step(progress)


def test_a_relabelling_of_bai_is_a_fixed_point_of_its_prediction() -> None:
    """The labels follow from the prediction alone, so an equal prediction changes nothing."""
    rng = np.random.default_rng(0)
    predicted = rng.integers(0, K + 1, (4, 8, 8)).astype(np.uint8)
    lab = (rng.random(predicted.shape) < 0.2).astype(np.uint8)
    certainty = rng.random(predicted.shape, np.float32)

    def labelled(before: NDArray[np.uint8]) -> NDArray[np.uint8]:
        volume = SimpleNamespace(
            id="case",
            flags_K=np.array([True, False]),
            known=lambda: (lab, before),
            predicted=lambda: (predicted, certainty),
        )
        rule = RelabelRule(background="rest")
        ((ps, _),) = relabel([volume], 1.0, rule, lambda *_: rng)  # type: ignore[list-item]
        return ps

    first = labelled(np.zeros_like(lab))
    assert np.array_equal(labelled(first), first)
    assert np.array_equal(first == 2, (predicted == 2) & (lab == 0))


def test_certain_bits_are_right_more_often(scans: list[tuple[Tensor, Tensor]]) -> None:
    """UA-MT: of hidden bits, those that pass the gate have fewer errors than those that do not."""
    image_BCHW, lab_BHW = (half[::2] for half in scans[0])
    objective = built(Uamt(passes=2), SharedLoss(loss="balanced", floor=1))
    train(objective, batch(image_BCHW, lab_BHW, True, True))
    teacher = objective.modules["teacher"]
    unseen_BCHW, truth_BHW = scans[1]
    with torch.no_grad():
        prob_BHW = sum(
            teacher(unseen_BCHW + 0.02 * torch.randn_like(unseen_BCHW)).sigmoid()[:, 0]
            for _ in range(8)
        ).div(8)
    wrong_BHW = (prob_BHW >= 0.5) != (truth_BHW == 1)
    certain_BHW = entropy_nats(prob_BHW) < entropy_limit(0.0)
    print(
        wrong_BHW[certain_BHW].float().mean(),
        wrong_BHW[~certain_BHW].float().mean(),
        (~certain_BHW).sum(),
        wrong_BHW.sum(),
    )
    assert 3 * wrong_BHW[certain_BHW].float().mean() < wrong_BHW[~certain_BHW].float().mean()


def test_a_trained_discriminator_tells_annotations_from_predictions(
    scans: list[tuple[Tensor, Tensor]],
) -> None:
    """On the slices of a patient that it was not trained on; the segmenter does not fight back."""
    objective = built(Adversarial(discriminator_lr=1e-3))
    segment, discriminate = objective.phases
    optimiser = torch.optim.Adam(discriminate.parameters, discriminate.lr, discriminate.betas)
    seen, unseen = (batch(*scan, True, True) for scan in scans)

    def values(data: Batch) -> Mapping[str, Tensor]:
        with torch.no_grad():
            segment.loss(data, END)
        return discriminate.loss(data, END)

    def accuracy() -> float:
        found = values(unseen)
        return (found["real_accuracy"].item() + found["fake_accuracy"].item()) / 2

    assert accuracy() < 0.6
    for _ in range(STEPS):
        optimiser.zero_grad()
        values(seen)["loss"].backward()
        optimiser.step()
    assert accuracy() > 0.9


def test_the_teacher_is_a_mean_and_then_an_exponential_average() -> None:
    """Closed form: the mean of the first hundred students, which then fades by 0.99 a step."""
    objective = built(MeanTeacher())
    teacher, student = (
        next(objective.modules[name].parameters()) for name in ("teacher", "segmenter")
    )
    n, seen = 130, []
    for j in range(n):
        student.data.normal_(generator=torch.Generator().manual_seed(j))
        seen.append(student.detach().double())
        objective.after_step(TrainingProgress(j, n))
        if j == 59:
            expected = torch.stack(seen).mean(dim=0)
            torch.testing.assert_close(teacher.double(), expected, atol=1e-6, rtol=1e-5)
    fading = [0.99 ** (n - 100) / 100] * 100 + [0.01 * 0.99 ** (n - 1 - j) for j in range(100, n)]
    assert sum(fading) == pytest.approx(1)
    expected = sum(share * weights for share, weights in zip(fading, seen, strict=True))
    torch.testing.assert_close(teacher.double(), expected, atol=1e-6, rtol=1e-5)


def test_each_network_of_cps_is_taught_by_the_other_alone(
    scans: list[tuple[Tensor, Tensor]],
) -> None:
    """At unknown bits the slope of the cross term is p - (the other's hard label), no more."""
    objective = built(Cps())
    data = batch(*scans[0], True, False)
    said: list[Tensor] = []
    nets = [objective.modules[name] for name in ("segmenter", "rival")]
    assert any(not torch.equal(a, b) for a, b in zip(*(n.parameters() for n in nets), strict=True))
    for net in nets:
        net.output.bias.data.zero_()  # both signs of logits
        net.register_forward_hook(lambda _module, _inputs, output: said.append(output))
    cross = objective.phases[0].loss(data, END)["cross"]
    slopes = torch.autograd.grad(cross, said)
    unknown = data.lab_BHW == 0
    for slope, own, other in ((slopes[0], *said), (slopes[1], *said[::-1])):
        expected = (own.sigmoid() - (other >= 0).float())[:, 1] / unknown.sum() * unknown
        torch.testing.assert_close(slope[:, 1], expected)
        assert not slope[:, 0].any()


def test_minimal_entropy_is_a_step_away_from_one_half(scans: list[tuple[Tensor, Tensor]]) -> None:
    """The slope of the entropy has the sign that makes the likelier answer likelier."""
    net = network(0)
    net.output_bias.data.zero_()
    logits = net(scans[0][0]).detach().requires_grad_()
    data = batch(*scans[0], False, False)
    values = EntropyMin().loss(
        Fixed(logits),  # type: ignore[arg-type]
        data,
        END,
        SharedLoss(),
    )
    (slope,) = torch.autograd.grad(values["loss"], logits)
    assert torch.equal(slope.sign(), -logits.sign())


def test_marginal_is_full_supervision_where_all_is_annotated(
    scans: list[tuple[Tensor, Tensor]],
) -> None:
    """Loss and slopes are those of a softmax cross-entropy plus Dice of all classes."""
    image_BCHW, lab_BHW = scans[0]
    logits = torch.randn(len(lab_BHW), K, *lab_BHW.shape[1:], requires_grad=True)
    data = batch(image_BCHW, lab_BHW, True, True)
    found = Marginal(exclusion=0.0).loss(Fixed(logits), data, END, SharedLoss())["loss"]  # type: ignore[arg-type]
    classes = functional.pad(logits, (0, 0, 0, 0, 1, 0))
    truth = functional.one_hot(lab_BHW, K + 1).permute(0, 3, 1, 2)
    prob, axes = classes.softmax(dim=1), (0, 2, 3)
    dice = (2 * (prob * truth).sum(axes) + 1e-5) / ((prob + truth).sum(axes) + 1e-5)
    expected = functional.cross_entropy(classes, lab_BHW) + 1 - dice.mean()
    torch.testing.assert_close(found, expected)
    slopes = [torch.autograd.grad(loss, logits)[0] for loss in (found, expected)]
    torch.testing.assert_close(*slopes, atol=1e-8, rtol=1e-4)


def test_marginal_does_not_ask_which_missing_organ_it_is(
    scans: list[tuple[Tensor, Tensor]],
) -> None:
    """Probability that moves between background and a missing organ leaves the loss alone."""
    data = batch(*scans[0], True, False)
    generator = torch.Generator().manual_seed(0)
    prob = torch.rand(len(data.lab_BHW), K + 1, *data.lab_BHW.shape[1:], generator=generator)
    moved = prob.clone()
    moved[:, 2] *= 0.3
    moved[:, 0] += 0.7 * prob[:, 2]
    losses = []
    for odds in (prob, moved):
        logits = (odds[:, 1:] / odds[:, :1]).log()
        losses.append(Marginal(exclusion=0.0).loss(Fixed(logits), data, END, SharedLoss())["loss"])  # type: ignore[arg-type]
    assert not torch.allclose(prob, moved)
    torch.testing.assert_close(*losses)


def test_the_dynamic_head_is_as_large_as_published() -> None:
    """Three layers of 8, 8 and 2 channels are 162 numbers; one sigmoid less takes 9 away."""
    body = network(0)
    body.feature_channels = 8
    assert ConditionalNet(body, K).controller.out_features == 162 - (8 + 1)


def test_the_code_of_an_organ_moves_its_own_map_alone() -> None:
    head = ConditionalNet(network(0), K).eval()
    code = head.get_buffer("code_KK")
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        before = head(image)
        code[1] = torch.tensor([0.5, 0.5])
        after = head(image)
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1])
