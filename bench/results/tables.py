"""The tables of a set of runs: their columns, and what is checked of them.

Every report is a pure function of these tables. DSC and NSD are in percent; every ratio of the
audit table is a fraction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, get_args

from bench.errors import BenchError
from bench.evaluation.metrics import METRICS, NAN, Metric, every, plugged
from bench.evaluation.status import Status
from bench.results.basis import BASIS, DEFINED, UNLABELLED
from bench.results.columns import CONDITION, GROUP, RUN
from bench.results.schema import Column, Fault, Schema
from bench.results.sources import contradiction

if TYPE_CHECKING:
    import pandas as pd

STATUSES: tuple[str, ...] = get_args(Status)
PARTS = 20
"""Number of equal parts into which a training is divided."""
RULES = ("background", "ignored")
"""What a voxel counts as in training where the label of an organ is missing."""
OUTCOMES = ("tp", "fn", "fp", "tn")
"""Training target against the truth, for one organ; ``fn`` is organ trained as background."""

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
_FIRST_METRICS = ("dsc", "hd95_mm", "nsd")
"""Metrics that every file has. The others are required in files of version 6; a new one raises the
version and is required from that on."""


def grouped(rows: pd.DataFrame, by: Sequence[str] = GROUP) -> Iterator[pd.DataFrame]:
    """Yield the rows of each group, in the order of their keys.

    Where there is one group it is the table itself, not a copy: a million rows fill memory.
    """
    by = list(by)
    if len(rows) and (rows[by] == rows[by].iloc[0]).all(axis=None):
        yield rows
        return
    for _, group in rows.groupby(by, observed=True):
        yield group


def group_names(rows: pd.DataFrame) -> pd.Series:
    """Return the data set, profile and network of each row, formatted for titles."""
    return rows["dataset"] + ", profile " + rows["profile"] + ", " + rows["backbone"]


def group_name(rows: pd.DataFrame) -> str:
    """Return the data set, profile and network that the rows have in common, for titles."""
    return str(group_names(rows.head(1)).iloc[0])


def _metric_column(metric: Metric, since: int = 0) -> Column:
    return Column("float", low=0, high=metric.high, nan=True, since=since)


def _basis(since: int, names: Sequence[str] = BASIS) -> dict[str, Column]:
    return dict.fromkeys(names, Column("text", absent="", since=since))


def plugged_metrics() -> dict[str, Column]:
    """Return the columns of the metrics of plug-ins.

    Raises
    ------
    BenchError
        A metric with the name of another column.
    """
    metrics = plugged()
    for name in metrics.keys() & RESULTS.declared:
        raise BenchError(f"metric {name}: a column has this name already; rename the file")
    return {name: _metric_column(metric) for name, metric in metrics.items()}


def _counts_agree(table: pd.DataFrame) -> Iterator[Fault]:
    """Find counts of voxels that disagree with DSC or status."""
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
            row = table[~agrees].iloc[0]
            yield Fault(~agrees, f"{name}={row[name]} does not agree with {other}={row[other]}")


def _scores_agree(table: pd.DataFrame) -> Iterator[Fault]:
    """Find scores that cannot be where a mask is empty or the size of a voxel is unknown.

    Metrics that a file may lack are NaN in it, whatever they would have been.
    """
    for name, metric in every().items():
        scores = table[name]
        unmeasured = ~table["spacing_known"] & metric.needs_spacing
        faults = {"spacing_known=False": unmeasured & scores.notna()}
        rules = {"missed": metric.missed, "hallucinated": metric.hallucinated, "both_empty": NAN}
        for status, value in rules.items():
            agrees = ((scores - value).abs() < 1e-6) | unmeasured
            if value != value or name not in _FIRST_METRICS:
                agrees |= scores.isna()
            faults[f"status={status}"] = (table["status"] == status) & ~agrees
        for other, bad in faults.items():
            if bad.any():
                yield Fault(bad, f"{name}={scores[bad].iloc[0]} does not agree with {other}")


def _one_model_a_round(table: pd.DataFrame) -> Iterator[Fault]:
    """Find rounds of more than one model, and rounds after the final one."""
    model = table.groupby([*RUN, "round"]).ngroup()  # texts are compared once
    for name in ("final", "seg_steps", "networks", "parameters", "passes", "departs", "device_s"):
        yield from _constant(table, name, model, "model")
    last = table.groupby(list(RUN))["round"].transform("max")
    bad = table["final"] & (table["round"] < last)
    if bad.any():
        yield Fault(bad, f"final is true, but the run has a later round {last[bad].iloc[0]}")


def _one_truth(table: pd.DataFrame) -> Iterator[Fault]:
    """Find rows of a case that were scored against different complete labels.

    A method may lack (case, organ) pairs that another has; reports list them
    (:func:`bench.results.aggregate.lacking_pairs`).
    """
    yield from _constant(table, "n_gt", ["dataset", "profile", "case", "organ"], "case and organ")
    yield from _constant(table, "patient", ["dataset", "case"], "case")


def _constant(
    table: pd.DataFrame, name: str, by: list[str] | pd.Series[int], unit: str
) -> Iterator[Fault]:
    """Find rows of one unit in which ``name`` takes several values."""
    first = table.groupby(by)[name].transform("first")
    bad = (table[name] != first) & ~(table[name].isna() & first.isna())
    if bad.any():
        yield Fault(
            bad,
            f"{name} is {table.loc[bad, name].iloc[0]}, but {first[bad].iloc[0]} in another row of "
            f"the same {unit}",
        )


RESULTS = Schema(
    name="results",
    version=9,
    oldest=5,
    declared=RUN_COLUMNS
    | {
        "dims": Column("int", low=2, high=3),
        "test_to_train": Column("float", low=0),
        "round": _COUNT,
        "final": Column("bool"),
        "case": _TEXT,
        "patient": _TEXT,
        "domain": Column("text", absent="", since=8),
        "organ": _TEXT,
        **{
            name: _metric_column(metric, since=0 if name in _FIRST_METRICS else 6)
            for name, metric in METRICS.items()
        },
        "coverage": _PERCENT,
        "dsc_inside": _PERCENT,
        "tp": _COUNT,
        "n_pred": _COUNT,
        "n_gt": _COUNT,
        "status": Column("text", choices=STATUSES),
        "spacing_known": Column("bool", absent=True, since=7),
        "seg_steps": _COUNT,
        "networks": Column("int", low=1),
        "parameters": _COUNT,
        "passes": Column("float", low=0),
        "departs": _TEXT,
        "title": Column("text", absent="", since=6),
        "colour": Column("text", absent="", since=6),
        "order": Column("int", low=0, absent=100, since=6),
        "upper_bound": Column("bool", absent=False, since=6),
        "device_s": Column("float", low=0, nan=True),
        "peak_mb": Column("float", low=0, nan=True),
        "device": _TEXT,
        "software": _TEXT,
        "stage": _TEXT,
    }
    | _basis(6)
    | _basis(9, DEFINED),
    key=(*RUN, "round", "case", "organ"),
    run=RUN,
    plugged=plugged_metrics,
    checks=(_counts_agree, _scores_agree, _one_model_a_round, _one_truth),
    across=contradiction,
)
"""Scores: one row per evaluated (method, round, case, organ)."""

AUDIT = Schema(
    name="audit",
    version=4,
    oldest=1,
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
        **dict.fromkeys(
            ("sure", "sure_right", "volumes", "left_out"), Column("int", low=0, absent=0, since=4)
        ),
        **dict.fromkeys(("dsc_kept", "dsc_left_out"), _FRACTION._replace(since=4)),
    }
    | _basis(2),
    key=(*RUN, "round", "organ"),
    run=RUN,
)
"""Pseudo-labels against the hidden labels: one row per (method, round, organ)."""

CURVES = Schema(
    name="curves",
    version=2,
    oldest=1,
    declared=RUN_COLUMNS
    | {
        "round": _COUNT,
        "training": _TEXT,
        "stage": _TEXT,
        "name": _TEXT,
        "part": Column("int", low=0, high=PARTS - 1),
        "value": Column("float"),
    }
    | _basis(2),
    key=(*RUN, "stage", "name", "part"),
    run=RUN,
)
"""Values logged in training, averaged over ``PARTS`` equal parts of a training.

