"""`bench run --collect` and `bench pack`: what is finished is told, and passed on with receipts."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from command import Bench
from conftest import Finished

from bench.engine.store import Store
from bench.results import packs
from bench.results.files import beside, results_among
from bench.results.schema import Schema
from bench.results.tables import CURVES, RESULTS


@pytest.fixture
def store(finished: Finished, tmp_path: Path) -> Store:
    """Return a store of linked files: replace one, never write into it."""
    to = tmp_path / "store"
    return Store(shutil.copytree(finished.store.root, to, copy_function=os.link))


@pytest.fixture
def unfinished(finished: Finished, store: Store) -> list[str]:
    """Return the options of an experiment of which one of two runs is finished."""
    options = ["-m", "naive", "-d", str(finished.root), "-l", "50", "-f", "0,1"]
    return [*options, "-p", "smoke[steps=4]", "--store", str(store.root)]


def tables(store: Store) -> list[Path]:
    return results_among(sorted((store.root / "results").glob("*.parquet")))


def replace(file: Path, text: str) -> None:
    file.unlink()
    file.write_text(text)


def test_collect_writes_what_is_finished_and_names_what_is_missing(
    bench: Bench, finished: Finished, store: Store, unfinished: list[str]
) -> None:
    before = sorted(store.root.rglob("DONE"))
    answer = bench("run", *unfinished, "--collect")
    assert (answer.code, answer.err) == (0, "")
    assert "finished  1 of 2 runs" in answer.out
    missing = [line for line in answer.out.splitlines() if line.startswith("missing")]
    (line,) = missing
    assert "naive on Generated at 50 %, fold 1, seed 0: of 8 stages 3 done, 5 waiting" in line
    (table,) = tables(store)
    assert set(RESULTS.load(table)["fold"]) == {0}
    assert not CURVES.load(beside(table, CURVES)).empty
    assert sorted(store.root.rglob("DONE")) == before
    assert table.with_suffix(".toml").read_text().count("naive") == 1

    # Scores that are not those that were written are no results.
    scores = store.out(finished.of("naive").rounds[0].evaluation) / "cases.json"
    replace(scores, scores.read_text().replace("1", "2"))
    answer = bench("run", *unfinished, "--collect")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert str(scores.parent.parent) in answer.err
    assert "`bench verify --repair` mends it" in answer.err
    assert set(RESULTS.load(table)["fold"]) == {0}


def test_nothing_finished_is_nothing_to_collect(
    bench: Bench, unfinished: list[str], tmp_path: Path
) -> None:
    answer = bench("run", *unfinished[:-1], str(tmp_path / "new"), "--collect")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "nothing of this experiment is evaluated yet" in answer.err
    assert not (tmp_path / "new").exists()


def test_a_pack_holds_the_receipt_and_scores_of_every_row(
    bench: Bench, finished: Finished, store: Store, unfinished: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert bench("run", *unfinished, "--collect").code == 0
    unfinished[1] = "naive,inerrant0"
    assert bench("run", *unfinished, "--collect").code == 0
    loads: Counter[Path] = Counter()
    load = Schema.load
    monkeypatch.setattr(
        Schema, "load", lambda schema, path: (loads.update([path]), load(schema, path))[1]
    )
    answer = bench("pack", "--store", str(store.root))
    assert (answer.code, answer.err) == (0, "")
    assert set(loads.values()) == {1}
    evaluation = finished.of("naive").rounds[0].evaluation
    with packs.Pack(tmp_path / "results.zip") as pack:
        receipts, scores = pack.json(packs.RECEIPTS), pack.json(packs.SCORES)
        rows = {name for name in pack.names if name.endswith(packs.TABLE)}
    assert {path.name for path in tables(store)} < rows
    assert not [name for name in rows if "pictures" in name or "sheets" in name]
    assert scores[evaluation.key] == (store.out(evaluation) / "cases.json").read_text()
    assert len(scores) == 2
    for stage in (evaluation, evaluation.prediction, evaluation.prediction.model):
        assert receipts[stage.key] == store.receipt(stage)
    assert f"{len(receipts)} receipts" in answer.out
    assert bench("report", "fairness", "results.zip").code == 0
    again = bench("pack", ".", "-o", "again.zip")
    assert (again.code, "results.zip: is a pack already" in again.err) == (2, True)


def test_a_pack_is_refused_where_a_table_is_not_what_its_store_evaluated(
    bench: Bench, finished: Finished, store: Store, unfinished: list[str], tmp_path: Path
) -> None:
    assert bench("run", *unfinished, "--collect").code == 0
    (table,) = tables(store)
    other = shutil.copy(table, tmp_path / "other.parquet")
    answer = bench("pack", str(other))
    assert (answer.code, answer.err.count("\n")) == (0, 1)
    assert "other.parquet: lies in no store, so its receipts are not packed" in answer.err
    assert "0 receipts" in answer.out

    (tmp_path / "twice").mkdir()
    twin = shutil.copy(table, tmp_path / "twice")
    edited = RESULTS.load(table)
    edited["n_gt"] += (edited["n_gt"] > 0) & (edited["tp"] == 0)
    evaluation = finished.of("naive").rounds[0].evaluation
    scores = store.out(evaluation) / "cases.json"
    refusals = {
        "have one name": [str(table), str(twin)],
        "the table was edited": [str(table)],
        "cases.json has 2 bytes": [str(table)],
    }
    for why, files in refusals.items():
        if "edited" in why:
            RESULTS.save(edited, table)
        if "bytes" in why:
            replace(scores, json.dumps([]))
        answer = bench("pack", *files, "-o", "mine.zip")
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert why in answer.err
        assert not (tmp_path / "mine.zip").exists()
