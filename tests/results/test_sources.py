"""Results of several folders and packs are one table if they agree, and refused if they do not."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tables import result_table

from bench.errors import BenchError
from bench.results import packs
from bench.results.files import Tables
from bench.results.sources import tables_of
from bench.results.tables import RESULTS

Change = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    path = tmp_path / "ours/a.parquet"
    RESULTS.save(result_table(methods=["naive"], fractions=[30]), path)
    return path


def theirs(folder: Path, change: Change = lambda table: table, method: str = "naive") -> Path:
    """Return a pack of a table like ours, changed."""
    path = folder / "theirs/b.parquet"
    RESULTS.save(change(result_table(methods=[method], fractions=[30])), path)
    packs.write(folder / "b.zip", {path.name: path}, {}, {"bench": "1"})
    return folder / "b.zip"


def together(*sources: Path) -> pd.DataFrame:
    return Tables.read([file for source in sources for file in tables_of(source)]).results


def test_a_folder_a_file_and_a_pack_are_one_table(ours: Path, tmp_path: Path) -> None:
    pack = theirs(tmp_path, method="inerrant0")
    table = together(ours.parent, pack)
    assert set(table["method"]) == {"naive", "inerrant0"}
    assert len(table) == 2 * len(RESULTS.load(ours))
    pd.testing.assert_frame_equal(together(pack, ours), table)
    packs.write(ours.parent / "c.zip", {"c.parquet": ours}, {}, {})
    assert {path.name for path in tables_of(ours.parent)} == {"a.parquet", "c.parquet"}


def test_the_same_rows_count_once_whoever_computed_them(ours: Path, tmp_path: Path) -> None:
    pack = theirs(tmp_path, lambda table: table.assign(device_s=1.0, device="H100"))
    assert len(together(ours, pack)) == len(RESULTS.load(ours))


def _score(table: pd.DataFrame) -> pd.DataFrame:
    changed = table.copy()
    changed.loc[3, "nsd"] -= 1
    return changed


def _truth(table: pd.DataFrame) -> pd.DataFrame:
    seen = table["status"] == "ok"
    n_gt = table["n_gt"] + seen
    dsc = 200 * table["tp"] / (table["n_pred"] + n_gt)
    return table.assign(n_gt=n_gt, dsc=dsc, content="", images="", truth="", labels="")


@pytest.mark.parametrize(
    ("method", "change", "what"),
    [
        ("naive", _score, "hold other results of one run"),
        ("naive", lambda table: table[table["organ"] != "liver"], "is in the first"),
        ("inerrant0", _truth, "were not scored on the same truth"),
        ("inerrant0", lambda table: table[table["case"] != "case00"], "have other lists of cases"),
        ("inerrant0", lambda table: table.assign(content="0dd"), "label maps or lists of cases"),
        ("inerrant0", lambda table: table.assign(labels="Labels-0dd"), "splits or hidden labels"),
    ],
)
def test_a_contradiction_is_one_line_with_both_files(
    method: str, change: Change, what: str, ours: Path, tmp_path: Path
) -> None:
    pack = theirs(tmp_path, change, method)
    for sources in ((ours, pack), (pack, ours)):
        with pytest.raises(BenchError) as caught:
            together(*sources)
        said = str(caught.value)
        assert what.replace("first", "") in said
        assert str(ours) in said
        assert f"{pack}/b.parquet" in said


def test_a_folder_without_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="holds no results tables"):
        tables_of(tmp_path)


def test_all_files_of_some_results_are_read_as_their_tables(tmp_path: Path) -> None:
    RESULTS.save(result_table(methods=["naive"]), tmp_path / "a.parquet")
    (tmp_path / "a.toml").write_text("method = ['naive']")
    assert tables_of(tmp_path / "a.toml") == [tmp_path / "a.parquet"]
    assert len(together(tmp_path / "a.toml", tmp_path / "a.parquet")) == len(together(tmp_path))
    (tmp_path / "notes.txt").write_text("not mine")
    with pytest.raises(BenchError, match=r"notes.txt: is no results table \(\*.parquet\)"):
        tables_of(tmp_path / "notes.txt")
