"""``bench tune`` as its users meet it: what it prints and refuses, and where its results go."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pandas as pd
import pytest
from command import Bench

from bench.engine.provenance import provenance
from bench.reports.fairness import Fairness
from bench.reports.leaderboard import Leaderboard
from bench.results.files import Tables

DATA = "phantom[n_cases=8,scale=0.25]"
WHAT = ["-d", DATA, "-l", "50", "-p", "smoke[steps=3]"]
TUNE = ["tune", "-m", "entropy_min,bai,naive", *WHAT, "--trials", "3", "--launcher", "inline"]


def test_tuning_goes_into_the_comparison(bench: Bench, tmp_path: Path) -> None:
    shown = bench(*TUNE, "--collect")
    assert (shown.code, "nothing yet: 6 trials not finished" in shown.out) == (0, True)
    assert not (tmp_path / "bench-store").exists()

    first = bench(*TUNE, "--json")
    found = json.loads(first.out)
    assert first.code == 0
    methods = {one["method"]: one for one in found["methods"]}
    assert {name: len(one["trials"]) for name, one in methods.items()} == {
        "entropy_min": 3,
        "bai": 2,
        "naive": 1,
    }
    assert methods["entropy_min"]["searched"] == ["weight"]
    assert [one["trials"][0]["setting"] for one in methods.values()] == list(methods)
    assert found["chosen"] == ",".join(one["chosen"] for one in methods.values())
    assert all(trial["dsc"] is not None for one in methods.values() for trial in one["trials"])
    assert set(found["counts"]) == {"done"}
    assert "search    bai: positives_only; 2 settings, which are all" in first.err
    assert "search    naive: nothing to search; 1 setting" in first.err

    again = bench(*TUNE)
    assert "0 to compute" in again.out
    (compare,) = [line for line in again.out.splitlines() if line.startswith("compare ")]
    words = shlex.split(compare.split(maxsplit=1)[1])
    assert words[:2] == ["bench", "run"]
    assert bench(*words[1:], "--launcher", "inline").code == 0
    tables = Tables.read(list((tmp_path / "bench-store" / "results").glob("*.tuning.parquet")))
    board = Leaderboard().build(tables).boards[0]
    assert set(board.frame["tuned"]) >= {"best of 3", "best of 2", "only setting"}
    assert any("No trial read a test patient of this fold" in note for note in board.notes)
    assert not any("Not tuned" in note or "alike" in note for note in board.notes)
    (cost,) = Fairness().build(tables).boards
    assert set(cost.frame["tried"]) >= {"3", "2", "1"}


def test_more_trials_compute_only_the_new_ones(bench: Bench) -> None:
    few = ["tune", "-m", "entropy_min", *WHAT, "--launcher", "inline", "--trials"]
    one = json.loads(bench(*few, "1", "--json").out)
    two = bench(*few, "2")
    assert "9 stages: 6 done, 3 to compute" in two.out
    assert one["methods"][0]["trials"][0]["setting"] == "entropy_min"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-d", f"{DATA},phantom"], "one --dataset"),
        (["-l", "50,30"], "one --labelled"),
        (["-f", "0,1"], "one --fold"),
        (["-f", "all"], "one --fold"),
        (["-f", "7"], "fold 7 is impossible"),
        (["-p", "smoke,quick"], "one --profile"),
        (["--seed", "0,1"], "one --seed"),
        (["-l", "1"], "no organ is labelled in two training patients"),
        (["--on", "phantom[n_cases=9,scale=0.25]"], "phantom_000, phantom_001, phantom_002 and"),
        (["--on", "phantom[seed=1]", "-f", "1"], "leave out --fold"),
        (["--on", "phantoms"], "phantoms"),
        (["-m", "inerrant[gamma=1]"], "gamma"),
    ],
)
def test_what_makes_no_sense_is_refused(bench: Bench, options: list[str], said: str) -> None:
    given = {"-m": "bai", "-d": DATA, "-p": "smoke", "-l": "50"}
    given |= dict(zip(options[::2], options[1::2], strict=True))
    answer = bench("tune", *(word for pair in given.items() for word in pair))
    assert answer.code == 2
    assert said in answer.err
    assert answer.err.count("\n") == 1


def test_on_other_data_settings_are_for_every_fold(bench: Bench, tmp_path: Path) -> None:
    other = "phantom[n_cases=6,seed=1,scale=0.25]"
    answer = bench(*TUNE, "--on", other)
    assert answer.code == 0
    assert " -f all " in answer.out
    (file,) = (tmp_path / "bench-store" / "tuning").glob("*.parquet")
    table = pd.read_parquet(file)
    assert set(table["tuned_on"]) == {other}
    assert set(table["dataset"]) == {DATA}


def test_a_tuning_can_be_given_again_from_its_file(bench: Bench, tmp_path: Path) -> None:
    provenance.cache_clear()  # it has the name of the first experiment of a process
    assert bench(*TUNE).code == 0
    (file,) = (tmp_path / "bench-store" / "experiments").glob("*.toml")
    again = bench("tune", str(file))
    assert again.code == 0
    assert "0 to compute" in again.out
    (stage,) = (tmp_path / "bench-store").glob("Truth/*/stage.json")
    stage.unlink()
    said = bench("verify")
    assert said.code == 2
    assert f"bench tune {file}" in said.out
