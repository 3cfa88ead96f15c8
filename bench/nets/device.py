"""What depends on the device of a computation: precision, kernels and optimiser.

All of it in one place, so that a CPU keeps its numbers and a GPU its speed.
``benchmarks/gpu.py`` measures each choice on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import nn
from torch.optim import Adam

from bench.machine.processor import has_bf16

Precision = Literal["fp32", "bf16"]


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """Return a context in which networks compute in ``precision``, fp32 where bf16 is emulated."""
    if precision == "fp32" or (device.type == "cpu" and not has_bf16()):
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def kernels(device: torch.device, *, fixed_shapes: bool) -> AbstractContextManager[None]:
    """Return a context in which a GPU takes its fastest kernels; nothing changes on a CPU.

    float32 stays float32: where a network computes in it, half its mantissa (TF32) is not enough.

    Parameters
    ----------
    device
        Where to compute.
    fixed_shapes
        Every batch has the same shape, so that it pays to time the kernels of cuDNN and take the
        fastest. Which one wins may differ between two runs, and with it the last digits.
    """
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(
        enabled=True,
        benchmark=fixed_shapes,
        deterministic=torch.backends.cudnn.deterministic,
        allow_tf32=False,
    )


def adam(
    parameters: Iterable[nn.Parameter],
    lr: float,
    betas: tuple[float, float],
    device: torch.device,
) -> Adam:
    """Return Adam, on a GPU as one kernel for all parameters."""
    return Adam(parameters, lr, betas, fused=True if device.type == "cuda" else None)
