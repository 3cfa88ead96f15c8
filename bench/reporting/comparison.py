"""All paired comparisons within one column of a table, and the marks that follow.

A column is one data set, profile and network at one label fraction, either averaged over organs or
for one organ or domain. Its comparisons are one family for Holm's correction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from bench.evaluation.metrics import MetricName
from bench.reporting.scores import of_results
from bench.reporting.style import MethodStyles
from bench.reporting.text import counted
from bench.results.tables import GROUP
from bench.stats.intervals import Interval, bca, two_level
from bench.stats.mixed import Contrast, MixedModel, mixed_model
from bench.stats.multiple import holm
from bench.stats.paired import NAN, Effect, Tested, corrected_t, effect, paired_t, wilcoxon
from bench.stats.stability import Stability, bootstrap_ranks

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from bench.reporting.style import Mark

ALPHA = 0.05
MOST_PAIRS = 300
"""Pairs of a column that are compared thoroughly: those of 25 methods. Each takes bootstraps, and
Holm's correction for more leaves little to find."""
Rule = Literal["holm", "paper", "mean"]
"""The criterion for a better method: the primary test after Holm's correction; the paired t-test
over folds without correction, as in the paper; the mean alone."""
Unit = Literal["fold", "patient"]


class Comparison(NamedTuple):
    """Method a against method b; differences are a - b in the unit of the values.

    Attributes
    ----------
    a, b
        The methods.
    primary
        Corrected resampled t over folds; signed ranks over patients where folds are unknown.
    p_holm
        Its p value after Holm's correction in the family.
    plain
        Paired t over folds, as the paper did; NaN where folds are unknown.
    ranks, patient_t
        Signed ranks and paired t over patients, conditional on the trained models.
    effect
        Effect sizes over patients.
    by_patients, by_folds
        BCa interval over patients; interval over folds and the patients in them.
    mixed, mixed_note
        Contrast of the mixed model, and a note on the fit; empty if it converged.
    """

    a: str
    b: str
    primary: Tested
    p_holm: float
    plain: Tested
    ranks: Tested
    patient_t: Tested
    effect: Effect
    by_patients: Interval
    by_folds: Interval
    mixed: Contrast
    mixed_note: str

    @property
    def significant(self) -> bool:
        """Whether the primary test finds a difference after correction."""
        return self.p_holm < ALPHA


