"""Every adapter on a small tree with the names of the true one."""

from __future__ import annotations

import importlib
import shutil
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import releases
import trees

from bench.data.catalogue import parse_dataset
from bench.data.check import check
from bench.data.nifti import read_scan
from bench.data.release import PAPER7, SEARCH_DEPTH, Release, walk
from bench.data.simulate import make_split
from bench.errors import BenchError

TREES = {
    "lits": releases.lits,
    "btcv": releases.btcv,
    "amos": releases.amos,
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Return the root of a release, written once."""
    made: dict[str, Any] = {}

    def root(name: str, write=None):
        if name not in made:
            made[name] = (write or TREES[name])(tmp_path_factory.mktemp(name))
        return made[name]

    return root


def opened(root, text: str) -> Release:
    name, _, options = text.partition("[")
    return parse_dataset(f"{name}[root={root}{',' if options else ']'}{options}")


def ids(dataset) -> list[str]:
    return [case.id for case in dataset.cases()]


def organ(dataset, case_id: str, name: str):
    """Return the mask of an organ in a canonical scan."""
    case = next(case for case in dataset.cases() if case.id == case_id)
    return read_scan(dataset, case).labels_XYZ == dataset.organs.index(name) + 1


def truth(number: int, organs, *wanted: str, **options):
    made = releases.scan(number, organs, **options)
    return np.isin(made.labels_XYZ, [value for value, name in organs.items() if name in wanted])


@pytest.mark.parametrize("name", TREES)
def test_a_release_is_sound_from_the_folder_of_data_downwards(tree, name):
    result = check(parse_dataset(name, tree(name)))
    assert not result.errors
    assert result.readable == result.cases > 1
    (place,) = (line for line in result.remarks if line.startswith("found below"))
    assert str(tree(name)) in place
    assert any("the download is not complete" in problem.message for problem in result.warnings)


@pytest.mark.parametrize("name", TREES)
def test_a_part_of_the_release_that_is_missing_is_named(tree, name, tmp_path):
    root = shutil.copytree(tree(name), tmp_path / "copy")
    dataset = opened(root, name)
    case = dataset.cases()[0]
    dataset._files(case).labels.unlink()
    with pytest.raises(BenchError, match=r"no label map for number .*; complete the download"):
        opened(root, name).cases()
    with pytest.raises(BenchError, match="get the data from"):
        opened(tmp_path / "nowhere", name).cases()


@pytest.mark.parametrize("name", TREES)
def test_every_adapter_states_its_facts(name):
    module = importlib.import_module(f"bench.datasets.{name}")
    (cls,) = (
        found
        for found in vars(module).values()
        if isinstance(found, type) and found.__module__ == module.__name__
    )
    assert cls.called == name
    assert cls.citation
    assert cls.licence
    assert cls.licence in cls.source
    assert cls.complete
    assert len(cls.__doc__) > 20


def test_lits_is_found_as_it_was_downloaded(tree):
    dataset = opened(tree("lits"), "lits")
    assert ids(dataset) == ["lits_000", "lits_027", "lits_028"]
    liver = organ(dataset, "lits_027", "liver")
    np.testing.assert_array_equal(liver, truth(27, releases.LIVER, "liver", "tumour"))


@pytest.mark.parametrize("spelling", ["Training_Batch1", "Traing Batch 1", "LITS-Challenge-Data"])
def test_lits_does_not_mind_how_folders_are_spelt(tree, tmp_path, spelling):
    for path in tree("lits").rglob("*.nii"):
        (tmp_path / spelling).mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / spelling)
    assert len(opened(tmp_path, "lits").cases()) == 3


def test_scans_without_a_voxel_size_are_named(tree):
    for write, name in ((releases.lits, "lits"), (releases.task03, "task03")):
        dataset = opened(tree(name, write), "lits")
        assert [case.id for case in dataset.cases() if not case.spacing_known] == ["lits_028"]
        (warning,) = (p for p in check(dataset).warnings if "true voxel size" in p.message)
        assert warning.case == "lits_028"


def test_btcv_knows_who_lacks_a_gallbladder_and_what_was_not_drawn(tree):
    dataset = opened(tree("btcv"), "btcv")
    assert ids(dataset) == ["btcv_0001", "btcv_0021", "btcv_0040"]
    assert all(all(case.annotated) for case in dataset.cases())
    assert not organ(dataset, "btcv_0021", "gallbladder").any()
    for name in releases.BTCV:
        mask = organ(dataset, "btcv_0001", name)
        np.testing.assert_array_equal(mask, truth(1, releases.numbered(releases.BTCV), name))


def test_reversed_sides_are_an_error_where_sides_are_known(tree, tmp_path):
    root = shutil.copytree(tree("btcv"), tmp_path / "btcv")
    path = next(root.rglob("label0001.nii.gz"))
    image = nib.load(path)
    exchange = np.arange(14, dtype=np.uint8)
    exchange[[2, 3]] = 3, 2
    nib.save(nib.Nifti1Image(exchange[np.asarray(image.dataobj)], image.affine), path)
    (error,) = check(opened(root, "btcv")).errors
    assert error.message.startswith("kidney_l is to the right of kidney_r")


def test_amos_leaves_mr_out_and_takes_the_grid_of_the_image(tree):
    dataset = opened(tree("amos"), "amos")
    assert ids(dataset) == ["amos_0001", "amos_0008", "amos_0410"]
    shape = (40, 40, 12)
    for number, size in ((1, releases.SHAPE), (410, shape)):
        mask = organ(dataset, f"amos_{number:04d}", "adrenal_r")
        wanted = truth(number, releases.numbered(releases.AMOS), "adrenal_r", shape=size)
        np.testing.assert_array_equal(mask, wanted)


def test_a_header_that_is_more_than_rounded_is_refused(tree, tmp_path):
    root = shutil.copytree(tree("amos"), tmp_path / "amos")
    path = next(root.rglob("labelsTr/amos_0001.nii.gz"))
    nib.save(nib.Nifti1Image(np.asarray(nib.load(path).dataobj), 1.02 * trees.LPS), path)
    dataset = opened(root, "amos")
    with pytest.raises(BenchError, match="the affine differs from that of the image"):
        read_scan(dataset, dataset.cases()[0])


def test_a_view_keeps_its_organs_in_its_order_and_no_other(tree):
    dataset = opened(tree("btcv"), "btcv[organs=paper7]")
    assert dataset.organs == PAPER7
    assert dataset.name == dataset.label == "btcv[organs=paper7]"
    kidneys = releases.numbered(releases.BTCV)
    np.testing.assert_array_equal(
        organ(dataset, "btcv_0001", "kidney_l"), truth(1, kidneys, "kidney_l")
    )
    scan = read_scan(dataset, dataset.cases()[0])
    assert set(np.unique(scan.labels_XYZ)) == set(range(8))
    listed = opened(tree("btcv"), "btcv[organs=spleen:liver]")
    assert (listed.organs, listed.name) == (("spleen", "liver"), "btcv[organs=spleen:liver]")


def test_organs_of_a_view_that_nobody_drew_are_not_annotated(tree):
    dataset = opened(tree("lits"), "lits[organs=paper7]")
    flags = {case.annotated for case in dataset.cases()}
    assert flags == {(True,) + (False,) * 6}
    split = make_split(
        dataset.cases(), dataset.organs, dataset="x", fold=0, n_folds=2, label_pct=50, seed=0
    )
    assert {flags[1:] for flags in split.flags.values()} == {(False,) * 6}
    messages = [problem.message for problem in check(dataset).warnings]
    assert any(message.endswith("kidney_l, kidney_r, pancreas, stomach") for message in messages)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ("livr", "did you mean liver"),
        ("liver:liver", "once each"),
        ("spleen", "lits draws liver: organs=spleen leaves none"),
    ],
)
def test_a_view_of_nothing_is_refused(tmp_path, view, message):
    with pytest.raises(BenchError, match=message):
        opened(tmp_path, f"lits[organs={view}]")


@pytest.mark.parametrize(
    ("name", "write", "added"),
    [
        ("task03", releases.task03, "lits_test_131"),
        ("btcv", releases.btcv, "btcv_0061"),
        ("amos", releases.amos, "amos_0002"),
    ],
)
def test_unlabelled_scans_train_and_are_never_tested(tree, name, write, added):
    called = "lits" if name == "task03" else name
    few, more = (opened(tree(name, write), text) for text in (called, f"{called}[unlabelled=true]"))
    assert set(ids(more)) - set(ids(few)) == {added}
    assert more.name == few.name
    assert more.label == f"{called}[unlabelled=true]"
    assert any("left out" in line for line in few.remarks())
    case = next(case for case in more.cases() if case.id == added)
    assert not any(case.annotated)
    assert not read_scan(more, case).labels_XYZ.any()
    assert not check(more).errors
    for fold in (0, 1):
        a, b = (
            make_split(
                dataset.cases(),
                dataset.organs,
                dataset=dataset.name,
                fold=fold,
                n_folds=2,
                label_pct=100,
                seed=0,
            )
            for dataset in (few, more)
        )
        assert a.test == b.test
        assert set(b.train) - set(a.train) == {added}
        assert not any(b.flags[added])


def test_options_at_their_default_leave_keys_as_they_were(tree):
    plain = opened(tree("lits"), "lits").identity()
    assert not {"organs", "unlabelled", "view"} & plain.keys()
    view = opened(tree("lits"), "lits[organs=paper7]").identity()
    assert view == plain | {"organs": "paper7"}
    more = opened(tree("lits"), "lits[unlabelled=true]").identity()
    assert more == plain | {"unlabelled": True}


def test_the_search_ends(tmp_path):
    deep = tmp_path
    for level in range(SEARCH_DEPTH + 1):
        deep = deep / str(level)
    deep.mkdir(parents=True)
    for folder in (deep, deep.parent):
        (folder / "file").write_text("")
    (tmp_path / "0" / "again").symlink_to(tmp_path)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "file").write_text("")
    files = [path for path in walk(tmp_path) if path.endswith("file")]
    assert files == [f"{deep.parent.relative_to(tmp_path)}/file"]


def test_capital_letters_of_a_suffix_do_not_hide_a_file(tree, tmp_path):
    root = shutil.copytree(tree("btcv"), tmp_path / "btcv")
    for path in root.rglob("*0001.nii.gz"):
        path.rename(path.with_name(path.name.replace(".nii.gz", ".NII.GZ")))
    assert organ(opened(root, "btcv"), "btcv_0001", "liver").any()
