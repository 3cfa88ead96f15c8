"""Tuning: equal trials, no test patient and no hidden label in reach, bad defaults mended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import nibabel as nib
import numpy as np
import pytest
import trees
from helpers import ALL_METHODS, Memory, events_of, outcomes, weights
from pydantic import Field

from bench.data.catalogue import parse_dataset
from bench.data.dataset import Case
from bench.data.development import Development, validation_part
from bench.data.simulate import make_split
from bench.engine.store import Store
from bench.experiment.method import Method
from bench.experiment.plan import Run
from bench.experiment.profiles import parse_profile
from bench.experiment.searched import Choice, Range, searched, settings
from bench.experiment.selection import parse_methods
from bench.experiment.tuning import Tuned, TuneRequest, save, save_tuning, trials_graph, tuned
from bench.plugins import registry
from bench.results.tables import TUNING
from bench.stages.train import Train

MARKED = [
    name
    for name in ALL_METHODS
    if searched(registry.load("methods", name, Method))  # type: ignore[type-abstract]
]


Outcome = tuple[list[Tuned], Store, list[Run]]


def method_of(text: str) -> Method:
    ((_, method),) = parse_methods([text])
    return method


def request(store: Path, **options: Any) -> TuneRequest:
    given = {"method": ["inerrant,bai"], "labelled": "50", "profile": ["smoke[steps=4]"]}
    return TuneRequest.of(None, given | {"store": store} | options)


def tune(asked: TuneRequest) -> Outcome:
    """Run every trial in this process."""
    store = Store(asked.store)
    runs = asked.grid().runs(store)
    ended = outcomes(events_of(trials_graph(runs).in_order(), store))
    assert set(ended.values()) <= {"done"}
    return tuned(asked, runs, store), store, runs


class Free(Method):
    """Searched in every way."""

    share: Annotated[float, Range(0.01, 1, log=True)] = Field(default=0.5, gt=0)
    count: Annotated[int, Range(1, 4)] = 2
    kind: Annotated[str, Choice("a", "b", "c")] = "a"
    fixed: float = 1.0
    copy_: Annotated[float, Range(0.1, 1)] = Field(default=0.5, alias="copy")

    def plan(self, recipe: Any) -> Any:
        raise NotImplementedError


def test_settings_fill_their_ranges_evenly() -> None:
    first, *drawn = settings(Free(), 65, seed=0)
    assert first == Free()
    assert len({str(one.overrides()) for one in drawn}) == 64
    assert all(one.fixed == 1.0 for one in drawn)
    assert len({one.copy_ for one in drawn}) > 60
    counts = np.unique([one.count for one in drawn], return_counts=True)
    assert counts[0].tolist() == [1, 2, 3, 4]
    assert counts[1].min() >= 14
    assert min(sum(one.kind == kind for one in drawn) for kind in "abc") >= 19
    decades = np.histogram(np.log10([one.share for one in drawn]), bins=4, range=(-2, 0))[0]
    assert decades.min() >= 14
    assert all(float(f"{one.share:.3g}") == one.share for one in drawn)


def test_settings_depend_on_the_seed_and_fewer_are_the_first_of_more() -> None:
    few, more, others = settings(Free(), 4, 0), settings(Free(), 16, 0), settings(Free(), 4, 1)
    assert more[:4] == few
    assert few[0] == others[0]
    assert few[1:] != others[1:]


def test_given_numbers_stay_and_the_given_method_is_the_first_trial() -> None:
    tried = settings(method_of("inerrant[score=mcp,gamma_max=0.5]"), 6, 0)
    assert tried[0] == method_of("inerrant[score=mcp,gamma_max=0.5]")
    assert {(one.score, one.gamma_max) for one in tried} == {("mcp", 0.5)}  # type: ignore[attr-defined]
    assert len({one.background for one in tried}) == 3  # type: ignore[attr-defined]


def test_a_method_of_few_settings_gets_all_and_one_of_none_its_own() -> None:
    assert len(settings(method_of("bai"), 8, 0)) == 2
    assert settings(method_of("naive"), 8, 0) == [method_of("naive")]


def test_ranges_that_make_no_sense_are_refused() -> None:
    for wrong in (lambda: Range(1, 1), lambda: Range(0, 1, log=True), lambda: Choice("a")):
        with pytest.raises(ValueError, match="no"):
            wrong()
    with pytest.raises(TypeError, match="cannot search share=0"):

        class Wrong(Free):
            share: Annotated[float, Range(0, 1)] = Field(default=0.5, gt=0)


@pytest.mark.parametrize("name", MARKED)
def test_every_trial_of_a_method_has_the_steps_of_its_default(name: str, tmp_path: Path) -> None:
    asked = request(tmp_path, method=[name], dataset=["phantom[n_cases=8,scale=0.25]"], trials=12)
    steps, notations = set(), set()
    for run in asked.grid().runs(Store(tmp_path), remember=False):
        steps.add(Run.segmentation_steps(run.rounds[-1].model))
        notations.add(run.method)
        assert method_of(run.method) == run.definition
        default = registry.load("methods", name, Method)()  # type: ignore[type-abstract]
        for number, mark in searched(type(default)).items():
            value = getattr(default, number)
            low, high = min(mark.ends), max(mark.ends)
            assert value in mark.ends or low <= value <= high, f"{number}={value} of {name}"
    assert len(steps) == 1
    assert len(notations) >= 2


def test_the_validation_part_takes_a_quarter_of_each_organs_labels() -> None:
    rng = np.random.default_rng(0)
    seen = {f"p{n:02d}": list(rng.random(6) < 0.4) for n in range(60)}
    chosen = validation_part(seen, frozenset({"p00", "p01"}), sorted(seen))
    assert not chosen & {"p00", "p01"}
    for organ in range(6):
        labelled = [patient for patient, flags in seen.items() if flags[organ]]
        share = len(chosen & set(labelled)) / len(labelled)
        assert 0.1 <= share <= 0.3
    assert all(any(seen[patient]) for patient in chosen)


def test_an_organ_keeps_a_patient_that_trains() -> None:
    seen = {"a": [True, True], "b": [True, False], "c": [False, False]}
    assert validation_part(seen, frozenset(), ["a", "b", "c"]) == {"b"}
    assert validation_part({"a": [True]}, frozenset(), ["a"]) == frozenset()


def test_development_holds_training_patients_and_what_training_sees() -> None:
    base = Memory(n_cases=10)
    data = Development(base=base, fold=1, n_folds=2, label_pct=50, seed=0)
    split = make_split(
        base.cases(), base.organs, dataset=base.name, fold=1, n_folds=2, label_pct=50, seed=0
    )
    assert {case.id: case.annotated for case in data.cases()} == split.flags
    parts = {case.trains_in for case in data.cases()}
    assert parts == {(), "all"}
    for case in data.cases():
        seen = np.unique(np.asarray(data.labels(case).dataobj))
        flags = dict(enumerate(case.annotated, start=1))
        assert all(flags[organ] for organ in seen if organ)


class Pairs(Memory):
    """Two scans of every patient."""

    def cases(self) -> tuple[Case, ...]:
        return tuple(
            case.model_copy(update={"patient": f"patient{number // 2}"})
            for number, case in enumerate(super().cases())
        )


def test_scans_of_a_patient_train_or_validate_together() -> None:
    data = Development(base=Pairs(n_cases=16), n_folds=2, label_pct=50, seed=0)
    parts: dict[str, set[object]] = {}
    for case in data.cases():
        parts.setdefault(case.patient, set()).add(case.trains_in)
    assert len(parts) == 8
    assert all(len(part) == 1 for part in parts.values())
    assert set().union(*parts.values()) == {(), "all"}


def test_of_a_union_the_tested_sources_validate() -> None:
    small, large = "phantom[n_cases=12,scale=0.25]", "phantom[n_cases=6,scale=0.25,seed=1]"
    base = parse_dataset(f"union[sources=small={small}:large={large},test=small]")
    data = Development(base=base, fold=0, n_folds=2, label_pct=100, seed=0)
    training = [case for case in data.cases() if case.trains_in == "all"]
    validating = [case for case in data.cases() if case.trains_in == ()]
    assert {case.domain for case in validating} == {"small"}
    assert len(validating) == 2
    assert sum(case.domain == "large" for case in training) == 6
    assert len(training) == 4 + 6
    assert data.owner(validating[0])[0] == parse_dataset(small)


def folder(root: Path, cases: int = 8) -> Path:
    return trees.nnunet(root, cases)


def held_out(root: Path) -> list[str]:
    """Return the cases that fold 0 tests."""
    data = parse_dataset(str(root))
    n_folds = parse_profile("smoke").n_folds
    split = make_split(
        data.cases(),
        data.organs,
        dataset=data.name,
        fold=0,
        n_folds=n_folds,
        label_pct=50,
        seed=0,
    )
    return list(split.test)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Return what a tuning finds whose test cases are as they should be."""
    base = tmp_path_factory.mktemp("clean")
    return tune(request(base / "store", dataset=[str(folder(base / "tiny"))], trials=2))


