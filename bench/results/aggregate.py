"""Means over patients, organs, seeds and folds.

The value of a run is the unweighted mean over organs of the mean over its test patients. A cell of
a board is the mean and standard deviation over such values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.evaluation.metrics import MetricName
from bench.results.columns import CELL, CURVE, GROUP, RUN, SPLIT
from bench.results.tables import PARTS, STATUSES

if TYPE_CHECKING:
    import pandas as pd

COSTS = ("seg_steps", "device_s", "peak_mb")
COUNTS = ("scored", "nan", "zero", *(status for status in STATUSES if status != "ok"))
AUDIT_MEASURES = (
    "gamma",
    "added_share",
    "added_cum_share",
    "precision",
    "recall",
    "precision_cum",
    "recall_cum",
    "candidate_error",
    "auc",
    "ap_success",
    "ap_error",
)


def final_models(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of every method's last model."""
    return table if table["final"].all() else table[table["final"]]


def numbered(table: pd.DataFrame, by: Sequence[str]) -> tuple[pd.Series, pd.DataFrame]:
    """Return the group of each row, numbered in the order of keys, and the keys by number.

    Texts are compared once where a table is grouped several times.
    """
    numbers = table.groupby(list(by)).ngroup()
    first = ~numbers.duplicated()
    keys = table.loc[first, list(by)].set_axis(numbers[first]).sort_index()
    return numbers, keys.rename_axis(index=None)


def lacking_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Return the (case, organ) pairs on which one model was scored and another was not.

    Returns
    -------
    pandas.DataFrame
        ``RUN``, ``round``, ``case``, ``organ``, ``domain``; empty if all models of a fold share
        their pairs.
    """
    import pandas as pd

    model = ["backbone", "method", "round"]
    pair = ["case", "organ", "domain"]
    split = list(SPLIT)
    pairs = table[[*split, *pair]].drop_duplicates()
    wanted = pairs.groupby(split).size().rename("wanted")
    found = table.groupby([*split, *model]).size().rename("found").reset_index()
    fewer = found.join(wanted, on=split).query("found < wanted")[[*split, *model]]
    key = [*RUN, "round", *pair]
    expected = fewer.merge(pairs, on=split)[key]
    if expected.empty:
        return expected
    present = pd.MultiIndex.from_frame(table[key])
    lacking: pd.DataFrame = expected[~pd.MultiIndex.from_frame(expected).isin(present)]
    return lacking.sort_values(key, ignore_index=True)


def organ_values(
    table: pd.DataFrame, metric: MetricName = "dsc", by: Sequence[str] = RUN
) -> pd.DataFrame:
    """Return one value per run and organ: the mean over the fold's test patients.

    A patient with several cases counts once, with the mean over the cases. NaN is left out of the
    mean and counted.

    Parameters
    ----------
    table
        Results of one model per run: :func:`final_models`, or all rounds with ``round`` in ``by``.
    metric
        Column to average.
    by
        Columns that make a run; ``(*RUN, "round")`` keeps rounds apart.

    Returns
    -------
    pandas.DataFrame
        ``by``, ``organ``, ``value``, ``patients``, and ``COUNTS``: rows with a value (``scored``),
        NaN, zero, missed, hallucinated, both empty.
    """
    unit, units = numbered(table, [*by, "organ"])
    return _organ_values(table, metric, unit, units)


def _organ_values(
    table: pd.DataFrame, metric: MetricName, unit: pd.Series, units: pd.DataFrame
) -> pd.DataFrame:
    """Return the values of units, which are an organ in a run, and the number of each row's."""
    values = _patients(table[metric], unit, _codes(table["patient"]))
    counts = _counts(table, metric).groupby(unit).sum()
    return units.join(values.agg(value="mean", patients="size")).join(counts)


def fold_values(
    table: pd.DataFrame, metric: MetricName = "dsc", by: Sequence[str] = RUN
) -> pd.DataFrame:
    """Return one value per run: the unweighted mean over organs of :func:`organ_values`.

    Returns
    -------
    pandas.DataFrame
        ``by``, ``value``, ``organs`` (those with a value), ``seg_steps``, ``device_s``, ``peak_mb``
        and ``COUNTS``.
    """
    unit, units = numbered(table, [*by, "organ"])
    return _fold_values(table, _organ_values(table, metric, unit, units), list(by), unit)


def _fold_values(
    table: pd.DataFrame, organs: pd.DataFrame, by: list[str], unit: pd.Series
) -> pd.DataFrame:
    values = organs.groupby(by).agg(value=("value", "mean"), organs=("value", "count"))
    costs = organs[by].join(table[list(COSTS)].groupby(unit).max())
    return (
        values.join(organs.groupby(by)[list(COUNTS)].sum())
        .join(costs.groupby(by).max())
        .reset_index()
    )


