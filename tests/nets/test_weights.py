import errno
import re
import resource
from pathlib import Path

import pytest
import safetensors.torch
import torch
from helpers import compute, plan
from safetensors import SafetensorError
from torch import Tensor, nn

from bench.engine.store import Store
from bench.engine.worker import run_stage
from bench.errors import BenchError, explain
from bench.methods.asdnet.discriminator import Discriminator
from bench.nets.catalogue import SMP_ARCHITECTURES, parse_network
from bench.nets.confidence import ConfidenceNet
from bench.nets.network import Network
from bench.nets.weights import check_savable, load_weights, save_weights
from bench.stage import ancestors
from bench.training.objective import Objective, Setting
from bench.training.supervised import Supervised

EVERY = [
    "unet_t11[width=4]",
    "unet3d_t11[width=2]",
    "dynunet[width=2]",
    "segresnet[width=8]",
    "mednext[width=2]",
    *(f"{architecture}/resnet18" for architecture in SMP_ARCHITECTURES),
    "unet/tu-mobilenetv3_small_050",
    "segformer/mit_b0",
]


NETWORKS_PAGE = Path(__file__).parents[2] / "docs/reference/networks.md"


def notations() -> list[str]:
    """Return the networks that the documentation writes down, but for those that download."""
    lines = NETWORKS_PAGE.read_text(encoding="utf-8").partition("## In 3D")[0].splitlines()
    cells = [line.split("|")[1] for line in lines if line.startswith("| `")]
    found = [text for cell in cells for text in re.findall("`([^`]+)`", cell)]
    return [text for text in found if "weights=" not in text]


@pytest.mark.parametrize("text", notations())
def test_every_network_of_the_documentation_can_be_named(text: str) -> None:
    assert parse_network(text).dims in (2, 3)


def small_image(network: Network) -> Tensor:
    side = max(64, network.divisor)
    return torch.rand(2, 1, *(48, 32, 32) if network.dims == 3 else (side, side))


@pytest.mark.parametrize("name", EVERY)
def test_every_network_comes_back_from_its_file(name: str, tmp_path: Path) -> None:
    network = parse_network(name)
    image = small_image(network)
    net = network.build(1, 3)
    other = network.build(1, 3)
    with torch.no_grad():
        net.train()(image)  # moves the statistics
        for role, saved, fresh in (
            ("segmenter", net, other),
            ("confidence", ConfidenceNet.of(net, 3), ConfidenceNet.of(other, 3)),
        ):
            path = tmp_path / f"{role}.safetensors"
            check_savable(role, saved)
            save_weights(saved, path)
            load_weights(fresh, path)
            assert torch.equal(saved.eval()(image), fresh.eval()(image))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_discriminator_comes_back_from_its_file(dims: int, tmp_path: Path) -> None:
    nets = [Discriminator(3, width=2, dims=dims) for _ in range(2)]  # type: ignore[arg-type]
    check_savable("discriminator", nets[0])
    save_weights(nets[0], tmp_path / "d.safetensors")
    load_weights(nets[1], tmp_path / "d.safetensors")
    maps = torch.rand(1, 3, *[32] * dims)
    assert torch.equal(nets[0](maps), nets[1](maps))


def test_dynunet_computes_what_monai_computes() -> None:
    from monai.networks.nets.dynunet import DynUNet

    monai = DynUNet(3, 1, 3, [3] * 5, [1, 2, 2, 2, 2], [2] * 4, filters=[2, 4, 8, 16, 32])
    net = parse_network("dynunet[width=2]").build(1, 3)
    weights = monai.state_dict()
    net.load_state_dict({name: weights[name.removeprefix("body.")] for name in net.state_dict()})
    image = torch.rand(1, 1, 48, 32, 32)
    assert torch.equal(net.eval()(image), monai.eval()(image))


class Twice(nn.Module):
    """Two layers that share their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = nn.Linear(2, 2)
        self.second.weight = self.first.weight


def test_a_network_with_a_shared_tensor_is_refused_in_one_line() -> None:
    with pytest.raises(BenchError, match=r"first\.weight and second\.weight are one") as caught:
        check_savable("segmenter", Twice())
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused_in_one_line(tmp_path: Path) -> None:
    save_weights(nn.Linear(2, 2), tmp_path / "x.safetensors")
    for other in (nn.Linear(2, 3), nn.Linear(2, 2, bias=False), Twice()):
        with pytest.raises(BenchError, match=r"x\.safetensors: holds weights of another") as caught:
            load_weights(other, tmp_path / "x.safetensors")
        assert "\n" not in str(caught.value)


def test_weights_for_which_the_disk_has_no_room_are_refused_as_any_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large") as caught:
            save_weights(nn.Linear(100, 100), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG

    def full(*_: object) -> None:
        raise SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        save_weights(nn.Linear(2, 2), path)
    assert explain(caught.value) == (
        f"{path}: No space left on device; free some space and give the command again"
    )


class Tied(Supervised):
    """An objective whose network has one weight under two names."""

    def build(self, setting: Setting) -> Objective:
        objective = super().build(setting)
        objective.modules["segmenter"].tied = objective.modules["segmenter"].output  # type: ignore
        return objective


def test_a_network_that_cannot_be_saved_is_refused_before_the_first_step(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    (run,) = plan(store, "phantom[n_cases=4,scale=0.25]", "naive")
    *inputs, training = ancestors(run.rounds[0].model)
    for stage in inputs:
        run_stage(store, stage)
    tied = training.model_copy(update={"objective": Tied(unlabelled="background")})
    outcome, message = run_stage(store, tied)
    assert outcome == "refused"
    assert "output.weight and tied.weight are one tensor" in message
    assert not store.events(tied).exists()


def test_an_encoder_of_the_library_goes_through_a_whole_experiment(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    runs = plan(store, "phantom[n_cases=4,scale=0.25]", "inerrant", networks=["unet/resnet18"])
    compute(runs, store)
