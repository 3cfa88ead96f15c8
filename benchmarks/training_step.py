"""How much faster is a training step in bf16 with channels last than in fp32?

``python benchmarks/training_step.py`` prints time per step and ratios, all measured
in one run, variants interleaved so that a drifting machine does not favour one of them.
``--backbone 'unet3d_t11[width=8]' --shape 48,48,48 --batch 2`` does so in 3D.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

from bench.nets.catalogue import parse_network
from bench.nets.protocol import channels_last, image_channels_last
from bench.training.losses import masked_bce

VARIANTS = {
    "fp32": (torch.float32, False),
    "fp32 channels_last": (torch.float32, True),
    "bf16": (torch.bfloat16, False),
    "bf16 channels_last": (torch.bfloat16, True),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbone", default="unet_t11[width=16]")
    parser.add_argument("--shape", default="128,128", help="rows,columns or depth,rows,columns")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=12)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    axes = tuple(map(int, options.shape.split(",")))
    image = torch.rand(options.batch, 1, *axes, device=device)
    y = torch.rand(options.batch, 7, *axes, device=device) > 0.95
    steps = {}
    for name, (dtype, last) in VARIANTS.items():
        net = parse_network(options.backbone).build(1, 7).to(device)
        if last:
            channels_last(net)
        optimiser = torch.optim.Adam(net.parameters(), 1e-3)
        batch = image_channels_last(image) if last else image

        def step(
            net: nn.Module = net,
            optimiser: torch.optim.Optimizer = optimiser,
            batch: torch.Tensor = batch,
            dtype: torch.dtype = dtype,
        ) -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16):
                loss = masked_bce(net(batch), y, torch.ones_like(y))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            if device.type == "cuda":
                torch.cuda.synchronize()

        steps[name] = step
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(options.repeats + 3):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if repeat >= 3:
                seconds[name].append(time.perf_counter() - started)
    base = statistics.median(seconds["fp32"])
    print(f"{device}, {options.backbone}, batch {options.batch} of {options.shape}")
    for name, measured in seconds.items():
        middle = statistics.median(measured)
        print(f"{name:<20} {middle * 1e3:8.1f} ms   {base / middle:5.2f} x fp32")


if __name__ == "__main__":
    main()