@pytest.mark.parametrize("poison", ["unreadable", "noise", "gone"])
def test_no_trial_reads_a_test_patient(poison: str, clean: Outcome, tmp_path: Path) -> None:
    root = folder(tmp_path / "tiny")
    rng = np.random.default_rng(0)
    files = [path for case in held_out(root) for path in root.rglob(f"{case}*.nii.gz")]
    assert len(files) == 8
    for path in files:
        if poison == "unreadable":
            path.write_bytes(b"no NIfTI file")
        elif poison == "noise":
            image = nib.load(path)
            noise = rng.integers(0, 5, image.shape).astype(np.int16)
            nib.save(nib.Nifti1Image(noise, image.affine), path)
        else:
            path.unlink()
            path.symlink_to(tmp_path / "nowhere")
    poisoned = tune(request(tmp_path / "store", dataset=[str(root)], trials=2))
    assert_same(clean, poisoned)


def assert_same(clean: Outcome, other: Outcome) -> None:
    """Compare choices, scores, weights and the data that trials read, byte by byte."""
    (found, store, runs), (again, other_store, other_runs) = clean, other
    for a, b in zip(found, again, strict=True):
        assert [(t.setting, t.dsc) for t in a.trials] == [(t.setting, t.dsc) for t in b.trials]
        assert a.best.setting == b.best.setting
    stages, others = trials_graph(runs).in_order(), trials_graph(other_runs).in_order()
    assert len(stages) == len(others)
    for one, twin in zip(stages, others, strict=True):
        if isinstance(one, Train):
            assert weights(one, store) == weights(twin, other_store)
        name = {"Images": "images.npy", "Evaluate": "cases.json"}.get(type(one).__name__)
        if name:
            files = store.out(one) / name, other_store.out(twin) / name
            assert files[0].read_bytes() == files[1].read_bytes()


