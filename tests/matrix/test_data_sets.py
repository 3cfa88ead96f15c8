"""Every kind of built-in data set, from the files of its release to a trained model."""

from __future__ import annotations

from pathlib import Path

import adapters
import pytest
import releases
import trees
from walk import PROFILE, bench, key_of_model, results

from bench.data.dataset import Dataset
from bench.data.release import Release
from bench.plugins import registry

TINY = "phantom[n_cases=4,scale=0.25]"
DATA = {
    "phantom": TINY,
    "fusion": f"fusion[full={TINY},partial={TINY[:-1]},seed=1],keeps=pancreas,n_full=2]",
    "union": f"union[sources=a={TINY}:b={TINY[:-1]},seed=1,organs=liver],test=a]",
    "lits": "lits",
    "openkbp": "openkbp",
    "folder": "folder[root={root}/decathlon]",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The releases below one data folder."""
    root = tmp_path_factory.mktemp("data")
    trees.lits(root / "lits")
    others = {"Esophagus": (70, 60, 44), "Mandible": (50, 58, 36)}
    trees.openkbp(root / "openkbp", patients=4, more_organs=others)
    trees.decathlon(root / "decathlon")
    return root


def test_no_data_set_is_left_out() -> None:
    """Public releases have trees and tests of their own, but for the one that the paper used."""
    own = {
        name
        for name in set(registry.names("datasets")) - set(registry.outside("datasets"))
        if not issubclass(registry.load("datasets", name, Dataset), Release)
    }
    assert set(DATA) == own | {"lits"}


@pytest.mark.parametrize("name", DATA)
def test_a_data_set_is_checked_and_trained_on(name: str, root: Path, tmp_path: Path) -> None:
    dataset = DATA[name].format(root=root)
    assert "0 errors" in bench("data", "check", dataset, "--data", root).out
    options = ["-l", "50", "-p", PROFILE, "--launcher", "inline", "--data", root]
    answer = bench("run", "-m", "naive", "-d", dataset, *options, "--store", tmp_path)
    assert "Naive" in answer.out


@pytest.mark.parametrize("shape", [(40, 36, 1), (60, 7, 3)])
def test_single_slices_and_thin_volumes_are_trained_on(
    shape: tuple[int, int, int], tmp_path: Path
) -> None:
    root = trees.nnunet(tmp_path / "tiny", 2, organs=("liver", "spleen"), shape=shape)
    options = ["-l", "100", "-p", PROFILE, "--launcher", "inline", "--store", tmp_path / "store"]
    answer = bench("run", "-m", "naive", "-d", root, *options)
    assert "Naive" in answer.out


def scored(store: Path) -> float:
    """Return the mean DSC in a store."""
    return float(results(store)["dsc"].mean())


@pytest.mark.parametrize("text", ["multiorgan", "totalsegmentator"])
def test_a_release_is_checked_trained_on_and_reported(text: str, tmp_path: Path) -> None:
    """The two whose scans are put together of several places; all: ``python tests/adapters.py``."""
    write, n_cases = releases.TREES[text]
    walked = adapters.walk(text, write(tmp_path / "data"), tmp_path / "store")
    assert walked.cases == n_cases
    assert walked.scores >= 1


def test_mr_is_normalised_by_volume(tmp_path: Path, native_scan: Path) -> None:
    root = trees.nnunet(tmp_path / "t2", 6, shape=(48, 40, 12), channels=["T2"])
    assert "0 errors, 0 warnings" in bench("data", "check", root).out
    options = ["-m", "inerrant0", "-l", "100", "-p", "smoke[steps=100]", "--launcher", "inline"]
    for store, dataset in {"ct": f"{root}[intensity=window]", "mr": str(root)}.items():
        bench("run", "-d", dataset, *options, "--store", tmp_path / store)
    assert scored(tmp_path / "mr") > 2 * scored(tmp_path / "ct")
    arguments = [key_of_model(tmp_path / "mr"), native_scan, "--store", tmp_path / "mr"]
    bench("predict", *arguments, "-o", tmp_path / "out", "--preview")
    assert (tmp_path / "out/scan.png").stat().st_size > 10_000