@dataclass(frozen=True, eq=False)
class ComparisonColumn:
    """The scores of all methods in one column.

    Attributes
    ----------
    rows
        Scores (``bench.reporting.scores``) of one task and label fraction, and of one organ if
        named.
    organ
        The organ, or None for the mean over organs.
    styles
        Names and colours of the methods, and which of them are upper bounds.
    domain
        The domain whose patients alone are in it, or None for all.
    """

    rows: pd.DataFrame
    organ: str | None
    styles: MethodStyles
    domain: str | None = None

    @property
    def task(self) -> str:
        """Data set, profile and network, or the task of a CSV."""
        return str(self.rows["task"].iloc[0])

    @property
    def label_pct(self) -> int:
        """Label fraction in percent; 0 if there is none."""
        return int(self.rows["label_pct"].iloc[0])

    @property
    def label(self) -> str:
        """Label fraction, organ and domain, where known."""
        pct = f"{self.label_pct} %" if self.label_pct else ""
        return ", ".join(part for part in (pct, self.organ, self.domain) if part)

    @property
    def measure(self) -> str:
        """Name of the measure."""
        return str(self.rows["metric"].iloc[0])

    @property
    def measure_unit(self) -> str:
        """Its unit; empty if unknown."""
        return str(self.rows["unit"].iloc[0])

    @cached_property
    def digits(self) -> int:
        """Decimals to print: 1, or 3 for values that are fractions."""
        return 3 if self.rows["value"].abs().max() <= 1 else 1

    @property
    def higher_is_better(self) -> bool:
        """Whether larger values are better."""
        return bool(self.rows["higher_is_better"].iloc[0])

    @property
    def unit(self) -> Unit:
        """The independent units of the primary test: folds, or patients if folds are unknown."""
        return "fold" if self.test_to_train else "patient"

    @property
    def test_to_train(self) -> float:
        """Test patients over training patients of a fold; 0 if folds are unknown."""
        return float(self.rows["test_to_train"].iloc[0])

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Methods in the order of every table."""
        return tuple(self.styles.sort(self.rows["method"]))

    @cached_property
    def organs(self) -> tuple[str, ...]:
        """Organs, sorted."""
        return tuple(sorted(self.rows["organ"].unique()))

    @cached_property
    def fold_values(self) -> pd.DataFrame:
        """Fold values: (seed, fold) x method, NaN where missing."""
        runs = ["method", "seed", "fold"]
        organs = self.rows.groupby([*runs, "organ"])["value"].mean()
        values = organs.groupby(runs).mean().unstack("method")
        return values.reindex(columns=list(self.methods))

    @cached_property
    def means(self) -> pd.Series:
        """Mean over fold values, per method, as boards print it."""
        return self.fold_values.mean()

    @cached_property
    def complete(self) -> tuple[str, ...]:
        """Methods with a value in every run and a row for every patient that any method has."""
        whole = self.fold_values.notna().all()
        rows = self.rows.groupby("method").size()
        return tuple(m for m in self.methods if whole[m] and rows[m] == len(self._wide))

    @property
    def competitors(self) -> tuple[str, ...]:
        """The compared methods: all but the upper bounds."""
        return tuple(method for method in self.methods if not self.styles.is_upper_bound(method))

    @cached_property
    def _wide(self) -> pd.DataFrame:
        """(patient, seed, fold, organ) x method."""
        key = ["patient", "seed", "fold", "organ"]
        return self.rows.set_index([*key, "method"])["value"].unstack("method").sort_index()

    @cached_property
    def _patients(self) -> tuple[NDArray[Any], NDArray[np.intp], NDArray[Any]]:
        """Names of the patients, the patient of every wide row, the fold of every patient.

        With several seeds a patient is in different folds; the fold of the first seed is used.
        """
        index = self._wide.index
        names, first, codes = np.unique(
            index.get_level_values("patient"), return_index=True, return_inverse=True
        )
        return names, codes, index.get_level_values("fold").to_numpy()[first]

    def patient_values(self) -> pd.DataFrame:
        """Return the mean over a patient's organs and seeds: patient x method."""
        return self._wide.groupby(level="patient").mean().reindex(columns=list(self.methods))

    def patient_differences(self, a: str, b: str) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """Return a - b per patient (mean over the organs that both have), and their folds."""
        names, codes, folds = self._patients
        diff = (self._wide[a] - self._wide[b]).to_numpy()
        known = ~np.isnan(diff)
        counts = np.bincount(codes[known], minlength=names.size)
        sums = np.bincount(codes[known], diff[known], minlength=names.size)
        seen = counts > 0
        return sums[seen] / counts[seen], folds[seen]

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """All pairs of competitors, the later in the order of methods first."""
        return tuple((b, a) for a, b in combinations(self.competitors, 2))

    def pairs_with(self, reference: str) -> tuple[tuple[str, str], ...]:
        """Return the pairs of every other competitor with ``reference``."""
        return tuple((a, reference) for a in self.competitors if a != reference)

    def stability(self) -> Stability:
        """Return the stability of the competitors' ranking under resampling of patients."""
        values = self.patient_values()[list(self.competitors)].to_numpy()
        return bootstrap_ranks(values if self.higher_is_better else -values)


@dataclass(frozen=True, eq=False)
class Compared:
    """A column and its family of comparisons."""

    column: ComparisonColumn
    comparisons: list[Comparison]


def columns(
    scores: pd.DataFrame, styles: MethodStyles, *, per_organ: bool = False
) -> Iterator[ComparisonColumn]:
    """Yield the columns of a scores table: per task, label fractions from the largest down.

    With ``per_organ``, one per organ, and none for tasks of a single organ.
    """
    for _, rows in scores.groupby("task"):
        for pct in sorted(rows["label_pct"].unique(), reverse=True):
            own = rows[rows["label_pct"] == pct]
            if not per_organ:
                yield ComparisonColumn(own, None, styles)
            elif own["organ"].nunique() > 1:
                for organ in sorted(own["organ"].unique()):
                    yield ComparisonColumn(own[own["organ"] == organ], organ, styles)


