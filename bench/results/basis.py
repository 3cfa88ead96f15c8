"""The data and versions that the rows of a table stand on; rows of different ones are refused.

The columns hold keys of stages, which are digests of all that enters them: equal keys are equal
data. :data:`RULES` lists which of them must be equal, and among which rows.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.params import format_brackets, parse_brackets
from bench.plugins import registry
from bench.results.asked import Typed, typed
from bench.results.columns import CONDITION, GROUP, RUN

if TYPE_CHECKING:
    import pandas as pd

BASIS = ("content", "scaling", "images", "truth", "labels", "versions")
DEFINED = ("recipe", "definition")
"""Those of a table of scores."""
UNLABELLED = ("content", "scaling", "images", "versions")
"""Those of a table that stands on images alone."""
_OPTIONS = {"label_pct": "-l", "fold": "-f", "profile": "-p", "backbone": "-b", "seed": "--seeds"}


class Rule(NamedTuple):
    """Rows that are equal in ``within`` must be equal in ``column``."""

    column: str
    within: tuple[str, ...]
    what: str
    """What is different if they are not, for messages."""


RULES = (
    Rule("content", ("dataset",), "images, label maps or lists of cases"),
    Rule("scaling", ("dataset",), "scalings of the images"),
    Rule("versions", GROUP, "versions of the code"),
    Rule("truth", ("dataset", "profile"), "options of the data set"),
    Rule("images", GROUP, "preparations of the images"),
    Rule("labels", CONDITION, "splits or hidden labels"),
    Rule("recipe", GROUP, "numbers of the profile"),
    Rule("definition", (*GROUP, "label_pct", "method"), "definitions of the method"),
)
"""The most telling first, because the keys of later ones depend on it."""

Record = Mapping[str, Any]


def why_apart(table: pd.DataFrame, files: Sequence[Path] = ()) -> str:
    """Return why rows do not belong into one table and which run to repeat; empty if they do.

    Parameters
    ----------
    table
        Rows with some of the columns ``BASIS`` and ``DEFINED``, where an empty text is unknown and
        fits everything. With ``files``, also the column ``_file``.
    files
        The files of the rows, the newest first: it is right, and the others are to be repeated.
    """
    names = [name for name in (*RUN, *BASIS, *DEFINED, "_file") if name in table]
    distinct = table[names].drop_duplicates()
    if files:
        distinct = distinct.sort_values("_file", kind="stable")
    records: list[Record] = [dict(zip(names, row, strict=True)) for row in distinct.to_numpy()]
    for rule in RULES:
        if rule.column in names and (found := _first_clash(records, rule)):
            return _described(rule, *found, files)
    return ""


def other_data(kept: pd.DataFrame, replaced: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """Return the replaced runs that stood on other data than the rows kept for the same run.

    Both tables have a column ``_file``; that of the rows kept is ``_file_kept`` in the result.
    """
    key = list(key)
    runs = replaced.drop_duplicates([*key, "_file"]).merge(
        kept.drop_duplicates(key), on=key, suffixes=("", "_kept")
    )
    data = [name for name in BASIS if name in kept and name != "versions"]
    old, new = runs[data], runs[[f"{name}_kept" for name in data]].set_axis(data, axis=1)
    found: pd.DataFrame = runs[((old != new) & (old != "") & (new != "")).any(axis=1)]
    return found


def listed(versions: Iterable[tuple[str, str]]) -> str:
    """Return kinds of stages with their versions as the text of the column ``versions``."""
    return ", ".join(f"{kind} {version}" for kind, version in sorted(set(versions)))


def _claims(record: Record, column: str) -> Iterator[tuple[str, str]]:
    """Yield name and value of what a row says in a column; one pair for each kind of stage."""
    if column != "versions":
        yield column, record[column]
        return
    for item in filter(None, record[column].split(", ")):
        kind, _, version = item.rpartition(" ")
        yield kind, version


def _first_clash(
    records: Sequence[Record], rule: Rule
) -> tuple[str, str, Record, list[tuple[str, Record]]] | None:
    """Return name, value and row of the first claim that others contradict, and these."""
    first: dict[tuple[Any, ...], tuple[str, Record]] = {}
    against: dict[tuple[Any, ...], list[tuple[str, Record]]] = {}
    for record in records:
        for name, value in _claims(record, rule.column):
            if value:
                group = (*(record[column] for column in rule.within), name)
                if first.setdefault(group, (value, record))[0] != value:
                    against.setdefault(group, []).append((value, record))
    for group, stale in against.items():
        return group[-1], *first[group], stale
    return None


def _described(
    rule: Rule,
    name: str,
    value: str,
    right: Record,
    stale: Sequence[tuple[str, Record]],
    files: Sequence[Path],
) -> str:
    other, example = stale[0]
    asked = typed(files[example["_file"]]) if files else Typed()
    rows = [record for _, record in stale]
    old = sorted({str(files[record["_file"]]) for record in rows}) if files else []
    inside = bool(files) and right["_file"] in {record["_file"] for record in rows}
    without = f", or leave out {', '.join(old)}" if old and not inside else ""
    here = there = ""
    if files and files[example["_file"]].parent != files[right["_file"]].parent:
        here, there = f" in {files[example['_file']]}", f" in {files[right['_file']]}"
    return (
        f"{_named(example)} and {_named(right)} of {right['dataset']} stand on different "
        f"{rule.what} ({name} {other}{here}, {name} {value}{there}), so they do not compare: "
        "repeat the older, "
        f"`{_command(rows, asked)}`{without}"
    )


def _named(record: Record) -> str:
    fold = f"{record['label_pct']} %, fold {record['fold']}" if "fold" in record else ""
    return " at ".join(filter(None, (record.get("method", ""), fold))) or record["backbone"]


def _command(rows: Sequence[Record], asked: Typed) -> str:
    """Return the command that computes the runs of some rows.

    Parameters
    ----------
    asked
        What is known of the command that computed them before.
    """
    base, options = parse_brackets(rows[0]["dataset"])
    known = base in registry.names("datasets")
    words = ["bench", "run"]
    if methods := dict.fromkeys(row["method"] for row in rows if "method" in row):
        words += ["-m", ",".join(methods)]
    words += ["-d", asked.dataset or format_brackets(base if known else "FOLDER", options)]
    for column, option in _OPTIONS.items():
        descending = column == "label_pct"
        values = sorted({row[column] for row in rows if column in row}, reverse=descending)
        if values and not (column == "seed" and values == [0]):
            words += [option, ",".join(map(str, values))]
    for plugin in asked.plugins:
        words += ["--plugin", plugin]
    return shlex.join(words)
