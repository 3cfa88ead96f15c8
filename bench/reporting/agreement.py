"""Whether methods of a table from elsewhere can be compared: one unit, one truth, common cases."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.reporting.text import listed

if TYPE_CHECKING:
    import pandas as pd

_PRESENT, _ABSENT = ("ok", "missed"), ("hallucinated", "both_empty")
"""Status of an organ that is in the truth, and of one that is not."""


def require_one_unit(table: pd.DataFrame, source: str) -> None:
    """Raise if scores of some methods or organs look like fractions, those of others like percent.

    Raises
    ------
    BenchError
        Names the methods or organs and what to do.
    """
    for (task, rows), name in product(table.groupby("task"), ("method", "organ")):
        most = rows.groupby(name)["value"].max()
        fractions = list(map(str, most.index[(most > 0) & (most <= 1)]))
        others = list(map(str, most.index[most > 1]))
        if fractions and others:
            raise BenchError(
                f"{source}: task {task}: values of {_some(fractions)} are up to "
                f"{most[fractions].max():g}, those of {_some(others)} up to "
                f"{most[others].max():g}: fractions and percent? Bring them to one unit; if they "
                "are in one, name it, for example 'significance[csv=...,unit=%]'"
            )


def require_one_truth(table: pd.DataFrame, source: str) -> None:
    """Raise if an organ is in a case by the status of one method, and not by that of another.

    Raises
    ------
    BenchError
        Names case, organ and both methods.
    """
    told = table[table["status"].isin([*_PRESENT, *_ABSENT])]
    present = told["status"].isin(_PRESENT)
    apart = present.groupby([told[name] for name in ("task", "case", "organ")]).transform("nunique")
    if (apart > 1).any():
        first = told[apart > 1].iloc[0]
        same = (told[["task", "case", "organ"]] == first[["task", "case", "organ"]]).all(axis=1)
        other = told[same & (present != (first["status"] in _PRESENT))].iloc[0]
        where = ", ".join(f"{name} {first[name]}" for name in ("task", "case", "organ"))
        raise BenchError(
            f"{source}: {where}: {first['status']} of {first['method']} and {other['status']} of"
            f" {other['method']} are of different truths, one with the organ and one without it"
        )


def require_common_cases(table: pd.DataFrame, source: str) -> None:
    """Raise if two methods of a task have no case in common, or one has no value at all.

    Raises
    ------
    BenchError
        Names both methods.
    """
    known = table[table["value"].notna() | table["status"].isin(["missed", "hallucinated"])]
    for task, rows in table.groupby("task"):
        of_task = known[known["task"] == task]
        cases = {
            str(method): set(own["case"].unique()) for method, own in of_task.groupby("method")
        }
        for method in sorted(set(rows["method"]) - set(cases)):
            raise BenchError(f"{source}: task {task}: method {method} has no value")
        for a, b in combinations(cases, 2):
            if cases[a].isdisjoint(cases[b]):
                raise BenchError(
                    f"{source}: task {task}: methods {a} and {b} have no case in common (for "
                    f"example {min(cases[a])} and {min(cases[b])}): are their cases named alike?"
                )


def _some(names: Sequence[str]) -> str:
    return listed([*names[:3], *([f"{len(names) - 3} more"] if len(names) > 3 else [])])
