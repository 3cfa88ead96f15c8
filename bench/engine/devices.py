"""Which GPUs there are, and which of them a command may use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from itertools import takewhile
from typing import TYPE_CHECKING

from bench.errors import BenchError

if TYPE_CHECKING:
    import torch

VARIABLE = "CUDA_VISIBLE_DEVICES"
TOOL_SECONDS = 60
"""A driver that starts on the first question may take half of it."""

_GPU = re.compile(r"\d+|(GPU|MIG)-.+")
"""A GPU by its number or its UUID, or a part of one."""


def visible_gpus() -> list[str]:
    """Return the GPUs this process may use, without importing torch.

    In a list of them, CUDA sees none from the first name on that is no GPU: ``-1``, and Slurm's
    ``NoDevFiles`` on nodes without one.
    """
    if (named := os.environ.get(VARIABLE)) is not None:
        names = (name.strip() for name in named.split(","))
        return list(takewhile(_GPU.fullmatch, names))
    tool = shutil.which("nvidia-smi")
    return [] if tool is None else list(_listed(tool))


@cache
def _listed(tool: str) -> tuple[str, ...]:
    """Return the GPUs that the driver's tool lists."""
    try:
        listed = subprocess.run(
            [tool, "-L"], capture_output=True, text=True, check=False, timeout=TOOL_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise BenchError(
            f"{tool} does not answer in {TOOL_SECONDS} s: mend the driver, or say --device cpu"
        ) from None
    found = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return tuple(str(index) for index in range(len(found)))


def torch_device() -> torch.device:
    """Return the device to compute on: the first visible GPU, or the CPU where there is none.

    Raises
    ------
    BenchError
        There is a GPU, and torch cannot use it.
    """
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    if gpus := visible_gpus():
        why = (
            "its driver is missing or too old for it"
            if torch.version.cuda
            else "it was built without CUDA"
        )
        raise BenchError(
            f"GPU {gpus[0]} is there, but torch {torch.__version__} cannot use it ({why}): "
            "install a torch that can, or say --device cpu"
        )
    return torch.device("cpu")


def use_device(name: str | None) -> None:
    """Restrict this process, and those it starts, to one kind of device.

    Parameters
    ----------
    name
        ``cpu``; ``cuda``, every visible GPU; ``cuda:1``, the second of them; None changes nothing.

    Raises
    ------
    BenchError
        Another name, or a GPU that this machine lacks.
    """
    if name is None:
        return
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", name)
    if match is None:
        raise BenchError(f"device {name!r}: write cpu, cuda or cuda:0")
    if name == "cpu":
        os.environ[VARIABLE] = ""
        return
    gpus = visible_gpus()
    number = int(match[1] or 0)
    if number >= len(gpus):
        raise BenchError(
            f"device {name}: {len(gpus)} GPUs are visible here; choose another, or cpu"
        )
    os.environ[VARIABLE] = gpus[number] if match[1] else ",".join(gpus)
