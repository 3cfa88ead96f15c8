"""Which methods were tuned: what boards say of it, and what they warn of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
from tables import result_table

from bench.errors import BenchError
from bench.reporting.scored import Measured
from bench.reports.fairness import costs
from bench.reports.leaderboard import leaderboards
from bench.results.tables import TUNING

TUNED = "inerrant[gamma_max=0.4]"


def rows(method: str, settings: list[str], chosen: str, **other: Any) -> Iterator[dict[str, Any]]:
    for number, setting in enumerate(settings):
        yield {
            "dataset": "phantom",
            "method": method,
            "label_pct": 50,
            "fold": 0,
            "seed": 0,
            "profile": "smoke",
            "backbone": "unet",
            "tuned_on": "phantom",
            "trials": len(settings),
            "trial": number,
            "setting": setting,
            "patients": 4,
            "dsc": 50.0,
            "device_s": 10.0,
            "chosen": setting == chosen,
            "exhaustive": False,
        } | other


def board(
    *tunings: dict[str, Any], folds: tuple[int, ...] = (0,), methods: tuple[str, ...] = ()
) -> tuple[dict[str, str], str]:
    """Return method -> cell of the column ``tuned``, and the notes, of a board."""
    results = result_table(methods=[*(methods or ("inerrant", TUNED))], folds=folds)
    (shown,) = leaderboards(Measured(results), tuning=TUNING.frame(tunings))
    if "tuned" not in shown.frame:
        return {}, "\n".join(shown.notes)
    named = zip(shown.frame["method"], shown.frame["tuned"], strict=True)
    return dict(named), "\n".join(shown.notes)


def test_tuned_and_default_stand_side_by_side() -> None:
    cells, notes = board(*rows("inerrant", ["inerrant", TUNED, "inerrant[rounds=1]"], TUNED))
    assert list(cells.values()) == ["default", "best of 3"]
    assert "(3 trials, 30 s)" in notes
    assert "4 validation patients cut from the training patients of fold 0" in notes
    assert "test patients that tuned settings" not in notes
    assert "Not tuned" not in notes


def test_a_tuning_that_chose_nothing_is_refused() -> None:
    with pytest.raises(BenchError, match="0 of its settings are chosen, must be one"):
        TUNING.check(TUNING.frame(rows("inerrant", ["inerrant", TUNED], "none of them")))


def test_without_tuning_a_board_is_as_it_was() -> None:
    plain, _ = board()
    other, _ = board(*rows("inerrant", ["inerrant", TUNED], TUNED, dataset="lits"))
    assert plain == other == {}


def test_folds_whose_patients_were_seen_are_named() -> None:
    tuning = list(rows("inerrant", ["inerrant", TUNED], TUNED))
    _, notes = board(*tuning, folds=(0, 1, 2))
    assert "(fold 1 and 2)" in notes
    _, clean = board(*(row | {"tuned_on": "lits"} for row in tuning), folds=(0, 1, 2))
    assert "favours tuned" not in clean
    assert "4 validation patients of lits" in clean


def test_trials_that_saw_more_than_the_board_hides_are_named() -> None:
    tuning = list(rows("inerrant", ["inerrant", TUNED], TUNED, label_pct=30))
    _, clean = board(*tuning)
    assert "No trial read a test patient of this fold, and no hidden label." in clean
    assert "favours" not in clean
    _, more = board(*(row | {"label_pct": 100} for row in tuning))
    assert "No trial read a test patient of this fold." in more
    assert "Tuned at 100 % labelled: trials read labels that are hidden at 30 %" in more
    _, other = board(*(row | {"profile": "smoke[n_folds=2]"} for row in tuning))
    assert "No trial read" not in other
    assert "trials may have read test patients of this board" in other


def test_unequal_tuning_is_said() -> None:
    tuning = [
        *rows("inerrant", ["inerrant", TUNED], TUNED),
        *rows("bai", ["bai", "bai[rounds=2]", "bai[rounds=3]"], "bai"),
    ]
    cells, notes = board(*tuning, methods=("inerrant0", "inerrant", TUNED, "bai"))
    assert "not tuned alike: by 2 and 3 trials" in notes
    assert "Not tuned, so with fewer chances: inerrant0." in notes.replace("INERRANT⁰", "inerrant0")
    assert sorted(cells.values()) == ["best of 2", "best of 3", "default", "–"]
    few = [row | {"exhaustive": row["method"] == "bai"} for row in tuning]
    assert "alike" not in board(*few, methods=("inerrant", TUNED, "bai"))[1]


def test_the_largest_tuning_counts() -> None:
    tuning = [
        *rows("inerrant", ["inerrant", TUNED], TUNED),
        *rows("inerrant", ["inerrant", TUNED, *(f"inerrant[rounds={n}]" for n in (3, 4))], TUNED),
    ]
    cells, _ = board(*tuning)
    assert "best of 4" in cells.values()


def test_a_tuning_in_another_profile_counts_where_there_is_none_in_this() -> None:
    other = list(rows("inerrant", ["inerrant", TUNED], "inerrant", profile="quick"))
    cells, notes = board(*other)
    assert list(cells.values()) == ["best of 2", "–"]
    assert "profile quick" in notes
    cells, notes = board(*other, *rows("inerrant", ["inerrant", TUNED], TUNED))
    assert list(cells.values()) == ["default", "best of 2"]
    assert "profile quick" not in notes


def test_fairness_counts_trials_and_their_time() -> None:
    results = result_table(methods=["inerrant", TUNED])
    tuning = TUNING.frame(rows("inerrant", ["inerrant", TUNED], TUNED))
    found = costs(results, tuning).set_index("method")
    assert found.loc[TUNED, ["trials", "tuning_s"]].tolist() == [2, 20]
    assert pd.isna(found.loc["inerrant", "trials"])
    assert "trials" not in costs(results, TUNING.frame([]))
