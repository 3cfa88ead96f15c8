"""The results and audit tables: columns, validation, means over patients, organs and folds.

One row per evaluated (method, round, case, organ). Every report is a pure function of this table; a
second table of the same style holds the audit of relabelled voxels. DSC and NSD are in percent;
every ratio of the audit table is a fraction.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from bench.errors import BenchError
from bench.evaluation.metrics import METRICS, Metric, MetricName, plugged
from bench.evaluation.status import Status
from bench.results.schema import Column, Schema

if TYPE_CHECKING:
    import pandas as pd

CELL = ("dataset", "profile", "backbone", "method", "label_pct")
RUN = (*CELL, "seed", "fold")
GROUP = ["dataset", "profile", "backbone"]
"""What one table of a report has in common: see :func:`group_name`."""
STATUSES: tuple[str, ...] = get_args(Status)
COSTS = ("seg_steps", "device_s", "peak_mb")
COUNTS = ("scored", "nan", "zero", *(status for status in STATUSES if status != "ok"))

_TEXT = Column("text")
_COUNT = Column("int", low=0)
_PERCENT = Column("float", low=0, high=100, nan=True)
_FRACTION = Column("float", low=0, high=1, nan=True)
RUN_COLUMNS: dict[str, Column] = {
    "dataset": _TEXT,
    "method": _TEXT,
    "label_pct": Column("int", low=1, high=100),
    "fold": _COUNT,
    "seed": _COUNT,
    "profile": _TEXT,
    "backbone": _TEXT,
}


def _metric_column(metric: Metric) -> Column:
    return Column("float", low=0, high=metric.high, nan=True)


def _plugged_metrics() -> dict[str, Column]:
    metrics = plugged()
    for name in metrics.keys() & RESULTS.declared:
        raise BenchError(f"metric {name}: a column is called so already; name the file differently")
    return {name: _metric_column(metric) for name, metric in metrics.items()}


RESULTS = Schema(
    name="results",
    version=5,
    declared=RUN_COLUMNS
    | {
        "dims": Column("int", low=2, high=3),
        "test_to_train": Column("float", low=0),
        "round": _COUNT,
        "final": Column("bool"),
        "case": _TEXT,
        "patient": _TEXT,
        "organ": _TEXT,
        **{name: _metric_column(metric) for name, metric in METRICS.items()},
        "coverage": _PERCENT,
        "dsc_inside": _PERCENT,
        "tp": _COUNT,
        "n_pred": _COUNT,
        "n_gt": _COUNT,
        "status": Column("text", choices=STATUSES),
        "seg_steps": _COUNT,
        "networks": Column("int", low=1),
        "parameters": _COUNT,
        "passes": Column("float", low=0),
        "departs": _TEXT,
        "device_s": Column("float", low=0, nan=True),
        "peak_mb": Column("float", low=0, nan=True),
        "device": _TEXT,
        "software": _TEXT,
        "stage": _TEXT,
    },
    key=(*RUN, "round", "case", "organ"),
    run=RUN,
    plugged=_plugged_metrics,
)

AUDIT = Schema(
    name="audit",
    version=1,
    declared=RUN_COLUMNS
    | {
        "round": Column("int", low=1),
        "organ": _TEXT,
        "gamma": Column("float", low=0, high=1),
        "added": _COUNT,
        "added_cum": _COUNT,
        "tp": _COUNT,
        "gt_missing": _COUNT,
        "precision": _FRACTION,
        "recall": _FRACTION,
        "precision_cum": _FRACTION,
        "recall_cum": _FRACTION,
        "candidates": _COUNT,
        "candidate_error": _FRACTION,
        "auc": _FRACTION,
        "ap_success": _FRACTION,
        "ap_error": _FRACTION,
    },
    key=(*RUN, "round", "organ"),
    run=RUN,
)

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


def validate(table: pd.DataFrame, source: str = "results") -> None:
    """Raise unless the results table is complete and consistent.

    Beyond columns, types, ranges and duplicates: counts agree with DSC and status, one model per
    (method, round), one final round per run, and every method of a (data set, profile, labelled
    share, fold, seed) is scored against the same ground truth. That a method lacks pairs of case
    and organ which another has is no error; reports say so (:func:`lacking_pairs`).

    Parameters
    ----------
    table
        The results table.
    source
        What the message calls it, for instance the file.

    Raises
    ------
    BenchError
        The first finding, with row and column.
    """
    RESULTS.check(table, source)
    _check_counts(table, source)
    _check_models(table, source)
    _check_pairs(table, source)


def write(table: pd.DataFrame, path: Path) -> None:
    """Validate and store the results table as parquet, with bytes that depend on the rows only."""
    validate(table, str(path))
    RESULTS.write(table, path)


def read(path: Path) -> pd.DataFrame:
    """Read and validate a results table."""
    table = RESULTS.read(path)
    validate(table, str(path))
    return table


def read_all(paths: Sequence[Path]) -> pd.DataFrame:
    """Read several results tables as one; of a run that stands in several, the newest file counts.

    Raises
    ------
    BenchError
        As :func:`read`, also when runs of different files do not fit together.
    """
    merged = RESULTS.load_all(paths, read)
    validate(merged, f"the {len(paths)} results tables together")
    return merged


def lacking_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Return the (case, organ) pairs that a model was not scored on although another one was.

    Returns
    -------
    pandas.DataFrame
        ``RUN``, ``round``, ``case``, ``organ``; empty if all models of a fold share their pairs.
    """
    import pandas as pd

    shared = ["dataset", "profile", "label_pct", "fold", "seed"]
    model = ["backbone", "method", "round"]
    pairs = table[[*shared, "case", "organ"]].drop_duplicates()
    wanted = pairs.groupby(shared).size().rename("wanted")
    found = table.groupby([*shared, *model]).size().rename("found").reset_index()
    fewer = found.join(wanted, on=shared).query("found < wanted")[[*shared, *model]]
    key = [*RUN, "round", "case", "organ"]
    expected = fewer.merge(pairs, on=shared)[key]
    present = pd.MultiIndex.from_frame(table[key])
    lacking: pd.DataFrame = expected[~pd.MultiIndex.from_frame(expected).isin(present)]
    return lacking.sort_values(key, ignore_index=True)


