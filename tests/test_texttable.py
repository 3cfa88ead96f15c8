"""Tables of text: one set of rules for every command that reads one."""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import trees
from command import Bench, bench

from bench.data.annotations import read_annotations
from bench.datasets.totalsegmentator import TotalSegmentator
from bench.errors import BenchError
from bench.reporting.imports import imported
from bench.reporting.scores import read_csv
from bench.texttable import read_table

__all__ = ["bench"]

Lines = list[list[str]]

SCORES: Lines = [
    ["task", "case", "method", "value"],
    ["k", "a", "m", "0.9"],
    ["k", "b", "m", "0.8"],
    ["k", "a", "n", "0.7"],
    ["k", "b", "n", "0.6"],
]
ORGANS: Lines = [["name", "liver", "spleen"], ["a", "0.9", "0.8"], ["b", "0.7", "0.6"]]
PATIENTS: Lines = [["case", "patient"], ["a", "p1"], ["b", "p2"]]
FLAGS: Lines = [["case", "patient", "liver"], ["a", "p1", "1"], ["b", "p2", "0"]]
SPLITS: Lines = [["image_id", "split"], ["s0001", "train"], ["s0002", "test"]]


def scores(path: Path) -> object:
    return read_csv(path).to_csv(index=False)


def organs(path: Path) -> object:
    folder = path.parent / "methods"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "m.csv").symlink_to(path)
    return imported("folder", [folder], dataset="D", metric="Dice").table.to_csv()


def patients(path: Path) -> object:
    folder = path.parent / "methods"
    folder.mkdir(exist_ok=True)
    (folder / "m.csv").write_text(written(ORGANS))
    found = imported("folder", [folder], dataset="D", metric="Dice", patients=path)
    return found.table.to_csv()


def flags(path: Path) -> object:
    return read_annotations(path, ["liver"], ["a", "b"]).cases("")


def splits(path: Path) -> object:
    root = path.parent / "release"
    for number in (1, 2):
        for file in ("ct.nii.gz", "segmentations/liver.nii.gz"):
            (root / f"s{number:04}" / file).parent.mkdir(parents=True, exist_ok=True)
            (root / f"s{number:04}" / file).write_bytes(b"never read")
    (root / "meta.csv").unlink(missing_ok=True)
    (root / "meta.csv").symlink_to(path)
    return TotalSegmentator(root=root, split="test").cases()


CALLERS: dict[str, tuple[Lines, Callable[[Path], object]]] = {
    "scores of a report": (SCORES, scores),
    "scores of a folder": (ORGANS, organs),
    "patients of an import": (PATIENTS, patients),
    "flags of a folder": (FLAGS, flags),
    "splits of a release": (SPLITS, splits),
}


def written(lines: Lines, separator: str = ",", end: str = "\n") -> str:
    return "".join(separator.join(line) + end for line in lines)


def quoted(lines: Lines, cell: str) -> Lines:
    """Return a table with another text in the first cell of its third row."""
    return [*lines[:2], [cell, *lines[2][1:]], *lines[3:]]


