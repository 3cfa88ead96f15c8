"""From what a user types to runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import trees

from bench.data.catalogue import parse_dataset
from bench.data.simulate import assign_folds
from bench.engine.store import Store
from bench.errors import BenchError
from bench.experiment.profiles import PROFILES, parse_profile
from bench.experiment.selection import (
    ExperimentGrid,
    parse_datasets,
    parse_label_pcts,
    parse_methods,
    parse_networks,
    parse_numbers,
    parse_profiles,
)
from bench.params import Params


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", [0]),
        ("0-4", [0, 1, 2, 3, 4]),
        ("3,1", [3, 1]),
        (" 1 , 1-2,2", [1, 2]),
        ("all", [0, 1, 2, 3, 4]),
    ],
)
def test_numbers(text: str, expected: list[int]) -> None:
    assert parse_numbers("fold", text, 0, 4) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", "fold 5 is impossible, must be within 0 to 4"),
        ("0-9", "is impossible, must be within 0 to 4"),
        ("-1", "fold '-1' is not a whole number"),
        ("", "is not a whole number"),
        ("1.5", "is not a whole number; write for example 4 or 0-4 or 0,4"),
        ("3-1", "runs backwards: write 1-3"),
        ("all,0", "fold all stands alone: write all, or numbers without it"),
    ],
)
def test_impossible_numbers_are_refused(text: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        parse_numbers("fold", text, 0, 4)


def test_label_fractions_are_percentages() -> None:
    assert parse_label_pcts("100,30%,1") == [100, 30, 1]
    for text in ("0", "101", "0.3"):
        with pytest.raises(BenchError, match="label fraction"):
            parse_label_pcts(text)


def test_all_label_fractions_are_those_of_the_data_set() -> None:
    assert parse_label_pcts("all") is None
    assert parse_dataset("lits[root=nowhere]").label_fractions == (100, 30, 10, 5, 1)


def test_the_hu_window_is_written_with_a_colon() -> None:
    assert parse_dataset("phantom[hu_window=-200:300]").hu_window == (-200.0, 300.0)
    for wrong in ("300:-200", "5", "a:b"):
        with pytest.raises(BenchError, match="hu_window"):
            parse_dataset(f"phantom[hu_window={wrong}]")


@pytest.mark.parametrize(
    "number",
    ["steps=99999999999999999999", "batch_size=1000000", "lr=1e9", "max_side=1000000", "shift=9"],
)
def test_numbers_of_a_profile_have_bounds(number: str) -> None:
    with pytest.raises(BenchError, match=f"{number.partition('=')[0]}=.* must be at most"):
        parse_profiles([f"smoke[{number}]"])


def test_a_method_without_parameters_says_so() -> None:
    with pytest.raises(BenchError, match=r"parameter of method naive 'rounds': there are none$"):
        parse_methods(["naive[rounds=3]"])


def test_the_width_of_a_network_has_a_bound() -> None:
    with pytest.raises(BenchError, match="width='1000000' must be at most 1024"):
        parse_networks(["unet_t11[width=1000000]"])


def test_methods_are_listed_once_under_their_shortest_name() -> None:
    texts = ["naive,inerrant[rounds=3,score=mcp]", "inerrant[rounds=2]", "naive", "inerrant"]
    found = parse_methods(texts)
    assert [label for label, _ in found] == ["naive", "inerrant[rounds=3,score=mcp]", "inerrant"]
    assert found[1][1].overrides() == {"rounds": 3, "score": "mcp"}


def test_methods_that_differ_in_the_seventh_digit_are_two() -> None:
    assert len(parse_methods(["inerrant[gamma_max=0.5000001],inerrant[gamma_max=0.5]"])) == 2


def test_what_is_given_twice_runs_once(folder: Path) -> None:
    assert len(parse_datasets([f"{folder},{folder}"], None)) == 1
    assert len(parse_profiles(["smoke,quick", "smoke[steps=6]"])) == 2
    assert len(parse_networks(["unet_t11", "unet_t11[width=64]"])) == 1
    assert parse_networks([]) == []


@pytest.mark.parametrize("text", ["", " , "])
def test_nothing_is_no_selection(text: str) -> None:
    with pytest.raises(BenchError, match="no method is named"):
        parse_methods([text])
    with pytest.raises(BenchError, match="no data set is named"):
        parse_datasets([text], None)


def test_a_folder_is_a_data_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_path = parse_dataset(str(folder))
    assert [case.id for case in by_path.cases()][:2] == ["case_000", "case_001"]
    monkeypatch.chdir(folder.parent)
    assert parse_dataset(folder.name).cases() == by_path.cases()
    assert len(parse_dataset(f"{folder}[where=tier=A]").cases()) == 3


def test_a_registered_data_set_is_looked_for_below_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.lits(tmp_path / "LiTS", 2, (16, 14, 4))
    assert len(parse_dataset("lits", tmp_path).cases()) == 2
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    assert len(parse_dataset("lits").cases()) == 2
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(BenchError, match="nowhere"):
        parse_dataset("lits").cases()


def test_the_grid_is_the_product_of_its_axes(folder: Path, tmp_path: Path) -> None:
    selection = ExperimentGrid(
        methods=parse_methods(["naive,inerrant0"]),
        datasets=[parse_dataset(str(folder)), parse_dataset("phantom[n_cases=4,scale=0.25]")],
        label_pcts=[100, 50],
        folds="all",
        profiles=parse_profiles(["smoke,smoke[n_folds=3]"]),
        networks=parse_networks(["unet_t11[width=4],unet_t11[width=8]"]),
        seeds=[0, 1],
    )
    runs = selection.runs(Store(tmp_path))
    # methods, data sets, fractions, networks, seeds, folds of the two profiles
    assert len(runs) == 2 * 2 * 2 * 2 * 2 * (2 + 3)
    points = {
        (r.method, c.source.dataset.name, c.fold, c.label_pct, c.network, c.profile, c.seed)
        for r in runs
        for c in [r.condition]
    }
    assert len(points) == len(runs)
    assert len({stage.key for run in runs for stage in run.outputs()}) == len(runs)
    assert not list(tmp_path.glob("Train"))


def test_no_network_given_takes_that_of_the_profile(folder: Path, tmp_path: Path) -> None:
    selection = ExperimentGrid(
        methods=parse_methods(["naive"]),
        datasets=[parse_dataset(str(folder))],
        label_pcts=[100],
        folds="0",
        profiles=[parse_profile("smoke"), parse_profile("smoke[network=unet_t11[width=5]]")],
        networks=[],
        seeds=[0],
    )
    runs = selection.runs(Store(tmp_path))
    assert str(runs[0].condition.network) == PROFILES["smoke"].network
    assert str(runs[1].condition.network) == "unet_t11[width=5]"
    assert runs[1].condition.profile.label == "smoke[network=unet_t11[width=5]]"
    assert parse_profile(runs[1].condition.profile.label) == runs[1].condition.profile


def test_two_data_sets_of_one_name_are_refused_before_anything_runs(
    folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "labelsTr/case_000.nii.gz").write_bytes(
        (other / "labelsTr/case_001.nii.gz").read_bytes()
    )
    selection = ExperimentGrid(
        methods=parse_methods(["naive"]),
        datasets=parse_datasets([str(folder), str(other)], None),
        label_pcts=[100],
        folds="0",
        profiles=parse_profiles(["smoke"]),
        networks=[],
        seeds=[0],
    )
    with pytest.raises(BenchError, match="2 data sets are called"):
        selection.runs(Store(tmp_path / "store"))


def test_impossible_folds_and_organs_are_refused_before_anything_runs(
    folder: Path, tmp_path: Path
) -> None:
    def runs(folds: str, profile: str, root: Path = folder) -> None:
        ExperimentGrid(
            methods=parse_methods(["naive"]),
            datasets=[parse_dataset(str(root))],
            label_pcts=[100],
            folds=folds,
            profiles=parse_profiles([profile]),
            networks=[],
            seeds=[0],
        ).runs(Store(tmp_path / "store"))

    with pytest.raises(BenchError, match="fold 2 is impossible"):
        runs("2", "smoke")
    with pytest.raises(BenchError, match="6 patients cannot be split into 9 folds"):
        runs("0", "smoke[n_folds=9]")
    once = dict.fromkeys(range(3), ("spleen",))  # annotated in one case: some fold tests it
    rare = trees.nnunet(tmp_path / "rare", 4, shape=(16, 14, 4), hidden=once)
    with pytest.raises(BenchError, match="spleen is annotated in no training patient of fold"):
        runs("all", "smoke", rare)
    split = assign_folds([f"patient_{n:03d}" for n in range(6)], 2, 0, "Generated")
    nothing = {n: trees.ORGANS for n in range(6) if split[f"patient_{n:03d}"] == 1}
    blind = trees.nnunet(tmp_path / "blind", 6, shape=(16, 14, 4), hidden=nothing)
    with pytest.raises(BenchError, match="no organ is annotated in a test patient of fold 1"):
        runs("1", "smoke[n_folds=2]", blind)
    assert not list((tmp_path / "store").glob("*/*"))


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_are_named_by_what_differs(name: str) -> None:
    assert parse_profile(name).label == name
    changed = parse_profile(f"{name}[steps=77,lr=0.001234567]")
    assert changed.label == f"{name}[steps=77,lr=0.001234567]"
    assert (changed.steps, changed.training.lr) == (77, 0.001234567)
    assert parse_profile(changed.label) == changed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quik", "did you mean quick"),
        ("quick[stepz=3]", "did you mean steps"),
        ("quick[name=x]", "unknown parameter"),
        ("quick[steps=0]", "must be at least 1"),
        ("quick[precision=fp8]", "'bf16' or 'fp32'"),
    ],
)
def test_bad_profiles_are_refused(text: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        parse_profile(text)


def number_names(params: Params) -> Iterator[str]:
    for name, value in params:
        if isinstance(value, Params):
            yield from number_names(value)
        else:
            yield name


@pytest.mark.parametrize("profile", PROFILES)
def test_every_number_of_a_profile_has_a_name_of_its_own(profile: str) -> None:
    names = list(number_names(PROFILES[profile]))
    assert len(names) > 20
    assert len(names) == len(set(names))
