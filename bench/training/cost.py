"""The cost of a training step or a relabelling: how often each network sees a slice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import nn


class PassCounter:
    """Counts the slices that pass through each network while it is attached.

    Parameters
    ----------
    modules
        Networks by name, or the part of each that every pass goes through. Calls of these modules
        are counted, not those of their parts.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._slices: Counter[str] = Counter(dict.fromkeys(modules, 0))
        self._hooks = [
            module.register_forward_hook(
                lambda _module, inputs, _output, name=name: self._count(name, inputs)
            )
            for name, module in modules.items()
        ]

    def detach(self) -> None:
        """Stop counting."""
        for hook in self._hooks:
            hook.remove()

    @property
    def slices(self) -> dict[str, int]:
        """How many slices each network saw."""
        return dict(self._slices)

    def _count(self, name: str, inputs: tuple[Any, ...]) -> None:
        self._slices[name] += len(inputs[0])
