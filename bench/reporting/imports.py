"""Results of other frameworks as a table of scores, which ``bench report significance`` takes.

Three formats: ``summary.json`` of nnU-Net v2; the raw tables of MONAI's ``MetricsSaver``; and a
folder with a CSV for each method, cases by organs, as public benchmarks publish them. Values stay
as they are; a missing one keeps its kind where the source tells it.
"""

from __future__ import annotations

import glob
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bench.errors import BenchError, neutral, unknown_name
from bench.evaluation.status import Status, mask_status
from bench.reporting.text import counted, listed
from bench.texttable import TextTable, read_table

if TYPE_CHECKING:
    import pandas as pd

Framework = Literal["nnunet", "monai", "folder"]
Infinite = Literal["missed", "hallucinated"]
COLUMNS = ("task", "case", "patient", "method", "organ", "fold", "value", "status")
"""Of the table, in order; ``patient`` and ``fold`` only where they are known."""
_FOLD = re.compile(r"(?<![^\W_])fold_(\d+)")
_IMAGE = re.compile(
    r"(\.nii\.gz|\.seg\.nrrd|\.(nii|nrrd|mha|mhd|npy|npz|png|tif|tiff|dcm|h5))$", re.IGNORECASE
)


class Score(NamedTuple):
    """One value: the raw name of a case, the label of an organ as the source calls it."""

    case: str
    organ: str
    value: float
    status: Status | Literal[""] = ""


class Imported(NamedTuple):
    """A table of scores, and a sentence for each method of which values were there twice."""

    table: pd.DataFrame
    repeated: tuple[str, ...]


class _Object(dict[str, Any]):
    """An object of JSON that knows of names that occur twice, of which a dict keeps the last."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


class Source(NamedTuple):
    """Scores of one method from one file."""

    path: Path
    method: str
    fold: int | None
    scores: list[Score]


def imported(
    framework: Framework,
    paths: Sequence[Path],
    *,
    dataset: str,
    metric: str,
    methods: Sequence[str] = (),
    organs: Mapping[str, str] | None = None,
    infinite: Infinite | None = None,
    folded: bool = True,
    patients: Path | None = None,
) -> Imported:
    """Return results of another framework as a table of scores (``COLUMNS``).

    A value that is there twice is taken once.

    Parameters
    ----------
    framework
        Whose format it is.
    paths
        Files, or folders for ``folder``.
    dataset, metric
        Together the task of the table. For nnU-Net the metric is a key of its file, ``Dice``; in a
        folder of methods it is the name of their files, if they are folders.
    methods
        One for all files, or one for each; none for ``folder``, whose files are named after them.
    organs
        Names of labels, by what the source calls them; a label of empty name is left out.
    infinite
        What an infinite value stands for. MONAI writes one where one of two masks is empty.
    folded
        Whether ``fold_N`` in the path of nnU-Net's files is the fold of their cases.
    patients
        A CSV with the columns ``case`` and ``patient`` that names the patient of every case.

    Raises
    ------
    BenchError
        Names the file, and the row and column, of what is not as expected; or a case and organ of
        which a method has two values.
    """
    import pandas as pd

    sources = list(_sources(framework, paths, metric, methods))
    rows = pd.concat([_rows(source, infinite) for source in sources], ignore_index=True)
    rows["organ"] = _renamed(rows["organ"], organs or {})
    rows = rows[rows["organ"] != ""]
    for name in ("case", "method", "organ"):
        for text in rows[name].unique():
            if text.strip() in ("", "nan") or neutral(text) != text:
                raise BenchError(f"{name} {text!r}: is no name; correct it in the source")
    known = {source.fold is not None for source in sources} if folded else {False}
    if len(known) > 1:
        raise BenchError(
            "fold_N is in the path of some files, not of others: name all so, or give --no-folds"
        )
    if known == {False}:
        rows = rows.drop(columns="fold")
    if patients is not None:
        rows["patient"] = rows["case"].map(_patients(patients, list(rows["case"].unique())))
    rows = rows.assign(task=f"{dataset}, {metric}")
    rows, repeated = _once(rows)
    return Imported(rows[[name for name in COLUMNS if name in rows]], tuple(repeated))


def _once(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows without those that repeat another, and what was left out, by method."""
    cell = ["method", "case", "organ"]
    values = [name for name in ("value", "status", "fold") if name in rows]
    again = rows.duplicated(cell)
    other = rows[again & ~rows.duplicated([*cell, *values])]
    if len(other):
        row = other.iloc[0]
        same = (rows[cell] == row[cell]).all(axis=1)
        first = rows[same].iloc[0]
        files = listed(list(dict.fromkeys([str(first["path"]), str(row["path"])])))
        name = next(name for name in values if str(first[name]) != str(row[name]))
        raise BenchError(
            f"{files}: case {row['case']}, organ {row['organ']}: method {row['method']} has two "
            f"values: {name} is {_shown(first[name])} and {_shown(row[name])}; leave one out, or "
            "give the second file a --method of its own"
        )
    said = []
    for method, own in rows[again].groupby("method", sort=False):
        row = own.iloc[0]
        said.append(
            f"{row['path']}: {counted(len(own), 'value')} of method {method} there twice and "
            f"equal, taken once (case {row['case']}, organ {row['organ']})"
        )
    return rows[~again], said


