"""Power of a t-test: what it finds, and how many values that takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

from .paired import NAN, Tested

DETECTED = 0.8
"""The usual power: four of five."""


def detectable(found: Tested, alpha: float, power: float = DETECTED) -> float:
    """Return the smallest true difference that a test with this error finds with a given power."""
    return found.error * standard_errors(found.df, alpha, power)


@cache
def standard_errors(df: float, alpha: float, power: float) -> float:
    """Return the true mean that a two-sided t-test finds, in standard errors; NaN without df."""
    if not df >= 1:
        return NAN
    root = math.sqrt(df + 1)
    return _first_root(lambda errors: _found(errors / root, df, alpha) - power, 1.0)


def needed(effect: float, alpha: float, power: float = DETECTED) -> float:
    """Return the pairs that a paired t-test needs for a mean of ``effect`` standard deviations."""
    if _found(effect, 1, alpha) >= power:
        return 2.0
    return _first_root(lambda n: _found(effect, n - 1, alpha) - power, 2.0)


def _found(effect: float, df: float, alpha: float) -> float:
    """Return the power of a two-sided t-test, without rejections in the wrong direction."""
    from scipy.special import nctdtr, stdtrit

    return 1 - float(nctdtr(df, effect * math.sqrt(df + 1), stdtrit(df, 1 - alpha / 2)))


def _first_root(rising: Callable[[float], float], low: float) -> float:
    """Return the root of an increasing function that is negative at ``low``."""
    from scipy.optimize import brentq

    high = 2 * low
    while rising(high) < 0:
        low, high = high, 2 * high
    return float(brentq(rising, low, high))