They show whether the term that is specific to a method has an effect: on how many voxels it acts,
how often its targets are right, how large its loss is.
"""

PICTURES = Schema(
    name="pictures",
    version=2,
    oldest=1,
    declared=RUN_COLUMNS
    | {
        "round": _COUNT,
        "kind": Column("text", choices=("prediction", "truth", "relabelling", "confidence")),
        "case": _TEXT,
        "slices": _TEXT,
        "scan": _TEXT,
        "overlay": _TEXT,
        "stage": _TEXT,
    }
    | _basis(2),
    key=(*RUN, "round", "kind", "case"),
    run=RUN,
)
"""Small pictures of predictions and of pseudo-labels; empty without ``bench run --pictures``."""

TARGETS = Schema(
    name="targets",
    version=3,
    oldest=2,
    declared={name: RUN_COLUMNS[name] for name in CONDITION}
    | {
        "rule": Column("text", choices=RULES),
        "organ": _TEXT,
        "volumes": _COUNT,
        "labelled": _COUNT,
        "voxels": _COUNT,
        "organ_voxels": _COUNT,
        "other_voxels": _COUNT,
    }
    | dict.fromkeys(OUTCOMES, _COUNT)
    | _basis(3),
    key=(*CONDITION, "rule", "organ"),
    run=CONDITION,
)
"""Counts of right and wrong training targets, independent of the method."""

LAYERS = Schema(
    name="layers",
    version=2,
    oldest=1,
    declared={name: RUN_COLUMNS[name] for name in GROUP}
    | {
        "position": _COUNT,
        "network": Column("text", choices=("segmentation", "confidence")),
        "block": _TEXT,
        "layers": _TEXT,
        "output": _TEXT,
        "parameters": _COUNT,
    }
    | _basis(2, UNLABELLED),
    key=(*GROUP, "position"),
    run=GROUP,
)
"""The blocks of the networks, independent of the method."""


def _one_choice(table: pd.DataFrame) -> Iterator[Fault]:
    """Find tunings of which no setting was chosen, or several."""
    chosen = table.groupby(list(TUNING.run))["chosen"].transform("sum")
    if (bad := chosen != 1).any():
        yield Fault(bad, f"{int(chosen[bad].iloc[0])} of its settings are chosen, must be one")


TUNING = Schema(
    name="tuning",
    version=1,
    oldest=1,
    checks=(_one_choice,),
    declared=RUN_COLUMNS
    | {
        "tuned_on": _TEXT,
        "trials": Column("int", low=1),
        "trial": _COUNT,
        "setting": _TEXT,
        "patients": Column("int", low=1),
        "dsc": _PERCENT,
        "device_s": Column("float", low=0),
        "chosen": Column("bool"),
        "exhaustive": Column("bool"),
    },
    key=(*RUN, "tuned_on", "trials", "trial"),
    run=(*RUN, "tuned_on", "trials"),
)
"""Settings tried by `bench tune` for the methods of the results that were chosen by it."""

SHEETS = Schema(
    name="sheets",
    version=1,
    oldest=1,
    declared={name: RUN_COLUMNS[name] for name in CONDITION}
    | {"title": _TEXT, "png": _TEXT, "stage": _TEXT}
    | _basis(1),
    key=CONDITION,
    run=CONDITION,
)
"""Contact sheets of the data, independent of the method; empty without `--pictures`."""