def _shown(value: object) -> str:
    missing = value == "" or (isinstance(value, float) and math.isnan(value))
    return "missing" if missing else str(value)


def refuse_repeated(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table itself; raise if a method has two values for a case and organ."""
    repeated = table.duplicated(["task", "case", "method", "organ"])
    if repeated.any():
        row = table[repeated].iloc[0]
        raise BenchError(
            f"{row['task']}: method {row['method']} has two values of {row['organ']} for case "
            f"{row['case']}: leave one out, or give the second file a --method of its own"
        )
    return table


def _patients(path: Path, cases: Sequence[str]) -> dict[str, str]:
    """Return the patient of every case; other cases of the table are passed over."""
    table = read_table(path)
    names = [name.lower() for name in table.names()]
    if sorted(names) != ["case", "patient"]:
        header = listed(table.header.cells)
        raise table.fault(table.header, f"the columns are case and patient, not {header}")
    if not table.rows:
        raise BenchError(f"{path}: holds no row; write one for each case")
    found: dict[str, str] = {}
    for row in table.rows:
        case, patient = (row.cells[names.index(name)] for name in ("case", "patient"))
        for name, text in {"case": case, "patient": patient}.items():
            if not text:
                raise table.fault(row, f"{name} is empty; fill it in")
        if found.setdefault(case, patient) != patient:
            raise table.fault(row, f"case {case} is of {found[case]} and of {patient}; keep one")
    if unnamed := sorted(set(cases) - found.keys()):
        more = f" and {len(unnamed) - 1} more" if len(unnamed) > 1 else ""
        raise BenchError(
            f"{path}: names no patient of case {unnamed[0]}{more}; its cases are "
            f"{', '.join(sorted(found)[:3])}, ...: write them as the results do"
        )
    return found


def _sources(
    framework: Framework, paths: Sequence[Path], metric: str, methods: Sequence[str]
) -> Iterator[Source]:
    if framework == "folder":
        if methods:
            raise BenchError("--method is not for folder: its files are named after the methods")
        for folder in paths:
            for method, path in _of_methods(folder, metric):
                yield Source(path, method, None, list(_wide(read_table(path))))
        return
    if len(methods) not in (1, len(paths)):
        raise BenchError(
            f"{counted(len(methods), 'method')} named for {counted(len(paths), 'file')}: "
            "give --method once, or once for each file"
        )
    named = methods if len(methods) == len(paths) else [*methods] * len(paths)
    for path, method in zip(paths, named, strict=True):
        if framework == "nnunet":
            numbers = _FOLD.findall("/".join(path.parts))
            fold = int(numbers[-1]) if numbers else None
            yield Source(path, method, fold, list(_summary(path, metric)))
        else:
            yield Source(path, method, None, list(_raw(path)))


def _rows(source: Source, infinite: Infinite | None) -> pd.DataFrame:
    import pandas as pd

    if not source.scores:
        raise BenchError(f"{source.path}: holds no case")
    names = _case_names(source.path, list(dict.fromkeys(score.case for score in source.scores)))
    rows = pd.DataFrame(source.scores)
    rows["case"] = rows["case"].map(names)
    unbounded = rows["value"].map(math.isinf)
    if unbounded.any() and infinite is None:
        row = rows[unbounded].iloc[0]
        raise BenchError(
            f"{source.path}: case {row['case']}, {row['organ']}: the value is infinite, as where "
            "one of two masks is empty: say which with --infinite missed (or hallucinated)"
        )
    rows["status"] = rows["status"].mask(unbounded, infinite or "")
    rows["value"] = rows["value"].mask(unbounded)
    return rows.assign(method=source.method, fold=source.fold, path=str(source.path))


def _case_names(path: Path, texts: Sequence[str]) -> dict[str, str]:
    """Return the case of each file: its name, with that of its folder where names are alike."""
    parts = {text: [part for part in re.split(r"[\\/]+", text) if part] for text in texts}
    for length in (1, 2):
        found = {text: "/".join(part[-length:]) for text, part in parts.items()}
        if len(set(found.values())) == len(found):
            return {text: _IMAGE.sub("", found[text]) for text in found}
    raise BenchError(f"{path}: two cases have one name: {_twice(list(found.values()))}")


def _twice(names: Sequence[str]) -> str:
    return next(name for name in names if names.count(name) > 1)


def _renamed(organs: pd.Series, names: Mapping[str, str]) -> pd.Series:
    known = set(organs.unique())
    for name in names:
        if name not in known and names[name] in known:
            raise BenchError(f"unknown label {name!r}: write {names[name]}={name}")
        if name not in known:
            raise unknown_name("label", name, known)
    return organs.map(lambda label: names.get(label, label))


def _summary(path: Path, metric: str) -> Iterator[Score]:
    """Yield the scores of nnU-Net v2's ``summary.json``, which counts the voxels of both masks."""
    try:
        document = json.loads(_text(path), object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        raise BenchError(f"{path}: no JSON: {error}") from None
    cases = document.get("metric_per_case") if isinstance(document, dict) else None
    if not isinstance(cases, list):
        raise BenchError(f"{path}: has no list metric_per_case, as the summary.json of nnU-Net v2")
    for number, case in enumerate(cases):
        where = f"{path}: metric_per_case[{number}]"
        file = _entry(case, "prediction_file", str, where)
        labels = _entry(case, "metrics", dict, where)
        for label, values in labels.pairs:
            at = f"{where}, label {label}"
            if isinstance(values, dict) and metric not in values:
                raise unknown_name(f"metric in {at}", metric, values)
            value = _entry(values, metric, float, at)
            predicted, true = (_entry(values, name, float, at) for name in ("n_pred", "n_ref"))
            status = mask_status(predicted > 0, true > 0)
            if status == "both_empty" and not math.isnan(value):
                raise BenchError(f"{at}: {metric} is {value:g}, but both masks are empty")
            yield Score(file, label, value, status)


def _entry(holder: Any, name: str, kind: type, where: str) -> Any:
    """Return a member of a JSON object; a number may be NaN, and null is NaN."""
    if not isinstance(holder, dict) or name not in holder:
        raise BenchError(f"{where}: {name} is missing; expected is the summary.json of nnU-Net v2")
    if isinstance(holder, _Object) and sum(key == name for key, _ in holder.pairs) > 1:
        raise BenchError(f"{where}: {name} occurs twice; keep one")
    value = holder[name]
    if kind is float:
        value = math.nan if value is None else value
        if isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
    if not isinstance(value, kind):
        raise BenchError(f"{where}: {name} is {value!s:.100}, which was not expected there")
    return value


def _raw(path: Path) -> Iterator[Score]:
    """Yield the scores of ``METRIC_raw.csv``, as MONAI's ``MetricsSaver`` writes it."""
    table = read_table(path)
    names = table.names()
    if len(names) < 3 or (names[0], names[-1]) != ("filename", "mean"):
        raise table.fault(
            table.header,
            "not the raw table of MONAI's MetricsSaver (METRIC_raw.csv, metric_details of it), "
            "whose columns are filename, the classes and mean",
        )
    return (score for score in _wide(table) if score.organ != "mean")


def _of_methods(folder: Path, metric: str) -> Iterator[tuple[str, Path]]:
    """Yield method and file: ``METHOD.csv``, or ``METHOD/METRIC.csv``."""
    if not folder.is_dir():
        raise BenchError(f"{folder}: is no folder; name the one that holds a CSV for each method")
    flat = sorted(folder.glob("*.csv"))
    nested = sorted(folder.glob(f"*/{glob.escape(metric)}.csv"))
    if flat and nested:
        raise BenchError(
            f"{folder}: holds both METHOD.csv ({flat[0].name}) and METHOD/{metric}.csv "
            f"({nested[0].parent.name}): keep one kind"
        )
    if not flat and not nested:
        raise BenchError(f"{folder}: holds neither METHOD.csv nor METHOD/{metric}.csv")
    yield from ((path.stem, path) for path in flat)
    yield from ((path.parent.name, path) for path in nested)


def _wide(table: TextTable) -> Iterator[Score]:
    """Yield the scores of a table whose rows are cases and whose columns are organs."""
    organs = table.names()[1:]
    if not organs:
        raise table.fault(table.header, "no column of an organ; put commas between the columns")
    columns = [table.numbers(place) for place in range(1, len(organs) + 1)]
    for row, cells in zip(table.rows, zip(*columns, strict=True), strict=True):
        for organ, cell in zip(organs, cells, strict=True):
            value = _number(cell)
            if value is None:
                problem = f"'{cell:.100}' is no number; leave the cell empty if it is missing"
                raise table.fault(row, problem, column=organ)
            yield Score(row.cells[0], organ, value)


def _number(cell: str) -> float | None:
    """Return the number in a cell, NaN if it is missing; None if there is another text."""
    if cell.lower() in ("", "na"):
        return math.nan
    try:
        return None if "_" in cell else float(cell)  # Python takes 1_000 for a number
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchError(f"{path}: cannot be read as text: {error}") from None