def group_name(rows: pd.DataFrame) -> str:
    """Return the data set, profile and network that the rows have in common, for titles."""
    dataset, profile, backbone = rows[GROUP].iloc[0]
    return f"{dataset}, profile {profile}, {backbone}"


def final_models(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of every method's last model."""
    return table[table["final"]]


def organ_values(
    table: pd.DataFrame, metric: MetricName = "dsc", by: Sequence[str] = RUN
) -> pd.DataFrame:
    """Return one value per run and organ: the mean over the fold's test patients.

    A patient with several cases counts once, with the mean of its cases. NaN is left out of the
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
    unit = [*by, "organ"]
    counted = _counted(table, metric)
    patients = counted.groupby([*unit, "patient"], as_index=False).agg(value=("value", "mean"))
    values = patients.groupby(unit).agg(value=("value", "mean"), patients=("patient", "nunique"))
    counts = counted.groupby(unit)[list(COUNTS)].sum()
    return values.join(counts).reset_index()


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
    by = list(by)
    organs = organ_values(table, metric, by)
    values = organs.groupby(by).agg(value=("value", "mean"), organs=("value", "count"))
    counts = organs.groupby(by)[list(COUNTS)].sum()
    cost = table.groupby(by)[list(COSTS)].max()
    return values.join(counts).join(cost).reset_index()


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
    folds = fold_values(table, metric, run)
    if per_organ:
        costs = folds[[*run, *COSTS]]
        folds = organ_values(table, metric, run).merge(costs, on=run).assign(organs=1)
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
    patients = table.groupby(by).agg(patients=("patient", "nunique"))
    cell_organ = [*by, *([] if per_organ else ["organ"])]
    pooled = (
        table.groupby([*cell_organ, "seed", "patient"])[metric]
        .mean()
        .groupby(cell_organ)
        .mean()
        .groupby(by)
        .mean()
        .rename("patient_mean")
    )
    return cells.join(counts).join(patients).join(pooled).reset_index()


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
    """Return the form of Table 7 and Table 6: mean and standard deviation over folds.

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


def _counted(table: pd.DataFrame, metric: MetricName) -> pd.DataFrame:
    """Add ``value`` and a 0 or 1 per row for each of ``COUNTS``."""
    values = table[metric]
    counts = {status: (table["status"] == status).astype("int64") for status in STATUSES}
    return table.assign(
        value=values,
        scored=values.notna().astype("int64"),
        nan=values.isna().astype("int64"),
        zero=(values == 0).astype("int64"),
        **counts,
    )


def _check_counts(table: pd.DataFrame, source: str) -> None:
    n_pred, n_gt, tp = table["n_pred"], table["n_gt"], table["tp"]
    total = n_pred + n_gt
    dsc = 200.0 * tp / total.where(total > 0)
    expected = {
        ("n_gt", "status"): (n_gt > 0) == table["status"].isin(["ok", "missed"]),
        ("n_pred", "status"): (n_pred > 0) == table["status"].isin(["ok", "hallucinated"]),
        ("tp", "n_pred"): tp <= n_pred,
        ("tp", "n_gt"): tp <= n_gt,
        ("dsc", "tp"): ((table["dsc"] - dsc).abs() < 1e-6) | (table["dsc"].isna() & dsc.isna()),
    }
    for (name, other), agrees in expected.items():
        if not agrees.all():
            bad = ~agrees
            row = table[bad].iloc[0]
            raise BenchError(
                f"{source} {RESULTS.describe(table, bad)}: {name}={row[name]} does not agree with "
                f"{other}={row[other]}"
            )


def _check_models(table: pd.DataFrame, source: str) -> None:
    model = [*RUN, "round"]
    for name in ("final", "seg_steps", "networks", "parameters", "passes", "departs", "device_s"):
        _refuse_varying(table, model, name, "model", source)
    last = table.groupby(list(RUN))["round"].transform("max")
    bad = table["final"] & (table["round"] < last)
    if bad.any():
        raise BenchError(
            f"{source} {RESULTS.describe(table, bad)}: final is true, but the run has a later "
            f"round {last[bad].iloc[0]}"
        )


def _check_pairs(table: pd.DataFrame, source: str) -> None:
    shared = ["dataset", "profile", "label_pct", "fold", "seed"]
    _refuse_varying(table, [*shared, "case", "organ"], "n_gt", "case and organ", source)
    _refuse_varying(table, ["dataset", "case"], "patient", "case", source)


def _refuse_varying(
    table: pd.DataFrame, group: list[str], name: str, unit: str, source: str
) -> None:
    """Raise if ``name`` takes more than one value inside a group."""
    first = table.groupby(group)[name].transform("first")
    bad = (table[name] != first) & ~(table[name].isna() & first.isna())
    if bad.any():
        raise BenchError(
            f"{source} {RESULTS.describe(table, bad)}: {name} is {table.loc[bad, name].iloc[0]}, "
            f"but {first[bad].iloc[0]} in another row of the same {unit}"
        )
