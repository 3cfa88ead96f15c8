"""Rows that stand on different data or code are refused; those that compare are read."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tomli_w
from tables import result_table

from bench.errors import BenchError
from bench.results.asked import asked
from bench.results.basis import why_apart
from bench.results.files import Tables
from bench.results.tables import RESULTS

Saves = Callable[..., Path]


@pytest.fixture
def saved(tmp_path: Path) -> Saves:
    """Save tables, each a minute newer than the last."""

    def save(method: str, **options: Any) -> Path:
        count = len(list(tmp_path.iterdir()))
        path = tmp_path / f"{count}.parquet"
        made = {"fractions": [30], "folds": [0, 1], "dataset": "liver"} | options
        RESULTS.save(result_table(methods=[method], **made), path)
        os.utime(path, (60 * count, 60 * count))
        return path

    return save


def read(*paths: Path) -> tuple[pd.DataFrame, list[str]]:
    remarks: list[str] = []
    return Tables.read(paths, remarks.append).results, remarks


def refusal(*paths: Path) -> str:
    with pytest.raises(BenchError) as caught:
        read(*paths)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_other_files_under_one_name_are_refused_with_the_run_to_repeat(saved: Saves) -> None:
    old, new = saved("naive"), saved("inerrant0", content="0dd")
    for paths in ((old, new), (new, old)):
        said = refusal(*paths)
        assert "naive at 30 %, fold 0 and inerrant0 at 30 %, fold 0 of liver" in said
        assert "images, label maps or lists of cases (content c0ffee, content 0dd)" in said
        assert "`bench run -m naive -d FOLDER -l 30 -f 0,1 -p smoke -b unet`" in said
        assert said.endswith(f"or leave out {old}")


def test_the_command_names_a_known_data_set_its_options_and_seeds(saved: Saves) -> None:
    name = "lits[hu_window=0:9]"
    old = saved("naive", dataset=name, seeds=[0, 3], fractions=[10, 30])
    said = refusal(old, saved("inerrant0", dataset=name, content="0dd"))
    assert "-d 'lits[hu_window=0:9]' -l 30,10 -f 0,1 -p smoke -b unet --seeds 0,3`" in said


@pytest.mark.parametrize("differs", [{"fractions": [10]}, {"folds": [2]}, {"backbone": "unet3d"}])
def test_other_files_are_refused_in_another_column_fold_or_board_of_the_name(
    differs: dict[str, Any], saved: Saves
) -> None:
    assert "content" in refusal(saved("naive"), saved("naive", content="0dd", **differs))


def test_another_window_needs_another_name(saved: Saves) -> None:
    old, new = saved("naive"), saved("inerrant0", window="-1000:-900")
    what = "scaling CT window[hu_window=-160:240], scaling CT window[hu_window=-1000:-900]"
    assert f"different scalings of the images ({what})" in refusal(old, new)
    name = "liver[hu_window=-1000:-900]"
    results, remarks = read(old, saved("inerrant0", window="-1000:-900", dataset=name))
    assert set(results["dataset"]) == {"liver", name}
    assert not remarks


def test_another_version_of_a_stage_is_refused_unless_the_run_was_repeated(saved: Saves) -> None:
    old, new = saved("naive"), saved("inerrant0", train=3)
    assert "stand on different versions of the code (Train 2, Train 3)" in refusal(old, new)
    results, remarks = read(old, new, saved("naive", train=3))
    assert set(results["versions"]) == {"Evaluate 2, Images 2, Train 3, Truth 1"}
    assert not remarks


def test_a_stage_that_only_one_method_has_is_no_other_version() -> None:
    table = result_table()
    relabelled = table["method"] == "inerrant"
    table.loc[relabelled, "versions"] += ", Relabel 7"
    RESULTS.check(table)
    table.loc[relabelled & (table["fold"] == 1), "versions"] = "Relabel 6"
    with pytest.raises(BenchError, match=re.escape("(Relabel 6, Relabel 7)")):
        RESULTS.check(table)


@pytest.mark.parametrize(
    ("column", "what"),
    [
        ("truth", "options of the data set"),
        ("images", "preparations of the images"),
        ("labels", "splits or hidden labels"),
    ],
)
def test_every_key_is_compared(column: str, what: str) -> None:
    table = result_table()
    table.loc[table["method"] == "naive", column] = "Other-1"
    with pytest.raises(BenchError, match=rf"^file: .* different {what} \({column} \S+, {column} "):
        RESULTS.check(table, "file")


def test_a_method_of_two_definitions_is_refused() -> None:
    table = result_table()
    table["definition"] = table["method"] + " as it was"
    RESULTS.check(table)
    table.loc[(table["method"] == "naive") & (table["fold"] == 1), "definition"] = "naive now"
    with pytest.raises(BenchError, match="stand on different definitions of the method") as caught:
        RESULTS.check(table, "file")
    assert "repeat the older, `bench run -m naive " in str(caught.value)


def test_methods_under_other_numbers_of_a_profile_are_refused() -> None:
    table = result_table()
    table["recipe"] = "now"
    RESULTS.check(table)
    table.loc[table["method"] == "naive", "recipe"] = "as it was"
    with pytest.raises(BenchError, match="different numbers of the profile"):
        RESULTS.check(table, "file")


def test_runs_of_equal_data_compare_whatever_their_keys(saved: Saves) -> None:
    paths = [saved("naive", fractions=[30, 10]), saved("inerrant0", fractions=[100])]
    paths += [saved("naive", backbone="unet3d"), saved("bai", dataset="other", content="0dd")]
    results, remarks = read(*paths)
    assert len(set(results["labels"])) == 10
    assert len(set(results["images"])) == 3
    assert not remarks


def test_a_run_repeated_on_other_data_replaces_the_older_one_and_is_said(saved: Saves) -> None:
    old = saved("naive", folds=[0, 1, 2])
    new = saved("naive", content="0dd", folds=[0, 1])
    assert "-m naive -d FOLDER -l 30 -f 2 " in refusal(old, new)
    third = saved("naive", content="0dd", folds=[2])
    results, remarks = read(old, new, third)
    assert set(results["content"]) == {"0dd"}
    assert remarks == [
        f"{old}: 3 runs left out, computed on other data than the newer ones in {new}, {third}"
    ]


def test_tables_without_these_columns_are_read_and_fit_everything(saved: Saves) -> None:
    unknown = result_table(methods=["naive"], fractions=[30], dataset="liver").assign(
        **dict.fromkeys(("content", "scaling", "images", "truth", "labels", "versions"), "")
    )
    path = saved("inerrant0", content="0dd").with_name("old.parquet")
    RESULTS.save(unknown, path)
    results, remarks = read(path, path.with_name("0.parquet"))
    assert set(results["content"]) == {"", "0dd"}
    assert not remarks


def test_the_command_to_repeat_names_the_data_set_and_plug_ins_as_they_were_typed(
    tmp_path: Path,
) -> None:
    table = result_table()
    table["definition"] = "now"
    older = table.assign(definition="as it was")
    both = pd.concat([table.assign(_file=0), older.assign(_file=1)])
    files = [tmp_path / f"d-2026-{digest}.parquet" for digest in ("aaaa", "bbbb")]
    options = {"dataset": ["./mine"], "plugin": ["/home/me/my method.py"]}
    asked(files[1]).write_text(tomli_w.dumps(options), encoding="utf-8")
    why = why_apart(both, files)
    assert " -d ./mine " in why
    assert " --plugin '/home/me/my method.py'`" in why
