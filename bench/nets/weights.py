"""Weights of networks in safetensors files."""

from __future__ import annotations

import os
import re
from pathlib import Path

from torch import Tensor, nn

from bench.errors import BenchError


def check_savable(name: str, module: nn.Module) -> None:
    """Raise BenchError if the weights of a network cannot be saved under one name each.

    On a GPU, safetensors would not notice that two names share a tensor, and save it twice.
    """
    first: dict[int, str] = {}
    for key, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            raise BenchError(
                f"network {name} cannot be saved: {key} in its state is not a tensor "
                f"but {type(value).__name__}; remove it"
            )
        if value.numel():
            other = first.setdefault(value.untyped_storage().data_ptr(), key)
            if other != key:
                raise BenchError(
                    f"network {name} cannot be saved: {other} and {key} are one tensor; "
                    "register each module and parameter under one name"
                )


def save_weights(module: nn.Module, path: Path) -> None:
    """Write every parameter and persistent buffer of a network.

    Raises
    ------
    OSError
        The file cannot be written, for example because the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {key: value.cpu().contiguous() for key, value in module.state_dict().items()}
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        # It tells what the system refused in its text alone.
        if (refused := re.search(r"\(os error (\d+)\)", str(error))) is None:
            raise
        number = int(refused[1])
        raise OSError(number, os.strerror(number), str(path)) from error


def load_weights(module: nn.Module, path: Path) -> None:
    """Read the weights of a network, in place; names and shapes in the file must match it.

    Raises
    ------
    BenchError
        The file is damaged, or a tensor is missing, left over or of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        module.load_state_dict(load_file(path))
    except SafetensorError as error:
        raise BenchError(f"{path}: holds no weights ({error}); train it again") from None
    except RuntimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:])
        raise BenchError(
            f"{path}: holds weights of another network than the one built now ({reason}); "
            "train it again"
        ) from error
