"""What does a training step cost on this GPU, and what does each choice of the trainer gain?

``python benchmarks/gpu.py`` takes steps of four methods on batches of 512 x 512 slices as the
trainer does (bf16, channels last, fused Adam, cuDNN's fastest kernels), then changes one thing at a
time, and prints slices per second, their ratio to the trainer's, the share of the GPU's bf16 peak,
and the memory that the allocator reserved. The trainer's row is measured first and last: the two
tell how much the machine drifts.

Without a GPU there is nothing to measure; ``--device cpu --smoke`` takes a few small steps, so that
a test can tell that all of this still runs.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import nn
from torch.optim import Adam
from torch.utils.flop_counter import FlopCounterMode

from bench.experiment.conformance.subject import MethodUnderTest
from bench.nets.catalogue import parse_network
from bench.nets.device import Precision, kernels
from bench.nets.protocol import FeatureNet, image_channels_last
from bench.training.batch import Batch
from bench.training.objective import ObjectiveSpec, Setting, TrainingProgress
from bench.training.shared_loss import SharedLoss
from bench.training.trainer import Updater

METHODS = {"inerrant0": 0, "confidence": 1, "uamt": 0, "asdnet": 0}
"""Name, and which training of the plan is meant; that of the confidence network is inerrant's."""
ORGANS = 7
LATE = TrainingProgress(step=9, total=10)  # every term of a loss has its full weight

PEAKS = {
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "H200": 989.0,
    "A100": 312.0,
    "RTX 4090": 165.0,
    "RTX 3090": 71.0,
    "V100": 125.0,
}
"""Dense bf16 peak in TFLOP/s as the makers state it, by a part of the device's name; V100: fp16."""


@dataclass(frozen=True)
class Variant:
    """A way to take a step; the default is the trainer's."""

    name: str = "as the trainer"
    precision: Precision = "bf16"
    channels_last: bool = True
    fused: bool = True
    benchmark: bool = True
    tf32: bool = False
    compiled: bool = False
    graph: bool = False


TRAINER = Variant()
VARIANTS = (
    TRAINER,
    Variant("channels first", channels_last=False),
    Variant("Adam not fused", fused=False),
    Variant("no cudnn.benchmark", benchmark=False),
    Variant("fp32", precision="fp32"),
    Variant("fp32, TF32 allowed", precision="fp32", tf32=True),
    Variant("torch.compile", compiled=True),
    Variant("CUDA graph", graph=True),
    Variant("torch.compile, CUDA graph", compiled=True, graph=True),
    Variant("as the trainer, again"),
)


@dataclass(frozen=True)
class Measured:
    """One row of the table."""

    seconds: float
    """Of a step, the median."""
    flops: int
    """Of a step, backward pass included."""
    peak_bytes: int


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu with --smoke")
    parser.add_argument("--backbone", default="unet_t11")
    parser.add_argument("--methods", default=",".join(METHODS), help="names with commas")
    parser.add_argument("--side", type=int, default=512, help="rows and columns of a slice")
    parser.add_argument("--batch", type=int, default=8, help="slices in a batch")
    parser.add_argument("--repeats", type=int, default=20, help="steps measured of each variant")
    parser.add_argument("--peak", type=float, help="dense bf16 peak of the device, TFLOP/s")
    parser.add_argument("--smoke", action="store_true", help="few small steps, to see that it runs")
    options = parser.parse_args(arguments)
    if unknown := set(options.methods.split(",")) - set(METHODS):
        _refuse(f"unknown method {', '.join(unknown)}: choose from {', '.join(METHODS)}")
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        _refuse("this machine has no GPU: give --device cpu --smoke to see that it runs")
    if device.type == "cpu" and not options.smoke:
        _refuse("a CPU tells nothing about a GPU: give --smoke, or leave --device out")
    if options.smoke:
        options.backbone = "unet_t11[width=2]"
        options.side, options.batch, options.repeats = 32, 2, 1
    peak = options.peak or _peak(device)
    print(f"{_name(device)}, torch {torch.__version__}, {options.backbone}")
    print(f"batches of {options.batch} slices, {options.side} x {options.side}, {ORGANS} organs")
    if device.type == "cuda" and peak is None:
        print("its bf16 peak is not in the table: --peak gives it")
    for name in options.methods.split(","):
        print(f"\n{name:<28}{'ms/step':>9}{'slices/s':>10}{'ratio':>7}{'peak':>7}{'GB':>7}")
        objective = _objective(name)
        base: float | None = None
        for variant in VARIANTS:
            if (variant.graph or variant.compiled) and device.type != "cuda":
                print(f"{variant.name:<28}  needs a GPU")
                continue
            try:
                found = measure(objective, variant, device, options)
            except Exception as error:  # one variant that fails must not hide the others
                print(f"{variant.name:<28}  fails: {type(error).__name__}: {_first_line(error)}")
                continue
            base = base or found.seconds
            share = "" if peak is None else f"{found.flops / found.seconds / peak / 1e12:.0%}"
            memory = f"{found.peak_bytes / 1e9:.1f}" if device.type == "cuda" else ""
            print(
                f"{variant.name:<28}{1e3 * found.seconds:9.1f}{options.batch / found.seconds:10.1f}"
                f"{base / found.seconds:7.2f}{share:>7}{memory:>7}",
                flush=True,
            )


