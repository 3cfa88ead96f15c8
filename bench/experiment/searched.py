"""Which numbers of a method may be searched, and in which range: marks beside their defaults.

``weight: Annotated[float, Range(0.01, 1, log=True)] = 0.1`` is a number with its default and the
range in which ``bench tune`` looks for a better one. What changes the number of training steps is
not searched: it would buy time, not quality.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import Any, TypeVar

from typing_extensions import override

from bench.params import Params, shown
from bench.seeds import generator

DIGITS = 3
"""Significant digits of a number that is drawn: enough, and a name that can be typed."""
DRAWS = 100
"""Points drawn for a trial: those of few choices repeat themselves."""

ParamsT = TypeVar("ParamsT", bound=Params)


class Searched(abc.ABC):
    """Marks, through ``Annotated``, a parameter of a method that may be searched."""

    @abc.abstractmethod
    def at(self, share: float, *, whole: bool) -> Any:
        """Return the value at a share of the range, in [0, 1).

        Parameters
        ----------
        share
            Equal parts of [0, 1) are equally likely values.
        whole
            Only whole numbers are values.
        """

    @property
    @abc.abstractmethod
    def ends(self) -> tuple[Any, ...]:
        """The values at the ends of the range, or all of a choice."""


@dataclass(frozen=True)
class Range(Searched):
    """All numbers from ``low`` to ``high``, with :data:`DIGITS` significant digits.

    Raises
    ------
    ValueError
        It is empty, or logarithmic and does not begin above 0.
    """

    low: float
    high: float
    log: bool = False
    """Equal factors are equally likely, not equal differences."""

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"no range: {self}")

    @property
    @override
    def ends(self) -> tuple[float, float]:
        return self.low, self.high

    @override
    def at(self, share: float, *, whole: bool) -> float:
        if whole:
            return math.floor(self._between(self.low, self.high + 1, share))
        rounded = float(f"{self._between(self.low, self.high, share):.{DIGITS}g}")
        return min(max(rounded, self.low), self.high)

    def _between(self, low: float, high: float, share: float) -> float:
        if self.log:
            return float(low * (high / low) ** share)
        return low + share * (high - low)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', logarithmic' if self.log else ''}"


class Choice(Searched):
    """One of a few values, all equally likely.

    Raises
    ------
    ValueError
        There are fewer than two.
    """

    def __init__(self, *values: str | float | bool) -> None:
        if len(set(values)) < 2:
            raise ValueError(f"no choice: {values}")
        self.values = values

    @property
    @override
    def ends(self) -> tuple[str | float | bool, ...]:
        return self.values

    @override
    def at(self, share: float, *, whole: bool) -> str | float | bool:
        return self.values[int(share * len(self.values))]

    def __str__(self) -> str:
        texts = [str(v).lower() if isinstance(v, bool) else str(v) for v in self.values]
        return f"{', '.join(texts[:-1])} or {texts[-1]}"


def settings(method: ParamsT, trials: int, seed: int) -> list[ParamsT]:
    """Return ``trials`` different settings of a method, the given one first.

    The others are points of a scrambled Halton sequence: they fill the ranges evenly, and fewer
    trials of one seed are the first of more. Parameters that are given stay as they are. A method
    that has fewer settings than ``trials`` gets all of them, one without marks the given one alone.
    """
    from scipy.stats import qmc

    cls = type(method)
    marks = left_open(method)
    fields = {shown(name, field): field for name, field in cls.model_fields.items()}
    whole = {name: fields[name].annotation is int for name in marks}
    found = {str(method.overrides()): method}
    if not marks:
        return [method]
    sequence = qmc.Halton(len(marks), rng=generator(seed, "settings"))
    for _ in range(DRAWS * trials):
        if len(found) == trials:
            break
        point = sequence.random(1)[0]
        drawn = {
            name: mark.at(float(share), whole=whole[name])
            for (name, mark), share in zip(marks.items(), point, strict=True)
        }
        setting = cls.model_validate(method.model_dump(by_alias=True) | drawn)
        found.setdefault(str(setting.overrides()), setting)
    return list(found.values())


def left_open(method: Params) -> dict[str, Searched]:
    """Return the marks of the parameters at their defaults: those given are not searched."""
    given = method.overrides()
    return {name: mark for name, mark in searched(type(method)).items() if name not in given}


def searched(method: type[Params]) -> dict[str, Searched]:
    """Return the marks of a method's parameters, by the names that brackets use."""
    return {
        shown(name, field): mark
        for name, field in method.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, Searched)
    }