def cell_values(
    table: pd.DataFrame, metric: MetricName = "dsc", by: Sequence[str] = CELL
) -> pd.DataFrame:
    """Return one row per table cell: mean and standard deviation over the fold values.

    Every (seed, fold) is one value. The standard deviation divides by n - 1 and is NaN for a single
    fold. With ``organ`` in ``by``, the fold values are those of the organ.

    Parameters
    ----------
    table
        As for :func:`organ_values`.
    metric
        Column to average.
    by
        Columns that make a cell: ``CELL``, plus ``round`` or ``organ`` if these are kept apart.

    Returns
    -------
    pandas.DataFrame
        ``by``, ``mean``, ``std``, ``folds`` (distinct), ``seeds`` (distinct), ``runs`` (seed and
        fold pairs with a value), ``patients`` (distinct), ``patient_mean`` (mean over all patients,
        then over organs), ``organs_min`` and ``organs_max`` (organs with a value per run),
        ``seg_steps_min``, ``seg_steps_max``, ``device_s`` (mean over runs), ``peak_mb`` (largest)
        and ``COUNTS``.
    """
    by = list(by)
    per_organ = "organ" in by
    run = [*(name for name in by if name != "organ"), "seed", "fold"]
    unit, units = numbered(table, [*run, "organ"])
    organs = _organ_values(table, metric, unit, units)
    folds = _fold_values(table, organs, run, unit)
    if per_organ:
        folds = organs.merge(folds[[*run, *COSTS]], on=run).assign(organs=1)
    cells = folds.groupby(by).agg(
        mean=("value", "mean"),
        std=("value", "std"),
        runs=("value", "count"),
        folds=("fold", "nunique"),
        seeds=("seed", "nunique"),
        organs_min=("organs", "min"),
        organs_max=("organs", "max"),
        seg_steps_min=("seg_steps", "min"),
        seg_steps_max=("seg_steps", "max"),
        device_s=("device_s", "mean"),
        peak_mb=("peak_mb", "max"),
    )
    counts = folds.groupby(by)[list(COUNTS)].sum()
    patient, seed = _codes(table["patient"]), _codes(units["seed"])
    of_seed = patient * len(units) + _of_rows(seed, unit)
    organ, pooled = numbered(units, [*by, *([] if per_organ else ["organ"])])
    pooled["patient_mean"] = _patients(table[metric], _of_rows(organ, unit), of_seed).mean()
    cell, patients = numbered(units, by)
    patients["patients"] = patient.groupby(_of_rows(cell, unit)).nunique()
    return (
        cells.join(counts)
        .join(patients.set_index(by))
        .join(pooled.groupby(by)["patient_mean"].mean())
        .reset_index()
    )


class Values:
    """The cells of tables and boards, each kind computed once.

    Parameters
    ----------
    table
        A valid results table (``bench.results.tables``).
    metric
        The metric that they show.
    """

    def __init__(self, table: pd.DataFrame, metric: MetricName = "dsc") -> None:
        self.table, self.metric = table, metric
        self._known: dict[frozenset[str], pd.DataFrame] = {}

    def cells(self, *parts: str) -> pd.DataFrame:
        """Return the :func:`cell_values` of ``CELL`` and parts of it.

        Those of final models unless ``round`` is a part; with ``domain``, those of the data sets
        that have several.
        """
        key = frozenset(parts)
        if key not in self._known:
            rows = self.table if "round" in parts else final_models(self.table)
            if "domain" in parts:
                rows = rows[rows.groupby(list(GROUP))["domain"].transform("nunique") > 1]
            self._known[key] = cell_values(rows, self.metric, (*CELL, *parts))
        return self._known[key]


def audit_fold_values(audit: pd.DataFrame, by: Sequence[str] = (*RUN, "round")) -> pd.DataFrame:
    """Return one row per run and round: the unweighted mean over organs (specification: Audit).

    A row of the audit table is already pooled over the voxels of all volumes of its organ. Ratios
    that are undefined for an organ (nothing added, nothing missing) are left out of its mean.

    Returns
    -------
    pandas.DataFrame
        ``by`` and ``AUDIT_MEASURES`` as fractions; ``added_share`` and ``added_cum_share`` are the
        added voxels relative to the missing true voxels.
    """
    missing = audit["gt_missing"].where(audit["gt_missing"] > 0)
    measured = audit.assign(
        added_share=audit["added"] / missing, added_cum_share=audit["added_cum"] / missing
    )
    return measured.groupby(list(by))[list(AUDIT_MEASURES)].mean().reset_index()