SPELLINGS: dict[str, Callable[[Lines], bytes]] = {
    "semicolons, mark, CRLF": lambda t: written(t, ";", "\r\n").encode("utf-8-sig"),
    "tabs in UTF-16": lambda t: written(t, "\t").encode("utf-16"),
    "CR": lambda t: written(t, end="\r").encode(),
    "no end of the last line": lambda t: written(t).rstrip("\n").encode(),
    "blank lines": lambda t: ("\n" + written(t, end="\n \n") + "\n").encode(),
    "lines of separators": lambda t: (written(t) + ",\n").encode(),
    "blank column at the end": lambda t: written(t, end=",\n").encode(),
    "blank cells behind the header": lambda t: (
        written(t[:1]) + written(t[1:], end=",,\n")
    ).encode(),
    "quotation marks": lambda t: written([[f'"{cell}"' for cell in row] for row in t]).encode(),
    "blanks around cells": lambda t: written(
        [[f' "{cell}"' for cell in row] for row in t]
    ).encode(),
    "sep=": lambda t: ("sep=;\r\n" + written(t, ";", "\r\n")).encode(),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("caller", CALLERS)
def test_every_spelling_of_a_table_is_read_alike(
    caller: str, spelling: str, tmp_path: Path
) -> None:
    lines, read = CALLERS[caller]
    path = tmp_path / "table.csv"
    path.write_text(written(lines))
    plain = read(path)
    path.write_bytes(SPELLINGS[spelling](lines))
    assert read(path) == plain


ANEW = "save the table anew as CSV in UTF-8"
FAULTS: dict[str, tuple[Callable[[Lines], bytes], str]] = {
    "empty": (lambda t: b"", ": is empty; write the names of the columns"),
    "blank": (lambda t: b"\n \n", ": is empty"),
    "Windows-1252": (
        lambda t: written(quoted(t, "M\xfcller")).encode("cp1252"),
        f" row 3: is no UTF-8 text; {ANEW}",
    ),
    "UTF-16 without its mark": (lambda t: written(t).encode("utf-16-le"), f": is no .*{ANEW}"),
    "UTF-16 cut": (lambda t: written(t).encode("utf-16")[:-1], f"is no UTF-8 text; {ANEW}"),
    "a picture": (lambda t: b"\x89PNG\r\n\x1a\n" + bytes(20), "is no UTF-8 text"),
    "NUL": (lambda t: written(quoted(t, "a\0")).encode(), "is no UTF-8 text"),
    "a quotation mark": (
        lambda t: written(quoted(t, '"a')).encode(),
        " row 3: not readable as CSV .*; correct the quotation marks",
    ),
    "text behind a quotation mark": (
        lambda t: written(quoted(t, '"a"b')).encode(),
        " row 3: not readable as CSV",
    ),
    "a line break": (
        lambda t: written(quoted(t, '"a\nb"')).encode(),
        " row 3: holds control characters, or a line break",
    ),
    "escape": (
        lambda t: written(quoted(t, "a\x1b[2J")).encode(),
        " row 3: holds control characters",
    ),
    "a short row": (
        lambda t: written([*t[:2], t[2][:-1], *t[3:]]).encode(),
        r" row 3: has \d of \d cells; complete it",
    ),
    "a short row below blank lines": (
        lambda t: ("\n\n" + written([*t[:2], t[2][:-1]])).encode(),
        " row 5: has",
    ),
    "a long row": (
        lambda t: written([*t[:2], [*t[2], "1"], *t[3:]]).encode(),
        r" row 3: has \d cells, the header \d; put text that holds a separator into",
    ),
    "two columns of one name": (
        lambda t: written([[*row, row[-1]] for row in t]).encode(),
        " row 1: two columns are called .*; keep one",
    ),
    "a column without a name": (
        lambda t: written([[t[0][0], "", *t[0][1:]], *([r[0], "x", *r[1:]] for r in t[1:])])
        .encode(),
        " row 1: column 2 has no name",
    ),
    "two separators in the header": (
        lambda t: (written([["x,y", *t[0][1:]], *([f"1,{r[0]}", *r[1:]] for r in t[1:])], ";"))
        .encode(),
        ": the names of the columns hold commas and semicolons; put names",
    ),
}  # fmt: skip


def refused(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(BenchError) as error:
        read(path)
    return str(error.value)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("caller", CALLERS)
def test_a_faulty_table_is_named_with_its_row(caller: str, fault: str, tmp_path: Path) -> None:
    lines, read = CALLERS[caller]
    spoil, message = FAULTS[fault]
    path = tmp_path / "table.csv"
    path.write_bytes(spoil(lines))
    with pytest.raises(BenchError, match=rf"(table|m|meta)\.csv.*{message}") as error:
        read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("caller", ["scores of a report", "patients of an import"])
def test_what_is_no_file_is_refused(
    caller: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, read = CALLERS[caller]
    path = tmp_path / "table.csv"
    assert "table.csv: file not found" in refused(read, path)
    path.mkdir()
    assert "table.csv: is no file" in refused(read, path)
    path.rmdir()
    os.mkfifo(path)  # would never end
    assert "table.csv: is no file" in refused(read, path)
    path.unlink()
    path.write_text(written(lines))
    opened = io.open

    def refuse(file: object, *args: object, **kwargs: object) -> object:
        if file == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(file, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(io, "open", refuse)
    assert "table.csv: cannot be read: Permission denied; ask for" in refused(read, path)


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(written(PATIENTS))
    monkeypatch.setattr("bench.texttable.MAX_TABLE_BYTES", 8)
    assert "is larger than 8 bytes; is it a table?" in refused(read_table, path)


@pytest.mark.parametrize(
    ("text", "names", "first"),
    [
        ("case;liver, left;b\na;0;1\n", ["case", "liver, left", "b"], ["a", "0", "1"]),
        ('case;"liver, left"\na;0,9\n', ["case", "liver, left"], ["a", "0,9"]),
        ("sep=;\ncase;liver, left\na;0,9\n", ["case", "liver, left"], ["a", "0,9"]),
        ("case\na\n", ["case"], ["a"]),
        (",liver\na,1\n", ["", "liver"], ["a", "1"]),
        ("case,Mu\u0308ller\na,e\u0301\n", ["case", "M\xfcller"], ["a", "\xe9"]),
    ],
)
def test_the_separator_follows_from_the_whole_table(
    text: str, names: list[str], first: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    table = read_table(path)
    assert (table.names(), table.rows[0].cells) == (names, first)


@pytest.mark.parametrize("caller", ["scores of a report", "scores of a folder"])
def test_a_decimal_comma_is_read_where_it_can_be_nothing_else(caller: str, tmp_path: Path) -> None:
    lines, read = CALLERS[caller]
    german = [lines[0], *([cell.replace(".", ",") for cell in row] for row in lines[1:])]
    path = tmp_path / "table.csv"
    path.write_text(written(lines))
    plain = read(path)
    path.write_text(written(german, ";"))
    assert read(path) == plain
    path.write_text(written(lines, ";"))
    assert read(path) == plain
    remedy = "'0,9' has a comma; write 0.9 if it is decimal"
    path.write_text(written(german, "\t"))  # 1,234 may be more than a thousand
    assert remedy in refused(read, path)
    path.write_text(written([*german[:-1], lines[-1]], ";"))
    assert f" row 2, column {lines[0][-1] if caller.endswith('report') else 'liver'}: {remedy}" in (
        refused(read, path)
    )


def test_scores_are_added_to_those_that_a_spreadsheet_saved(bench: Bench) -> None:
    for method in ("m", "n"):
        Path(method).mkdir()
        Path(f"{method}/{method}.csv").write_text(written(ORGANS))
    command = ["results", "import", "folder", "-d", "D", "-o", "scores.csv"]
    assert bench(*command, "m").code == 0
    plain = Path("scores.csv")
    german = plain.read_text().replace("D, Dice", "D").replace('"', "")
    plain.write_text(german.replace(",", ";").replace(".", ","), encoding="utf-8-sig")
    assert bench(*command, "n", "--append").code == 0
    table = read_csv(plain)
    assert table.groupby("method")["value"].apply(list).to_dict() == {
        method: [0.9, 0.8, 0.7, 0.6] for method in ("m", "n")
    }
    plain.write_text(plain.read_text() + "D,a\n")
    answer = bench(*command, "n", "--append")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: scores.csv row 10: has 2 of ")


@pytest.mark.parametrize(
    "command",
    [
        ["report", "html", "--csv", "broken.csv"],
        ["report", "significance[csv=broken.csv]"],
        ["results", "import", "monai", "broken.csv", "-m", "M", "-d", "D", "-o", "scores.csv"],
        ["results", "import", "folder", "broken", "-d", "D", "-o", "scores.csv"],
        [
            "results",
            "import",
            "folder",
            "sound",
            "-d",
            "D",
            "-o",
            "s.csv",
            "--patients",
            "broken.csv",
        ],
        ["results", "import", "folder", "sound", "-d", "D", "-o", "broken.csv", "--append"],
        ["data", "check", "-d", "./set"],
    ],
)
def test_every_command_ends_with_one_line(bench: Bench, command: list[str]) -> None:
    trees.nnunet(Path("set"), 1, ("liver",), shape=(8, 8, 4))
    for folder in ("sound", "broken"):
        Path(folder).mkdir()
    Path("sound/m.csv").write_text(written(ORGANS))
    for path in ("broken.csv", "broken/m.csv", "set/annotations.csv"):
        Path(path).write_text(written(quoted(SCORES, '"a')))
    answer = bench(*command)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert " row 3: not readable as CSV" in answer.err
