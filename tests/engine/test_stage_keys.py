"""What a stage's key holds and what it does not."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Finished
from helpers import ALL_METHODS, Toy, plan, stage_of, trainings

from bench.engine.graph import StageGraph
from bench.engine.store import Store
from bench.experiment.method import Condition
from bench.experiment.plan import Run, graph_of
from bench.experiment.profiles import parse_profile
from bench.experiment.selection import parse_methods
from bench.params import Params
from bench.stage import ancestors
from bench.stages.train import Train
from bench.training.augment import Augmentation


def changed(value: Any) -> Any:
    """Return another valid value of a parameter."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.5
    return {"bf16": "fp32", "none": "imagenet"}.get(value, f"{value}x")


@pytest.fixture(scope="module")
def train(finished: Finished) -> Train:
    return finished.of("inerrant0").rounds[-1].model


def test_every_number_of_the_recipe_enters_the_key(train: Train) -> None:
    keys, n_numbers = {train.key}, 0
    for part in ("config", "length"):
        numbers = getattr(train, part)
        for name in type(numbers).model_fields:
            if isinstance(value := getattr(numbers, name), Augmentation):
                other: Any = replaced(value, zoom=0.3)
            else:
                other = changed(value)
            keys.add(replaced(train, **{part: replaced(numbers, **{name: other})}).key)
            n_numbers += 1
    assert len(keys) == 1 + n_numbers


def test_every_part_and_input_enters_the_key(train: Train) -> None:
    others = [
        replaced(train, seed=1),
        replaced(train, network=replaced(train.network, width=5)),
        replaced(train, objective=replaced(train.objective, pseudo_negatives=False)),
        replaced(train, init=train),
        replaced(train, pseudo=train),
        replaced(train, labels=replaced(train.labels, fold=1)),
        replaced(train, labels=replaced(train.labels, label_pct=51)),
        replaced(train, images=replaced(train.images, content="other")),
        replaced(train, images=replaced(train.images, max_side=65)),
    ]
    assert len({stage.key for stage in [train, *others]}) == 1 + len(others)


def test_where_the_data_lie_does_not_enter_the_key(train: Train, tmp_path: Path) -> None:
    images = replaced(train.images, dataset=replaced(train.images.dataset, root=tmp_path))
    assert images.key == train.images.key
    assert replaced(train, images=images).key == train.key


def test_a_new_version_of_a_part_changes_the_keys_above_it_only(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(graph_of(finished.runs).stages)
    monkeypatch.setattr("bench.training.relabelling.RelabelRule.version", 99)
    after = graph_of(
        [Run.of(m, n, finished.runs[0].condition) for n, m in parse_methods(ALL_METHODS)]
    )
    touched = {s.key for s in graph_of(finished.runs).stages.values() if needs_a_rule(s)}
    assert touched
    assert before - set(after.stages) == touched


def needs_a_rule(stage: Any) -> bool:
    return any(hasattr(below, "rule") for below in ancestors(stage))


def test_cells_differ_in_all_of_their_results(finished: Finished) -> None:
    condition = finished.runs[0].condition
    others: list[Condition] = [
        dataclasses.replace(condition, fold=1),
        dataclasses.replace(condition, label_pct=30),
        dataclasses.replace(condition, seed=1),
        dataclasses.replace(condition, profile=parse_profile("smoke[steps=5]")),
        dataclasses.replace(condition, network=replaced(condition.network, width=5)),
    ]
    ((label, method),) = parse_methods(["inerrant"])
    wanted = [{s.key for s in Run.of(method, label, c).outputs()} for c in [condition, *others]]
    assert len(set.union(*wanted)) == sum(map(len, wanted))


def test_folds_and_fractions_share_images_and_truth(finished: Finished) -> None:
    store = finished.store
    runs = plan(store, finished.root, "inerrant", labelled="100,50,30", folds="all")
    assert len(list(stage_of(runs, "Images"))) == len(list(stage_of(runs, "Truth"))) == 1
    assert len(list(stage_of(runs, "Labels"))) == 6


def test_another_process_finds_the_same_keys(finished: Finished, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from helpers import plan, graph_of; from bench.engine.store import Store\n"
        "print(*sorted(graph_of(plan(Store(Path(sys.argv[2])), sys.argv[3])).stages))\n"
        "assert 'torch' not in sys.modules, 'planning has to do without torch'"
    )
    here = Path(__file__).parents[1]
    other = subprocess.run(
        [sys.executable, "-c", code, str(here), str(tmp_path / "store"), str(finished.root)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONHASHSEED": "12"},
    )
    assert other.returncode == 0, other.stderr
    assert other.stdout.split() == sorted(graph_of(finished.runs).stages)


def test_planning_for_generated_data_does_without_the_libraries_that_read_scans() -> None:
    code = (
        "import sys; from bench.data.catalogue import parse_dataset\n"
        "import bench.cli.views; parse_dataset('phantom').cases()\n"
        "assert not {'nibabel', 'scipy', 'joblib', 'pandas'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_the_graph_holds_equal_stages_once_and_inputs_first() -> None:
    def diamond() -> Toy:
        bottom = Toy(name="bottom")
        left, right = Toy(name="left", needs=(bottom,)), Toy(name="right", needs=(bottom, bottom))
        return Toy(name="top", needs=(left, right))

    graph = StageGraph([diamond(), diamond()])
    order = [stage.title for stage in graph.in_order()]
    assert sorted(order) == ["bottom", "left", "right", "top"]
    assert (order[0], order[-1]) == ("bottom", "top")
    assert diamond().needs[1].key in graph
    assert Toy(name="stranger").key not in graph


def test_a_plan_reads_nothing_from_hidden_labels_to_training(finished: Finished) -> None:
    for stage in [*trainings(finished.runs), *stage_of(finished.runs, "Relabel")]:
        kinds = {type(parent).__name__ for parent in stage.inputs()}
        assert kinds <= {"Images", "Labels", "Train", "Relabel"}, stage.title
    for stage in stage_of(finished.runs, "Predict"):
        assert {type(p).__name__ for p in stage.inputs()} == {"Images", "Labels", "Train"}


def test_the_store_path_is_no_part_of_a_key(finished: Finished, tmp_path: Path) -> None:
    elsewhere = plan(Store(tmp_path / "elsewhere"), finished.root)
    assert set(graph_of(elsewhere).stages) == set(graph_of(finished.runs).stages)


def replaced(params: Params, **fields: Any) -> Any:
    values = {name: getattr(params, name) for name in type(params).model_fields}
    return type(params).model_construct(**(values | fields))
