"""The cells of a column: one patient's organ in one run, by method, and why a value is missing.

A cell has a score; or there is nothing to score, because the organ is absent and the method is
right about that; or the method failed and the metric is undefined (HD95 of a missed organ); or it
is empty: not run, or unknown. Two methods are compared on the cells that neither leaves empty.
There a failure counts as the worst score measured in the column, or as a value that was asked for,
and, against a method that fails or
predicts an organ that is not there, a correct absence as the best possible one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from bench.stats.paired import settled

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

EMPTY, SCORED, ABSENT, FAILED = range(4)
"""Kinds of cells."""
UNKNOWN = "unknown"
"""Status of a row that does not say why it has a value or none."""
KEY = ("seed", "fold", "organ", "patient", "case")


class Shared(NamedTuple):
    """Two methods, a and b, on the cells that both have.

    Attributes
    ----------
    diff
        a - b, free of rounding errors, where a failure or a correct absence counts as what stands
        for it; shape (cells,), NaN where either is empty or both are correct absences.
    only_a, only_b
        Cells that only one of them has.
    counted
        Cells that have no score of their own in one of them: failures and correct absences.
    whole
        Whether these are all scores of both, and nothing counts that is no score.
    """

    diff: NDArray[np.float64]
    only_a: int
    only_b: int
    counted: int
    whole: bool


@dataclass(frozen=True, eq=False)
class Cells:
    """Scores and kinds of M methods in C cells.

    Attributes
    ----------
    methods
        Names of the methods.
    index
        The columns ``KEY`` of every cell, sorted.
    codes
        Their values, each column numbered in its order.
    values_CM
        Scores, NaN where there is none.
    kinds_CM
        Kinds of the cells.
    worst, best
        What a failure and a correct absence count as.
    explained
        Whether the table says why cells have no score.
    """

    methods: tuple[str, ...]
    index: pd.DataFrame
    codes: Mapping[str, NDArray[np.intp]]
    values_CM: NDArray[np.float64]
    kinds_CM: NDArray[np.int8]
    worst: float
    best: float
    explained: bool

    @property
    def span(self) -> float | None:
        """How far two scores can be apart; None where neither scale nor metric says so."""
        scored = self.values_CM[self.kinds_CM == SCORED]
        known = self.best in (1.0, 100.0) and scored.min() >= 0
        return self.best if known else None

    @classmethod
    def of(cls, rows: pd.DataFrame, methods: Sequence[str], failure: float | None = None) -> Self:
        """Return the cells of the rows of one column (``bench.reporting.scores``).

        A failure counts as ``failure``, as the worst score measured if that is None.
        """
        import pandas as pd

        codes = {name: pd.factorize(rows[name], sort=True)[0] for name in KEY}
        cell, first = _numbered(list(codes.values()))
        index = rows[list(KEY)].iloc[first].reset_index(drop=True)
        place = {method: number for number, method in enumerate(methods)}
        method = rows["method"].map(place).to_numpy(dtype=np.intp)
        shape = (len(index), len(methods))
        values, kinds = np.full(shape, np.nan), np.full(shape, EMPTY, np.int8)
        score, status = rows["value"].to_numpy(dtype=np.float64), rows["status"].to_numpy()
        values[cell, method] = score
        known = ~np.isnan(score)
        failed = ~known & np.isin(status, ["missed", "hallucinated"])
        absent = ~known & (status == "both_empty")
        kinds[cell, method] = np.select([known, failed, absent], [SCORED, FAILED, ABSENT], EMPTY)
        high = bool(rows["higher_is_better"].iloc[0])
        worst = best = float("nan")
        if known.any():
            worst = float(score[known].min() if high else score[known].max())
            worst = worst if failure is None else failure
            best = _best(score[known], rows["best"].iloc[0], high=high)
        explained = bool((status != UNKNOWN).any())
        codes = {name: code[first] for name, code in codes.items()}
        return cls(tuple(methods), index, codes, values, kinds, worst, best, explained)

    @cached_property
    def largest(self) -> float:
        """The largest absolute score."""
        known = np.abs(self.values_CM[self.kinds_CM == SCORED])
        return float(known.max(initial=0.0))

    def shared(self, a: str, b: str) -> tuple[Shared, NDArray[np.float64]]:
        """Return two methods on the cells that both have, and their scores; shape (cells, 2)."""
        pair = [self.methods.index(a), self.methods.index(b)]
        kinds = self.kinds_CM[:, pair]
        here = kinds != EMPTY
        both = here.all(axis=1) & ~(kinds == ABSENT).all(axis=1)
        values = self._counted(pair)
        values[~both] = np.nan
        only_a = int((here[:, 0] & ~here[:, 1]).sum())
        only_b = int((here[:, 1] & ~here[:, 0]).sum())
        counted = int((kinds[both] != SCORED).any(axis=1).sum())
        diff = settled(values[:, 0] - values[:, 1], self.largest)
        whole = not (only_a or only_b or counted)
        return Shared(diff, only_a, only_b, counted, whole), values

    def common(self, methods: Sequence[str]) -> NDArray[np.float64]:
        """Return the scores of several methods where all of them have the cell; NaN elsewhere."""
        chosen = [self.methods.index(method) for method in methods]
        kinds = self.kinds_CM[:, chosen]
        values = self._counted(chosen)
        values[(kinds == EMPTY).any(axis=1) | (kinds == ABSENT).all(axis=1)] = np.nan
        return values

    def _counted(self, chosen: Sequence[int]) -> NDArray[np.float64]:
        kinds = self.kinds_CM[:, chosen]
        values = self.values_CM[:, chosen].copy()
        values[kinds == FAILED] = self.worst
        values[kinds == ABSENT] = self.best
        return values

    def lacking(self, method: str, others: Sequence[str]) -> NDArray[np.bool_]:
        """Return the cells that a method leaves empty and one of the others does not.

        Where all that others have is 0, which is how a table that does not explain its empty cells
        shows an organ that is absent, a cell is no gap: it may be a correct absence.
        """
        chosen = [self.methods.index(other) for other in others]
        known = self.kinds_CM[:, chosen] != EMPTY
        if not self.explained and self.best > self.worst:
            known &= self.values_CM[:, chosen] != 0
        empty = self.kinds_CM[:, self.methods.index(method)] == EMPTY
        gap: NDArray[np.bool_] = empty & known.any(axis=1)
        return gap

    def means(self, values: NDArray[np.float64], *levels: Sequence[str]) -> Means:
        """Return means of means: over the cells of the first level, then over those of the next.

        Parameters
        ----------
        values
            One per cell; NaN is left out.
        levels
            Columns of ``KEY``, each level a subset of the one before.
        """
        known = ~np.isnan(values)
        first, numbers = self._codes(tuple(levels[0]))
        means = _grouped(values[known], numbers[known], len(first))
        for level in levels[1:]:
            outer, at = self._codes(tuple(level))
            code = np.empty(len(first), np.intp)
            code[numbers] = at
            known_means = ~np.isnan(means)
            means = _grouped(means[known_means], code[known_means], len(outer))
            first, numbers = outer, at
        return Means(self, first, means)

    def _codes(self, level: tuple[str, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return where each group of a level is first, and the group of each cell."""
        if level not in self._levels:
            numbers, first = _numbered([self.codes[name] for name in level])
            self._levels[level] = first, numbers
        return self._levels[level]

    @cached_property
    def _levels(self) -> dict[tuple[str, ...], tuple[NDArray[np.intp], NDArray[np.intp]]]:
        return {}