def _refuse(message: str) -> NoReturn:
    print(f"gpu.py: {message}", file=sys.stderr)
    sys.exit(2)


def measure(
    spec: ObjectiveSpec, variant: Variant, device: torch.device, options: argparse.Namespace
) -> Measured:
    """Return what a step costs; networks, optimisers and graphs are gone afterwards."""
    try:
        return _measured(spec, variant, device, options)
    finally:
        if variant.compiled:
            torch.compiler.reset()
        if device.type == "cuda":
            gc.collect()
            torch.cuda.empty_cache()


def _measured(
    spec: ObjectiveSpec, variant: Variant, device: torch.device, options: argparse.Namespace
) -> Measured:
    torch.manual_seed(0)
    updater, networks = _updater(spec, variant, device, options.backbone)
    batch = _batch(device, options.batch, options.side, channels_last=variant.channels_last)

    def step() -> None:
        updater.step(batch, LATE)

    with ExitStack() as stack:
        stack.enter_context(kernels(device, fixed_shapes=variant.benchmark))
        if variant.tf32 and device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
            stack.callback(setattr, torch.backends.cuda.matmul, "allow_tf32", False)
        with FlopCounterMode(display=False) as counter:
            step()
        if variant.compiled:
            for network in networks:
                network.compile()
        run = _captured(step, device) if variant.graph else step
        for _ in range(min(5, options.repeats)):
            run()
        _wait(device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        seconds = []
        for _ in range(options.repeats):
            started = time.perf_counter()
            run()
            _wait(device)
            seconds.append(time.perf_counter() - started)
        peak = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0
    return Measured(statistics.median(seconds), counter.get_total_flops(), peak)


def _objective(name: str) -> ObjectiveSpec:
    method = MethodUnderTest("inerrant" if name == "confidence" else name, Path())
    return list(method.run().all_trainings())[METHODS[name]].objective


def _updater(
    spec: ObjectiveSpec, variant: Variant, device: torch.device, backbone: str
) -> tuple[Updater, list[nn.Module]]:
    def network(_purpose: str) -> FeatureNet:
        return parse_network(backbone).build(1, ORGANS)

    setting = Setting(
        n_organs=ORGANS,
        lr=1e-4,
        shared_loss=SharedLoss(),
        network=network,
        intensity_sd=lambda: (0.2,),
        seed=lambda _purpose: 1,
    )
    objective = spec.build(setting)
    updater = Updater(objective, variant.precision, device)
    networks = [*objective.modules.values(), *objective.frozen.values()]
    if not variant.channels_last:
        for module in networks:
            module.to(memory_format=torch.contiguous_format)
    if device.type == "cuda" and (variant.graph or not variant.fused):
        updater.optimisers = [
            Adam(p.parameters, p.lr, p.betas, fused=variant.fused, capturable=variant.graph)
            for p in updater.phases
        ]
    return updater, networks


def _batch(device: torch.device, n: int, side: int, *, channels_last: bool) -> Batch:
    image_BCHW = torch.rand(n, 1, side, side, device=device)
    lab_BHW = torch.randint(0, 8 * ORGANS, (n, side, side), device=device)
    lab_BHW = torch.where(lab_BHW <= ORGANS, lab_BHW, 0)
    flags_BK = torch.arange(ORGANS, device=device).expand(n, ORGANS) % 2 == 0
    if channels_last:
        image_BCHW = image_channels_last(image_BCHW)
    return Batch(image_BCHW, lab_BHW, torch.zeros_like(lab_BHW), flags_BK)


def _captured(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Return a replay of one step as a CUDA graph: numbers of the host in it no longer change."""
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    replay: Callable[[], None] = graph.replay
    return replay


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def _peak(device: torch.device) -> float | None:
    return next((peak for part, peak in PEAKS.items() if part in _name(device)), None)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


if __name__ == "__main__":
    main()
