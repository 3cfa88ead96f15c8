"""Networks by name and options: ``unet_t11[width=16]``, ``unet/resnet34``."""

from __future__ import annotations

from importlib import import_module

from bench.errors import BenchError, unknown_name
from bench.nets.network import Network
from bench.params import parse_brackets
from bench.plugins import registry

ENCODER = "ENCODER"
"""Placeholder for the second part of a name: any encoder of segmentation_models_pytorch."""

SMP_ARCHITECTURES = (
    "deeplabv3",
    "deeplabv3plus",
    "fpn",
    "linknet",
    "manet",
    "pan",
    "pspnet",
    "segformer",
    "unet",
    "unetplusplus",
    "upernet",
)
"""The architectures of segmentation_models_pytorch; not DPT, whose input size is fixed."""

NETWORKS = {
    "unet_t11": "bench.nets.unet_t11:UNetT11",
    "unet3d_t11": "bench.nets.unet_t11:UNet3dT11",
    "dynunet": "bench.nets.dynunet:DynUNet",
    "segresnet": "bench.nets.segresnet:SegResNet",
    "mednext": "bench.nets.mednext:MedNeXt",
} | {f"{name}/{ENCODER}": "bench.nets.smp:SmpNetwork" for name in SMP_ARCHITECTURES}
"""Name -> module and class, imported when the network is used."""


def parse_network(text: str) -> Network:
    """Return the network of a notation such as ``deeplabv3plus/resnet18[weights=imagenet]``.

    A network of segmentation_models_pytorch is built once as a test, so that wrong options fail
    here and not in a job. The import takes seconds.

    Raises
    ------
    BenchError
        An unknown name (with a suggestion), or options that the network does not have or take.
    """
    name, overrides = parse_brackets(text)
    if "name" in overrides:
        raise BenchError(f"cannot read {text!r}: name is no option of a network")
    network = load(name).from_overrides("network", name, {"name": name} | overrides)
    network.check()
    return network


def names() -> list[str]:
    """Return the names of all networks, the suite's own first; ENCODER is a placeholder."""
    return [*NETWORKS, *_outside()]


def load(name: str) -> type[Network]:
    """Import the class of a network by its name, without options.

    Raises
    ------
    BenchError
        Unknown name (with a suggestion), or an architecture without an encoder.
    """
    architecture, slash, encoder = name.partition("/")
    listed = f"{architecture}/{ENCODER}"
    if encoder and listed in NETWORKS:
        name = listed
    elif listed in NETWORKS:
        raise BenchError(f"network {name!r} lacks an encoder: write {architecture}/resnet34")
    if name in _outside():
        return registry.load("networks", name, Network)  # type: ignore[type-abstract]
    if name not in NETWORKS:
        if slash:
            raise unknown_name("architecture", architecture, SMP_ARCHITECTURES)
        unknown = unknown_name("network", name, names())
        raise BenchError(f"{unknown} An encoder follows its architecture: unet/resnet34")
    module, _, class_name = NETWORKS[name].partition(":")
    network: type[Network] = getattr(import_module(module), class_name)
    return network


def _outside() -> list[str]:
    return registry.outside("networks", taken=NETWORKS)
