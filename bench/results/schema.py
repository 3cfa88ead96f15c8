"""Table schemas: column types, ranges and keys, checked on every read and write.

Users may edit, merge or exchange the files: every value is checked for type and range, and an error
names the row of the first wrong one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from bench.errors import BenchError, neutral
from bench.files import replacing
from bench.machine import memory
from bench.results import packs, repeats
from bench.results.asked import again
from bench.results.basis import other_data, why_apart

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MAX_ROWS = 20_000_000
"""Rows of one file."""

Kind = Literal["text", "int", "float", "bool"]

KIND_NAMES = {
    "text": "text",
    "int": "a whole number",
    "float": "a finite number",
    "bool": "true or false",
}
DTYPES = {"text": "str", "int": "int64", "float": "float64", "bool": "bool"}
ARROW_TYPES = {"text": "string", "int": "int64", "float": "float64", "bool": "bool"}


class Column(NamedTuple):
    """Type and allowed values of one column.

    Attributes
    ----------
    kind
        Type of its values.
    low, high
        Bounds, inclusive.
    nan
        Whether a number may be missing.
    choices
        Allowed texts; if empty, any text except the empty one.
    absent
        Value for tables written before the column existed; NaN if a number may be missing.
    since
        First version of the schema whose files must have it; in older ones it may be absent.
    """

    kind: Kind
    low: float | None = None
    high: float | None = None
    nan: bool = False
    choices: tuple[str, ...] = ()
    absent: str | int | bool | None = None
    since: int = 0


class Fault(NamedTuple):
    """Rows that contradict others or themselves, and a message about the first of them."""

    rows: pd.Series
    problem: str


Across = Callable[["pd.DataFrame", Sequence[Path], Sequence[str], Sequence[str]], str]


@dataclass(frozen=True)
class Schema:
    """The schema of a table: builds, checks, writes and reads it.

    Attributes
    ----------
    name, version
        Stored in the file; a file of another version is not read.
    oldest
        The first version that is read, by filling its columns (:class:`Column`).
    declared
        Columns in order.
    key
        Columns that name a row.
    run
        Columns that name a run: if a run is in several files, the newest wins.
    checks
        Rules between columns or rows: each check yields a fault for every broken rule.
    across
        Returns how rows of several folders or packs contradict each other, empty if they do not;
        called with the rows, the files that their column ``_file`` counts, ``run`` and ``key``.
    plugged
        Returns the columns of plug-ins, which follow the declared ones.
    """

    name: str
    version: int
    oldest: int
    declared: Mapping[str, Column]
    key: tuple[str, ...]
    run: tuple[str, ...]
    checks: tuple[Callable[[pd.DataFrame], Iterator[Fault]], ...] = ()
    across: Across | None = None
    plugged: Callable[[], Mapping[str, Column]] = dict

    @property
    def columns(self) -> dict[str, Column]:
        """Every column, in order."""
        return {**self.declared, **self.plugged()}

    @property
    def readable(self) -> list[str]:
        """Name and version as stored in files that are read; the last is that of new files."""
        return [f"{self.name}/{version}" for version in range(self.oldest, self.version + 1)]

    def frame(self, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """Build a table from rows: columns in order and typed, rows sorted by the key.

        Raises
        ------
        BenchError
            A column is missing, unknown, or holds a value of another type.
        """
        import pandas as pd

        table = pd.DataFrame(list(rows))
        if table.empty:
            table = pd.DataFrame(columns=list(self.columns))
        self._check_columns(table, self.name)
        return self._sorted(self._typed(table, self.name))

    def check(self, table: pd.DataFrame, source: str = "") -> None:
        """Raise for wrong columns, types, ranges, duplicates, and rows that contradict each other.

        Raises
        ------
        BenchError
            Names the column and the first offending row.
        """
        self._checked(table, source or self.name)

    def _checked(self, table: pd.DataFrame, source: str) -> pd.DataFrame:
        """Return the table with columns in order and of their types, after all checks."""
        self._check_columns(table, source)
        table = self._typed(table, source)
        for name, column in self.columns.items():
            self._check_values(table, name, column, source)
        duplicated = table.duplicated(list(self.key))
        if duplicated.any():
            raise BenchError(
                f"{source} {self._describe(table, duplicated)}: the same row occurs "
                f"{_times(table, duplicated, self.key)} times, keep one"
            )
        for check in self.checks:
            for bad, problem in check(table):
                raise BenchError(f"{source} {self._describe(table, bad)}: {problem}")
        if problem := why_apart(table):
            raise BenchError(f"{source}: {problem}")
        return table

    def save(self, table: pd.DataFrame, path: Path) -> None:
        """Check and store a table as parquet: equal rows in any order give equal bytes."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        typed = self._sorted(self._checked(table, str(path)))
        arrow = pa.Table.from_pandas(typed, schema=self._arrow_schema(), preserve_index=False)
        arrow = arrow.replace_schema_metadata({"bench.schema": self.readable[-1]})
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, ours=True) as unfinished:
            pq.write_table(arrow, unfinished, compression="zstd", write_page_checksum=True)

    def load(self, path: Path) -> pd.DataFrame:
        """Read and check a table.

        Columns that are newer than the file, and those of plug-ins, are filled (:class:`Column`).

        Raises
        ------
        BenchError
            The file is missing, not parquet, of another schema, or fails :meth:`check`.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not packs.is_file(path):
            raise BenchError(f"{path}: no such {self.name} table, run `bench run` first")
        try:
            # Repeated values take next to nothing in a file: look before memory is taken.
            free = memory.available()
            if (size := packs.size(path)) > free:
                raise ValueError(f"{size} bytes, more than the memory that is free")
            with packs.opened(path) as file:
                metadata = pq.read_metadata(file)
                if (rows := metadata.num_rows) > MAX_ROWS:
                    raise ValueError(f"{rows} rows, more than {MAX_ROWS}")
                groups = map(metadata.row_group, range(metadata.num_row_groups))
                if (size := sum(group.total_byte_size for group in groups)) > free:
                    raise ValueError(f"{size} bytes of values, more than the memory that is free")
                texts = [name for name, column in self.columns.items() if column.kind == "text"]
                arrow = pq.read_table(file, page_checksum_verification=True, read_dictionary=texts)
            tag = (arrow.schema.metadata or {}).get(b"bench.schema", b"none")
            arrow = repeats.shared(arrow)
            table: pd.DataFrame = arrow.to_pandas(self_destruct=True, split_blocks=True)
            del arrow
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise BenchError(
                f"{path}: no readable parquet file, perhaps cut or damaged ({reason:.100}): remove "
                f"it, and give {again(path)} again; to report the other tables, name them"
            ) from None
        schema = tag.decode(errors="replace")
        if schema not in self.readable:
            raise BenchError(
                f"{path}: holds schema {schema}, this program reads {' or '.join(self.readable)}; "
                "collect the results again with `bench run`"
            )
        version = int(schema.rpartition("/")[2])
        for name, column in self.columns.items():
            required = name in self.declared and version >= column.since
            if name not in table.columns and not required:
                table[name] = float("nan") if column.nan else column.absent
        checked = self._sorted(self._checked(table, str(path)))
        del table
        pa.default_memory_pool().release_unused()  # reports need what checks leave behind
        return checked

    def load_all(
        self, paths: Sequence[Path], remark: Callable[[str], None] = lambda _: None
    ) -> pd.DataFrame:
        """Load several tables as one: :meth:`merged` of those that :meth:`load` returns."""
        return self.merged({path: self.load(path) for path in paths}, remark)

    def merged(
        self, loaded: Mapping[Path, pd.DataFrame], remark: Callable[[str], None] = lambda _: None
    ) -> pd.DataFrame:
        """Return the tables of several files as one, the empty table for no file.

        If a run is in several files of a folder, the newest wins. ``remark`` is called with a line
        for each file of which runs are left out that stand on other data than those in the newest.
        Those of several folders or packs have to agree (``across``).

        Parameters
        ----------
        loaded
            File -> what :meth:`load` returned for it.

        Raises
        ------
        BenchError
            Runs of different files do not fit together.
        """
        import pandas as pd

        if not loaded:
            return self.frame([])
        if len(loaded) == 1:
            return next(iter(loaded.values()))
        newest_first = sorted(loaded, key=lambda path: (-packs.modified_ns(path), str(path)))
        table = pd.concat(
            [loaded[path].assign(_file=number) for number, path in enumerate(newest_first)],
            ignore_index=True,
        )
        together = f"the {len(loaded)} {self.name} tables together"
        if self.across and (problem := self.across(table, newest_first, self.run, self.key)):
            raise BenchError(problem)
        first = table.groupby(list(self.run))["_file"].transform("min")
        newest = table["_file"] == first
        if problem := why_apart(table[newest], newest_first):
            raise BenchError(f"{together}: {problem}")
        left_out = other_data(table[newest], table[~newest], self.run)
        for old, runs in left_out.groupby(left_out["_file"].map(newest_first.__getitem__)):
            newer = sorted({str(newest_first[number]) for number in runs["_file_kept"]})
            remark(
                f"{old}: {len(runs)} runs left out, computed on other data than the newer ones in "
                f"{', '.join(newer)}"
            )
        merged = self._sorted(table[newest].drop(columns="_file"))
        self.check(merged, together)
        return merged

    def _sorted(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows sorted by the key, which those of a file are already."""
        import pandas as pd

        key = pd.MultiIndex.from_frame(table[list(self.key)])
        if key.is_monotonic_increasing:
            return table.reset_index(drop=True)
        return table.sort_values(list(self.key), ignore_index=True)

    def _describe(self, table: pd.DataFrame, bad: pd.Series) -> str:
        """Name the first row in ``bad`` by position and key, and count the others."""
        position = int(bad.to_numpy().argmax())
        row = table.iloc[position]
        more = int(bad.sum()) - 1
        named = ", ".join(f"{name}={row[name]}" for name in self.key)
        return f"row {position} ({named})" + (f" and {more} more" if more else "")

    def _arrow_schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema(
            [
                (name, pa.type_for_alias(ARROW_TYPES[column.kind]))
                for name, column in self.columns.items()
            ]
        )

    def _check_columns(self, table: pd.DataFrame, source: str) -> None:
        missing = [name for name in self.columns if name not in table.columns]
        if missing:
            raise BenchError(f"{source}: column {', '.join(missing)} is missing")
        unknown = [str(name) for name in table.columns if name not in self.columns]
        if unknown:
            raise BenchError(
                f"{source}: unknown column {', '.join(unknown)}; if it is a metric of a plug-in, "
                "name that with --plugin"
            )

    def _typed(self, table: pd.DataFrame, source: str) -> pd.DataFrame:
        """Return a copy with columns in order and of their types."""
        typed = table[list(self.columns)]
        for name, column in self.columns.items():
            values = typed[name]
            empty = values.isna()
            if column.kind != "float" and empty.any():
                raise BenchError(f"{source} {self._describe(table, empty)}: {name} is empty")
            if column.kind == "bool":
                wrong = ~values.isin([True, False])
            elif column.kind == "text":
                wrong = _not_texts(values)
            else:
                wrong = _not_numbers(values, whole=column.kind == "int")
            if wrong.any():
                value = values[wrong].iloc[0]
                raise BenchError(
                    f"{source} {self._describe(table, wrong)}: {name} is {value}, "
                    f"must be {KIND_NAMES[column.kind]}"
                )
        wanted = {name: DTYPES[column.kind] for name, column in self.columns.items()}
        # A text column takes a copy of its texts to become what it is.
        return typed.astype({name: d for name, d in wanted.items() if typed.dtypes[name] != d})

    def _check_values(self, table: pd.DataFrame, name: str, column: Column, source: str) -> None:
        values = table[name]
        if column.kind == "float" and not column.nan:
            self._refuse(table, values.isna(), name, "a number", source)
        if column.kind == "text":
            unsafe = [text for text in values.unique() if neutral(text) != text]
            refused = values.isin(unsafe)
            self._refuse(table, refused, name, "without control characters", source)
        if column.kind == "text" and column.absent != "":
            self._refuse(table, values == "", name, "not empty", source)
        if column.choices:
            allowed = " or ".join(column.choices)
            self._refuse(table, ~values.isin(column.choices), name, allowed, source)
        if column.low is not None:
            self._refuse(table, values < column.low, name, f"at least {column.low:g}", source)
        if column.high is not None:
            self._refuse(table, values > column.high, name, f"at most {column.high:g}", source)

    def _refuse(
        self, table: pd.DataFrame, bad: pd.Series, name: str, rule: str, source: str
    ) -> None:
        if bad.any():
            raise BenchError(
                f"{source} {self._describe(table, bad)}: {name} is {table.loc[bad, name].iloc[0]}, "
                f"must be {rule}"
            )


def _not_texts(values: pd.Series) -> pd.Series:
    import pandas as pd

    if isinstance(values.dtype, pd.StringDtype):  # holds nothing else
        return pd.Series(data=False, index=values.index)
    return ~values.map(lambda value: isinstance(value, str)).astype(bool)


def _not_numbers(values: pd.Series, *, whole: bool) -> pd.Series:
    import pandas as pd

    numbers = pd.to_numeric(values, errors="coerce")
    wrong = (numbers.isna() & values.notna()) | numbers.isin([float("inf"), float("-inf")])
    if whole:
        wrong |= numbers.notna() & (numbers != numbers.round())
    return wrong


def _times(table: pd.DataFrame, duplicated: pd.Series, key: Sequence[str]) -> int:
    columns = list(key)
    row = table.loc[duplicated, columns].iloc[0]
    return int((table[columns] == row).all(axis=1).sum())
