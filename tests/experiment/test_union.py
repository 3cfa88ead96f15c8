"""Several data sets as one: organs by name, domains, tested sources, and rows of Table 8."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import releases
import trees
from helpers import compute, plan

from bench.data.catalogue import parse_dataset, split_datasets
from bench.data.dataset import Dataset
from bench.data.scan import read_scan
from bench.data.simulate import Split, make_split
from bench.data.synonyms import perhaps_part, same_voxels
from bench.engine.store import Store
from bench.errors import BenchError
from bench.experiment.collect import collect
from bench.experiment.request import Request
from bench.labels import VOID
from bench.reports.paper.layout import fitting, measured
from bench.results.aggregate import Values
from bench.results.tables import AUDIT

SMALL, LARGE = "phantom[n_cases=4,scale=0.25]", "phantom[n_cases=6,scale=0.25,seed=1]"
NAME = f"union[sources=small={SMALL}:large={LARGE[:-1]},organs=pancreas],test=small]"


@pytest.fixture(scope="module")
def union() -> Dataset:
    return parse_dataset(NAME)


def split(dataset: Dataset, fold: int, pct: int = 100) -> Split:
    return make_split(
        dataset.cases(), dataset.organs, dataset=dataset.name, fold=fold, n_folds=2, label_pct=pct,
        seed=0,
    )  # fmt: skip


def test_the_named_source_is_cross_validated_and_the_other_trains(union: Dataset) -> None:
    tested = []
    for fold in range(2):
        found = split(union, fold)
        assert {f"large_phantom_{n:03d}" for n in range(6)} < set(found.train)
        assert len(found.test) == 2
        tested += found.test
        pancreas = union.organs.index("pancreas")
        for name, flags in found.flags.items():
            expected = [name.startswith("small") or k == pancreas for k in range(7)]
            assert list(flags) == expected
        assert set(found.domains.values()) == {"small", "large"}
    assert sorted(tested) == [f"small_phantom_{n:03d}" for n in range(4)]


def test_all_sources_are_tested_by_default() -> None:
    found = split(parse_dataset(NAME.replace(",test=small", "")), 0)
    assert {name.split("_")[0] for name in found.test} == {"small", "large"}


def test_labels_are_hidden_on_top_of_natural_gaps(union: Dataset) -> None:
    flags = np.array(list(split(union, 0, 50).flags.values()))
    pancreas = union.organs.index("pancreas")
    assert flags.sum(axis=0).tolist() == [4 if k == pancreas else 1 for k in range(7)]


def test_a_fusion_is_a_union_with_a_number_of_training_patients(union: Dataset) -> None:
    fusion = parse_dataset(f"fusion[full={SMALL},partial={LARGE},keeps=pancreas,n_full=2]")
    sources = f"full={SMALL}:partial={LARGE[:-1]},organs=pancreas]"
    same = parse_dataset(f"union[sources={sources},test=full,n_train=2]")
    for dataset in (fusion, same):
        assert len([case for case in dataset.cases() if case.trains_in == "all"]) == 6
    for one, other in zip(fusion.cases(), same.cases(), strict=True):
        assert (one.id, one.patient, one.annotated) == (other.id, other.patient, other.annotated)
        assert np.array_equal(fusion.labels(one).dataobj, same.labels(other).dataobj)
    assert {len(split(same, fold).train) for fold in range(2)} == {8}


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    """Two clinics whose names of folders and organs are not the simplest."""
    north = trees.nnunet(tmp_path / "north, main", 4, organs=("liver", "kidney_l"))
    trees.nnunet(tmp_path / "south [2]", 4, organs=("kidney_l", "spleen"))
    for file in (north / "dataset.json", north / "annotations.csv"):
        file.write_text(file.read_text().replace("kidney_l", "Kidney L"))
    return tmp_path


def named(root: Path, more: str = "") -> str:
    return f'union[sources=a="{root}/north, main":b="{root}/south [2]"{more}]'


def test_organs_are_matched_by_name_and_paths_may_hold_anything(sites: Path) -> None:
    dataset = parse_dataset(named(sites))
    assert dataset.organs == ("liver", "Kidney L", "spleen")
    flags = {case.id: case.annotated for case in dataset.cases()}
    assert flags["a_case_000"] == (True, True, False)
    assert flags["b_case_000"] == (False, True, True)
    case = next(case for case in dataset.cases() if case.id == "b_case_001")
    south = parse_dataset(f"{sites}/south [2]")
    original = np.asarray(south.labels(south.cases()[1]).dataobj)
    labels = np.asarray(dataset.labels(case).dataobj)
    assert np.array_equal(labels, np.array([0, 2, 3])[original])
    assert (labels > 0).any()
    only = parse_dataset(named(sites, ",organs=spleen:liver"))
    assert only.organs == ("spleen", "liver")
    assert set(np.unique(only.labels(case).dataobj)) == {0, 1}
    assert split_datasets(f"{sites}/north, main") == [f"{sites}/north, main"]


def test_the_seven_organs_of_the_paper_are_a_view_of_any_union(sites: Path) -> None:
    assert parse_dataset(named(sites, ",organs=paper7")).organs == ("liver", "spleen", "Kidney L")
    with pytest.raises(BenchError, match="leaves none of Brainstem"):
        parse_dataset("union[sources=a=openkbp:b=openkbp,organs=paper7]")


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ("abdomenct1k:btcv", "^kidney of abdomenct1k and kidney_r of btcv, kidney of abdomenct1k"),
        ("amos:kits", "kidney_l of amos and kidney of kits may be the same voxels"),
        ("btcv:{mine}", r"kidney_l of btcv and Left_Kidneys of Generated .*dataset\.json$"),
        ("openkbp:{mine}", None),
        ("abdomenct1k:btcv,organs=paper7", None),
        ("btcv:{mine}[organs=liver]", None),
    ],
)
def test_one_organ_under_two_names_is_refused(
    sources: str, message: str | None, tmp_path: Path
) -> None:
    mine = trees.nnunet(tmp_path / "mine", 2, ("liver", "kidney_l"))
    description = mine / "dataset.json"
    description.write_text(description.read_text().replace("kidney_l", "Left_Kidneys"))
    name = f"union[sources={sources.format(mine=mine)}]"
    if message is None:
        assert parse_dataset(name)
    else:
        with pytest.raises(BenchError, match=message):
            parse_dataset(name)


@pytest.mark.parametrize(
    ("one", "other", "same", "part"),
    [
        ("kidney", "kidneys", True, False),
        ("kidney", "KidneyR", True, False),
        ("LKidney", "kidney_left", True, False),
        ("adrenal_l", "adrenal_gland_left", True, False),
        ("ivc", "inferior_vena_cava", True, False),
        ("kidney_l", "kidney_r", False, False),
        ("Kidney L", "kidney_l", False, False),
        ("bladder", "gall_bladder", False, False),
        ("femur_head_l", "femur_left", False, True),
        ("femur_head_l", "femur_right", False, False),
        ("prostate", "prostate_uterus", False, True),
        ("lung_upper_lobe_left", "lung", False, True),
    ],
)
def test_names_of_organs_are_compared_by_what_they_say(
    one: str, other: str, same: bool, part: bool
) -> None:
    assert same_voxels(one, other) == same_voxels(other, one) == same
    assert perhaps_part(one, other) == perhaps_part(other, one) == part


def test_what_a_source_knows_of_its_cases_is_checked_in_the_union(tmp_path: Path) -> None:
    releases.btcv(tmp_path / "btcv")
    releases.abdomenct1k(tmp_path / "abdomenct1k")
    trees.nnunet(tmp_path / "mine", 2, ("liver",))
    description = tmp_path / "mine/dataset.json"
    description.write_text(description.read_text().replace('"numTraining": 2', '"numTraining": 9'))
    name = f"union[sources=btcv:abdomenct1k:{tmp_path}/mine,test=btcv,organs=paper7]"
    dataset = parse_dataset(name, tmp_path)
    case = next(case for case in dataset.cases() if case.id == "btcv_btcv_0021")
    owner, own = dataset.owner(case)
    assert (owner.name, owner.sided, own.id) == ("btcv", True, "btcv_0021")
    assert dataset.remarks()[0] == "tested: btcv; in every training set: abdomenct1k, Generated"
    assert any(
        line.startswith("abdomenct1k: 1 scan without an annotated organ left out")
        for line in dataset.remarks()
    )
    assert len([line for line in dataset.doubts() if line.startswith("Generated: ")]) == 1


def test_a_source_that_nobody_annotated_trains_without_a_label(sites: Path) -> None:
    table = sites / "south [2]/annotations.csv"
    table.write_text(table.read_text().replace("1,1\n", "0,0\n").replace("1,1\r\n", "0,0\r\n"))
    found = split(parse_dataset(named(sites, ",test=a")), 0)
    flags = {name: any(own) for name, own in found.flags.items()}
    assert [name for name, own in flags.items() if not own] == [f"b_case_00{n}" for n in range(4)]
    with pytest.raises(BenchError, match="there is nothing to learn"):
        split(parse_dataset(str(sites / "south [2]")), 0)


def test_an_organ_that_a_source_lists_and_never_annotates_is_unknown_there(sites: Path) -> None:
    south = sites / "south [2]"
    table = south / "annotations.csv"
    table.write_text(table.read_text().replace("1,1", "1,0"))
    with pytest.raises(BenchError, match="spleen is annotated in none of the 4 cases"):
        parse_dataset(str(south)).cases()
    flags = {case.id: case.annotated for case in parse_dataset(named(sites)).cases()}
    assert flags["b_case_000"] == (False, True, False)


def test_voxels_of_unknown_class_stay_so(sites: Path) -> None:
    description = sites / "south [2]/dataset.json"
    labels = {"background": 0, "kidney_l": 1, "spleen": 2, "ignore": 3}
    description.write_text(json.dumps({"name": "South", "labels": labels}))
    ignored = trees.volume(1, organs=("kidney_l", "spleen")).labels_XYZ.copy()
    ignored[:9] = 3
    trees.save(sites / "south [2]/labelsTr/case_001.nii.gz", ignored)
    dataset = parse_dataset(named(sites))
    case = next(case for case in dataset.cases() if case.id == "b_case_001")
    expected = np.array([0, 2, 3, VOID])[ignored]
    assert np.array_equal(read_scan(dataset, case).labels_XYZ, expected)


def test_its_name_does_not_depend_on_the_folder_and_can_be_read_again(sites: Path) -> None:
    dataset = parse_dataset(named(sites, ",test=b,hu_window=0:9"))
    assert dataset.name == "union[sources=a=Generated:b=Generated,test=b]"
    assert dataset.label == "union[sources=a=Generated:b=Generated,test=b,hu_window=0:9]"
    again = parse_dataset(parse_dataset(NAME).label)
    assert again == parse_dataset(NAME)


def test_paths_of_sources_in_a_file_are_relative_to_the_file(sites: Path) -> None:
    file = sites / "experiment.toml"
    sources = 'a="./north, main":b="./south [2]"[organs=spleen]'
    file.write_text(f"method = 'naive'\ndataset = ['union[sources={sources},test=a]', 'phantom']\n")
    request = Request.of(file, {})
    union, phantom = request.grid().datasets
    assert [len(union.cases()), len(phantom.cases())] == [8, 40]
    store = sites / "store"
    kept = store / "experiments" / f"{request.model_copy(update={'store': store}).record()}.toml"
    assert Request.of(kept, {"store": store}).grid().datasets[0] == union


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"union[sources={SMALL}:{LARGE}]", "2 sources are called phantom; name them"),
        (NAME.replace("test=small", "test=smal"), "did you mean small"),
        (NAME.replace("organs=pancreas", "organs=pancras"), "did you mean pancreas"),
        (NAME.replace("test=small", "organs=lever"), "did you mean liver"),
        (NAME.replace(",test=small", ",n_train=2"), "needs one tested source"),
        (NAME.replace("test=small", "test=small,n_train=4"), "n_train=4 leaves none to test"),
        (f"union[sources={SMALL}]", "is one data set; join two or more"),
        (f"union[sources=a={SMALL}::b={LARGE}]", "empty source"),
        (f"union[sources=a={SMALL}:b={NAME}]", "joins data sets itself"),
        (f"union[sources=a={SMALL}:b={SMALL}]", "are the same case"),
        ("union[sources=a=phantom:b=phantom[scale=0.5]]", "are the same case"),
        (
            f"union[sources=a={SMALL}:b={LARGE[:-1]},hu_window=0:500]]",
            "b is scaled as a is; give hu_window to the joined data set",
        ),
    ],
)
def test_mistakes_are_named(name: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        parse_dataset(name).cases()


def in_folds(root: Path, folds: list[str]) -> Path:
    table = root / "annotations.csv"
    header, *lines = table.read_text().splitlines()
    rows = [f"{line},{fold}" for line, fold in zip(lines, folds, strict=True)]
    table.write_text("\n".join([f"{header},trains_in", *rows]))
    return root


def test_a_tested_source_says_which_cases_never_train(tmp_path: Path) -> None:
    one = in_folds(trees.nnunet(tmp_path / "one", 4), ["none", "", "0", "all"])
    sources = f"a={one}:b=phantom[n_cases=4,scale=0.25]"
    cases = parse_dataset(f"union[sources={sources}]").cases()
    found = {case.id: case.trains_in for case in cases}
    assert [found[f"a_case_00{n}"] for n in range(4)] == [(), None, (0,), "all"]
    with pytest.raises(BenchError, match=r"a trains in every fold.* case_0.*2 are to"):
        parse_dataset(f"union[sources={sources},test=b]").cases()


def test_a_patient_of_two_filters_is_not_parted(tmp_path: Path) -> None:
    root = in_folds(trees.nnunet(tmp_path / "set", 4), ["0", "1", "0 1", "0 1"])
    table = root / "annotations.csv"
    table.write_text(table.read_text().replace("patient_001", "patient_000"))
    parts = f"union[sources=a={root}[where=tier=A]:b={root}[where=tier=B]]"
    with pytest.raises(BenchError, match="a_case_000 is trained on and b_case_001 tested"):
        split(parse_dataset(parts), 0)


def test_a_patient_is_not_tested_while_another_of_their_scans_trains(tmp_path: Path) -> None:
    root = trees.nnunet(tmp_path / "set", 4)
    table = root / "annotations.csv"
    table.write_text(table.read_text().replace("patient_001", "patient_000"))
    sources = f"a={root}[where=tier=A]:b={root}[where=tier=B]"
    with pytest.raises(BenchError, match="a_case_000 is tested, and b_case_001 of the same pat"):
        parse_dataset(f"union[sources={sources},test=a]").cases()
    both = split(parse_dataset(f"union[sources={sources}]"), 0)
    assert len({"a_case_000", "b_case_001"} & set(both.test)) in (0, 2)


def test_the_rows_of_table_8_come_from_one_command(
    union: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    methods = "inerrant0[source=small],inerrant0[source=large],inerrant0"
    runs = plan(store, union, methods, labelled="100")
    compute(runs, store)
    results = collect(runs, store).results
    assert set(results["domain"]) == {"small"}
    (layout,) = fitting(union.name, 7)
    cells = measured(Values(results), AUDIT.frame([]), layout)
    assert cells.groupby("setting")["organ"].nunique().to_dict() == {
        "small": 8,
        "large with the pancreas": 1,
        "small, large with the pancreas": 8,
    }


def test_the_upper_bound_is_collected_at_a_fraction_that_nothing_else_was_run_at(
    union: Dataset, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    compute(plan(store, union, "full", labelled="30"), store)
    runs = plan(store, union, "full", labelled="10")
    results = collect(runs, store).results
    assert set(results["label_pct"]) == {10}
    assert results["test_to_train"].notna().all()


def test_a_source_that_there_is_not_is_refused(union: Dataset, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"did you mean large"):
        plan(Store(tmp_path), union, "inerrant0[source=lage]", labelled="100")
    with pytest.raises(BenchError, match="joins no data sets"):
        plan(Store(tmp_path), parse_dataset(SMALL), "inerrant0[source=large]", labelled="100")
