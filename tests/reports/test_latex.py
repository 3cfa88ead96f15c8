"""LaTeX tables fit on a page of an article: its width, its length, and what pdflatex can print."""

import shutil
import subprocess
from itertools import chain
from pathlib import Path

import pandas as pd
import pytest

from bench.reporting.board import Board
from bench.reporting.drawing import Drawing
from bench.reporting.latex import LINES, to_latex

NAMES = [f"Method{number} [confidence_start=constant, voxels=all_known]" for number in range(75)]
SCORES = [f"{number}.5 ± 0.1" for number in range(75)]
LONG = Board(
    "DSC in %, p < 0.05",
    pd.DataFrame({"method": NAMES, **{f"{pct} %": SCORES for pct in range(10, 90, 10)}}),
    ("Values ≥ 0; 3 × 5 folds.",),
    labels=1,
)


def rows(latex: str) -> list[list[str]]:
    parts = [table.split(r"\bottomrule")[0] for table in latex.split(r"\midrule")[1:]]
    return [part.strip().splitlines() for part in parts]


def test_a_long_board_is_given_in_parts_which_hold_every_line_once_and_the_notes_at_the_end():
    latex = to_latex([LONG])
    parts = rows(latex)
    assert [len(part) for part in parts] == [LINES, LINES, 75 - 2 * LINES]
    numbers = [line.split("[")[0].split("Method")[1].strip() for line in chain(*parts)]
    assert numbers == [str(number) for number in range(75)]
    assert [f"part {number} of 3" in latex for number in (1, 2, 3, 4)] == [True] * 3 + [False]
    assert latex.count("folds.") == 1
    assert latex.index("folds.") > latex.index("part 3 of 3")


def test_a_short_board_has_no_part_and_lines_of_names_that_fit():
    short = Board("title", pd.DataFrame({"method": ["naive"], "30 %": ["12.5"]}), (), labels=1)
    latex = to_latex([short])
    assert "part" not in latex
    assert r"\begin{tabular}{lr}" in latex
    assert r"\parbox" not in latex


def test_marks_of_a_later_part_are_those_of_its_lines():
    marks = pd.DataFrame("", index=LONG.frame.index, columns=LONG.frame.columns)
    marks.iloc[LINES + 1, 2] = "best"
    board = Board(LONG.title, LONG.frame, (), marks=marks.to_numpy(), labels=1)
    (bold,) = [line for part in rows(to_latex([board])) for line in part if r"\textbf" in line]
    assert f"Method{LINES + 1} " in bold


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_pdflatex_sets_it_without_a_line_or_table_too_large(tmp_path: Path):
    drawn = Drawing("one", "A < B", "caption", dict)
    latex = to_latex([LONG], {LONG.title: [drawn]}).replace("one.pdf", "example-image")
    packages = latex.splitlines()[0].removeprefix("% Needs ").removesuffix(".").replace(" and ", "")
    text = (
        f"\\documentclass{{article}}\n{packages}\n\\begin{{document}}\n{latex}\\end{{document}}\n"
    )
    (tmp_path / "t.tex").write_text(text)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if "adjustbox.sty' not found" in done.stdout:
        pytest.skip("needs the package adjustbox")
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout
    assert "too large" not in done.stdout
