"""A sample of the damage that ``python tests/damage.py`` does to whole stores."""

from __future__ import annotations

import shutil
from pathlib import Path

import damage
import pytest
from conftest import Finished
from helpers import compute

from bench.engine.store import Store
from bench.experiment.collect import collect
from bench.experiment.plan import graph_of

SAMPLE = {"Images": "middle bit", "Labels": "zeros", "Train": "last bits", "Predict": "cut"}


@pytest.mark.parametrize("kind", SAMPLE)
def test_a_damaged_file_is_named_and_all_is_as_before(
    kind: str, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its consumers are gone; every file counts as large, so only they can notice."""
    monkeypatch.setattr("bench.engine.integrity.SMALL", -1)
    run, store = finished.of("inerrant0"), Store(tmp_path / "store")
    stages = graph_of([run]).in_order()
    (victim,) = [stage for stage in stages if type(stage).__name__ == kind]
    for stage in stages:
        if victim not in stage.inputs():
            shutil.copytree(finished.store.folder(stage), store.folder(stage))
    names = [n for n in store.receipt(victim)["sha256"] if not n.endswith((".json", ".jsonl"))]
    path = store.out(victim) / names[-1]
    damage.WAYS[SAMPLE[kind]](path)
    events = compute([run], store)
    assert [event.stage for event in events if event.kind == "damaged"] == [victim]
    for stage in stages:
        digests = [one.receipt(stage)["sha256"] for one in (store, finished.store)]
        for found in digests:
            found.pop("events.jsonl", None)
        assert digests[0] == digests[1], stage.title
    made, before = (collect([run], one).results for one in (store, finished.store))
    assert made.drop(columns=damage.TIMES).equals(before.drop(columns=damage.TIMES))
