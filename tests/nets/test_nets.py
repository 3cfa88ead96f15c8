import copy
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

from bench.errors import BenchError
from bench.nets.catalogue import SMP_ARCHITECTURES, parse_network
from bench.nets.confidence import ConfidenceHead, ConfidenceNet
from bench.nets.unet import UNet
from bench.training.cost import PassCounter


def n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("n_organs", "segmenter", "head"), [(7, 31_038_663, 769_487), (1, 31_038_273, 769_097)]
)
def test_table_11_parameter_counts(n_organs: int, segmenter: int, head: int) -> None:
    with torch.device("meta"):
        assert n_parameters(UNet(1, n_organs)) == segmenter
        assert n_parameters(ConfidenceHead(64, n_organs)) == head


def test_table_11_parameter_counts_per_block() -> None:
    with torch.device("meta"):
        net = UNet(1, 7)
    assert {name: n_parameters(block) for name, block in net.named_children()} == {
        "encoder_block_1": 37_696,
        "encoder_block_2": 221_696,
        "encoder_block_3": 885_760,
        "encoder_block_4": 3_540_992,
        "decoder_block_4": 16_258_560,
        "decoder_block_3": 7_604_992,
        "decoder_block_2": 1_901_952,
        "decoder_block_1": 475_840,
        "final_prediction": 110_720,
        "output": 455,
    }


def test_table_11_block_sizes() -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        net = UNet(1, 7)
        for name, block in net.named_children():
            block.register_forward_hook(
                lambda _module, _args, out, name=name: shapes.update({name: tuple(out.shape[1:])})
            )
        net(torch.empty(1, 1, 512, 512))
    assert shapes == {
        "encoder_block_1": (64, 512, 512),  # the residual, before pooling
        "encoder_block_2": (128, 256, 256),
        "encoder_block_3": (256, 128, 128),
        "encoder_block_4": (512, 64, 64),
        "decoder_block_4": (1024, 64, 64),
        "decoder_block_3": (512, 128, 128),
        "decoder_block_2": (256, 256, 256),
        "decoder_block_1": (128, 512, 512),
        "final_prediction": (64, 512, 512),
        "output": (7, 512, 512),
    }


def test_2x2_convolution_pads_right_and_bottom_as_tensorflow_does() -> None:
    net = UNet(1, 1, width=1)
    block = net.decoder_block_1
    block.convs = nn.Identity()
    block.up_norm = nn.Identity()
    x = torch.rand(1, 2, 3, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = block(x, torch.zeros(1, 1, 6, 10))[:, :1]
    same = nn.Conv2d(2, 1, 2, padding="same")
    same.load_state_dict(block.up.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = same(nn.Upsample(scale_factor=2, mode="nearest")(x)).relu()
    torch.testing.assert_close(got, expected)


def test_initial_weights_are_glorot_uniform_with_zero_bias() -> None:
    net = UNet(1, 2, width=16)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            area = module.kernel_size[0] ** 2
            bound = (6 / (area * (module.in_channels + module.out_channels))) ** 0.5
            assert 0.8 * bound < module.weight.abs().max() <= bound
            assert module.bias is not None
            assert not module.bias.any()
        if isinstance(module, nn.BatchNorm2d):
            assert (module.eps, module.momentum) == (1e-3, 0.01)


def test_importing_the_catalogue_does_not_import_torch() -> None:
    code = "import sys, bench.nets.catalogue as c; c.parse_network('unet_t11[width=4]'); "
    subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], check=True)


def test_build_is_decided_by_the_seed_and_sets_the_output_bias() -> None:
    network = parse_network("unet_t11[width=4]")
    nets = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        nets.append(network.build(1, 3, output_bias=-4.0))
    first, same, other = (net.state_dict() for net in nets)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["output.weight"], other["output.weight"])
    assert nets[0].output_bias.tolist() == [-4.0] * 3


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("unet_t11[width=4]", 32),
        ("unet_t11[width=4,features=6]", 32),
        ("unet/resnet18", 64),
        ("unet/tu-resnet10t", 64),
        ("unetplusplus/mobilenet_v2", 64),
        ("fpn/resnet18", 64),
        ("deeplabv3/resnet18", 64),
        ("deeplabv3plus/mobilenet_v2", 64),
        ("manet/resnet18", 64),
        ("segformer/mobilenet_v2", 64),
        ("linknet/resnet18", 64),
        ("pan/resnet18", 128),
        ("pspnet/resnet18", 64),
        ("upernet/tu-resnet10t", 64),
    ],
)
def test_every_architecture_trains_and_feeds_the_confidence_head(name: str, size: int) -> None:
    torch.manual_seed(0)
    network = parse_network(name)
    net = network.build(1, 3)
    image = torch.rand(2, 1, size, size)
    counter = PassCounter({"net": net.bottleneck})
    features = net.features(image)
    assert counter.slices == {"net": 2}
    assert features.shape[1] == net.feature_channels
    logits = net.classify(features)
    assert logits.shape == (2, 3, size, size)
    assert logits.mean() < -2.5  # the output bias reached the logits

    net.train()
    net(image).sum().backward()
    assert net.output_bias.grad is not None
    assert next(net.parameters()).grad is not None  # back to the first layer
    assert network.divisor % net.divisor == 0

    confidence = ConfidenceNet.of(net, 3)
    assert confidence(image).shape == (2, 3, size, size)


