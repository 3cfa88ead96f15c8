"""Formatting of numbers and lists."""

from __future__ import annotations

import math
from collections.abc import Sequence

NONE = "–"
MOST_DIGITS = 8


def number(value: float, digits: int, unit: str = "") -> str:
    """Return a number with ``digits`` decimals and a typographic minus; a dash if it is missing."""
    if math.isnan(value):
        return NONE
    rounded = round(value, digits) + 0.0  # no negative zero
    return f"{rounded:.{digits}f}{unit}".replace("-", "−")


def signed(value: float, digits: int) -> str:
    """Return a difference with its sign."""
    text = number(value, digits)
    return f"+{text}" if value > 0 and float(text) else text


def interval(low: float, high: float, digits: int) -> str:
    """Return ``low to high``, each with the decimals that tell on which side of 0 it lies."""
    if math.isnan(low):
        return NONE
    low_end, high_end = (number(end, digits_for(end, digits)) for end in (low, high))
    return f"{low_end} to {high_end}"


def span(low: int, high: int, between: str = "–") -> str:
    """Return ``5`` or ``3–5``."""
    return str(low) if low == high else f"{low}{between}{high}"


def digits_for(size: float, digits: int) -> int:
    """Return the decimals, at least those given, at which a size is not printed as 0."""
    while size and digits < MOST_DIGITS and not round(size, digits):
        digits += 1
    return digits


def p_value(p: float) -> str:
    """Return a p value with three decimals."""
    if math.isnan(p):
        return NONE
    if p < 0.001:
        return "<0.001"
    return "1" if p > 0.9995 else f"{p:.3f}"


def p_equation(p: float) -> str:
    """Return the text after "p": ``= 0.012`` or ``< 0.001``."""
    text = p_value(p)
    return text.replace("<", "< ") if text.startswith("<") else f"= {text}"


def counted(count: int, noun: str) -> str:
    """Return ``1 fold`` or ``5 folds``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def duration(seconds: float) -> str:
    """Return ``95 s``, ``12 min`` or ``1.8 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def listed(names: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def enumerated(names: Sequence[str], limit: int = 10) -> str:
    """Return names as a list, the first ten of many, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
