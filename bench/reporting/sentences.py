"""Comparisons of methods, each in one sentence that its own interval bears out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.reporting.column import ComparisonColumn
from bench.reporting.comparison import Compared, Comparison
from bench.reporting.marks import Standing, marks, standing
from bench.reporting.text import counted, digits_for, interval, listed, number, p_equation

if TYPE_CHECKING:
    import pandas as pd


def few_runs(noun: str) -> str:
    """Return what two folds, or runs of several seeds, can show."""
    return (
        f"Two {noun}s leave a test over {noun}s one degree of freedom: it finds next to nothing, "
        f"however large the difference. Run more {noun}s before reading its p values."
    )


def domains(rows: pd.DataFrame) -> list[str]:
    """Return a sentence on the test cases of several domains behind a table; none where one is."""
    patients = rows.groupby("domain")["patient"].nunique()
    if len(patients) < 2:
        return []
    sizes = ", ".join(f"{domain} {n}" for domain, n in patients.items())
    return [f"Test patients are of {len(patients)} domains and averaged together: {sizes}."]


def sentences(compared: Compared, *, each: bool = True) -> list[str]:
    """Return sentences on the best method of a column and its difference from each other one.

    If no method is ahead, or all comparisons are with one reference, every comparison gets one.
    The last says which differences so few folds or patients can show. Without ``each``, comparisons
    get none.
    """
    column, found = compared.column, compared.comparisons
    with_reference = len({comparison.b for comparison in found}) == 1
    where = f"At {column.label}: " if column.label else ""
    told = []
    best = None
    by_ranks = column.terms.decides == "ranks"  # then means decide nothing
    if not with_reference and not by_ranks:  # marks are by all pairs, not by those with one method
        who = standing(column)
        best = next(iter(who.leaders or who.ahead), None)
        told.append(_starting(where, _verdict(column, who)))
    told += [
        where + sentence(comparison, column)
        for comparison in found
        if each and (best is None or best in (comparison.a, comparison.b))
    ]
    told += [_starting(where, text) for text in _power(compared)]
    if not math.isnan(column.noise.floor):
        told += noise_floor([column])
    most = max((comparison.primary.n for comparison in found), default=0)
    return [*told, *([few_runs(column.run_noun)] if column.unit == "fold" and most == 2 else [])]


def alone(column: ComparisonColumn) -> str:
    """Return a sentence on a column without two methods to compare: what is there."""
    name, digits = column.styles.name, column.digits
    unit = f" {column.measure_unit}" if column.measure_unit else ""
    found = [
        f"{name(method)} {number(float(column.means[method]), digits)}{unit}"
        + (" (upper bound)" if column.styles.is_upper_bound(method) else "")
        for method in column.methods
    ]
    n = counted(column.rows["patient"].nunique(), column.patient_noun)
    if column.unit == "fold":
        runs = len(column.rows[["seed", "fold"]].drop_duplicates())
        n = f"{counted(runs, column.run_noun)}, {n}"
    where = f"At {column.label}: " if column.label else ""
    told = _starting(where, f"mean {column.measure}: {listed(found)} ({n}).")
    lacking = "a second method" if column.competitors else "two methods other than upper bounds"
    return f"{told} To compare, run {lacking}."


def _starting(where: str, text: str) -> str:
    return where + text if where else text[0].upper() + text[1:]


def _verdict(column: ComparisonColumn, who: Standing) -> str:
    """Return a sentence on the best method, or on why there is none."""
    name = column.styles.name
    unit = f" {column.measure_unit}" if column.measure_unit else ""
    if who.alike:
        mean = number(float(column.means[who.alike[0]]), column.digits)
        return f"all {len(who.alike)} methods have the same rounded mean, {mean}{unit}."
    if not who.leaders:
        if not who.ahead:
            return "no method is best: each is behind another on the cases that both have."
        gaps = column.incomplete
        ahead = listed(
            [f"{name(m)}, which lacks {int(gaps[m].sum())} (case, organ) pairs" for m in who.ahead]
        )
        return f"no method is best: ahead where both have scores is {ahead}."
    best, *alike = who.leaders
    marked = marks(column)
    tied = [m for m, mark in marked.items() if mark in ("tied", "best_tied") and m != best]
    if tied:
        verdict = f"not proven better than {_methods(column, tied)}"
    elif marked[best] == "best":
        verdict = "better than every other method after correction"
    else:
        verdict = "not tested"
    mean = number(float(column.means[best]), column.digits)
    what = "the best mean"
    if column.incomplete:
        what += " on the cases that both have, against each other method,"
    if not alike:
        # The name of a method may end in a full stop.
        return f"{what} is that of {name(best)}, {mean}{unit}, {verdict}".removesuffix(".") + "."
    others = [method for method in tied if method not in alike]
    shared = f"{what} is shared by {listed([name(m) for m in who.leaders])}, {mean}{unit}"
    if others:
        shared += f", not proven better than {_methods(column, others, alike)}"
    return shared.removesuffix(".") + "."


def _methods(column: ComparisonColumn, methods: Sequence[str], apart: Sequence[str] = ()) -> str:
    """Name methods, or say that they are all but the first and those ``apart``."""
    if len(methods) > 2 and len(methods) + len(apart) + 1 == len(column.competitors):
        return f"any of the {len(methods)} others"
    return listed([column.styles.name(method) for method in methods])


def noise_floor(columns: Sequence[ComparisonColumn]) -> list[str]:
    """Return a sentence on the noise floor of the columns of a task, which are of the same seeds.

    None where fewer than two methods compete.
    """
    if all(len(column.competitors) < 2 for column in columns):
        return []
    known = [column for column in columns if not math.isnan(column.noise.floor)]
    if not known:
        return ["No noise floor, which takes two methods with all scores of several seeds."]
    floors = [
        f"{number(one.noise.floor, digits_for(one.noise.floor, one.digits))} {one.difference_unit}"
        + (f" at {one.label}" if one.label else "")
        for one in known
    ]
    seeds = sorted({one.noise.replicates for one in known})
    times = " or ".join(map(str, seeds))
    return [
        f"Noise floor: {listed(floors)}. Means over {times} seeds of methods that are equally good "
        "differ by less in 95 of 100 cases; a smaller difference is none."
    ]


def sentence(comparison: Comparison, column: ComparisonColumn) -> str:
    """Return one comparison as a sentence, the method with the better mean first."""
    test, digits = comparison.primary, digits_of(comparison, column)
    a, b = column.styles.name(comparison.a), column.styles.name(comparison.b)
    low, high = comparison.interval
    if test.diff < 0:
        a, b, low, high = b, a, -high, -low
    n = _n(comparison, column)
    if test.note == "identical":
        return f"{a} and {b} are identical ({n})."
    if math.isnan(test.diff):
        whole = f"no {column.patient_noun} with all their seeds"
        return f"{a} and {b} share {whole if comparison.patients else 'nothing'} to compare ({n})."
    size = number(abs(test.diff), digits)
    far = f"{size} {column.difference_unit}".rstrip()
    if not float(size):
        above, by = f"{a} and {b} differ by less than {10.0**-digits:.{digits}f}", ""
    elif column.higher_is_better:
        above, by = f"{a} is {far} above {b}", f"{a} exceeds {b} by {far}"
    else:
        above, by = f"{b} is {far} below {a}", f"{b} is lower than {a} by {far}"
    if math.isnan(test.p):
        return f"{above}, not tested: {test.note} ({n})."
    estimate = "Hodges-Lehmann estimate, " if column.terms.decides == "ranks" else ""
    numbers = f"{estimate}corrected 95 % CI {interval(low, high, digits)}"
    if comparison.significant:
        return f"{by} ({numbers}; Holm p {p_equation(comparison.p_holm)}; {n})."
    if abs(test.diff) < column.noise.floor:
        return f"{above}, less than the noise floor: no difference ({numbers}; {n})."
    if column.unit == "fold" and test.n == 2:
        return f"{above}, which two {column.run_noun}s cannot tell from chance ({n})."
    return f"{above}, which may be chance ({numbers}; Holm p {p_equation(comparison.p_holm)}; {n})."


def digits_of(comparison: Comparison, column: ComparisonColumn) -> int:
    """Return the decimals of a comparison: more where what is significant would be printed as 0."""
    if not comparison.significant:
        return column.digits
    return digits_for(min(map(abs, comparison.interval)), column.digits)


def _n(comparison: Comparison, column: ComparisonColumn) -> str:
    """Return what a comparison stands on: folds, patients, and what was left out of it."""
    n = counted(comparison.patients, column.patient_noun)
    if column.unit == "fold":
        n = f"{counted(comparison.primary.n, column.run_noun)}, {n}"
    if left_out := comparison.only_a + comparison.only_b:
        n += f", without {counted(left_out, 'score')} that only one of them has"
    return n


def _power(compared: Compared) -> list[str]:
    """Return a sentence on what this many folds, or patients, can show."""
    column, found = compared.column, compared.comparisons
    size = compared.detectable
    if math.isnan(size):
        return []
    most = max(comparison.primary.n for comparison in found)
    noun = column.run_noun if column.unit == "fold" else column.patient_noun
    these = f"with {counted(most, noun)} and {counted(len(found), 'comparison')}"
    if column.cells.span is not None and size > column.cells.span:
        return [f"{these}, no possible difference is found four times in five."]
    shown = number(size, digits_for(size, column.digits))
    what = f"{these}, a true difference below {shown} {column.difference_unit}".rstrip()
    return [f"{what} is found less than four times in five."]
