"""A column of a table: one data set, profile and network at one label fraction.

It is averaged over organs, or of one organ or domain. What is compared is decided here: the cells
that two methods share, averaged over a patient's scans, over patients, over organs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from bench.errors import BenchError, unknown_name
from bench.evaluation.metrics import MetricName
from bench.reporting.cells import Cells, Means, Shared
from bench.reporting.scores import of_results
from bench.reporting.style import MethodStyles
from bench.results.tables import grouped
from bench.stats.multiple import holm
from bench.stats.noise import Noise, noise
from bench.stats.paired import Tested, corrected_t, crossed_t, paired_t, settled
from bench.stats.ranks import SignedRanks, signed_ranks
from bench.stats.stability import Stability, bootstrap_ranks

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

Unit = Literal["fold", "patient"]
Decides = Literal["mean", "ranks"]
TO_RUNS = (["seed", "fold", "organ", "patient"], ["seed", "fold", "organ"], ["seed", "fold"])
"""Means over a patient's scans, over patients, over organs: one for each run."""
TO_PATIENTS = (["seed", "organ", "patient"], ["seed", "patient"])
"""Means over a patient's scans, over organs: one for each seed and patient."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two methods a and b on what both have; differences are a - b.

    Attributes
    ----------
    cells
        The cells of the column.
    shared
        The two methods on the cells that both have.
    values
        Fold values of a and b, or values of patients where folds are unknown, a row for each run
        or patient that both have; shape (runs, 2).
    unit
        What the test goes over. That over patients leaves out those that lack a seed.
    """

    cells: Cells
    shared: Shared
    values: NDArray[np.float64]
    unit: Unit

    @property
    def means(self) -> tuple[float, float]:
        """Mean of a and of b: over runs, or over patients where folds are unknown."""
        if not len(self.values):
            return float("nan"), float("nan")
        a, b = self.values.mean(axis=0)
        return float(a), float(b)

    @cached_property
    def by_run(self) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """Difference of each patient in each run, number of the fold and the seed; (values,)."""
        own = ["seed", "fold", "organ", "patient"]
        runs = self.cells.means(self.shared.diff, own, ["seed", "fold", "patient"])
        known = ~np.isnan(runs.values)
        fold, seed = (runs.codes(name)[known] for name in ("fold", "seed"))
        return settled(runs.values[known], self.cells.largest), fold, seed

    @cached_property
    def by_seed(self) -> NDArray[np.float64]:
        """Difference of each patient and seed, NaN where it lacks one; shape (patients, seeds).

        Without the patients and the seeds that one of the two methods lacks altogether.
        """
        seeds = self.cells.means(self.shared.diff, *TO_PATIENTS)
        patient, seed = seeds.codes("patient"), seeds.codes("seed")
        wide = np.full((patient.max(initial=-1) + 1, seed.max(initial=-1) + 1), np.nan)
        wide[patient, seed] = settled(seeds.values, self.cells.largest)
        known = ~np.isnan(wide)
        some: NDArray[np.float64] = wide[np.ix_(known.any(axis=1), known.any(axis=0))]
        return some

    @cached_property
    def patients(self) -> NDArray[np.float64]:
        """Difference of each patient, averaged over organs and seeds; shape (patients,).

        Of those that the test is over, if there are any.
        """
        diff = self.by_seed
        whole = ~np.isnan(diff).any(axis=1)
        if self.unit == "patient" and whole.any():
            diff = diff[whole]
        if not len(diff):
            return np.empty(0)
        return settled(np.nanmean(diff, axis=1), self.cells.largest)


class Terms(NamedTuple):
    """How the methods of a column are compared.

    Attributes
    ----------
    failure
        What a failure without a score counts as; None for the worst score measured.
    decides
        ``mean``: the test of the mean difference; ``ranks``: signed ranks over patients, with the
        Hodges-Lehmann estimate and its interval.
    """

    failure: float | None = None
    decides: Decides = "mean"


