"""Every adapter of a public release, walked by the installed command as a user walks it.

``python tests/adapters.py`` writes a small tree with the true names for each, and gives
``bench data check``, ``bench run`` of one method in one fold with the smoke profile, and
``bench report leaderboard``. It prints what was found in the tree, and the line of the board. The
numbers of the whole releases are those of ``bench list datasets -v``.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import releases
from walk import bench, results

from bench.data.catalogue import parse_dataset

RUN = (
    "-m",
    "naive",
    "-l",
    "100",
    "-f",
    "0",
    "-p",
    "smoke[steps=12,max_side=32]",
    "--launcher",
    "inline",
)


class Walked(NamedTuple):
    """What came out of the commands for one tree."""

    cases: int
    organs: int
    pairs: int
    """Annotated (case, organ) pairs."""
    warnings: int
    scores: int
    """Rows of the results table: test cases times annotated organs."""
    board: str
    """The line of the leaderboard."""


def walk(text: str, root: Path, store: Path) -> Walked:
    """Check, train and report a data set below ``root``; any failure raises."""
    said = bench("data", "check", text, "--data", root)
    found = re.search(r"(\d+) errors?, (\d+) warnings?", said.out)
    assert found, said.out
    assert found[1] == "0", said.err
    bench("run", "-d", text, "--data", root, *RUN, "--store", store)
    bench("report", "leaderboard", "--store", store, "-o", store / "board")
    lines = (store / "board/leaderboard.md").read_text(encoding="utf-8").splitlines()
    dataset = parse_dataset(text, root)
    rows = results(store)
    cases = {case.id: case for case in dataset.cases()}
    tested = {case: cases[case].annotated for case in rows["case"]}
    assert len(rows) == sum(map(sum, tested.values())), "a test case lacks an annotated organ"
    return Walked(
        cases=len(cases),
        organs=len(dataset.organs),
        pairs=sum(sum(case.annotated) for case in cases.values()),
        warnings=int(found[2]),
        scores=len(rows),
        board=next(line for line in lines if line.startswith("| Naive")),
    )


def main() -> None:
    chosen = sys.argv[1:] or list(releases.TREES)
    print(
        f"{'data set':<27}{'cases':>6}{'organs':>8}{'pairs':>7}{'warnings':>10}{'scores':>8}  board"
    )
    for text in chosen:
        write, _ = releases.TREES[text]
        with tempfile.TemporaryDirectory() as folder:
            found = walk(text, write(Path(folder) / "data"), Path(folder) / "store")
        *numbers, board = found
        row = "{:>6}{:>8}{:>7}{:>10}{:>8}".format(*numbers)
        print(f"{text:<27}{row}  {board}", flush=True)


if __name__ == "__main__":
    main()
