"""The unit of work: a stage, described by its parameters and the stages it reads from.

Stages of equal content have equal keys and are one stage: so methods share work without knowing of
each other. The key is a digest of the kind, its version (of a plug-in: a digest of its source),
every parameter, defaults included, and the keys of the inputs. Paths, devices and the name of the
method do not enter it.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from typing_extensions import override

from bench.params import Params, digest
from bench.plugins.source import origin

if TYPE_CHECKING:
    import torch

KEY_DIGITS = 12


class Part(Params):
    """Parameters of a replaceable piece inside a stage (an objective, a network, a data set)."""

    version: ClassVar[int] = 1

    def identity(self) -> dict[str, Any]:
        """Return kind, version, every result-changing parameter, and the keys of the inputs.

        A class of a plug-in adds the plug-in's name and a digest of its source: two plug-ins may
        use one name, and an edited loss must be computed again.
        """
        named = {"kind": type(self).__name__, "version": self.version}
        return named | self.plugged() | super().identity()

    def plugged(self) -> dict[str, str]:
        """Return name and digest of the plug-in that the class is from; nothing for ours."""
        return origin(_lineage(type(self)))


@cache
def _lineage(cls: type[Part]) -> tuple[type[Part], ...]:
    return tuple(base for base in cls.__mro__ if issubclass(base, Part))


class Stage(Part, abc.ABC):
    """One computation whose result is kept in the store under :attr:`key`."""

    uses_accelerator: ClassVar[bool] = False
    large_files: ClassVar[str | None] = None
    """Pattern of output files that are of use to consumers only, and may be freed after them."""

    @cached_property
    def key(self) -> str:
        """Kind and the first digits of the digest of the identity, e.g. ``Train-3f9a0c1d2b4e``."""
        return f"{type(self).__name__}-{digest(self.identity(), KEY_DIGITS)}"

    @override
    def as_part(self) -> str:
        return self.key

    @property
    def title(self) -> str:
        """Its name in progress lines and folder names."""
        return type(self).__name__

    @property
    def training_steps(self) -> int:
        """Optimiser steps it takes, by which the cores of a machine are shared; 0: no training."""
        return 0

    def inputs(self) -> tuple[Stage, ...]:
        """Return the stages this one reads from, in field order."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return tuple(stage for value in values for stage in _stages(value))

    @abc.abstractmethod
    def run(self, ctx: StageContext) -> None:
        """Compute and write the result below ``ctx.out``; heavy imports belong in here."""


class Named(Protocol):
    """What names the folder of a stage: a stage, or what is known of one that cannot be rebuilt."""

    @property
    def key(self) -> str:
        """Kind and digest."""

    @property
    def title(self) -> str:
        """Its name in folder names."""


class EventSink(Protocol):
    """Receives the values that a stage logs."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line: a step and the values logged."""

    def written(self) -> str:
        """Return what was logged so far, which a resume state keeps."""

    def restore(self, text: str) -> None:
        """Bring back what was logged when a resume state was saved, if it was damaged since."""


class StageContext(Protocol):
    """The interface to a running stage: its folders, its direct inputs, the device, the log."""

    key: str
    """Key of the stage, which its resume state carries."""
    out: Path
    scratch: Path

    @property
    def events(self) -> EventSink:
        """The event log of the stage."""

    @property
    def device(self) -> torch.device:
        """The one device this stage computes on."""

    def input(self, stage: Stage) -> Path:
        """Return the committed output folder of a direct input; any other stage is refused."""

    def tick(self, done: int, total: int, note: str = "") -> None:
        """Report progress; a stage asked to stop ends here, so save a resume state before."""

    def save_due(self) -> bool:
        """Tell whether the stage should save its resume state to ``scratch`` now."""

    def saved(self) -> None:
        """Note that the resume state is on disk; a stage asked to stop ends here."""


def ancestors(stage: Stage) -> Iterator[Stage]:
    """Yield every stage that ``stage`` depends on, inputs first, each once, and last itself."""
    seen: set[str] = set()

    def visit(node: Stage) -> Iterator[Stage]:
        if node.key in seen:
            return
        seen.add(node.key)
        for parent in node.inputs():
            yield from visit(parent)
        yield node

    yield from visit(stage)


def _stages(value: Any) -> Iterator[Stage]:
    if isinstance(value, Stage):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _stages(item)