USUAL = Terms()


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
    terms
        How methods are compared.
    """

    rows: pd.DataFrame
    organ: str | None
    styles: MethodStyles
    domain: str | None = None
    terms: Terms = USUAL

    @cached_property
    def task(self) -> str:
        """Data set, profile and network, or the task of a CSV."""
        return str(self.rows["task"].iloc[0])

    @cached_property
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

    @property
    def difference_unit(self) -> str:
        """Unit of a difference: points of percentages, and of larger numbers without a unit.

        Those of which lower ones are better are distances or errors, and have none.
        """
        points = not self.measure_unit and self.higher_is_better and self.digits < 3
        return "points" if points or self.measure_unit == "%" else self.measure_unit

    @cached_property
    def digits(self) -> int:
        """Decimals to print: 1, or 3 for values that are fractions."""
        fractions = self.measure_unit != "%" and self.rows["value"].abs().max() <= 1
        return 3 if fractions else 1

    @cached_property
    def higher_is_better(self) -> bool:
        """Whether larger values are better."""
        return bool(self.rows["higher_is_better"].iloc[0])

    @cached_property
    def unit(self) -> Unit:
        """The independent units of the primary test: folds, or patients if folds are unknown."""
        return "fold" if self.test_to_train else "patient"

    @cached_property
    def test_to_train(self) -> float:
        """Test patients over training patients of a fold; 0 if folds are unknown."""
        return float(self.rows["test_to_train"].iloc[0])

    @cached_property
    def run_noun(self) -> str:
        """What one run is called: a fold, if there is one seed."""
        return "fold" if self.rows["seed"].nunique() == 1 else "run"

    @cached_property
    def patient_noun(self) -> str:
        """What one patient is called: a case where the table does not know patients."""
        if self.unit == "fold":
            return "patient"
        patient, case = (self.rows[name].astype(str) for name in ("patient", "case"))
        return "patient" if (patient != case).any() else "case"

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Methods in the order of every table."""
        return tuple(self.styles.sort(self.rows["method"].unique()))

    @cached_property
    def organs(self) -> tuple[str, ...]:
        """Organs, sorted."""
        return tuple(sorted(self.rows["organ"].unique()))

    @cached_property
    def cells(self) -> Cells:
        """The scores by cell and method."""
        return Cells.of(self.rows, self.methods, self.terms.failure)

    @cached_property
    def competitors(self) -> tuple[str, ...]:
        """The compared methods: all but the upper bounds."""
        return tuple(method for method in self.methods if not self.styles.is_upper_bound(method))

    @cached_property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """All pairs of competitors, the later in the order of methods first."""
        return tuple((b, a) for a, b in combinations(self.competitors, 2))

    def pairs_with(self, reference: str) -> tuple[tuple[str, str], ...]:
        """Return the pairs of every other competitor with ``reference``."""
        return tuple((a, reference) for a in self.competitors if a != reference)

    @cached_property
    def fold_values(self) -> pd.DataFrame:
        """Fold values of each method over its own cells: (seed, fold) x method, NaN for none."""
        return self._frame(["seed", "fold"])

    @cached_property
    def values(self) -> pd.DataFrame:
        """Values of each method over its own cells: of folds, or patients if folds are unknown."""
        return self.fold_values if self.unit == "fold" else self._frame(["patient"])

    @cached_property
    def means(self) -> pd.Series:
        """Mean of each method over its own cells, as boards print it."""
        import pandas as pd

        return pd.Series([_mean(own.values) for own in self._own], list(self.methods))

    def _frame(self, index: list[str]) -> pd.DataFrame:
        import pandas as pd

        groups = pd.MultiIndex.from_frame(self._own[0].names(index))
        values = np.stack([own.values for own in self._own])
        return pd.DataFrame(values.T, groups, list(self.methods))

    def _averaged(self, values: NDArray[np.float64]) -> Means:
        """Return one mean for each run, or each patient where folds are unknown."""
        if self.unit == "fold":
            return self.cells.means(values, *TO_RUNS)
        return self._by_patient(values)

    def _by_patient(self, values: NDArray[np.float64]) -> Means:
        """Return one mean for each patient: over its scans, then organs, then seeds."""
        return self.cells.means(values, *TO_PATIENTS, ["patient"])

    def pair(self, a: str, b: str) -> Pair:
        """Return two methods on what both have."""
        shared, scores = self.cells.shared(a, b)
        if shared.whole:
            own = [self._own[self.methods.index(method)].values for method in (a, b)]
        else:
            own = [self._averaged(one).values for one in scores.T]
        values = np.stack(own, axis=1)
        return Pair(self.cells, shared, values[~np.isnan(values).any(axis=1)], self.unit)

    @cached_property
    def _own(self) -> list[Means]:
        """The averages of each method over its own cells."""
        return [self._averaged(values) for values in self.cells.values_CM.T]

    def _settled(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return settled(values, self.cells.largest)

    @cached_property
    def _tests(self) -> dict[tuple[str, str], tuple[Pair, Tested | SignedRanks]]:
        return {}

    def test(self, a: str, b: str) -> tuple[Pair, Tested | SignedRanks]:
        """Return a pair and the test that decides about it.

        The corrected resampled t over folds; over patients, and seeds where there are several, if
        folds are unknown. By its terms it is signed ranks over patients instead.

        Raises
        ------
        BenchError
            Signed ranks are to decide, and patients share models of folds, or there are several.
        """
        found: Tested | SignedRanks
        if (a, b) not in self._tests:
            pair = self.pair(a, b)
            if self.terms.decides == "ranks":
                found = self._by_ranks(pair)
            elif self.unit == "fold":
                found = corrected_t(pair.values[:, 0], pair.values[:, 1], self.test_to_train)
            else:
                found = crossed_t(pair.by_seed)
            self._tests[a, b] = pair, found
        return self._tests[a, b]

    def _by_ranks(self, pair: Pair) -> SignedRanks:
        """Return signed ranks, without a p value where there is no interval to go with it."""
        why = ""
        if self.unit == "fold":
            why = "patients of a fold share a trained model, and folds share training patients"
        elif pair.by_seed.shape[1] > 1:
            why = "patients share the trained models of several seeds"
        if why:
            raise BenchError(
                f"{self.task}: signed ranks take patients as independent, but {why}, so that they "
                "would find too much: let the mean difference decide (decides=mean)"
            )
        found = signed_ranks(pair.patients)
        return found._replace(p=float("nan")) if np.isnan(found.low) else found

    def plain_t(self, a: str, b: str) -> Tested:
        """Return the paired t over folds, as in the paper; it finds too many differences."""
        pair, _ = self.test(a, b)
        if self.unit == "fold":
            return paired_t(pair.values[:, 0], pair.values[:, 1])
        return Tested(0, np.nan, np.nan, np.nan, np.nan, np.nan, "folds unknown")

    @cached_property
    def p_values(self) -> dict[frozenset[str], float]:
        """Corrected p values of all pairs of competitors."""
        corrected = holm([self.test(a, b)[1].p for a, b in self.pairs])
        return dict(zip(map(frozenset, self.pairs), map(float, corrected), strict=True))

    @cached_property
    def incomplete(self) -> dict[str, NDArray[np.bool_]]:
        """Return the cells that a competitor lacks and another has, of those that lack some."""
        others = self.competitors
        found = {method: self.cells.lacking(method, others) for method in others}
        return {method: cells for method, cells in found.items() if cells.any()}

    @cached_property
    def common(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Means of the competitors over the cells that all of them have.

        Patient x method, seeds and organs averaged; and one mean for each method, as a board
        averages. Both without rows or NaN where no cell is common.
        """
        values_CM = self.cells.common(self.competitors)
        wide = np.stack([self._by_patient(values).values for values in values_CM.T], axis=1)
        means = np.array([_mean(self._averaged(values).values) for values in values_CM.T])
        return self._settled(wide[~np.isnan(wide).any(axis=1)]), self._settled(means)

    @cached_property
    def noise(self) -> Noise:
        """The noise floor of the means of the competitors over seeds.

        Of those that have every cell, as others would differ by what they lack.
        """
        whole = [method for method in self.competitors if method not in self.incomplete]
        seeds = [self._by_seed(self.cells.common([method])[:, 0]) for method in whole]
        values = np.stack(seeds) if seeds else np.empty((0, 0))
        return noise(self._settled(values[:, ~np.isnan(values).any(axis=0)]))

    def _by_seed(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return one mean for each seed, averaged as the board averages."""
        levels = TO_RUNS if self.unit == "fold" else TO_PATIENTS
        return self.cells.means(values, *levels, ["seed"]).values

    def stability(self) -> Stability | None:
        """Return the stability of the competitors' ranking on the cells that all of them have.

        None where these are of fewer than two patients.
        """
        values, _ = self.common
        if len(values) < 2:
            return None
        return bootstrap_ranks(values if self.higher_is_better else -values)


def columns(
    scores: pd.DataFrame, styles: MethodStyles, *, per_organ: bool = False
) -> Iterator[ComparisonColumn]:
    """Yield the columns of a scores table: per task, label fractions from the largest down.

    With ``per_organ``, one per organ, and none for tasks of a single organ.
    """
    for rows in grouped(scores, ["task"]):
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
    for rows in grouped(results):
        if rows["domain"].nunique() > 1:
            for domain, own in rows.groupby("domain"):
                for column in columns(of_results(own, metric), styles):
                    yield replace(column, domain=str(domain))


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def refuse_unknown(reference: str | None, columns: Sequence[ComparisonColumn]) -> None:
    """Raise if no column holds the method to compare with, and others are there."""
    known = {name for column in columns for name in column.competitors}
    if reference is not None and reference not in known and len(known) > 1:
        raise unknown_name("reference", reference, known)
