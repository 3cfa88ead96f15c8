"""The arithmetic of `docs/explanation/evidence.md` against the losses of the methods."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pages import ROOT, table
from torch import Tensor, nn

from bench.methods import _views
from bench.methods._consistency import ramp
from bench.methods.asdnet import Adversarial
from bench.methods.bai import Bai
from bench.methods.bcp import Bcp
from bench.methods.cps import Cps
from bench.methods.dodnet.head import HEAD_WIDTH, ConditionalNet
from bench.methods.entropy_min import EntropyMin
from bench.methods.fixmatch import Fixmatch
from bench.methods.marginal import Marginal
from bench.methods.mean_teacher import MeanTeacher
from bench.methods.multitalent import Multitalent
from bench.methods.uamt import Uamt, entropy_limit, entropy_nats
from bench.nets.protocol import FeatureNet
from bench.training.batch import Batch
from bench.training.objective import Loss, Objective, ObjectiveSpec, Setting, TrainingProgress
from bench.training.relabelling import relabel
from bench.training.shared_loss import SharedLoss
from bench.training.supervised import Supervised

PAGE = (ROOT / "docs/explanation/evidence.md").read_text(encoding="utf-8")
ROWS = table(PAGE, "term")
GIVEN = table(PAGE, "given")
K = 2
MIDDLE, END = TrainingProgress(50, 101), TrainingProgress(100, 101)
Values = Mapping[str, float | Tensor]


def given(name: str) -> Tensor:
    """Return three numbers per organ that the page gives, shape [1, K, 1, 3]."""
    organs = [[float(number) for number in cell.split()] for cell in GIVEN[name]]
    return torch.tensor(organs).view(1, -1, 1, 3)


class Says(FeatureNet):
    """A network that gives one answer after another, whatever the image; the last one for good."""

    feature_channels, divisor, dims = 8, 1, 2

    def __init__(self, *probabilities: Tensor) -> None:
        super().__init__()
        self.answers = nn.ParameterList(probability.logit() for probability in probabilities)
        self.calls = 0
        self.unused = nn.Identity()

    @property
    def bottleneck(self) -> nn.Module:
        return self.unused

    def forward(self, _image: Tensor) -> Tensor:
        self.calls += 1
        return self.answers[min(self.calls, len(self.answers)) - 1]


def example() -> Batch:
    lab_BHW = given("label")[:, 0].long()
    flags_BK = torch.tensor([[True, False]])
    return Batch(torch.zeros(1, 1, 1, 3), lab_BHW, torch.zeros_like(lab_BHW), flags_BK)


def built(spec: ObjectiveSpec, *networks: FeatureNet) -> Objective:
    waiting = iter(networks)
    setting = Setting(
        n_organs=K,
        lr=1e-3,
        shared_loss=SharedLoss(),
        network=lambda _purpose: next(waiting),
        intensity_sd=lambda: (0.2,),
        seed=lambda _purpose: 3,
    )
    return spec.build(setting)


def loss_of(spec: Loss, net: nn.Module, data: Batch | None = None) -> Mapping[str, Tensor]:
    return spec.loss(net, data or example(), END, SharedLoss())  # type: ignore[arg-type]


def inerrant0() -> Values:
    return loss_of(Supervised(unlabelled="ignored"), Says(given("p")))


def bai() -> Values:
    """The rule and the objective are those that the method plans with."""
    planned: dict[str, Any] = {}
    recipe = SimpleNamespace(
        segmenter=lambda objective, **_: planned.setdefault("objective", objective),
        relabel=lambda _model, rule, gamma: planned.update(rule=rule, gamma=gamma),
    )
    list(Bai().plan(recipe))  # type: ignore[arg-type]
    data, predicted = example(), given("p")[0, :, 0].numpy()
    hard = np.where(predicted.max(axis=0) >= 0.5, predicted.argmax(axis=0) + 1, 0)
    volume = SimpleNamespace(
        id="case",
        flags_K=data.flags_BK[0].numpy(),
        known=lambda: (data.lab_BHW.numpy().astype(np.uint8), np.zeros((1, 1, 3), np.uint8)),
        predicted=lambda: (
            hard.astype(np.uint8).reshape(1, 1, 3),
            predicted.max(axis=0).reshape(1, 1, 3),
        ),
    )
    rng = np.random.default_rng(0)
    ((ps, _),) = relabel([volume], planned["gamma"], planned["rule"], lambda *_: rng)  # type: ignore[list-item]
    learnt = Batch(
        data.image_BCHW, data.lab_BHW, torch.from_numpy(ps.astype(np.int64)), data.flags_BK
    )
    return loss_of(planned["objective"], Says(given("p")), learnt)


def mean_teacher() -> Values:
    spec = MeanTeacher(noise=0.0, dropout=0.0)
    objective = built(spec, Says(given("p")))
    objective.modules["teacher"].load_state_dict(Says(given("q")).state_dict())
    return objective.phases[0].loss(example(), MIDDLE)


def uamt() -> Values:
    """The teacher's first answer is followed; the mean of the next two says where."""
    passes = [given("first pass"), given("second pass")]
    student = Says(given("p"), torch.cat(passes))  # one answer, of the image twice
    objective = built(Uamt(noise=0.0, dropout=0.0, passes=2), student)
    teacher = objective.modules["teacher"]
    teacher.answers[0].data = given("q").logit()  # type: ignore[index, union-attr]
    values = objective.phases[0].loss(example(), MIDDLE)
    entropies = entropy_nats(sum(passes) / 2)[0, 1, 0]  # type: ignore[operator]
    return {
        **values,
        "entropy of voxel 2": entropies[1],
        "entropy of voxel 3": entropies[2],
        "limit": entropy_limit(MIDDLE.share),
    }


