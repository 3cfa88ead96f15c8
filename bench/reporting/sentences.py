"""Comparisons of methods, each in one sentence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from bench.reporting.comparison import Compared, Comparison, ComparisonColumn, marks
from bench.reporting.text import counted, interval, listed, number, p_equation

if TYPE_CHECKING:
    import pandas as pd

FEW_FOLDS = (
    "Two folds leave a test over folds one degree of freedom: it finds next to nothing, however "
    "large the difference. Run more folds before reading its p values."
)


def domains(rows: pd.DataFrame) -> list[str]:
    """Return a sentence on the test cases of several domains behind a table; none where one is."""
    patients = rows.groupby("domain")["patient"].nunique()
    if len(patients) < 2:
        return []
    sizes = ", ".join(f"{domain} {n}" for domain, n in patients.items())
    return [f"Test patients are of {len(patients)} domains and averaged together: {sizes}."]


def sentences(compared: Compared) -> list[str]:
    """Return sentences on the best method of a column and its difference from each other one.

    If no complete method is best, or all comparisons are with one reference, every comparison gets
    a sentence.
    """
    column, found = compared.column, compared.comparisons
    with_reference = len({comparison.b for comparison in found}) == 1
    marked = {} if with_reference else marks(column)  # by all pairs, not those with one
    best = [method for method, mark in marked.items() if mark in ("best", "best_tied")]
    told = [
        sentence(comparison, column)
        for comparison in found
        if not best or best[0] in (comparison.a, comparison.b)
    ]
    if best:
        tied = [m for m, mark in marked.items() if mark in ("tied", "best_tied") and m != best[0]]
        if marked[best[0]] == "best":
            verdict = "better than every other method after correction"
        elif tied:
            verdict = f"not proven better than {listed([*map(column.styles.name, tied)])}"
        else:
            verdict = "not tested"
        mean = number(float(column.means[best[0]]), column.digits)
        unit = f" {column.measure_unit}" if column.measure_unit else ""
        first = f"best mean is that of {column.styles.name(best[0])}, {mean}{unit}, {verdict}"
        # The name of a method may end in a full stop.
        told.insert(0, f"{'the' if column.label else 'The'} {first.removesuffix('.')}.")
    where = f"At {column.label}: " if column.label else ""
    most = max((comparison.primary.n for comparison in found), default=0)
    hint = [FEW_FOLDS] if column.unit == "fold" and most == 2 else []
    return [where + text for text in told] + hint


def sentence(comparison: Comparison, column: ComparisonColumn) -> str:
    """Return one comparison as a sentence, the method with the larger mean first."""
    test, digits = comparison.primary, column.digits
    a, b = column.styles.name(comparison.a), column.styles.name(comparison.b)
    low, high = test.low, test.high
    if test.diff < 0:
        a, b, low, high = b, a, -high, -low
    n = counted(comparison.ranks.n, "patient" if column.unit == "fold" else "case")
    if column.unit == "fold":
        n = f"{counted(test.n, 'fold')}, {n}"
    if test.note == "identical":
        return f"{a} and {b} are identical ({n})."
    if math.isnan(test.diff):
        return f"{a} and {b} share nothing to compare ({n})."
    unit = column.measure_unit
    points = f"{number(abs(test.diff), digits)} {unit if unit not in ('%', '') else 'points'}"
    if math.isnan(test.p):
        return f"{a} is {points} above {b}, not tested: {test.note} ({n})."
    numbers = f"95 % CI {interval(low, high, digits)}; Holm p {p_equation(comparison.p_holm)}; {n}"
    if comparison.significant:
        return f"{a} exceeds {b} by {points} ({numbers})."
    return f"{a} is {points} above {b}, which may be chance ({numbers})."
