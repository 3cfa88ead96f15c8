"""A pull request that adds a pack to the leaderboard, simulated: taken, or refused in one line."""

import json
import shutil
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest
from command import Bench
from tables import pictures_table, result_table

from bench.engine.integrity import sealed
from bench.plugins import registry
from bench.reporting.report import Report
from bench.results import packs
from bench.results.files import Tables
from bench.results.sources import tables_of
from bench.results.tables import PICTURES, RESULTS

Change = Callable[[pd.DataFrame], pd.DataFrame]
BOARD = Path("leaderboard/quick")
SIZE = {"fractions": [30], "folds": [0, 1]}


def rebuild(tree: Path) -> None:
    report = registry.load("reports", "fairness", Report).from_overrides("report", "fairness", {})  # type: ignore[type-abstract]
    report.build(Tables.read(tables_of(tree / BOARD))).write(tree / BOARD)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with a board of two methods."""
    tree = tmp_path_factory.mktemp("base")
    RESULTS.save(result_table(methods=["naive", "inerrant0"], **SIZE), tree / BOARD / "a.parquet")
    (tree / "README.md").write_text("read me")
    rebuild(tree)
    return tree


def pack(out: Path, method: str = "full", change: Change | None = None, late: bool = False) -> None:
    """Write a pack as from a store; ``late``: its table is changed after the stages were done."""
    table = result_table(methods=[method], **SIZE)
    shown = table if change is None or late else change(table)
    columns = ["case", "organ", "dsc", "nsd", "tp", "n_pred", "n_gt", "status"]
    scores = {
        str(stage): json.dumps(rows[columns].to_dict("records"))
        for stage, rows in shown.groupby("stage")
    }
    receipts = {
        stage: sealed({"key": stage, "sha256": {"cases.json": sha256(text.encode()).hexdigest()}})
        for stage, text in scores.items()
    }
    file = out.with_suffix(".parquet")
    RESULTS.save(shown if change is None or not late else change(table), file)
    packs.write(out, {file.name: file}, {packs.RECEIPTS: receipts, packs.SCORES: scores}, {})
    file.unlink()


@pytest.fixture
def proposed(base: Path, tmp_path: Path) -> Path:
    return shutil.copytree(base, tmp_path / "proposed")


def test_a_good_pack_is_taken(bench: Bench, base: Path, proposed: Path) -> None:
    pack(proposed / BOARD / "mine.zip")
    rebuild(proposed)
    told = bench("admit", str(base), str(proposed))
    assert (told.code, told.err) == (0, "")
    assert told.out.split() == ["leaderboard/quick/mine.zip", "full:", "12", "rows"]


def test_in_a_clone_what_git_does_not_have_is_not_proposed(
    bench: Bench, base: Path, proposed: Path
) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(proposed), *arguments], check=True, capture_output=True)

    git("init")
    git("add", ".")
    pack(proposed / BOARD / "mine.zip")
    rebuild(proposed)
    (proposed / "mine.py").write_text("a plug-in of mine")
    (proposed / ".venv").mkdir()
    (proposed / ".venv/python").write_text("")
    told = bench("admit", str(base), str(proposed))
    assert told.code == 2
    assert "in a clone, `git add` it first" in told.err
    git("add", str(BOARD))
    assert bench("admit", str(base), str(proposed)).code == 0
    git("add", "mine.py")
    assert (
        "mine.py: is changed, but results come alone"
        in bench("admit", str(base), str(proposed)).err
    )


def lower(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(nsd=table["nsd"] / 2)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"change": lower, "late": True}, "but was evaluated as"),
        ({"change": lambda table: table.assign(content="0dd")}, "label maps or lists of cases"),
        ({"change": lambda table: table.assign(labels="0dd")}, "splits or hidden labels"),
        ({"change": lambda table: table[table["case"] != "case00"]}, "other lists of cases"),
        ({"change": lambda t: t.assign(versions="Train 3")}, "versions of the code"),
        ({"change": lambda t: t.assign(dataset="liver")}, "nothing of dataset=liver"),
        ({"change": lambda t: t.assign(truth="")}, "rows without truth"),
        ({"change": lambda t: t.assign(software="bench 1 with changes")}, "is in no commit"),
        ({"method": "naive"}, "naive at 30 %, fold 0 of phantom is in leaderboard/quick/a.parquet"),
        ({"method": "naive", "change": lambda t: t.assign(method="mine")}, "under another name"),
    ],
)
def test_a_bad_pack_is_refused_in_one_line(
    options: dict[str, object], why: str, bench: Bench, base: Path, proposed: Path
) -> None:
    pack(proposed / BOARD / "mine.zip", **options)  # type: ignore[arg-type]
    told = bench("admit", str(base), str(proposed))
    assert (told.code, told.err.count("\n")) == (2, 1), told.err
    assert "leaderboard/quick/mine.zip" in told.err
    assert why in told.err


def test_a_board_holds_what_is_in_the_packs_alone(
    bench: Bench, base: Path, proposed: Path, tmp_path: Path
) -> None:
    pack(proposed / BOARD / "mine.zip")
    said = bench("admit", str(base), str(proposed))
    assert said.code == 2
    assert "`bench report fairness leaderboard/quick -o leaderboard/quick`" in said.err
    rebuild(proposed)
    for path, why in (
        ("methods/mine.py", "results come alone"),
        ("README.md", "results come alone"),
        ("leaderboard/quick/run.py", "is no report of"),
        ("leaderboard/quick/a.parquet", ""),
        ("leaderboard/quick/fairness.html", "is not what the tables of"),
    ):
        tree = shutil.copytree(proposed, tmp_path / path.replace("/", "-"))
        (tree / path).parent.mkdir(exist_ok=True)
        (tree / path).write_text("<script>")
        said = bench("admit", str(base), str(tree))
        assert (said.code, said.err.count("\n")) == (2, 1)
        assert path in said.err
        assert why in said.err


def test_pictures_of_scans_and_pull_requests_without_a_pack_are_refused(
    bench: Bench, base: Path, proposed: Path, tmp_path: Path
) -> None:
    assert "adds no pack leaderboard/BOARD/NAME.zip" in bench("admit", str(base), str(proposed)).err
    PICTURES.save(pictures_table(), tmp_path / "a.pictures.parquet")
    RESULTS.save(result_table(methods=["full"], **SIZE), tmp_path / "a.parquet")
    named = {path.name: path for path in tmp_path.glob("*.parquet")}
    packs.write(proposed / BOARD / "mine.zip", named, {}, {})
    assert "holds pictures of scans" in bench("admit", str(base), str(proposed)).err