def _numbered(codes: Sequence[NDArray[np.intp]]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the number of each row of codes, in their order, and where each is first."""
    import pandas as pd

    numbers = codes[0]
    for code in codes[1:]:
        size = int(code.max(initial=0)) + 1
        numbers, _ = pd.factorize(numbers * size + code, sort=True)
    first = np.flatnonzero(~pd.Series(numbers).duplicated().to_numpy())
    return numbers, first[np.argsort(numbers[first])]


class Means(NamedTuple):
    """Means of groups of cells.

    Attributes
    ----------
    cells
        The cells.
    first
        The first of each group.
    values
        One for each group, NaN for none.
    """

    cells: Cells
    first: NDArray[np.intp]
    values: NDArray[np.float64]

    def names(self, columns: Sequence[str]) -> pd.DataFrame:
        """Return what names the groups."""
        return self.cells.index[list(columns)].iloc[self.first]

    def codes(self, column: str) -> NDArray[np.intp]:
        """Return the number of each group's value of a column, in the order of values."""
        return self.cells.codes[column][self.first]


def _grouped(
    values: NDArray[np.float64], numbers: NDArray[np.intp], size: int
) -> NDArray[np.float64]:
    counts = np.bincount(numbers, minlength=size)
    sums = np.bincount(numbers, values, minlength=size)
    means: NDArray[np.float64] = np.full(size, np.nan)
    return np.divide(sums, counts, out=means, where=counts > 0)


def _best(score: NDArray[np.float64], declared: float, *, high: bool) -> float:
    """Return the best possible score: as declared, else that of the scale the scores are on."""
    if not np.isnan(declared):
        return float(declared)
    if not high:
        return 0.0
    most = float(score.max())
    return next((bound for bound in (1.0, 100.0) if most <= bound), most)
