"""What strangers wrote is shown as text: in the terminal, in Markdown, HTML, LaTeX and CSV."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import trees
import typer
from rich.table import Table
from rich.text import Text

from bench.cli.console import Console, complain, tolerate_terminals
from bench.cli.main import main
from bench.data.check import check
from bench.datasets.folder import Folder
from bench.errors import BenchError, neutral, one_line
from bench.reporting import board
from bench.reporting.board import Board

BOARD = Path(__file__).parents[2] / "leaderboard" / "published-loss-5-folds"

HOSTILE = {
    "clear": "\x1b[2J\x1b]0;owned\x07",
    "c1": "\x9b31m\x90",
    "rewrite": "good\rbad\x08",
    "bidi": "\u202egnp.nii\u2066",
    "line": "a\nerror: forged\u2028\x85b",
    "surrogate": "\udcff",
    "tag": "<script>document.title='ran'</script><img src=x onerror=\"document.title='ran'\">",
    "comment": "<!--<script>",
    "link": "[x](javascript:alert(1)) ![y](http://x/y)",
    "cell": "a|b\\|c*d_e`",
    "formula": "=HYPERLINK(\"http://x\")",
    "markup": "[/b] [red]x[/red] :smile: [link=http://x]y[/link]",
    "latex": "\\input{/etc/passwd}$^_%&#~",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_the_terminal_shows_names_as_they_are_or_neutral(name, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich's own codes stay
    text = HOSTILE[name]
    table = Table("name")
    table.add_row(Text(text))
    console = Console()
    console.print(text, style="red")
    console.print(table)
    complain(f"error: {text}")
    out, err = (re.sub(r"\x1b\[[\d;]*m", "", printed) for printed in capsys.readouterr())
    assert all(line == neutral(line) for line in (out + err).split("\n"))
    assert len(err.splitlines()) == 1
    if text == neutral(text):
        assert text in out


@pytest.mark.parametrize("name", HOSTILE)
def test_an_error_is_one_neutral_line(name):
    message = str(BenchError(f"case {HOSTILE[name]}: is bad"))
    assert message == neutral(message)
    assert len(message.splitlines()) == 1


def test_lines_are_joined_by_a_blank():
    assert one_line("a \n  b\r\nc") == "a b c"


@pytest.mark.parametrize("columns", ["0", "00", ""])
def test_a_terminal_of_unknown_width_and_without_signs_is_served(columns, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", columns)
    tolerate_terminals()
    Console().print("INERRANT⁰ 95.4 ± 1.8")
    stream.flush()
    assert stream.buffer.getvalue() == b"INERRANT? 95.4 ? 1.8\n"


def hostile_board():
    texts = tuple(text for name, text in HOSTILE.items() if name != "surrogate")  # not in a table
    frame = pd.DataFrame({"method": list(texts), HOSTILE["tag"]: 1.5, "n": 2})
    return Board(title=HOSTILE["tag"], frame=frame, notes=texts, prose=texts)


def test_files_of_a_report_hold_names_as_text():
    found = board.files("x", [hostile_board()], HOSTILE["tag"], hostile_board().frame)
    for name, text in found.items():
        assert all(neutral(line) == line for line in text.split("\n")), name
    markdown = found["x.md"]
    assert "<script" not in markdown
    assert "<img" not in markdown
    assert "<!--" not in markdown
    assert "](" not in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(rows) == len(HOSTILE) + 1
    assert r"a\|b\\\|c\*d\_e`" in markdown
    assert "<script>document" not in found["x.html"]
    assert "<img" not in found["x.html"]
    assert "\\input" not in found["x.tex"]


def test_no_cell_of_a_csv_is_a_formula_and_numbers_stay():
    cells = ["=1+1", "+cmd", "-2+3", "@SUM", "-2.5", "+3", "−2", "-inf", "a=b", "\t=1"]
    frame = pd.DataFrame({"=x": cells, "value": -1.5})
    text = board.files("x", [], "x", frame)["x.csv"]
    back = pd.read_csv(io.StringIO(text))
    assert list(back.columns) == ["'=x", "value"]
    assert list(back["'=x"]) == [
        "'=1+1", "'+cmd", "'-2+3", "'@SUM", "-2.5", "+3", "−2", "-inf", "a=b", "'=1",
    ]  # fmt: skip
    assert (back["value"] == -1.5).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": {"background": 0, "liver\x1b[2J": 1}}, "label liver.* holds control"),
        ({"labels": {"background": 0, "liver" * 99: 1}}, "is longer than 100 bytes"),
        ({"channel_names": {"0": "CT\u202e"}}, "channel CT.* holds control characters"),
        ({"name": "a\nb"}, "name a.*b holds control characters"),
        ({"name": "\ud800"}, "holds control characters"),
    ],
)
def test_names_of_a_data_set_are_text(tmp_path, change, message):
    root = trees.nnunet(tmp_path / "set", 1, ("liver",), shape=(8, 8, 4))
    path = root / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BenchError, match=message) as refused:
        check(Folder(root=root))
    assert str(refused.value).startswith(str(path))


def test_names_of_files_and_cells_are_text(tmp_path):
    root = trees.nnunet(tmp_path / "set", 1, ("liver",), shape=(8, 8, 4))
    table = root / "annotations.csv"
    table.write_text(table.read_text().replace("patient_000", "p\x1b[2J"))
    with pytest.raises(BenchError, match="row 2: holds control characters"):
        Folder(root=root).cases()
    (root / "labelsTr/case_000.nii.gz").rename(root / "labelsTr/ca\x1bse.nii.gz")
    with pytest.raises(BenchError, match="the file name holds control characters"):
        Folder(root=root).cases()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"labels": ' * 9_000, "{", "\x00", "\xff", "[]"])
def test_a_description_that_is_no_json_is_one_line(tmp_path, text):
    root = trees.nnunet(tmp_path / "set", 1, ("liver",), shape=(8, 8, 4))
    (root / "dataset.json").write_text(text, encoding="latin-1")
    with pytest.raises(BenchError, match=r"json: (not readable as J|expected an o|is nested)"):
        Folder(root=root).cases()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_error_and_takes_no_file(tmp_path, closed):
    page = tmp_path / "leaderboard.md"
    bench = f"{sys.executable} -P -m bench report leaderboard {BOARD}"
    ended = subprocess.run(
        f"{bench} -o {tmp_path} {closed}", shell=True, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert page.read_text().startswith("#")


def test_a_question_answered_with_no_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asks(**_: object) -> None:
        raise typer.Abort

    monkeypatch.setattr("bench.cli.main.app", asks)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "nothing was done\n"