def cps() -> Values:
    objective = built(Cps(), Says(given("p")), Says(given("q")))
    return objective.phases[0].loss(example(), MIDDLE)


def asdnet() -> Values:
    objective = built(Adversarial(), Says(given("p")))
    judge = objective.modules["discriminator"]
    judge.forward = Says(given("D(p)"), given("D(y)"), given("D(p)")).forward
    segment, discriminate = objective.phases
    values = segment.loss(example(), END)
    return {**values, "discriminator": discriminate.loss(example(), END)["loss"]}


def entropy_min() -> Values:
    return loss_of(EntropyMin(), Says(given("p")))


def fixmatch() -> Values:
    return loss_of(Fixmatch(threshold=0.65), Says(given("p"), given("q")))


def bcp() -> Values:
    """The image is its own partner: a box changes nothing."""
    objective = built(Bcp(), Says(given("p")))
    objective.modules["teacher"].load_state_dict(Says(given("q")).state_dict())
    return objective.phases[0].loss(example(), END)


def marginal() -> Values:
    odds = Says(torch.full((1, K, 1, 3), 0.5))
    odds.answers[0].data = given("odds").log()
    return loss_of(Marginal(), odds)


def multitalent() -> Values:
    return loss_of(Multitalent(), Says(given("p")))


class Features(FeatureNet):
    """The features that the page gives, whatever the image."""

    divisor, dims = 1, 2

    def __init__(self, feature_channels: int) -> None:
        super().__init__()
        self.feature_channels = feature_channels

    def features(self, _image: Tensor) -> Tensor:
        return given("feature")


def dodnet() -> Values:
    """A controller with five weights that are not 0; where they act follows from their order."""
    head = ConditionalNet(Features(1), K)
    second, third = 2 * HEAD_WIDTH, (2 + HEAD_WIDTH + 1) * HEAD_WIDTH
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        mean, organ_1, organ_2 = head.controller.weight.T
        organ_1[0], organ_2[0] = 1.0, -1.0
        head.controller.bias[second] = head.controller.bias[third] = 1.0
        mean[-1] = -1.0
    return {
        **loss_of(Supervised(unlabelled="ignored"), head),
        "generated": float(ConditionalNet(Features(8), K).controller.out_features),
    }


METHODS: dict[str, Callable[[], Values]] = {
    function.__name__: function
    for function in (
        inerrant0,
        bai,
        mean_teacher,
        uamt,
        cps,
        asdnet,
        entropy_min,
        fixmatch,
        bcp,
        marginal,
        multitalent,
        dodnet,
    )
}


def rows_of(method: str) -> dict[str, list[str]]:
    return {
        name.removeprefix(f"{method}: "): cells
        for name, cells in ROWS.items()
        if name.startswith(f"{method}: ")
    }


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_is_the_number_on_the_page(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_views, "PASTE", 0.0)
    rows = rows_of(method)
    with torch.no_grad():
        found = METHODS[method]()
    assert "loss" in rows
    for name, (_, printed) in rows.items():
        digits = len(printed.partition(".")[2])
        assert f"{float(found[name]):.{digits}f}" == printed, name


@pytest.mark.parametrize("term", ROWS)
def test_the_arithmetic_of_the_page_gives_its_number(term: str) -> None:
    arithmetic, printed = ROWS[term]
    names = {"ln": math.log, "exp": math.exp}
    formula = arithmetic.replace("·", "*").replace("−", "-").replace("²", "**2")
    formula = re.sub(r"ln ([\d.]+)", r"ln(\1)", formula)
    digits = len(printed.partition(".")[2])
    found = eval(formula, {"__builtins__": {}}, names)
    assert found == pytest.approx(float(printed), abs=0.51 * 10**-digits), formula


def test_every_row_belongs_to_a_method() -> None:
    assert {name.partition(":")[0] for name in ROWS} == set(METHODS)


def test_the_ramp_of_the_page() -> None:
    assert ramp(MIDDLE.share) == pytest.approx(math.exp(-1.25))