def domain_columns(
    results: pd.DataFrame, metric: MetricName, styles: MethodStyles
) -> Iterator[ComparisonColumn]:
    """Yield the columns of each domain's patients in a results table, averaged over organs.

    None for data sets whose test cases are of one domain.
    """
    for _, rows in results.groupby(GROUP):
        if rows["domain"].nunique() > 1:
            for domain, own in rows.groupby("domain"):
                for column in columns(of_results(own, metric), styles):
                    yield replace(column, domain=str(domain))


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
        Add bootstrap intervals and the mixed model, which take most of the time; else NaN.
    """
    primaries = [_primary(column, a, b) for a, b in pairs]
    corrected = holm([primary.p for primary in primaries])
    mixed = MixedModel(dict.fromkeys(pairs, Contrast(NAN, NAN, NAN, NAN)), 0, "")
    if thorough and pairs:
        mixed = mixed_model(_mixed_rows(column), pairs)
    found = []
    for (a, b), primary, p_holm in zip(pairs, primaries, corrected, strict=True):
        diff, fold = column.patient_differences(a, b)
        zero = np.zeros_like(diff)
        skipped = Interval(NAN, NAN)
        found.append(
            Comparison(
                a,
                b,
                primary,
                float(p_holm),
                _plain(column, a, b),
                wilcoxon(diff, zero),
                paired_t(diff, zero),
                effect(diff, zero),
                bca(diff) if thorough else skipped,
                two_level(diff, fold) if thorough and column.unit == "fold" else skipped,
                mixed.contrasts[a, b],
                mixed.note,
            )
        )
    return found


def marks(
    column: ComparisonColumn, rule: Rule = "holm", digits: int | None = None
) -> dict[str, Mark]:
    """Return the mark of every competitor by the bold rule (specification: Statistics).

    Methods that lack a run or a patient are left out. The best by the printed mean is `best` if it
    beats every other, else `best_tied`; those that it does not beat are `tied`. Where no test is
    possible, only the best is marked.

    Parameters
    ----------
    column
        The scores.
    rule
        The criterion, applied to all pairs of competitors.
    digits
        Printed decimals; by default those of the column.
    """
    sign = 1 if column.higher_is_better else -1
    digits = column.digits if digits is None else digits
    means = {
        method: sign * round(float(column.means[method]), digits)
        for method in column.competitors
        if method in column.complete
    }
    found: dict[str, Mark] = dict.fromkeys(column.competitors, "")
    if len(means) < 2:
        return found
    top = max(means.values())
    best = [method for method, mean in means.items() if mean == top]
    if rule == "mean":
        return found | dict.fromkeys(best, "best")
    test = _plain if rule == "paper" else _primary
    p = [test(column, a, b).p for a, b in column.pairs]
    corrected = p if rule == "paper" else holm(p)
    p_values = dict(zip(map(frozenset, column.pairs), corrected, strict=True))
    tied = [
        method
        for method in means
        if not any(
            p_values[frozenset((method, other))] < ALPHA for other in best if other != method
        )
    ]
    if not np.isnan(list(p_values.values())).all():
        found |= dict.fromkeys(tied, "tied")
    return found | dict.fromkeys(best, "best" if tied == best and len(best) == 1 else "best_tied")


def gaps(column: ComparisonColumn) -> list[str]:
    """Name the runs and patients that competitors lack in a column, one phrase per method."""
    found = []
    values = column.fold_values
    patients = column.patient_values()
    for method in column.competitors:
        runs = [f"fold {fold}" for _, fold in values.index[values[method].isna()]]
        lacking = [str(name) for name in patients.index[patients[method].isna()]]
        if column.unit == "fold" and runs:
            found.append(f"{column.styles.name(method)} {', '.join(dict.fromkeys(runs))}")
        elif lacking:
            some = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
            noun = "patient" if column.unit == "fold" else "case"
            found.append(f"{column.styles.name(method)} {counted(len(lacking), noun)} ({some})")
    return found


def _primary(column: ComparisonColumn, a: str, b: str) -> Tested:
    """Return the corrected t over folds; Wilcoxon over patients where folds are unknown."""
    if column.unit == "fold":
        folds = column.fold_values
        return corrected_t(folds[a], folds[b], column.test_to_train)
    diff, _ = column.patient_differences(a, b)
    zero = np.zeros_like(diff)
    ranks, interval = wilcoxon(diff, zero), paired_t(diff, zero)
    return interval._replace(statistic=ranks.statistic, p=ranks.p, note=ranks.note or interval.note)


def _plain(column: ComparisonColumn, a: str, b: str) -> Tested:
    """Return the paired t over folds, as in the paper."""
    if column.unit == "fold":
        return paired_t(column.fold_values[a], column.fold_values[b])
    return Tested(0, NAN, NAN, NAN, NAN, NAN, "folds unknown")


def _mixed_rows(column: ComparisonColumn) -> pd.DataFrame:
    """Return the rows of the competitors; several seeds of a patient and organ are averaged."""
    rows = column.rows[column.rows["method"].isin(column.competitors)]
    return rows.groupby(["method", "organ", "patient"], as_index=False).agg(
        value=("value", "mean"), fold=("fold", "first")
    )
