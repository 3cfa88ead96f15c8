"""The scores on which methods are compared, from results tables or from a CSV.

One row per method, organ, case, seed and fold. A results table is reduced to one metric of the
final models; a CSV has task, case, method and value, and optionally more.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.evaluation.metrics import MetricName, find
from bench.reporting.agreement import require_common_cases, require_one_truth, require_one_unit
from bench.reporting.cells import UNKNOWN
from bench.results.aggregate import final_models, numbered
from bench.results.columns import GROUP
from bench.results.tables import STATUSES, group_names
from bench.texttable import TextTable, read_table

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "task",
    "label_pct",
    "method",
    "organ",
    "seed",
    "fold",
    "test_to_train",
    "patient",
    "case",
    "value",
    "status",
    "metric",
    "unit",
    "higher_is_better",
    "best",
)
"""``task`` is data set, profile and network, or the task of a CSV. ``label_pct`` is 0 without label
fractions; ``test_to_train`` is 0 where folds are unknown. ``status`` says which mask is empty
(:data:`bench.evaluation.status.Status`), or that this is unknown; ``best`` is the best possible
value, NaN if unknown."""
ALL = "all"
"""Organ of a CSV without organs."""
LARGEST = 1e12
"""Of a number in a CSV; squares of larger ones lose the others, or overflow."""
REQUIRED = ("task", "case", "method", "value")
OPTIONAL = ("patient", "organ", "fold", "seed", "status")
NUMBERS = ("value", "fold", "seed")
"""Columns that hold them."""


def require_rows(results: pd.DataFrame) -> pd.DataFrame:
    """Return the results table itself; raise if it has no row."""
    if results.empty:
        raise BenchError("the results table has no row: run `bench run` first")
    return results


def of_results(table: pd.DataFrame, metric: MetricName = "dsc") -> pd.DataFrame:
    """Return the scores of the final models in a valid results table."""
    import pandas as pd

    last = final_models(require_rows(table))
    measured = find(metric)
    known = ["label_pct", "method", "organ", "seed", "fold", "test_to_train", "patient", "case"]
    found = last[known].astype(dict.fromkeys(["method", "organ", "patient", "case"], "category"))
    status = last["status"]
    if measured.needs_spacing:
        status = status.mask(~last["spacing_known"], UNKNOWN)
    found["task"] = _tasks(last)
    found["value"] = last[metric]
    found["status"] = status.astype("category")
    for name, text in {"metric": measured.title, "unit": measured.unit}.items():
        found[name] = pd.Categorical.from_codes([0] * len(found), pd.Index([text]))
    found["higher_is_better"] = measured.best == "high"
    found["best"] = _best(metric)
    return found[list(COLUMNS)]


def _tasks(table: pd.DataFrame) -> pd.Categorical[str]:
    """Return the task of every row; each name is kept once, not a million times."""
    import pandas as pd

    number, groups = numbered(table, GROUP)
    names = pd.Index(group_names(groups))
    return pd.Categorical.from_codes(number.to_numpy(), names)  # in the order of boards


def _best(metric: MetricName) -> float:
    measured = find(metric)
    if measured.best == "low":
        return 0.0
    return float("nan") if measured.high is None else measured.high


def read_csv(path: Path, *, higher_is_better: bool = True, unit: str = "") -> pd.DataFrame:
    """Read scores from a CSV: task, case, method, value, and optionally more (``OPTIONAL``).

    Parameters
    ----------
    path
        The file (:func:`bench.texttable.read_table`). Each case is one patient unless a column
        says otherwise; an empty value is missing, and ``status`` may say why.
    higher_is_better
        Whether larger values are better.
    unit
        The unit of all values; if it is given, methods are not suspected of different ones.

    Raises
    ------
    BenchError
        Names row (as an editor counts lines) and column of the first problem; or methods that
        cannot be compared.
    """
    source = read_table(path)
    _check_header(source)
    table = texts(source)
    if table.empty:
        raise BenchError(f"{path}: holds no row")
    for name in (column for column in table.columns if column not in ("value", "status")):
        _refuse(path, table, table[name] == "", name, "is empty")
    value = _numbers(path, table, "value")
    folded = "fold" in table
    for name in ("fold", "seed"):
        table[name] = _whole(path, table, name) if name in table else 0
    table["organ"] = table.get("organ", ALL)
    table["patient"] = table.get("patient", table["case"])
    table["status"] = _statuses(path, table, value)
    repeated = table.duplicated(["task", "organ", "case", "method", "seed"])
    _refuse(path, table, repeated, "case", "occurs twice for the same task and method")
    folds = table.groupby(["task", "case", "seed"])["fold"].transform("nunique")
    _refuse(path, table, folds > 1, "fold", "is not the only fold of this case")
    patients = table.groupby(["task", "case"])["patient"].transform("nunique")
    _refuse(path, table, patients > 1, "patient", "is not the only patient of this case")
    n_folds = table.groupby("task")["fold"].transform("nunique")
    found = table.assign(
        value=value,
        label_pct=0,
        test_to_train=1 / (n_folds - 1).clip(lower=1) if folded else 0.0,
        metric="value",
        unit=unit,
        higher_is_better=higher_is_better,
        best=float("nan"),
    )[list(COLUMNS)]
    if higher_is_better and not unit:
        require_one_unit(found, str(path))
    require_one_truth(found, str(path))
    require_common_cases(found, str(path))
    return found


def texts(source: TextTable) -> pd.DataFrame:
    """Return the cells of a table of scores, by the numbers of their rows."""
    import pandas as pd

    rows, names = source.rows, source.names()
    cells, numbers = [row.cells for row in rows], [row.number for row in rows]
    table = pd.DataFrame(cells, numbers, names, dtype="str")
    for place, name in enumerate(names):
        if name in NUMBERS:
            table[name] = source.numbers(place)
    return table


def _whole(path: Path, table: pd.DataFrame, name: str) -> pd.Series:
    numbers = _numbers(path, table, name)
    _refuse(path, table, (numbers < 0) | (numbers % 1 != 0), name, "must be a whole number")
    return numbers.astype(int)


def _statuses(path: Path, table: pd.DataFrame, value: pd.Series) -> pd.Series:
    """Return the status of every row; an empty one is unknown."""
    import pandas as pd

    if "status" not in table:
        return pd.Series(UNKNOWN, table.index)
    status = table["status"].replace("", UNKNOWN)
    wrong = ~status.isin([*STATUSES, UNKNOWN])
    _refuse(path, table, wrong, "status", f"is none of {', '.join(STATUSES)}")
    scored = (status == "both_empty") & value.notna()
    _refuse(path, table, scored, "status", "has a value: nothing is to be scored where both are")
    unscored = (status == "ok") & value.isna()
    _refuse(path, table, unscored, "status", "has no value; leave it empty if nobody knows why")
    return status


def _check_header(source: TextTable) -> None:
    names = source.names()
    known = f"{', '.join(REQUIRED)} (and {', '.join(OPTIONAL)} if known)"
    missing = [name for name in REQUIRED if name not in names]
    unknown = [name for name in names if name not in (*REQUIRED, *OPTIONAL)]
    if missing or unknown:
        absent = f"column {', '.join(missing)} is missing among {', '.join(names)}"
        what = absent if missing else f"unknown column {unknown[0]!r}"
        raise source.fault(source.header, f"{what}; the columns are {known}")


def _numbers(path: Path, table: pd.DataFrame, name: str) -> pd.Series:
    import numpy as np
    import pandas as pd

    texts = table[name].where(~table[name].str.lower().isin(["", "na", "nan"]))
    numbers = pd.to_numeric(texts, errors="coerce")
    wrong = (numbers.isna() & texts.notna()) | np.isinf(numbers)
    _refuse(path, table, wrong, name, "is not a finite number; leave it empty if it is missing")
    _refuse(path, table, numbers.abs() > LARGEST, name, "is larger than any score")
    if name != "value":
        _refuse(path, table, numbers.isna(), name, "is empty")
    return numbers.astype("float64")


def _refuse(path: Path, table: pd.DataFrame, bad: pd.Series, name: str, problem: str) -> None:
    if bad.any():
        position = int(bad.to_numpy().argmax())
        value = table[name].iloc[position]
        more = f" (and {int(bad.sum()) - 1} more rows)" if bad.sum() > 1 else ""
        raise BenchError(
            f"{path} row {table.index[position]}, column {name}: '{value}' {problem}{more}"
        )
