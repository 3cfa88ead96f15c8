"""Hidden labels are replaced by garbage: no trained weight may notice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from helpers import ALL_METHODS, Memory, compute, plan, shared_store, stage_of, trainings, weights

from bench.data.hidden import CompleteLabels
from bench.data.simulate import Split
from bench.engine.store import Store
from bench.experiment.collect import collect
from bench.experiment.plan import Run

Poisoned = Callable[[str], tuple[Store, dict[str, Run]]]


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Poisoned:
    """Return, for a change of the labels, a store in which every method ran on them."""
    known: dict[str, tuple[Store, dict[str, Run]]] = {}

    def get(change: str) -> tuple[Store, dict[str, Run]]:
        if change not in known:
            store = shared_store(tmp_path_factory, f"poison-store-{change}")
            runs = plan(store, Memory(change=change))
            compute(runs, store)
            known[change] = store, {run.method: run for run in runs}
        return known[change]

    return get


def sees_hidden_labels(run: Run) -> bool:
    """`full` is given every label, whatever the fraction of its cell."""
    return any(training.labels.label_pct != 50 for training in trainings([run]))


@pytest.mark.parametrize("name", ALL_METHODS)
@pytest.mark.parametrize("change", ["test", "hidden"])
def test_hidden_labels_leave_every_weight_alone(name: str, change: str, poisoned: Poisoned) -> None:
    clean_store, clean = poisoned("")
    store, runs = poisoned(change)
    given = change == "hidden" and sees_hidden_labels(clean[name])
    before, after = trainings([clean[name]]), trainings([runs[name]])
    assert [stage.key for stage in before] == [stage.key for stage in after]
    for a, b in zip(before, after, strict=True):
        assert (weights(a, clean_store) == weights(b, store)) != given, a.title
    for a, b in zip(
        stage_of([clean[name]], "Relabel"), stage_of([runs[name]], "Relabel"), strict=True
    ):
        assert tree(clean_store, a) == tree(store, b)


def tree(store: Store, stage: object) -> dict[str, bytes]:
    folder = store.out(stage)  # type: ignore[arg-type]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".npz"  # archives carry the time they were written
    }


@pytest.mark.parametrize("name", ALL_METHODS)
def test_a_visible_label_changes_the_weights(name: str, poisoned: Poisoned) -> None:
    clean_store, clean = poisoned("")
    store, runs = poisoned("visible")
    for a, b in zip(trainings([clean[name]]), trainings([runs[name]]), strict=True):
        if a.objective.trains_segmenter:
            assert weights(a, clean_store) != weights(b, store), a.title


@pytest.mark.parametrize("change", ["test", "hidden"])
def test_the_hidden_truth_really_differs(change: str, poisoned: Poisoned) -> None:
    clean_store, clean = poisoned("")
    store, runs = poisoned(change)
    (a,), (b,) = stage_of(clean.values(), "Truth"), stage_of(runs.values(), "Truth")
    was, now = CompleteLabels(clean_store.out(a)), CompleteLabels(store.out(b))
    changed = {
        entry.case.id
        for entry in was.index.cases
        if (was.labels_XYZ(entry.case.id) != now.labels_XYZ(entry.case.id)).mean() > 0.02
    }
    labels = next(s for s in stage_of(clean.values(), "Labels") if s.label_pct == 50)
    split = Split.model_validate_json((clean_store.out(labels) / "split.json").read_text())
    hiding = {
        case_id
        for case_id in split.train
        if tuple(was[case_id].case.annotated) != split.flags[case_id]
    }
    assert hiding
    assert changed == set(split.test) | (hiding if change == "hidden" else set())


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
