"""Significance: paired differences of methods, with intervals, p values and effect sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field
from typing_extensions import override

from bench.errors import BenchError
from bench.evaluation.metrics import MetricName
from bench.reporting import board, missing
from bench.reporting.board import Board
from bench.reporting.column import ComparisonColumn, Decides, Terms, domain_columns, refuse_unknown
from bench.reporting.comparison import MOST_PAIRS, Compared, Comparison, compare
from bench.reporting.marks import ranked
from bench.reporting.missing import gaps, substitutes
from bench.reporting.report import Document, Later, ScoresReport
from bench.reporting.sentences import digits_of, sentences
from bench.reporting.text import NONE, interval, number, p_equation, p_value, signed
from bench.results.files import Tables
from bench.stats.paired import NAN, Tested
from bench.stats.stability import friedman

from ._figures import standings

HEADING = "Which differences are real"
MOST_PRINTED = 30
"""Comparisons of a table that the terminal shows; of more, those with the first method."""
BRIEF = "Shown are {} of {} comparisons, those with the first method; the files have all."
LIMITS_OF_FOLDS = (
    "Two methods are compared on the (case, organ) pairs that both have. The test that decides is "
    "the corrected resampled t over folds (Nadeau & Bengio 2003), two-sided, of the mean "
    "difference: training sets of folds overlap, and the correction allows for that, "
    "conservatively. Holm p: corrected for all comparisons in the same column, one family.",
)
SHARED = (
    "All methods of a column share their initial weights, batches and hidden labels, so one seed "
    "is one sample of training."
)
"""Of methods that the suite trained."""
LIMITS_OF_PATIENTS = (
    "Two methods are compared on the (case, organ) pairs that both have. Folds are unknown: the "
    "test that decides is the paired t over patients (cases, if patients are unknown), two-sided, "
    "of the mean difference; with several seeds, over patients and seeds. It takes the trained "
    "models as they are: training again may decide otherwise. Holm p: corrected for all "
    "comparisons of the same task.",
)
MIXED = "Test patients are of several domains and averaged together; see the table by domain."
LIMITS_OF_RANKS = (
    "Two methods are compared on the (case, organ) pairs that both have. The test that decides is "
    "signed ranks over patients (cases, if patients are unknown; Wilcoxon, zeros by Pratt), "
    "two-sided. The difference is the Hodges-Lehmann estimate that belongs to it, the median of "
    "the means of any two differences, and no difference of means. It takes the trained models as "
    "they are: training again may decide otherwise. Holm p: corrected for all comparisons of the "
    "same task.",
)
LEVELS = (
    "Corrected 95 % CI: the interval of the same test at the level at which Holm's correction "
    "judges the comparison, so that it leaves out 0 exactly where Holm p is below 0.05."
)
DESCRIBED_MEAN = "dz (mean over standard deviation)"
DESCRIBED_RANKS = "Rank-biserial (signed ranks; 1 if all patients favour the first method)"
DESCRIBES = (
    "{} and superiority (share of patients the first method is better for, ties one half) are over "
    "patients, and describe. A difference that is not significant is not shown to be absent: read "
    "the interval."
)
OTHERWISE_OVER_FOLDS = (
    "Signed ranks: ranks of the differences of all patients, averaged in each fold and tested over "
    "folds by the corrected resampled t; a failure ranks where its substitute does. Rank-biserial: "
    "1 if all patients favour the first method.",
    "Mixed model: difference ~ 1 with random effects of trained models and of seeds (REML), "
    "variance corrected as above; it weighs folds by what they hold. Neither p is corrected for "
    "several comparisons.",
)
OTHERWISE_OVER_PATIENTS = (
    "Signed ranks (Wilcoxon, zeros by Pratt), with the Hodges-Lehmann estimate and the interval of "
    "the shifts that this test does not reject; not corrected for several comparisons. "
    "Rank-biserial: 1 if all favour the first method.",
)
LEFT_OUT = (
    "Left out: (case, organ) pairs that only the first, or only the second, of the two has. Where "
    "an empty value stands for a failure or a correct absence, say so in a column status "
    "(missed, hallucinated, both_empty), and it takes part."
)
RANKS = (
    "Ranks by the mean over the patients that all methods have, 1 the best; ties share the smaller "
    "rank. Shares: 1000 bootstrap samples of these patients. Tau: mean Kendall correlation of the "
    "ranking with those of the samples, 1 if it never changes.",
)
ACROSS = (
    "Description only: the columns share patients, and hidden labels are nested.",
    "Critical difference (Nemenyi, 5 %): mean ranks closer than this do not differ.",
)


class Significance(ScoresReport):
    """All paired comparisons as Markdown, CSV, LaTeX and HTML."""

    metric: MetricName = "dsc"
    reference: str | None = None
    """Compare every method with this one; all pairs if not given."""
    failure: float | None = Field(default=None, allow_inf_nan=False)
    """What a failure without a score counts as, in the unit of the metric; the worst score measured
    if not given."""
    decides: Decides = "mean"
    """The mean difference, or signed ranks over patients with the Hodges-Lehmann estimate."""

    @override
    def build(self, tables: Tables) -> Document:
        scored = self.scored(tables, self.metric)
        parts: Iterable[ComparisonColumn] = ()
        if self.csv is None:
            parts = domain_columns(tables.results, self.metric, scored.styles)
        overall = list(self._compared(scored.columns))
        if not any(compared.comparisons for compared in overall):
            refuse_unknown(self.reference, scored.columns)
            raise BenchError("nothing to compare: no column of a board holds two methods")
        stem = "significance" if self.metric == "dsc" else f"significance-{self.metric}"
        if by_ranks := self.decides == "ranks":
            stem += "-ranks"
        drawn = {} if by_ranks else standings.comparisons(overall, stem)
        organs = scored.by_organ()
        domains = list(self._compared(parts, thorough=False))

        lacking = self._lacking(scored.columns)

        def noted(found: list[Board]) -> list[Board]:
            """Let the first board name the columns that are left out."""
            if not lacking:
                return found
            return [replace(found[0], notes=(*found[0].notes, lacking)), *found[1:]]

        def files() -> Mapping[str, str | bytes]:
            by_organ = list(self._compared(organs, thorough=False))
            shown = noted(boards(overall, by_organ, domains))
            first = zip(by_task(overall), _first(overall, domains), strict=True)
            return board.files(
                stem,
                shown,
                f"{HEADING}: {overall[0].column.measure}",
                numbers([*overall, *by_organ, *domains]),
                "%.6g",
                {main.title: drawn.get(task, []) for task, main in first},
            )

        brief = self.reference is None and not by_ranks  # who is first is by the means
        return Document(Later(files), noted(_first(overall, domains, brief=brief)))

    def _lacking(self, columns: Iterable[ComparisonColumn]) -> str:
        """Name the columns that do not hold the reference."""
        named = [
            f"{column.task}, {column.label}".removesuffix(", ")
            for column in columns
            if self.reference is not None and self.reference not in column.competitors
        ]
        return f"Left out, without {self.reference}: {'; '.join(named)}." if named else ""

    def _compared(
        self, found: Iterable[ComparisonColumn], *, thorough: bool = True
    ) -> Iterator[Compared]:
        terms = Terms(self.failure, self.decides)
        for column in (replace(one, terms=terms) for one in found):
            pairs: Sequence[tuple[str, str]] = column.pairs
            if self.reference is not None:
                has = self.reference in column.competitors
                pairs = column.pairs_with(self.reference) if has else []
            if thorough and len(pairs) > MOST_PAIRS:
                raise BenchError(
                    f"{column.task}: {len(column.competitors)} methods are {len(pairs)} pairs, "
                    f"at most {MOST_PAIRS} are compared: name the method to compare the others "
                    "with, 'significance[reference=NAME]'"
                )
            if pairs:
                yield Compared(column, compare(column, pairs, thorough=thorough))


def boards(
    overall: Sequence[Compared], organs: Sequence[Compared], domains: Sequence[Compared]
) -> list[Board]:
    """Return the boards of every task, then ranks across all columns.

    Parameters
    ----------
    overall
        The columns averaged over organs.
    organs
        The same organ by organ; empty where there is one.
    domains
        The same domain by domain; empty where test cases are of one.
    """
    found = []
    by_organ, by_domain = by_task(organs), by_task(domains)
    for first, (task, group) in zip(
        _first(overall, domains), by_task(overall).items(), strict=True
    ):
        without = missing.boards([compared.column for compared in group])
        by_ranks = group[0].column.terms.decides == "ranks"
        found += [first, *without, *([] if by_ranks else [_otherwise(group), *_ranks(group)])]
        if task in by_organ:
            found.append(differences(by_organ[task], "paired differences by organ"))
        if task in by_domain:
            found.append(differences(by_domain[task], "paired differences by domain"))
    if overall[0].column.terms.decides == "ranks":  # ranks of methods are by their means
        return found
    across = _across([compared.column for compared in overall])
    return [*found, across] if across else found


def _first(
    overall: Sequence[Compared], domains: Sequence[Compared], *, brief: bool = False
) -> list[Board]:
    """Return the main table of every task."""
    mixed = by_task(domains)
    return [
        differences(group, notes=[MIXED] if task in mixed else [], brief=brief)
        for task, group in by_task(overall).items()
    ]


def differences(
    group: Sequence[Compared],
    what: str = "paired differences",
    notes: Sequence[str] = (),
    *,
    brief: bool = False,
) -> Board:
    """Return a table of a task: differences, intervals, p values; sentences above the main one.

    ``brief`` leaves out the comparisons without the first method of a column where there are more
    than ``MOST_PRINTED``.
    """
    column = group[0].column
    over_folds = column.unit == "fold"
    by_ranks = column.terms.decides == "ranks"
    limits = [*(LIMITS_OF_FOLDS if over_folds else LIMITS_OF_PATIENTS)]
    if over_folds and column.label_pct:
        limits.append(SHARED)
    estimate, shown = "difference", [("dz", "dz")]
    if by_ranks:
        limits = [*LIMITS_OF_RANKS]
        estimate, shown = "Hodges-Lehmann", [("rank-biserial", "rank_biserial")]
    lines, bold = [], []
    total = sum(len(compared.comparisons) for compared in group)
    brief = brief and total > MOST_PRINTED
    for compared in group:
        first = next(iter(ranked(compared.column)))
        for found in compared.comparisons:
            if brief and first not in (found.a, found.b):
                continue
            test, digits = found.primary, digits_of(found, compared.column)
            lines.append(
                {
                    "column": compared.column.label,
                    "comparison": _pair(found, compared.column),
                    estimate: signed(test.diff, digits),
                    "corrected 95 % CI": interval(*found.interval, digits),
                    "p": p_value(test.p),
                    "Holm p": p_value(found.p_holm),
                    f"{column.run_noun}s": str(test.n),
                    f"{column.patient_noun}s": str(found.patients),
                    "left out": f"{found.only_a} + {found.only_b}",
                    **{name: number(getattr(found.effect, field), 2) for name, field in shown},
                    "superiority": number(100 * found.effect.superiority, 0, " %"),
                }
            )
            bold.append(found.significant)
    frame = pd.DataFrame(lines)
    if not over_folds:
        frame = frame.drop(columns=f"{column.run_noun}s")
    left_out = any(one.only_a or one.only_b for each in group for one in each.comparisons)
    if not left_out:
        frame = frame.drop(columns="left out")
    whole, domain = column.organ is None, column.domain
    organs = f", mean over {len(column.organs)} organs" if whole and len(column.organs) > 1 else ""
    unit = f" in {column.measure_unit}" if column.measure_unit else ""
    better = "higher" if column.higher_is_better else "lower"
    lacking = [f"{one.column.label} {gap}".strip() for one in group for gap in gaps(one.column)]
    counting = [phrase for one in group for phrase in substitutes(one.column)] if whole else []
    return _board(
        group,
        what,
        frame,
        [
            *([BRIEF.format(len(lines), total)] if brief else []),
            *notes,
            *([f"Missing: {'; '.join(lacking)}."] if lacking and whole else []),
            *([f"{'; '.join(counting)}."] if counting else []),
            *([LEFT_OUT] if left_out else []),
            f"{column.measure}{unit}{organs}; {better} is better. Bold: Holm p below 0.05.",
            *limits,
            LEVELS,
            DESCRIBES.format(DESCRIBED_RANKS if by_ranks else DESCRIBED_MEAN),
        ],
        bold=bold,
        prose=[text for one in group for text in sentences(one, each=not brief)]
        if whole and not domain
        else [],
    )


def numbers(compared: Sequence[Compared]) -> pd.DataFrame:
    """Return every number of every comparison, one line each."""
    rows: list[dict[str, Any]] = []
    for one in compared:
        for found in one.comparisons:
            test, corrected = found.primary, found.interval
            low, high = test.interval() if isinstance(test, Tested) else (test.low, test.high)
            row: dict[str, Any] = {
                "task": one.column.task,
                "label_pct": one.column.label_pct,
                "organ": one.column.organ or "mean",
                "domain": one.column.domain or "all",
                "a": found.a,
                "b": found.b,
                "unit": one.column.unit,
                **{name: getattr(test, name, NAN) for name in Tested._fields},
                "low": low,
                "high": high,
                "p_holm": found.p_holm,
                "level": found.level,
                "corrected_low": corrected[0],
                "corrected_high": corrected[1],
                "patients": found.patients,
                "only_a": found.only_a,
                "only_b": found.only_b,
                "counted": found.counted,
                "ranks_n": found.ranks.n,
                "ranks_p": found.ranks.p,
                **found.effect._asdict(),
            }
            if found.shift is not None:
                names = ("shift", "low", "high", "note")
                row |= {f"ranks_{name}": getattr(found.shift, name) for name in names}
            else:
                low, high = found.mixed.interval()
                row |= {f"mixed_{name}": getattr(found.mixed, name) for name in ("diff", "p")}
                row |= {"mixed_low": low, "mixed_high": high, "mixed_note": found.mixed.note}
            rows.append(row)
    return pd.DataFrame(rows)


def _pair(comparison: Comparison, column: ComparisonColumn) -> str:
    return f"{column.styles.name(comparison.a)} − {column.styles.name(comparison.b)}"


def _otherwise(group: Sequence[Compared]) -> Board:
    lines = []
    for compared in group:
        digits = compared.column.digits
        for found in compared.comparisons:
            line = {
                "column": compared.column.label,
                "comparison": _pair(found, compared.column),
                "rank-biserial": number(found.effect.rank_biserial, 2),
            }
            if (shift := found.shift) is not None:
                line |= {
                    "signed ranks": signed(shift.shift, digits),
                    "its 95 % CI": interval(shift.low, shift.high, digits),
                    "its p": p_value(shift.p),
                }
            else:
                mixed = found.mixed
                line |= {
                    "signed ranks p": p_value(found.ranks.p),
                    "mixed model": signed(mixed.diff, digits),
                    "its 95 % CI": interval(*mixed.interval(), digits),
                    "its p": p_value(mixed.p),
                }
            lines.append(line)
    over_folds = group[0].column.unit == "fold"
    without = dict.fromkeys(
        f"No mixed model {compared.column.label}: {found.mixed.note}."
        for compared in group
        for found in compared.comparisons
        if over_folds and found.mixed.note not in ("", "identical")
    )
    notes = [*(OTHERWISE_OVER_FOLDS if over_folds else OTHERWISE_OVER_PATIENTS), *without]
    return _board(group, "the same differences, otherwise", pd.DataFrame(lines), notes)


def _ranks(group: Sequence[Compared]) -> Iterator[Board]:
    """Yield the ranks; none where no cell is common to all methods."""
    lines, colours, taus, patients = [], [], [], []
    for compared in group:
        column = compared.column
        values, _ = column.common
        found = column.stability()
        if found is None:
            continue
        patients.append(f"{len(values)} {column.label}".strip())
        taus.append(f"{column.label} {number(found.tau, 2)}".strip())
        for method, place, shares in zip(
            column.competitors, found.ranks, found.shares, strict=True
        ):
            colours.append(column.styles.colour(method))
            shown = {
                f"as {n}": f"{100 * share:.0f} %" for n, share in enumerate(shares, 1) if share
            }
            line = {
                "column": column.label,
                "method": column.styles.name(method),
                "rank": str(place),
            }
            lines.append(line | shown)
    if not lines:
        return
    most = max(len(compared.column.competitors) for compared in group)
    order = ["column", "method", "rank", *(f"as {n}" for n in range(1, most + 1))]
    frame = pd.DataFrame(lines).reindex(columns=order).fillna(NONE)
    noun = f"{group[0].column.patient_noun}s"
    notes = [f"Tau: {'; '.join(taus)}.", f"Common {noun}: {', '.join(patients)}.", *RANKS]
    yield _board(group, "ranks on other patients", frame, notes, colours=colours)


def _across(found: Sequence[ComparisonColumn]) -> Board | None:
    """Return ranks over all columns; None if fewer than two columns share two methods."""
    shared = [m for m in found[0].competitors if all(m in column.competitors for column in found)]
    if len(found) < 2 or len(shared) < 2:
        return None
    values = [
        (1 if column.higher_is_better else -1)
        * column.common[1][[column.competitors.index(method) for method in shared]]
        for column in found
    ]
    ranked = friedman(np.array(values, dtype=np.float64))
    order = np.argsort(ranked.mean_ranks, kind="stable")
    styles = found[0].styles
    frame = pd.DataFrame(
        {
            "method": [styles.name(shared[i]) for i in order],
            "mean rank": [number(float(ranked.mean_ranks[i]), 2) for i in order],
        }
    )
    return Board(
        title="Across all columns",
        frame=frame,
        notes=(
            f"{ranked.blocks} columns that hold all {len(shared)} methods. Critical difference "
            f"{number(ranked.critical_difference, 2)}."
            + ("" if np.isnan(ranked.p) else f" Friedman p {p_equation(ranked.p)}."),
            *ACROSS,
        ),
        colours=styles.colours(shared[i] for i in order),
    )


def _board(
    group: Sequence[Compared],
    what: str,
    frame: pd.DataFrame,
    notes: Sequence[str],
    *,
    bold: Sequence[bool] = (),
    prose: Sequence[str] = (),
    colours: Sequence[str] = (),
) -> Board:
    """Return a board without the first column where columns have no labels."""
    if not any(compared.column.label for compared in group):
        frame = frame.drop(columns="column")
    marks = np.full(frame.shape, "", object)
    if bold:
        estimate = "difference" if "difference" in frame else "Hodges-Lehmann"
        marks[:, list(frame.columns).index(estimate)] = np.where(bold, "best", "")
    lines = "method" if colours else "comparison"
    return Board(
        title=f"{group[0].column.task}: {what}",
        frame=frame,
        notes=tuple(notes),
        marks=marks,
        labels=list(frame.columns).index(lines) + 1,
        prose=tuple(dict.fromkeys(prose)),
        colours=tuple(colours),
    )


def by_task(compared: Iterable[Compared]) -> dict[str, list[Compared]]:
    """Return the columns of each task; columns of one task follow each other."""
    return {task: list(group) for task, group in groupby(compared, key=lambda one: one.column.task)}