def audit_cell_values(audit: pd.DataFrame, by: Sequence[str] = (*CELL, "round")) -> pd.DataFrame:
    """Return mean and standard deviation over folds, as in Tables 6 and 7.

    Returns
    -------
    pandas.DataFrame
        ``by``, ``runs`` (seed and fold pairs) and, for each of ``AUDIT_MEASURES``, its mean under
        the measure's name and its standard deviation (n - 1) under ``<measure>_std``. With
        ``organ`` in ``by`` the organs stay apart (Table 10).
    """
    by = list(by)
    folds = audit_fold_values(audit, [*by, "seed", "fold"])
    groups = folds.groupby(by)
    means = groups[list(AUDIT_MEASURES)].mean()
    spreads = groups[list(AUDIT_MEASURES)].std().add_suffix("_std")
    return means.join(spreads).join(groups.size().rename("runs")).reset_index()


def left_out_values(audit: pd.DataFrame, by: Sequence[str] = (*CELL, "round")) -> pd.DataFrame:
    """Return how good the pseudo-labels are that a gate kept, and those that it left out.

    Returns
    -------
    pandas.DataFrame
        ``by``, of the methods that left out any; ``volumes`` and ``left_out``, pseudo-labels in
        all and those left out, summed; as fractions, averaged over the organs that have both and
        then over folds: ``precision`` and ``precision_left_out``, ``dsc_kept`` and
        ``dsc_left_out``.
    """
    gated = audit[audit.groupby(list(CELL))["left_out"].transform("sum") > 0]
    right = gated["candidates"] * (1 - gated["candidate_error"])
    others = gated["candidates"] - gated["added"]
    gated = gated.assign(
        precision_left_out=((right - gated["tp"]) / others.where(others > 0)).clip(0, 1)
    )
    by = list(by)
    pairs = (["precision", "precision_left_out"], ["dsc_kept", "dsc_left_out"])
    if "organ" not in by:  # means of other organs could not be compared
        for pair in pairs:
            gated[pair] = gated[pair].where(gated[pair].notna().all(axis=1))
    folds = gated.groupby([*by, "seed", "fold"])[[*pairs[0], *pairs[1]]].mean()
    counts = gated.groupby(by)[["volumes", "left_out"]].sum()
    return counts.join(folds.groupby(by).mean()).reset_index()


def parts(events: Iterable[Mapping[str, float]], steps: int) -> Iterator[tuple[str, int, float]]:
    """Yield name, part and mean of the values that a training of ``steps`` steps logged.

    Parameters
    ----------
    events
        Lines of :func:`bench.engine.events.read_events`.
    steps
        Length of the training.
    """
    logged: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for event in events:
        part = int(event["step"]) * PARTS // steps
        for name, value in event.items():
            if name not in ("step", "time"):
                logged[name, part].append(value)
    for (name, part), values in logged.items():
        yield name, part, sum(values) / len(values)


def curve_values(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean curves over seeds and folds.

    Returns
    -------
    pandas.DataFrame
        ``CURVE``, ``part``; ``mean``, ``std`` (NaN for a single run) and ``runs`` over seeds and
        folds.
    """
    groups = table.groupby([*CURVE, "part"])["value"]
    return groups.agg(["mean", "std"]).join(groups.size().rename("runs")).reset_index()


def _patients(values: pd.Series, unit: pd.Series, patient: pd.Series) -> Any:
    """Return the mean of each patient, grouped by unit; both are numbers of groups.

    One number names a pair: a million pairs of two are an index of hundreds of megabytes.
    """
    most = int(patient.to_numpy().max(initial=0)) + 1
    means = values.groupby(unit * most + patient).mean()
    return means.groupby(means.index // most)


def _codes(values: pd.Series) -> pd.Series:
    """Return a number for each distinct value."""
    import pandas as pd

    return pd.Series(pd.factorize(values)[0], values.index)


def _of_rows(numbers: pd.Series, unit: pd.Series) -> pd.Series:
    """Return for each row the number of its unit."""
    import pandas as pd

    return pd.Series(numbers.to_numpy()[unit.to_numpy()], unit.index)


def _counts(table: pd.DataFrame, metric: MetricName) -> pd.DataFrame:
    """Return a 0 or 1 per row for each of ``COUNTS``."""
    import pandas as pd

    values = table[metric]
    found = {"scored": values.notna(), "nan": values.isna(), "zero": values == 0}
    found |= {status: table["status"] == status for status in STATUSES}
    return pd.DataFrame({name: found[name].astype("int8") for name in COUNTS})
