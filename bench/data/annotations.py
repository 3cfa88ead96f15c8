"""``annotations.csv`` of a folder: which organ is annotated in which case, and whose scan it is."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from bench.data.dataset import Case
from bench.data.filenames import file_stem, split_channel
from bench.errors import BenchError, unknown_name
from bench.labels import plain
from bench.reporting.text import counted, enumerated
from bench.texttable import TextTable, read_table

MOST_SCANS = 10
"""More cases with one value of a column are no patient."""

_VISIT = re.compile(
    r"(?P<patient>.*[^_\-. ])[_\-. ]"
    r"((visit|session|ses|timepoint|tp|time|scan|exam|week|month|day|year|v|t|s)[_\-]?\d+"
    r"|pre|post|baseline|followup|follow-up|fu\d*)",
    re.IGNORECASE,
)
"""A case that is named after its patient and the visit."""
_CASE = re.compile("cases?(id|name)?")
_PATIENT = re.compile(
    "(patient|patienten|pat|subject|subj|person|proband)s?(id|ids|name|number|no|nr|key|code)?"
    "|pid|mrn"
)
"""Names of the columns of cases and patients as :func:`bench.labels.plain` spells them."""

TRAINS_IN = "trains_in"
"""Column that says which cases the folds leave where they are."""

_FLAGS = {"1": True, "1.0": True, "0": False, "0.0": False}


class Annotations(NamedTuple):
    """The table of a folder, its columns told apart."""

    path: Path
    rows: Mapping[str, Mapping[str, str]]
    """Case -> column -> text."""
    organs: Mapping[str, str]
    """Organ -> column."""
    patient: str | None
    """Column that names the patient."""
    trains_in: str | None
    """Column of the folds in which a case trains."""
    others: tuple[str, ...]
    """Columns that nothing but a filter reads."""

    def cases(self, where: str) -> list[Case]:
        """Return the cases that match a filter such as ``tier=A|B&split=train``, sorted by id.

        Raises
        ------
        BenchError
            A column or value of the filter that does not exist, no case that matches; a flag that
            is neither 0 nor 1; a patient without a name; folds that are none,
            or differ between the scans of a patient.
        """
        wanted = clauses(where)
        for column, values in wanted:
            held = {row.get(column, "") for row in self.rows.values()}
            known = next(iter(self.rows.values()))
            if column not in known:
                raise unknown_name(f"column in where={where}, of {self.path}:", column, known)
            met = set(map(_number, held))
            if unmet := sorted(value for value in values if _number(value) not in met):
                raise unknown_name(f"value of column {column} in {self.path}:", unmet[0], held)
        found = []
        for case, row in sorted(self.rows.items()):
            flags = tuple(self._flag(case, organ) for organ in self.organs)
            patient = case if self.patient is None else row[self.patient]
            if not patient:
                raise BenchError(f"{self.path}: patient of case {case} is blank; fill it in")
            if all(_number(row[column]) in map(_number, values) for column, values in wanted):
                trains_in = self._folds(case)
                found.append(Case(id=case, patient=patient, annotated=flags, trains_in=trains_in))
        self._refuse_split_patients(found)
        if not found:
            raise BenchError(f"{self.path}: no case has {where}; relax the filter")
        return found

    def remarks(self) -> tuple[str, ...]:
        """Return which columns are not read, where none names the patients."""
        if self.patient is not None or not self.others:
            return ()
        return (
            f"{self.path.name} has no column patient: each case counts as a patient of its own;"
            f" read by filters alone: {', '.join(self.others)}",
        )

    def doubts(self, where: str) -> tuple[str, ...]:
        """Return what may be meant otherwise: numbers of folds, and who is a patient.

        A column that is not read looks like that of the patients, or theirs spells one in two ways.
        """
        return *self._folds_from_one(where), *self._unclear_patients(where)

    def _folds_from_one(self, where: str) -> tuple[str, ...]:
        named = [case.trains_in for case in self.cases(where)]
        folds = {fold for numbers in named if isinstance(numbers, tuple) for fold in numbers}
        if not folds or 0 in folds:
            return ()
        return (
            f"column {self.trains_in} of {self.path.name} names folds from {min(folds)} to"
            f" {max(folds)}; they count from 0",
        )

    def _unclear_patients(self, where: str) -> tuple[str, ...]:
        if self.patient is not None:
            return self._misspelt(where)
        filtered = {column for column, _ in clauses(where)}
        likely = [name for name in self.others if name not in filtered and self._groups(name)]
        if not likely:
            return ()
        return (
            f"cases share values of {' and of '.join(likely)} in {self.path.name}; if these are"
            " patients, call the column patient: their scans may be trained on and tested",
        )

    def _misspelt(self, where: str) -> tuple[str, ...]:
        spelt = defaultdict(set)
        for case in self.cases(where):
            spelt[_spelling(case.patient)].add(case.patient)
        alike = [" and ".join(sorted(names)) for names in spelt.values() if len(names) > 1]
        if not alike:
            return ()
        return (
            f"{enumerated(alike)} in column {self.patient} of {self.path.name} count as different"
            " patients; if they are one, spell them alike: their scans may be trained on and"
            " tested",
        )

    def _groups(self, column: str) -> bool:
        """Tell whether some cases share a value, and none is that of very many."""
        sizes = Counter(row[column] for row in self.rows.values())
        return len(sizes) > 1 and 1 < max(sizes.values()) <= MOST_SCANS

    def _folds(self, case: str) -> tuple[int, ...] | Literal["all"] | None:
        """Return in which folds a case trains, the opposite of :func:`folds_text`."""
        text = "" if self.trains_in is None else self.rows[case][self.trains_in].lower()
        if text == "all":
            return "all"
        if not text:
            return None
        if text != "none" and not re.fullmatch(r"[0-9]{1,4}( +[0-9]{1,4})*", text):
            raise BenchError(
                f"{self.path}: case {case}, column {self.trains_in}: {text!r}; write all, none, or"
                " numbers of folds such as 0 2, or leave it blank"
            )
        return () if text == "none" else tuple(map(int, text.split()))

    def _refuse_split_patients(self, cases: Iterable[Case]) -> None:
        first: dict[str, Case] = {}
        for case in cases:
            other = first.setdefault(case.patient, case)
            if other.trains_in != case.trains_in:
                raise BenchError(
                    f"{self.path}: {other.id} and {case.id} are of one patient and differ in"
                    f" {self.trains_in}; scans of a patient are trained on or tested together"
                )

    def _flag(self, case: str, organ: str) -> bool:
        text = self.rows[case][self.organs[organ]]
        if text not in _FLAGS:
            raise BenchError(
                f"{self.path}: case {case}, column {organ}: {text!r}; write 1 (annotated) or 0"
                " (not)"
            )
        return _FLAGS[text]


def read_annotations(table: Path, organs: Sequence[str], cases: Collection[str]) -> Annotations:
    """Read ``annotations.csv`` of a folder with these organs and cases.

    A cell of a case may also be the name of its file. Capitals, blanks and underscores in the names
    of columns do not matter.

    Raises
    ------
    BenchError
        No table of text; a column or row that is missing, there twice, or of no organ or case.
    """
    found = read_table(table)
    header = found.names()
    first = _case_column(table, header)
    others = [name for name in header if name != header[first]]
    drawn = {organ: _column(table, others, organ) for organ in organs}
    if missing := [organ for organ, column in drawn.items() if column is None]:
        raise BenchError(
            f"{table}: no column for {enumerated(missing)} of dataset.json (columns:"
            f" {', '.join(header)}); names must be equal"
        )
    if not found.rows:
        raise BenchError(f"{table}: no rows; add one for each case, or delete the file")
    named = [name for name in others if name not in drawn.values()]
    patient, trains_in = _patient_column(table, named), _column(table, named, TRAINS_IN)
    return Annotations(
        path=table,
        rows=_rows(found, first, cases),
        organs={organ: column for organ, column in drawn.items() if column is not None},
        patient=patient,
        trains_in=trains_in,
        others=tuple(name for name in named if name and name not in (patient, trains_in)),
    )


def clauses(where: str) -> list[tuple[str, set[str]]]:
    """Split ``tier=A|B&split=train`` into columns and accepted values."""
    found = []
    for clause in filter(None, (part.strip() for part in where.split("&"))):
        column, equals, values = clause.partition("=")
        wanted = {value.strip() for value in values.split("|")}
        if not equals or not column.strip() or "" in wanted:
            raise ValueError("write column=value, several joined by &, alternatives by |")
        found.append((column.strip(), wanted))
    return found


def folds_text(case: Case) -> str:
    """Return what the column :data:`TRAINS_IN` says of a case; blank where the folds decide."""
    if case.trains_in is None or case.trains_in == "all":
        return case.trains_in or ""
    return " ".join(map(str, case.trains_in)) or "none"


def visits(cases: Iterable[str]) -> tuple[str, ...]:
    """Return whether cases look like several scans of one patient: ``P1_visit1``, ``P1_visit2``."""
    by_patient = defaultdict(list)
    for case in sorted(cases):
        if match := _VISIT.fullmatch(case):
            by_patient[match["patient"]].append(case)
    shared = [names for names in by_patient.values() if len(names) > 1]
    if not shared or len(by_patient) < 2 or max(map(len, shared)) > MOST_SCANS:
        return ()
    more = f" (and {counted(len(shared) - 1, 'other group')})" if len(shared) > 1 else ""
    return (
        f"{enumerated(shared[0])}{more} look like scans of one patient and count as patients of"
        " their own; if they are one, name it in a column patient of annotations.csv: its scans may"
        " be trained on and tested",
    )


def _number(text: str) -> str:
    """Return a whole number as it is usually written: spreadsheets make ``1.0`` of 1."""
    return re.sub(r"^(-?\d+)\.0+$", r"\1", text)


def _spelling(patient: str) -> tuple[str, ...]:
    """Return what two spellings of a patient share: ``1.0`` and ``01``, ``P 7`` and ``p007``."""
    parts = re.findall(r"[^\W\d_]+|\d+", _number(patient).casefold())
    return tuple(part.lstrip("0") or "0" for part in parts) or (patient,)


def _case_column(table: Path, header: Sequence[str]) -> int:
    found = [place for place, name in enumerate(header) if _CASE.fullmatch(plain(name))]
    if not found:
        raise BenchError(
            f"{table}: no column is called case (columns: {', '.join(header)}); call that of the"
            " cases so"
        )
    if len(found) > 1:
        names = ", ".join(header[place] for place in found)
        raise BenchError(f"{table}: the columns {names} all seem to name the case; keep one")
    return found[0]


def _column(table: Path, names: Iterable[str], organ: str) -> str | None:
    """Return the column of an organ, whatever its capitals and blanks."""
    found = [name for name in names if plain(name) == plain(organ)]
    if len(found) > 1:
        raise BenchError(f"{table}: {' and '.join(found)} are both a column of {organ}; keep one")
    return found[0] if found else None


def _patient_column(table: Path, names: Iterable[str]) -> str | None:
    """Return the column that names patients, however it is spelt; None without one."""
    found = [name for name in names if _PATIENT.fullmatch(plain(name))]
    if len(found) > 1:
        raise BenchError(
            f"{table}: the columns {', '.join(found)} all seem to name the patient; keep one of"
            " these names"
        )
    return found[0] if found else None


def _rows(found: TextTable, first: int, cases: Collection[str]) -> dict[str, dict[str, str]]:
    """Return case -> column -> text, a row for each case and no other."""
    table, known = found.path, frozenset(cases)
    rows: dict[str, dict[str, str]] = {}
    for row in found.rows:
        case = _case(row.cells[first], known)
        if case in rows:
            raise found.fault(row, f"another row of case {case}; keep one")
        rows[case] = dict(zip(found.header.cells, row.cells, strict=True))
    missing, alien = sorted(known - rows.keys()), sorted(rows.keys() - known)
    if missing and alien:
        raise BenchError(
            f"{table}: no row for case {enumerated(missing)}, and no image for the rows of"
            f" {enumerated(alien)}; call the cases in it as their files are called"
        )
    if missing:
        raise BenchError(f"{table}: no row for case {enumerated(missing)}; add one for each")
    if alien:
        raise BenchError(
            f"{table}: row for {enumerated(alien)}, which has no image; remove the row or add the"
            " case"
        )
    return rows


def _case(cell: str, known: Collection[str]) -> str:
    """Return the case that a cell names by its id or by one of its files."""
    name = PurePosixPath(cell.replace("\\", "/")).name
    stem = file_stem(name) or name
    return next((text for text in (cell, stem, split_channel(stem)[0]) if text in known), cell)
