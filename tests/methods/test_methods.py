"""Rows and labels of every registered method, and how methods relate: budgets, shared work.

What each method owes by itself is checked in tests/experiment/test_conformance.py.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import Finished
from helpers import ALL_METHODS, Memory, compute, plan, shared_store, trainings

from bench.data.hidden import CompleteLabels
from bench.data.simulate import Split
from bench.data.visible import TrainView
from bench.engine.store import Store
from bench.experiment.collect import collect
from bench.experiment.method import Condition, Method, Recipe
from bench.experiment.plan import Run, graph_of
from bench.experiment.selection import parse_methods, parse_profiles
from bench.methods.asdnet import Adversarial
from bench.results.tables import AUDIT, CURVES, RESULTS
from bench.stages.audit import Audit
from bench.stages.relabel import Relabel
from bench.stages.train import Train
from bench.training.consensus import Consensus
from bench.training.gating import Stability, Typicality
from bench.training.readers import SliceReader
from bench.training.relabelling import RelabelRule
from bench.training.sampler import SampledSlices

every_method = pytest.mark.parametrize("name", ALL_METHODS)


def run_of(text: str, condition: Condition) -> Run:
    ((label, method),) = parse_methods([text])
    return Run.of(method, label, condition)


@pytest.fixture
def condition(finished: Finished) -> Condition:
    return finished.runs[0].condition


def keys(run: Run) -> list[str]:
    return [stage.key for stage in graph_of([run]).in_order()]


def models(run: Run) -> list[str]:
    return [result.model.key for result in run.rounds]


@every_method
def test_nothing_of_a_plan_depends_on_the_order_of_methods(name: str, finished: Finished) -> None:
    alone = plan(finished.store, finished.root, name)
    assert keys(alone[0]) == keys(finished.of(name))


@every_method
def test_the_table_holds_every_round_case_and_organ(name: str, finished: Finished) -> None:
    run, store = finished.of(name), finished.store
    tables = collect([run], store)
    results, audits, curves = tables.results, tables.audit, tables.curves
    RESULTS.check(results)
    AUDIT.check(audits)
    labels = next(s for s in graph_of([run]).in_order() if type(s).__name__ == "Labels")
    split = Split.read(store.out(labels))
    truth = CompleteLabels(store.out(run.rounds[0].evaluation.truth))
    expected = {
        (number, case_id, organ)
        for number in range(len(run.rounds))
        for case_id in split.test
        for organ, annotated in zip(truth.index.organs, truth[case_id].case.annotated, strict=True)
        if annotated
    }
    found = set(zip(results["round"], results["case"], results["organ"], strict=True))
    assert found == expected
    assert len(results) == len(expected)
    assert set(results["method"]) == {name}
    assert set(results.loc[results["final"], "round"]) == {len(run.rounds) - 1}
    assert (results["device_s"] > 0).all()
    assert (results["peak_mb"] > 0).all()
    steps = results.groupby("round")["seg_steps"].first().tolist()
    assert steps == sorted(set(steps)), "every round adds segmentation steps"
    rounds_with_audit = {n for n, result in enumerate(run.rounds) if result.audit is not None}
    assert set(audits["round"]) == rounds_with_audit
    CURVES.check(curves)
    logged = {(stage.round, stage.objective.label) for stage in run.all_trainings()}
    assert set(zip(curves["round"], curves["training"], strict=True)) == logged


@every_method
def test_a_label_is_read_back_as_the_same_method(name: str) -> None:
    ((label, method),) = parse_methods([name])
    assert label == name
    for field in type(method).model_fields:
        value = getattr(method, field)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        others = (v for v in (value / 3, value + 1, 2 * value, 0.9 * value) if v != value)
        changed = next(filter(None, (other(method, field, v) for v in others)))
        ((label, again),) = parse_methods([changed.notation(name)])
        assert again == changed
        assert label == changed.notation(name) != name


def other(method: Method, field: str, value: float) -> Method | None:
    """Return a method with another value of one parameter, None if it is out of range."""
    try:
        return type(method).model_validate({**dict(method), field: value})
    except ValueError:
        return None


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Run]]:
    """One organ, 4 cases, one volume labelled; for methods that relabel also all."""
    store = shared_store(tmp_path_factory, "single-organ-store")
    data = Memory(n_cases=4, n_organs=1)
    runs = plan(store, data, labelled="1") + plan(store, data, "inerrant,bai", labelled="100")
    compute(runs, store)
    return store, runs


@every_method
def test_a_single_organ_with_one_label_or_all(name: str, single: tuple[Store, list[Run]]) -> None:
    store, runs = single
    mine = [run for run in runs if run.method == name]
    assert len(mine) == (2 if name in ("inerrant", "bai") else 1)
    results = collect(mine, store).results
    RESULTS.check(results)
    assert len(results) == 2 * sum(len(run.rounds) for run in mine)


# --- how methods relate -------------------------------------------------------------------------


def test_inerrant_starts_from_inerrant0(condition: Condition) -> None:
    assert models(run_of("inerrant", condition))[0] == models(run_of("inerrant0", condition))[0]
    assert len(models(run_of("inerrant", condition))) == 3
    assert len(models(run_of("inerrant[rounds=4]", condition))) == 5


@pytest.mark.parametrize("pct", [100, 70, 30])
def test_full_is_inerrant0_with_all_labels(pct: int, condition: Condition) -> None:
    at_100 = dataclasses.replace(condition, label_pct=100)
    full = run_of("full", dataclasses.replace(condition, label_pct=pct))
    complete = run_of("inerrant0", at_100)
    assert models(full) == models(complete)
    assert [r.evaluation.key for r in full.rounds] == [r.evaluation.key for r in complete.rounds]


def test_bai_starts_from_inerrant0_and_forgets_earlier_labels(condition: Condition) -> None:
    run = run_of("bai[rounds=2]", condition)
    assert models(run)[0] == models(run_of("inerrant0", condition))[0]
    assert models(run)[:2] == models(run_of("bai", condition))
    assert [(r.previous, r.round) for r in relabellings(run)] == [(None, 1), (None, 2)]


def relabellings(run: Run) -> list[Relabel]:
    return [stage for stage in graph_of([run]).in_order() if isinstance(stage, Relabel)]


def test_self_training_begins_anew_in_every_round(condition: Condition) -> None:
    run = run_of("selftrain[rounds=3]", condition)
    trained = [result.model for result in run.rounds]
    assert [model.init for model in trained] == [None] * 4
    assert [model.round for model in trained] == [0, 1, 2, 3]
    found = relabellings(run)
    assert [model.pseudo for model in trained] == [None, *found]
    assert [stage.model for stage in found] == trained[:-1]
    assert [stage.earlier for stage in found] == [(), (trained[0],), tuple(trained[:2])]
    assert [stage.gate for stage in found] == [None, Stability(share=0.04), Stability(share=0.04)]
    assert {stage.previous for stage in found} == {None}
    base, round_ = condition.profile.steps, trained[0].length.steps
    assert [model.length.steps for model in trained] == [round_] * 3 + [base]


def test_cosst_goes_on_from_inerrant0_and_forgets_earlier_labels(condition: Condition) -> None:
    run = run_of("cosst", condition)
    trained = [result.model for result in run.rounds]
    assert trained[0].key == models(run_of("inerrant0", condition))[0]
    assert [model.init for model in trained[1:]] == trained[:-1]
    assert {(stage.previous, stage.gate) for stage in relabellings(run)} == {
        (None, Typicality(share=0.1))
    }


@pytest.mark.parametrize("name", ["selftrain", "cosst"])
def test_kept_pseudo_labels_are_whole_and_others_unknown(name: str, finished: Finished) -> None:
    run, store = finished.of(name), finished.store
    for model in (result.model for result in run.rounds[1:]):
        assert isinstance(model.pseudo, Relabel)
        folders = [store.out(s) for s in (model.images, model.labels, model.pseudo)]
        view, given = TrainView(*folders), TrainView(*folders[:2])
        case_ids = [case.id for case in view.cases]
        out = Relabel.left_out(folders[2], case_ids)
        out_VK = np.array([out.get(case_id, np.zeros(4, bool)) for case_id in case_ids])
        assert not (out_VK & view.flags_VK).any()
        assert np.array_equal(view.known_VK, ~out_VK)
        assert np.array_equal(given.known_VK, given.flags_VK)
        assert np.array_equal(view.supervised_V, view.known_VK.any(axis=1))
        reader = SliceReader(view, model.config.augmentation)
        rows = np.arange(len(view.volume_S))
        samples = SampledSlices(rows, np.zeros_like(rows))
        batch = reader.read(samples, np.random.default_rng(0))
        assert np.array_equal(batch.flags_BK.numpy(), view.known_VK[view.volume_S])
        assert view.pseudo is not None
        for case, out_K in zip(view.cases, out_VK, strict=True):
            seen = set(np.unique(view.pseudo.gather(range(case.labels.start, case.labels.stop))))
            assert not seen & set(np.flatnonzero(out_K | case.flags_K) + 1)


def test_a_gate_that_cannot_work_is_refused(condition: Condition) -> None:
    recipe = Recipe(condition)
    model = run_of("inerrant0", condition).rounds[0].model
    with pytest.raises(ValueError, match="background=whole"):
        recipe.relabel(model, RelabelRule(background="rest"), 1.0, gate=Typicality(share=0.1))
    with pytest.raises(ValueError, match="name the earlier ones"):
        recipe.relabel(model, RelabelRule(), 1.0, gate=Stability(share=0.1))


@pytest.mark.parametrize("name", ["selftrain", "cosst", "bai"])
def test_the_audit_counts_what_was_left_out(name: str, finished: Finished) -> None:
    run, store = finished.of(name), finished.store
    for result in run.rounds[1:]:
        assert result.audit is not None
        relabelling, truth = result.audit.relabelling, CompleteLabels(store.out(result.audit.truth))
        split = Split.read(store.out(relabelling.labels))
        out = Relabel.left_out(store.out(relabelling), split.train)
        assert bool(out) == (relabelling.gate is not None)
        audited = {row["organ"]: row for row in Audit.records(store.out(result.audit))}
        for k, organ in enumerate(truth.index.organs):
            hidden = [
                case_id
                for case_id in split.incomplete
                if truth[case_id].case.annotated[k] and not split.flags[case_id][k]
            ]
            if not hidden:
                assert organ not in audited
                continue
            row = audited[organ]
            assert row["volumes"] == len(hidden)
            assert row["left_out"] == sum(bool(out[c][k]) for c in hidden if c in out)
            kept, left_out = row["dsc_kept"], row["dsc_left_out"]
            assert math.isnan(left_out) == (row["left_out"] == 0)
            assert math.isnan(kept) == (row["left_out"] == row["volumes"])
            if not row["candidates"]:
                assert not np.nansum([kept, left_out])


def test_the_name_of_a_method_is_not_what_it_trains(condition: Condition) -> None:
    assert keys(run_of("inerrant[score=mcp]", condition)) == keys(run_of("inerrant_mcp", condition))
    kinds = [type(s).__name__ for s in graph_of([run_of("inerrant_mcp", condition)]).in_order()]
    assert kinds.count("Train") == 3
    assert len(trainings([run_of("inerrant", condition)])) == 5


def test_one_object_changes_what_is_relabelled_and_nothing_before(condition: Condition) -> None:
    plain, one = run_of("inerrant", condition), run_of("inerrant[one_object=true]", condition)
    assert models(plain)[0] == models(one)[0]
    assert not set(models(plain)[1:]) & set(keys(one))


def test_relabelling_once_and_late_costs_no_step_more(condition: Condition) -> None:
    late = run_of("inerrant[rounds=1,extra_rounds=1]", condition)
    assert len(late.rounds) == 2
    assert total_steps(late.method, condition) == total_steps("inerrant", condition)
    first, _ = (Run.segmentation_steps(result.model) for result in late.rounds)
    assert first == total_steps("inerrant[rounds=1]", condition)


@pytest.mark.parametrize("rounds", [1, 3])
def test_continued_rounds_go_through_one_schedule(rounds: int, condition: Condition) -> None:
    run = run_of(f"inerrant[rounds={rounds},schedule=continued]", condition)
    lengths = [result.model.length for result in run.rounds]
    total = Run.segmentation_steps(run.rounds[-1].model)
    taken = 0
    for length in lengths:
        assert (length.before, length.after) == (taken, total - taken - length.steps)
        taken += length.steps
    assert taken == total == total_steps(f"inerrant[rounds={rounds}]", condition)
    for stage in trainings([run]):
        if not stage.objective.trains_segmenter:
            assert stage.length.before == stage.length.after == 0


def total_steps(text: str, condition: Condition) -> int:
    return Run.segmentation_steps(run_of(text, condition).rounds[-1].model)


@pytest.mark.parametrize("profile", ["smoke", "quick", "fast", "paper", "quick[steps=333]"])
def test_budgets_are_those_of_the_specification(profile: str, condition: Condition) -> None:
    (chosen,) = parse_profiles([profile])
    condition = dataclasses.replace(condition, profile=chosen)
    base, round_ = chosen.steps, round(chosen.round_share * chosen.steps)
    for name in ("naive", "full", "inerrant0"):
        assert total_steps(name, condition) == base
    total = total_steps("inerrant", condition)
    assert total == base + 2 * round_
    assert total_steps("inerrant0[budget=long]", condition) == total
    assert total_steps("full[budget=long]", condition) == total
    unlabelled = ("asdnet", "uamt", "mean_teacher", "cps", "bcp", "fixmatch", "unimatch")
    for name in (*unlabelled, "entropy_min"):
        assert total_steps(name, condition) == total, name
    for name in ("inerrant_plus", "inerrant_views", "selftrain", "cosst"):
        assert total_steps(name, condition) == total, name
    assert total_steps("marginal", condition) == total_steps("multitalent", condition) == base
    assert total_steps("dodnet", condition) == base
    assert total_steps("bai", condition) == base + round_
    assert total_steps("bai[rounds=3]", condition) == base + 3 * round_
    confidence = [
        t for t in trainings([run_of("inerrant", condition)]) if not t.objective.trains_segmenter
    ]
    assert {t.length.steps for t in confidence} == {round(chosen.confidence_share * chosen.steps)}


def test_views_share_the_training_of_what_they_control(condition: Condition) -> None:
    image, views = (
        run_of(f"inerrant0[budget=long{more}]", condition).rounds[-1].evaluation
        for more in ("", ",predict=views")
    )
    assert image.prediction.model == views.prediction.model
    assert image.prediction.consensus is None
    assert image.key != views.key
    agreed = run_of("inerrant_views", condition).rounds
    assert {one.evaluation.prediction.consensus for one in agreed} == {Consensus()}
    relabelled = run_of(
        "inerrant[rounds=1,extra_rounds=1,schedule=continued,score=agreement,one_object=true]",
        condition,
    )
    assert [one.model for one in agreed] == [one.model for one in relabelled.rounds]


def test_asdnet_starts_from_the_published_weights_and_the_bias_of_the_profile(
    condition: Condition,
) -> None:
    (chosen,) = parse_profiles(["smoke[output_bias=-3]"])
    condition = dataclasses.replace(condition, profile=chosen)
    for preset, semi, weight in (("asdnet", 0.5, 0.05), ("hung", 0.1, 0.01)):
        objective = run_of(f"asdnet[preset={preset}]", condition).rounds[-1].model.objective
        assert isinstance(objective, Adversarial)
        assert (objective.semi, objective.adversarial, objective.output_bias) == (semi, weight, -3)


@pytest.mark.parametrize(
    ("name", "networks", "passes"),
    [
        ("inerrant0", {"segmenter"}, 1),
        ("bai", {"segmenter"}, 1),
        ("asdnet", {"segmenter", "discriminator"}, 1 + 1 + 2),
        ("uamt", {"segmenter", "teacher"}, 1 + 1 + 8),
        ("mean_teacher", {"segmenter", "teacher"}, 2),
        ("cps", {"segmenter", "rival"}, 2),
    ],
)
def test_the_cost_of_a_step(
    name: str, networks: set[str], passes: float, finished: Finished
) -> None:
    run = finished.of(name)
    folder = finished.store.out(run.rounds[-1].model)
    cost = json.loads((folder / "cost.json").read_text())
    assert set(cost["parameters"]) == networks
    assert sum(cost["passes_per_step"].values()) == passes
    results = collect([run], finished.store).results
    last = results[results["final"]].iloc[0]
    assert last["networks"] == len(networks)
    assert last["passes"] == passes if name != "bai" else last["passes"] > passes
    assert last["parameters"] == sum(cost["parameters"].values())


def seen(run: Run, store: Store, number: int) -> float:
    """Return the batches that the slices seen by the relabellings up to a round fill."""
    return sum(
        Relabel.slices(store.out(result.model.pseudo)) / result.model.batch_size
        for result in run.rounds[: number + 1]
        if isinstance(result.model.pseudo, Relabel)
    )


def slices_of(model: Train, store: Store) -> tuple[int, int]:
    """Return how many slices training cases have in all, and those that lack some organ."""
    view = TrainView(store.out(model.images), store.out(model.labels))
    return len(view.volume_S), int(view.incomplete_V[view.volume_S].sum())


def test_every_view_of_a_relabelled_slice_is_a_pass(finished: Finished, tmp_path: Path) -> None:
    store = Store(tmp_path)
    names = [f"inerrant[rounds=1,score={score}]" for score in ("mcp", "agreement")]
    runs = plan(store, finished.root, ",".join(names))
    compute(runs, store)
    found = {run.method: seen(run, store, 1) for run in runs}
    model = runs[0].rounds[1].model
    _, incomplete = slices_of(model, store)
    once = incomplete / model.batch_size
    assert [found[name] for name in names] == [once, 5 * once]
    results = collect(runs, store).results
    last = results[results["final"]].groupby("method")["passes"].first()
    steps = Run.segmentation_steps(model)
    assert [last[name] for name in names] == pytest.approx([1 + once / steps, 1 + 5 * once / steps])


def test_what_a_gate_looks_at_is_a_pass(finished: Finished) -> None:
    for name in ("cosst", "selftrain"):
        run = finished.of(name)
        model = run.rounds[-1].model
        assert isinstance(model.pseudo, Relabel)
        every, incomplete = slices_of(model, finished.store)
        counted = Relabel.slices(finished.store.out(model.pseudo))
        # The gate predicts, and averages features of all scans, or predicts with two models; then
        # the labels are made, for which the last scan need not be predicted again.
        looked_at = incomplete + (every if name == "cosst" else incomplete)
        assert looked_at <= counted <= looked_at + incomplete


def test_confidence_networks_count_among_the_passes(finished: Finished) -> None:
    run = finished.of("inerrant")
    results = collect([run], finished.store).results
    passes = results.groupby("round")["passes"].first().tolist()
    profile = run.condition.profile
    extra = 2 * max(1, round(profile.confidence_share * profile.steps))  # segmenter, confidence
    steps = [run.segmentation_steps(result.model) for result in run.rounds]
    relabelled = [seen(run, finished.store, number) for number in (0, 1, 2)]
    assert relabelled[0] == 0 < relabelled[1] < relabelled[2]
    assert passes == pytest.approx([1 + (n * extra + relabelled[n]) / steps[n] for n in (0, 1, 2)])
    assert set(results["networks"]) == {1, 2}


def test_later_rounds_share_what_does_not_change(condition: Condition) -> None:
    two, three = (
        run_of("inerrant[rounds=2,gamma_max=1.0]", condition),
        run_of("inerrant", condition),
    )
    assert models(two)[0] == models(three)[0]
    assert set(models(two)[1:]).isdisjoint(models(three)[1:])
    confidences = [
        {t.key for t in trainings([run]) if not t.objective.trains_segmenter}
        for run in (two, three)
    ]
    assert len(confidences[0] & confidences[1]) == 1  # of round 0, which both judge


def test_recipes_of_all_methods_are_equal(condition: Condition) -> None:
    recipes = {
        training.config.model_dump_json(exclude={"lr"})
        for name in ALL_METHODS
        for training in trainings([run_of(name, condition)])
    }
    assert len(recipes) == 1
    rates = {
        training.config.lr
        for name in ALL_METHODS
        for training in trainings([run_of(name, condition)])
        if training.objective.trains_segmenter
    }
    assert rates == {condition.profile.training.lr}


def test_every_training_names_one_network(condition: Condition) -> None:
    for name in ALL_METHODS:
        for stage in trainings([run_of(name, condition)]):
            assert isinstance(stage, Train)
            network = getattr(stage.network, "body", stage.network)  # dodnet: another last layer
            assert network == condition.network
            assert stage.seed == condition.seed
