"""How much faster is a training step in bf16 with channels last than in fp32?

``python benchmarks/training_step.py`` prints time per step and ratios, all measured
in one run, variants interleaved so that a drifting machine does not favour one of them.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from bench.nets.unet_t11 import UNetT11
from bench.training.losses import masked_bce

VARIANTS = {
    "fp32": (torch.float32, torch.contiguous_format),
    "fp32 channels_last": (torch.float32, torch.channels_last),
    "bf16": (torch.bfloat16, torch.contiguous_format),
    "bf16 channels_last": (torch.bfloat16, torch.channels_last),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=12)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape = (options.batch, 1, options.side, options.side)
    image = torch.rand(shape, device=device)
    y = torch.rand(options.batch, 7, options.side, options.side, device=device) > 0.95
    steps = {}
    for name, (dtype, layout) in VARIANTS.items():
        net = UNetT11(7, options.width).to(device, memory_format=layout)
        optimiser = torch.optim.Adam(net.parameters(), 1e-3)
        batch = image.to(memory_format=layout)

        def step(net=net, optimiser=optimiser, batch=batch, dtype=dtype) -> None:
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
    print(f"{device}, U-Net width {options.width}, batch {options.batch} of {options.side}^2")
    for name, measured in seconds.items():
        middle = statistics.median(measured)
        print(f"{name:<20} {middle * 1e3:8.1f} ms   {base / middle:5.2f} x fp32")


if __name__ == "__main__":
    main()
