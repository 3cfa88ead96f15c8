"""A complete and a partially labelled data set, trained together (Table 8)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trees
from helpers import compute, plan

from bench.data.catalogue import parse_dataset
from bench.data.dataset import Dataset
from bench.data.simulate import Split, make_split
from bench.data.visible import TrainView
from bench.engine.store import Store
from bench.errors import BenchError
from bench.experiment.collect import collect
from bench.reports.paper.layout import fitting, measured
from bench.results.aggregate import Values
from bench.results.tables import AUDIT

FULL, PARTIAL = "phantom[n_cases=6,scale=0.25]", "phantom[n_cases=4,scale=0.25,seed=1]"
NAME = f"fusion[full={FULL},partial={PARTIAL},keeps=pancreas,n_full=2]"


@pytest.fixture(scope="module")
def fusion() -> Dataset:
    return parse_dataset(NAME)


def split(dataset: Dataset, fold: int, pct: int = 100) -> Split:
    return make_split(
        dataset.cases(), dataset.organs, dataset=dataset.name, fold=fold, n_folds=5, label_pct=pct,
        seed=0,
    )  # fmt: skip


def test_options_of_data_are_in_the_name_of_tables_alone(fusion: Dataset, tmp_path: Path) -> None:
    assert fusion.name == fusion.label
    root = trees.nnunet(tmp_path / "set")
    parts = f"full={root}[hu_window=0:9],partial={root},keeps=liver"
    scaled = parse_dataset(f"fusion[{parts},intensity=zscore]")
    named = "full=Generated,partial=Generated,keeps=liver,n_full=9"
    assert scaled.name == f"fusion[{named}]"
    named = named.replace("full=Generated", "full=Generated[hu_window=0:9]", 1)
    assert scaled.label == f"fusion[{named},intensity=zscore]"


def test_a_few_complete_cases_train_with_all_of_the_others(fusion: Dataset) -> None:
    pancreas = fusion.organs.index("pancreas")
    draws = set()
    for fold in range(5):
        found = split(fusion, fold)
        complete = {name for name in found.train if name.startswith("full")}
        draws.add(frozenset(complete))
        assert len(complete) == 2
        assert set(found.train) - complete == {f"partial_phantom_{n:03d}" for n in range(4)}
        assert set(found.test) == {f"full_phantom_{n:03d}" for n in range(6)} - complete
        for name, flags in found.flags.items():
            expected = [name in complete or k == pancreas for k in range(len(flags))]
            assert list(flags) == expected
    assert len(draws) > 1


def test_labels_can_be_hidden_on_top(fusion: Dataset) -> None:
    flags = np.array(list(split(fusion, 0, 50).flags.values()))
    pancreas = fusion.organs.index("pancreas")
    assert flags.sum(axis=0).tolist() == [3 if k == pancreas else 1 for k in range(7)]


def test_only_kept_organs_are_in_the_label_maps(fusion: Dataset) -> None:
    other = parse_dataset(PARTIAL)
    pancreas = fusion.organs.index("pancreas") + 1
    case = next(case for case in fusion.cases() if case.id == "partial_phantom_001")
    labels = np.asarray(fusion.labels(case).dataobj)
    original = np.asarray(other.labels(other.cases()[1]).dataobj)
    assert np.array_equal(labels == pancreas, original == other.organs.index("pancreas") + 1)
    assert set(np.unique(labels)) == {0, pancreas}
    assert np.array_equal(fusion.image(case).dataobj, other.image(other.cases()[1]).dataobj)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (NAME.replace("keeps=pancreas", "keeps=pancras"), "did you mean pancreas"),
        (NAME.replace("n_full=2", "n_full=6"), "n_full=6 leaves none to test"),
        (NAME.replace("full=phantom[", "full=phantm["), "did you mean phantom"),
        ("fusion[full=phantom,keeps=liver]", "partial"),
    ],
)
def test_mistakes_are_named(name: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        parse_dataset(name).cases()


def test_it_runs_and_the_rows_of_table_8_are_told_apart(
    fusion: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    methods = "inerrant0[volumes=complete],inerrant0"
    runs = plan(store, fusion, methods, labelled="100")
    compute(runs, store)
    alone, together = (run.rounds[0].model for run in runs)
    assert alone.key != together.key
    view = TrainView(store.out(alone.images), store.out(alone.labels))
    assert (~view.incomplete_V).sum() == 2
    results = collect(runs, store).results
    assert results["test_to_train"].unique() == pytest.approx([4 / 6])
    assert {name.split("_")[0] for name in results["patient"]} == {"full"}
    targets = json.loads((store.out(runs[0].targets) / "targets.json").read_text())
    assert {row["organ"]: row["volumes"] for row in targets}["pancreas"] == 6
    assert {row["organ"]: row["volumes"] for row in targets}["liver"] == 2
    (layout,) = fitting(fusion.name, 7)
    assert layout.number == 8
    cells = measured(Values(results), AUDIT.frame([]), layout)
    assert cells.groupby("method")["setting"].unique().map(list).to_dict() == {
        "inerrant0": [
            f"2 complete, {runs[0].condition.source.dataset.partial.name} with the pancreas"
        ],
        "inerrant0[volumes=complete]": ["2 complete"],
    }


def test_no_volume_is_complete(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    runs = plan(store, parse_dataset(FULL), "inerrant0[volumes=complete]", labelled="20")
    with pytest.raises(AssertionError, match="no training volume of fold 0 at 20 % has every"):
        compute(runs, store)
