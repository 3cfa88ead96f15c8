"""Labels are replaced by garbage: what must notice it does, and no pseudo-label does.

That no weight of any method depends on hidden labels is checked in test_conformance.py.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from helpers import Memory, compute, plan, shared_store, stage_of, trainings, weights

from bench.data.hidden import CompleteLabels
from bench.data.simulate import Split
from bench.engine.store import Store
from bench.experiment.collect import collect
from bench.experiment.plan import Run

METHODS = ("naive", "inerrant", "bai", "full")

Poisoned = Callable[[str], tuple[Store, dict[str, Run]]]


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Poisoned:
    """Return, for a change of the labels, a store in which :data:`METHODS` ran on them."""
    known: dict[str, tuple[Store, dict[str, Run]]] = {}

    def get(change: str) -> tuple[Store, dict[str, Run]]:
        if change not in known:
            store = shared_store(tmp_path_factory, f"poison-store-{change}")
            runs = plan(store, Memory(change=change), ",".join(METHODS))
            compute(runs, store)
            known[change] = store, {run.method: run for run in runs}
        return known[change]

    return get


def test_hidden_labels_leave_pseudo_labels_alone(poisoned: Poisoned) -> None:
    (clean_store, clean), (store, runs) = poisoned(""), poisoned("hidden")
    before, after = (list(stage_of(list(r.values()), "Relabel")) for r in (clean, runs))
    assert [stage.key for stage in before] == [stage.key for stage in after]
    assert before
    for a, b in zip(before, after, strict=True):
        assert tree(clean_store, a) == tree(store, b)


def tree(store: Store, stage: object) -> dict[str, bytes]:
    folder = store.out(stage)  # type: ignore[arg-type]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        # Archives carry the time they were written, and so does the receipt.
        if path.is_file() and path.suffix != ".npz" and path.name != "DONE"
    }


@pytest.mark.parametrize("name", METHODS)
def test_a_visible_label_changes_the_weights(name: str, poisoned: Poisoned) -> None:
    clean_store, clean = poisoned("")
    store, runs = poisoned("visible")
    for a, b in zip(trainings([clean[name]]), trainings([runs[name]]), strict=True):
        if a.objective.trains_segmenter:
            assert weights(a, clean_store) != weights(b, store), a.title


def test_the_hidden_truth_really_differs(poisoned: Poisoned) -> None:
    (clean_store, clean), (store, runs) = poisoned(""), poisoned("hidden")
    (a,), (b,) = stage_of(clean.values(), "Truth"), stage_of(runs.values(), "Truth")
    was, now = CompleteLabels(clean_store.out(a)), CompleteLabels(store.out(b))
    changed = {
        entry.case.id
        for entry in was.index.cases
        if (was.labels_XYZ(entry.case.id) != now.labels_XYZ(entry.case.id)).mean() > 0.02
    }
    labels = next(s for s in stage_of(clean.values(), "Labels") if s.label_pct == 50)
    split = Split.read(clean_store.out(labels))
    hiding = {
        case_id
        for case_id in split.train
        if tuple(was[case_id].case.annotated) != split.flags[case_id]
    }
    assert hiding
    assert changed == set(split.test) | hiding


def test_the_measurements_do_notice(poisoned: Poisoned) -> None:
    clean, hidden = (
        collect(list(runs.values()), store) for store, runs in map(poisoned, ["", "hidden"])
    )
    assert len(clean.results) == len(hidden.results)
    assert not np.array_equal(clean.results["n_gt"], hidden.results["n_gt"])
    assert _logged(clean.curves).equals(_logged(hidden.curves))  # training notices nothing
    assert not np.array_equal(clean.audit["gt_missing"], hidden.audit["gt_missing"])
    same = ["added", "method", "round", "organ"]
    assert clean.audit[same].equals(hidden.audit[same])  # what was chosen is the same


def _logged(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the curves of all methods that must not see hidden labels."""
    seen = curves[curves["method"] != "full"].drop(columns="stage")
    return seen.sort_values(list(seen.columns), ignore_index=True)