def test_every_architecture_has_been_tried_above() -> None:
    (marks,) = test_every_architecture_trains_and_feeds_the_confidence_head.pytestmark
    tried = {name.partition("/")[0] for name, _ in marks.args[1]}
    assert tried >= set(SMP_ARCHITECTURES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unet_t12", "did you mean unet_t11"),
        ("unet", "write unet/resnet34"),
        ("unet/", "write unet/resnet34"),
        ("unett/resnet18", "did you mean unet"),
        ("unet/resnet19", "did you mean resnet18"),
        ("unet/tu-resnet10x", "did you mean tu-resnet10t"),
        ("unet/resnet18[weights=imagenett]", "did you mean imagenet"),
        ("unet/resnet18[width=16]", "unknown parameter of network unet/resnet18 'width'"),
        ("unet_t11[weights=imagenet]", "unknown parameter of network unet_t11 'weights'"),
        ("unet_t11[width=0]", "at least 1"),
        ("unet_t11[name=unet]", "no option"),
        ("unet_t11[depth=3]", "unknown parameter"),
        ("segresnet[width=12]", "multiple of 8"),
        ("unet/tu-swin_tiny_patch4_window7_224", "cannot use this encoder on slices of any"),
    ],
)
def test_a_wrong_network_is_explained_in_one_line(text: str, message: str) -> None:
    with pytest.raises(BenchError, match=message) as caught:
        parse_network(text)
    assert "\n" not in str(caught.value)


def test_an_encoder_that_cannot_serve_the_architecture_is_refused() -> None:
    with pytest.raises(BenchError, match="cannot use this encoder"):
        parse_network("deeplabv3/vgg11")


@pytest.mark.parametrize(
    "text", ["unet_t11", "unet_t11[width=16]", "unet/resnet18[weights=imagenet]"]
)
def test_notation_round_trip(text: str) -> None:
    assert str(parse_network(text)) == text


def test_only_what_changes_the_network_changes_its_identity() -> None:
    assert parse_network("unet_t11").identity() == parse_network("unet_t11[width=64]").identity()
    assert parse_network("unet_t11").identity() != parse_network("unet_t11[width=32]").identity()


@pytest.mark.parametrize("mode", ["freeze", "finetune"])
def test_training_the_confidence_leaves_the_segmenter_alone(mode: str) -> None:
    torch.manual_seed(0)
    segmenter = parse_network("unet_t11[width=4]").build(1, 2)
    before = copy.deepcopy(segmenter.state_dict())
    net = ConfidenceNet.of(segmenter, 2, mode)  # type: ignore[arg-type]
    trunk_before = copy.deepcopy(net.trunk.state_dict())
    net.train()
    assert not any(module.training for module in net.trunk.modules())
    optimiser = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.01)
    for _ in range(2):
        optimiser.zero_grad()
        net(torch.rand(2, 1, 16, 16)).square().mean().backward()
        optimiser.step()

    after = segmenter.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.requires_grad for parameter in segmenter.parameters())
    assert segmenter.training
    trunk_after = net.trunk.state_dict()
    changed = {
        name for name in trunk_before if not torch.equal(trunk_before[name], trunk_after[name])
    }
    assert not any("running" in name or "tracked" in name for name in changed)
    assert bool(changed) == (mode == "finetune")


@pytest.mark.parametrize("name", ["unet_t11[width=16]", "unet_t11[width=16,features=24]"])
def test_confidence_widths_scale_with_the_network(name: str) -> None:
    net = ConfidenceNet.of(parse_network(name).build(1, 2), 2)
    assert isinstance(net, ConfidenceNet)
    widths = [layer.out_channels for layer in net.head.modules() if isinstance(layer, nn.Conv2d)]
    assert widths == [100, 30, 16, 16, 2]
