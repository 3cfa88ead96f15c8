"""All paired comparisons within one column of a table: one family for Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.reporting.column import ComparisonColumn, Pair
from bench.stats.mixed import mixed_model
from bench.stats.multiple import ALPHA, holm, holm_levels
from bench.stats.paired import NAN, Effect, Tested, effect
from bench.stats.power import DETECTED, detectable
from bench.stats.ranks import SignedRanks, ranks_over_folds, signed_ranks

MOST_PAIRS = 300
"""Pairs of a column that are compared thoroughly: those of 25 methods. Holm's correction for more
leaves little to find."""


class Comparison(NamedTuple):
    """Method a against method b; differences are a - b in the unit of the values.

    Attributes
    ----------
    a, b
        The methods.
    primary
        The test that decides, of the mean difference on what both have: corrected resampled t over
        folds; over patients, and seeds where there are several, if folds are unknown. Or signed
        ranks over patients, by the terms of the column.
    p_holm
        Its p value after Holm's correction in the family.
    level
        The level at which that correction judges this comparison.
    interval
        The interval of the primary test at this level: without 0 exactly if significant.
    ranks
        Signed ranks: of patients, averaged over folds and tested over these; or of patients.
    shift
        Their Hodges-Lehmann estimate and interval; None over folds.
    mixed
        The mixed model of all runs and patients, over folds only.
    effect
        Effect sizes over patients.
    patients
        Patients that both have.
    only_a, only_b, counted
        As in :class:`bench.reporting.cells.Shared`.
    """

    a: str
    b: str
    primary: Tested | SignedRanks
    p_holm: float
    level: float
    interval: tuple[float, float]
    ranks: Tested | SignedRanks
    shift: SignedRanks | None
    mixed: Tested
    effect: Effect
    patients: int
    only_a: int
    only_b: int
    counted: int

    @property
    def significant(self) -> bool:
        """Whether the primary test finds a difference after correction."""
        return self.p_holm < ALPHA


@dataclass(frozen=True, eq=False)
class Compared:
    """A column and its family of comparisons."""

    column: ComparisonColumn
    comparisons: list[Comparison]

    @property
    def detectable(self) -> float:
        """The true difference that is found in four of five cases; the median of the family."""
        found = [one.primary for one in self.comparisons]
        tested = [one for one in found if isinstance(one, Tested) and one.error > 0]
        if not tested:
            return NAN
        alpha = ALPHA / len(self.comparisons)
        return float(np.median([detectable(one, alpha, DETECTED) for one in tested]))


def compare(
    column: ComparisonColumn, pairs: Sequence[tuple[str, str]], *, thorough: bool = True
) -> list[Comparison]:
    """Compare pairs of methods as one family.

    Parameters
    ----------
    column
        The scores.
    pairs
        Methods (a, b).
    thorough
        Add the mixed model and the estimate of signed ranks, which take most of the time.
    """
    found = [column.test(a, b) for a, b in pairs]
    raw = [primary.p for _, primary in found]
    return [
        _comparison(column, a, b, pair, primary, float(p_holm), float(level), thorough=thorough)
        for (a, b), (pair, primary), p_holm, level in zip(
            pairs, found, holm(raw), holm_levels(raw), strict=True
        )
    ]


def _comparison(
    column: ComparisonColumn,
    a: str,
    b: str,
    pair: Pair,
    primary: Tested | SignedRanks,
    p_holm: float,
    level: float,
    *,
    thorough: bool,
) -> Comparison:
    ratio = column.test_to_train
    skipped = Tested(0, NAN, NAN, NAN, NAN, NAN)
    mixed, shift = skipped, None
    ranks: Tested | SignedRanks
    if column.unit == "fold":
        diff, fold, seed = pair.by_run
        ranks = ranks_over_folds(diff, fold + seed * (fold.max(initial=0) + 1), ratio)
        mixed = mixed_model(diff, fold, seed, ratio) if thorough else skipped
    else:
        ranks = signed_ranks(pair.patients, interval=thorough)
        shift = ranks
    return Comparison(
        a,
        b,
        primary,
        p_holm,
        level,
        _interval(pair, primary, level),
        ranks,
        shift,
        mixed,
        effect(
            pair.patients,
            np.zeros_like(pair.patients),
            higher_is_better=column.higher_is_better,
        ),
        len(pair.patients),
        pair.shared.only_a,
        pair.shared.only_b,
        pair.shared.counted,
    )


def _interval(pair: Pair, primary: Tested | SignedRanks, level: float) -> tuple[float, float]:
    if np.isnan(level):
        return NAN, NAN
    if isinstance(primary, Tested):
        return primary.interval(1 - level)
    found = signed_ranks(pair.patients, level=1 - level)
    return found.low, found.high
