"""Tables collected from a store: what rows stand on, names of files, damaged outputs."""

import shutil
from pathlib import Path
from typing import Any

import helpers
import pytest
from conftest import Finished

from bench.engine.store import Store
from bench.errors import BenchError
from bench.experiment.basis import definition, recipe
from bench.experiment.collect import collect, save
from bench.experiment.profiles import parse_profile
from bench.results.basis import BASIS, UNLABELLED
from bench.results.files import BESIDE, Tables
from bench.results.tables import LAYERS, RESULTS
from bench.stages.audit import Audit
from bench.stages.relabel import Relabel
from bench.stages.train import Train


def test_every_row_says_which_data_and_versions_it_stands_on(finished: Finished) -> None:
    run = finished.of("inerrant")
    tables = collect([run], finished.store)
    source, given = run.condition.source, run.targets
    expected = {
        "content": source.content[:12],
        "scaling": "CT window[hu_window=-160:240]",
        "images": given.images.key,
        "truth": given.truth.key,
        "labels": given.labels.key,
    }
    for schema in (RESULTS, *BESIDE):
        table = getattr(tables, schema.name)
        names = UNLABELLED if schema is LAYERS else BASIS
        if not table.empty:
            assert {name: set(table[name]) for name in names if name != "versions"} == {
                name: {expected[name]} for name in names if name != "versions"
            }
    versions = tables.results.set_index("round")["versions"].map(lambda text: text.split(", "))
    for number in (0, 1):
        (found,) = {tuple(items) for items in versions[[number]]}
        assert {f"Train {Train.version}", "Folder 1", "Dice 1"} <= set(found)
        assert (f"Relabel {Relabel.version}" in found) == bool(number)


def test_a_method_is_defined_equally_in_all_conditions_and_otherwise_by_another_number(
    folder: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")

    def said(methods: str, **conditions: Any) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for run in helpers.plan(store, folder, methods, **conditions):
            found.setdefault(run.method, set()).add(
                definition(run.rounds[-1].evaluation.prediction)
            )
        return found

    everywhere = said(",".join(helpers.ALL_METHODS), labelled="100,30", folds="0-1", seeds=(0, 1))
    assert {method: len(names) for method, names in everywhere.items()} == dict.fromkeys(
        helpers.ALL_METHODS, 1
    )
    one = everywhere["inerrant"]
    assert said("inerrant[gamma_max=0.6666666666666666]")["inerrant"] == one
    others = said("inerrant[gamma_max=0.5],inerrant[rounds=3],inerrant_mcp").values()
    longer = said("inerrant", profile="smoke[steps=5]").values()
    views = said("inerrant0,inerrant0[predict=views]").values()
    assert len(set.union(one, *others, *longer, *views)) == 7


def test_a_recipe_is_what_methods_share_in_training() -> None:
    recipes = [
        recipe(parse_profile(f"quick[{name}]"))
        for name in ("steps=1600", "steps=9", "lr=1e-4", "round_share=0.1", "loss=cross_entropy")
    ]
    assert len(set(recipes)) == len(recipes)
    assert recipe(parse_profile("quick[max_side=64]")) == recipes[0], "the images tell"


@pytest.mark.parametrize(("method", "afresh"), [("selftrain", True), ("inerrant", False)])
def test_rounds_cumulate_where_later_ones_keep_the_labels(
    method: str, afresh: bool, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Audit.records  # networks of a few steps find nothing
    more = {"added": 80, "tp": 20, "gt_missing": 90}
    changed = classmethod(lambda _, folder: [row | more for row in counted(folder)])
    monkeypatch.setattr(Audit, "records", changed)
    audit = collect([finished.of(method)], finished.store).audit
    for _, rounds in audit.sort_values("round").groupby("organ"):
        assert len(rounds) > 1
        expected = [80] * len(rounds) if afresh else [80 * t for t in rounds["round"]]
        assert rounds["added_cum"].tolist() == expected
        assert rounds["recall_cum"].iloc[0] == pytest.approx(20 / 90)


def test_files_are_named_after_what_was_run_on_which_data(folder: Path, tmp_path: Path) -> None:
    store, other = Store(tmp_path / "store"), shutil.copytree(folder, tmp_path / "copy")

    def named(*plan: object) -> str:
        return save(helpers.plan(store, *plan), store).path.name  # type: ignore[arg-type]

    first = named(folder, "naive")
    assert named(other, "naive") == first
    (other / "labelsTr/case_000.nii.gz").write_bytes(b"changed")
    names = {first, named(other, "naive"), named(f"{folder}[hu_window=0:9]", "naive")}
    assert len(names | {named(folder, "inerrant0")}) == 4


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Store:
    """Return a copy of the finished store without what tables are not made of."""
    heavy = shutil.ignore_patterns("*.safetensors", "*.np?", "*.gz", "slices", "selections")
    return Store(shutil.copytree(finished.store.root, tmp_path / "store", ignore=heavy))


def test_a_damaged_output_costs_the_table_that_is_made_of_it(
    copy: Store, finished: Finished
) -> None:
    run = finished.of("naive")
    path, problems = save([run], copy)
    assert not problems
    damaged = copy.out(run.targets) / "targets.json"
    damaged.write_text("[{")
    copy.events(run.rounds[0].model).open("a").write('{"step": 9, "los')
    path, problems = save([run], copy)
    assert len(problems) == 1
    assert "targets.parquet: not written" in problems[0]
    assert f"{copy.folder(run.targets)}: targets.json has 2 bytes, not the" in problems[0]
    tables = Tables.read([path])
    assert not tables.results.empty
    assert not tables.curves.empty
    assert tables.targets.empty


def test_a_damaged_output_behind_the_results_is_named(copy: Store, finished: Finished) -> None:
    run = finished.of("naive")
    (copy.out(run.rounds[0].model) / "cost.json").unlink()
    with pytest.raises(BenchError, match=r"Train/.*: its output cannot be read .*delete this"):
        save([run], copy)
