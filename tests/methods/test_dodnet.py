"""The conditional head of DoDNet."""

import pytest
import torch

from bench.methods.dodnet.head import ConditionalNet
from bench.methods.dodnet.network import ConditionalNetwork
from bench.nets.catalogue import parse_network


@pytest.mark.parametrize("name", ["unet_t11[width=4]", "unet3d_t11[width=4]", "fpn/tu-resnet10t"])
def test_a_conditional_head_gives_each_organ_layers_of_its_own(name: str) -> None:
    torch.manual_seed(0)
    network = ConditionalNetwork(body=parse_network(name))
    net = network.build(1, 3, output_bias=-2.0).eval()
    assert isinstance(net, ConditionalNet)
    image = torch.rand(2, 1, *(48, 32, 32)[-network.dims :])
    logits = net(image)
    assert logits.shape == (2, 3, *image.shape[2:])
    assert net.output_bias.tolist() == [-2.0] * 3
    assert not torch.allclose(logits[:, 0], logits[:, 1])
    code = net.get_buffer("code_KK")
    code.copy_(code[[1, 0, 2]].clone())
    with torch.no_grad():
        swapped = net(image)
    torch.testing.assert_close(swapped, logits[:, [1, 0, 2]].detach())


def test_a_conditional_network_is_another_part_than_the_plain_one() -> None:
    plain = parse_network("unet_t11[width=8]")
    conditional = ConditionalNetwork(body=plain)
    assert conditional.identity()["body"] == plain.identity()
    assert str(conditional) == "conditional[body=unet_t11[width=8]]"