def test_no_trial_sees_a_hidden_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In `Memory` hidden labels are noise on demand: of test cases, and of training cases."""
    results = []
    for change in ("", "hidden"):
        monkeypatch.setattr(
            "bench.experiment.selection.parse_dataset",
            lambda *_, change=change: Memory(change=change),
        )
        results.append(tune(request(tmp_path / f"store{change}", dataset=["memory"], trials=2)))
    assert_same(*results)


def test_the_poison_is_noticed_where_it_may_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = []
    for change in ("", "visible"):
        monkeypatch.setattr(
            "bench.experiment.selection.parse_dataset",
            lambda *_, change=change: Memory(change=change),
        )
        asked = request(tmp_path / f"store{change}", dataset=["memory"], trials=1)
        _, store, runs = tune(asked)
        training = next(s for s in trials_graph(runs).in_order() if isinstance(s, Train))
        scores.append(weights(training, store))
    assert scores[0] != scores[1]


def test_nothing_is_chosen_before_every_trial_is_done(tmp_path: Path) -> None:
    asked = request(tmp_path, method=["inerrant,cps"], dataset=["phantom[n_cases=8,scale=0.25]"])
    asked = asked.model_copy(update={"trials": 3})
    store = Store(tmp_path)
    runs = asked.grid().runs(store, remember=False)
    assert len(runs) == 6
    *some, last = trials_graph(runs).in_order()
    events_of(some, store)
    found = tuned(asked, runs, store)
    assert sum(trial.dsc is None for one in found for trial in one.trials) == 1
    assert save(asked, runs, store) is None
    assert not (tmp_path / "tuning").exists()
    assert outcomes(events_of([last], store))[last.title] == "done"
    save_tuning(tmp_path, asked.record())  # as the last of several jobs does
    (path,) = (tmp_path / "tuning").glob("*.parquet")
    before = path.read_bytes()
    assert save(asked, runs, store) == path
    assert path.read_bytes() == before
    table = TUNING.load(path)
    assert table.groupby("method").size().to_dict() == {"cps": 3, "inerrant": 3}
    assert table.groupby("method")["chosen"].sum().to_dict() == {"cps": 1, "inerrant": 1}
    assert (table["patients"] == table["patients"].iloc[0]).all()
    assert all(table["device_s"] > 0)
    assert not table["exhaustive"].any()


PLANTED = '''
from __future__ import annotations

from typing import Annotated

from bench.api import Loss, Method, Range, targets


class Planted(Method, Loss):
    """In training, logits are moved: at its default, so far that nothing is ever predicted."""

    label = "planted"
    streams = ("supervised",)

    shift: Annotated[float, Range(0.01, 50, log=True)] = 50.0
    wild: bool = False

    def plan(self, recipe):
        yield recipe.segmenter(self)

    def loss(self, net, batch, progress, shared):
        y_BKHW, w_BKHW = targets(batch.lab_BHW, batch.ps_BHW, batch.flags_BK)
        loss = shared(net(batch.image_BCHW) + self.shift, y_BKHW, w_BKHW)
        return {"loss": loss * float("nan") if self.wild else loss}
'''


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from bench.plugins.files import VARIABLE

    file = tmp_path_factory.mktemp("plugin") / "planted.py"
    file.write_text(PLANTED)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(VARIABLE, "")
        registry.plug_in([file])
        yield "planted"


def test_a_trial_that_diverges_is_finished_without_a_score(planted: str, tmp_path: Path) -> None:
    asked = request(
        tmp_path / "store",
        method=[f"{planted}[wild=true]"],
        dataset=["phantom[n_cases=8,scale=0.25]"],
        trials=2,
    )
    store = Store(asked.store)
    runs = asked.grid().runs(store)
    stages = trials_graph(runs).in_order()
    events_of(stages, store)
    failures = [store.attempts(stage).failure() for stage in stages]
    assert any(failure is not None and failure.diverged for failure in failures)
    (one,) = tuned(asked, runs, store)
    assert [(trial.dsc is None, trial.diverged) for trial in one.trials] == [(True, True)] * 2
    assert one.finished
    assert one.best is one.trials[0]
    path = save(asked, runs, store)
    assert path is not None
    assert TUNING.load(path)["dsc"].isna().all()


def test_a_bad_default_is_mended(planted: str, tmp_path: Path) -> None:
    asked = request(
        tmp_path / "store",
        method=[planted],
        dataset=[str(folder(tmp_path / "data"))],
        labelled="100",
        profile=["smoke[steps=80,lr=0.01]"],
        trials=4,
    )
    (one,), _, _ = tune(asked)
    assert one.trials[0].setting == planted
    assert one.trials[0].dsc == 0
    assert one.best.dsc is not None
    assert one.best.dsc > 20
    chosen = method_of(one.best.setting)
    assert chosen.shift < 5  # type: ignore[attr-defined]
