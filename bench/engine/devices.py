"""Which GPUs there are, and which of them a command may use; without importing torch."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from itertools import takewhile

from bench.errors import BenchError

VARIABLE = "CUDA_VISIBLE_DEVICES"

_GPU = re.compile(r"\d+|(GPU|MIG)-.+")
"""A GPU by its number or its UUID, or a part of one."""


def visible_gpus() -> list[str]:
    """Return the GPUs this process may use.

    In a list of them, CUDA sees none from the first name on that is no GPU: ``-1``, and Slurm's
    ``NoDevFiles`` on nodes without one.
    """
    if (named := os.environ.get(VARIABLE)) is not None:
        names = (name.strip() for name in named.split(","))
        return list(takewhile(_GPU.fullmatch, names))
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    found = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(index) for index in range(len(found))]


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
