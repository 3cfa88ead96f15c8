"""Which method of a column is best, and which are not proven worse: the bold rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from bench.reporting.column import ComparisonColumn
from bench.stats.multiple import ALPHA

if TYPE_CHECKING:
    from bench.reporting.style import Mark

Rule = Literal["holm", "paper", "mean"]
"""The criterion for a better method: the primary test after Holm's correction; the paired t-test
over folds without correction, as in the paper; the mean alone."""


class Standing(NamedTuple):
    """Who leads a column.

    Attributes
    ----------
    leaders
        Methods without gaps of which the printed mean is at least that of every other method, each
        on the cells that both have.
    ahead
        Where nobody leads: methods with gaps that are ahead of all others where they have scores.
    alike
        All methods, where the printed means of all are one number: then nobody leads.
    """

    leaders: tuple[str, ...]
    ahead: tuple[str, ...]
    alike: tuple[str, ...] = ()


def standing(column: ComparisonColumn, digits: int | None = None) -> Standing:
    """Return who leads a column; with complete data, the best printed means.

    Parameters
    ----------
    column
        The scores.
    digits
        Printed decimals; by default those of the column.
    """
    sign = 1 if column.higher_is_better else -1
    digits = column.digits if digits is None else digits
    printed = column.means[list(column.competitors)].dropna().map(lambda m: f"{m:.{digits}f}")
    if len(printed) > 1 and printed.nunique() == 1:
        return Standing((), (), tuple(printed.index))
    beaten = set()
    for a, b in column.pairs:
        of_a, of_b = (sign * round(mean, digits) for mean in column.test(a, b)[0].means)
        if of_a < of_b:
            beaten.add(a)
        elif of_b < of_a:
            beaten.add(b)
    scored = column.means.dropna().index
    first = [m for m in column.competitors if m not in beaten and m in scored]
    gaps = column.incomplete
    leaders = tuple(method for method in first if method not in gaps)
    return Standing(leaders, () if leaders else tuple(first))


def ranked(column: ComparisonColumn, digits: int | None = None) -> dict[str, str]:
    """Return the competitors from the first to the last, and the place of each as text.

    Who leads comes first, as the sentences say, then the others by their printed mean. Methods that
    are alike share the smaller place, with a sign of equality: ``1=``, ``1=``, ``3``. ``digits``
    are printed decimals, by default those of the column.
    """
    digits = column.digits if digits is None else digits
    who = standing(column, digits)
    first = who.leaders or who.ahead
    sign = -1 if column.higher_is_better else 1
    means = {m: sign * round(float(column.means[m]), digits) for m in column.competitors}
    keys = {
        m: (0, 0.0) if m in first else (1, means[m] if means[m] == means[m] else np.inf)
        for m in column.competitors
    }
    order = sorted(keys, key=lambda method: keys[method])
    found = [keys[method] for method in order]
    return {
        method: f"{found.index(keys[method]) + 1}{'=' if found.count(keys[method]) > 1 else ''}"
        for method in order
    }


def marks(
    column: ComparisonColumn, rule: Rule = "holm", digits: int | None = None
) -> dict[str, Mark]:
    """Return the mark of every competitor by the bold rule (specification: Statistics).

    The leader is `best` if it beats every other method, else `best_tied`; those that it does not
    beat are `tied`. Of several leaders one that another beats has no mark. Where nobody leads,
    because the one that is ahead lacks cells or because each is behind another on what they share,
    all that no other beats are `tied`. Where no test is possible, only the leader is marked; where
    all means are printed alike, nothing.

    Parameters
    ----------
    column
        The scores.
    rule
        The criterion, applied to all pairs of competitors.
    digits
        Printed decimals; by default those of the column.
    """
    found: dict[str, Mark] = dict.fromkeys(column.competitors, "")
    if len(column.means[list(column.competitors)].dropna()) < 2:
        return found
    best, _, alike = standing(column, digits)
    if alike:
        return found
    if rule == "mean":
        return found | dict.fromkeys(best, "best")
    p_values = _p_values(column, rule)
    if all(p != p for p in p_values.values()):
        return found | dict.fromkeys(best, "best_tied")
    scored = [m for m in column.competitors if column.means[m] == column.means[m]]

    def beats(method: str, other: str) -> bool:
        return p_values[frozenset((method, other))] < ALPHA and _behind(column, other, method)

    def beaten(method: str) -> bool:
        return any(beats(other, method) for other in best or scored if other != method)

    for method in scored:
        if method in best and all(beats(method, other) for other in scored if other != method):
            found[method] = "best"
        elif not beaten(method):
            found[method] = "best_tied" if method in best else "tied"
    return found


def is_tested(column: ComparisonColumn, rule: Rule) -> bool:
    """Tell whether any pair of competitors has a p value."""
    return any(p == p for p in _p_values(column, rule).values())


def _p_values(column: ComparisonColumn, rule: Rule) -> dict[frozenset[str], float]:
    if rule == "holm":
        return column.p_values
    return {frozenset(pair): column.plain_t(*pair).p for pair in column.pairs}


def _behind(column: ComparisonColumn, method: str, other: str) -> bool:
    """Tell whether the mean of a method is worse than that of another on what both have."""
    flipped = (method, other) not in column.pairs
    own, its = column.test(*((other, method) if flipped else (method, other)))[0].means
    worse = own < its if column.higher_is_better else own > its
    return worse is not flipped
