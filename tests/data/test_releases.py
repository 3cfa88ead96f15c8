"""Every adapter on a small tree with the names of the true one."""

from __future__ import annotations

import importlib
import shutil
from typing import Any

import datasets_page
import nibabel as nib
import numpy as np
import pytest
import releases
import trees

from bench.data.catalogue import parse_dataset
from bench.data.check import check
from bench.data.dataset import Dataset
from bench.data.flips import flips
from bench.data.release import PAPER7, Release
from bench.data.scan import read_scan
from bench.data.simulate import make_split
from bench.data.tree import SEARCH_DEPTH, walk
from bench.datasets import ctorg, flare22
from bench.errors import BenchError
from bench.labels import VOID
from bench.plugins import registry
from bench.results.tables import RESULTS

NAMES = sorted({text.partition("[")[0] for text in releases.TREES})


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Return the root of a release, written once."""
    made: dict[str, Any] = {}

    def root(name: str, write=None):
        if name not in made:
            write = write or releases.TREES[name][0]
            made[name] = write(tmp_path_factory.mktemp(write.__name__))
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


def test_no_release_is_left_out():
    own = set(registry.names("datasets")) - set(registry.outside("datasets"))
    every = {name: registry.load("datasets", name, Dataset) for name in own}
    assert set(NAMES) == {name for name, one in every.items() if issubclass(one, Release)}


@pytest.mark.parametrize("name", releases.TREES)
def test_a_release_is_sound_from_the_folder_of_data_downwards(tree, name):
    result = check(parse_dataset(name, tree(name)))
    assert not result.errors
    assert result.readable == result.cases == releases.TREES[name][1]
    (place,) = (line for line in result.remarks if line.startswith("found below"))
    assert str(tree(name)) in place
    assert any("the download is not complete" in problem.message for problem in result.warnings)


@pytest.mark.parametrize("name", sorted(releases.TREES.keys() - {"flare23"}))
def test_a_part_of_the_release_that_is_missing_is_named(tree, name, tmp_path):
    root = shutil.copytree(tree(name), tmp_path / "copy")
    dataset = opened(root, name)
    case = dataset.cases()[0]
    labels = dataset.file_of(case).labels
    shutil.rmtree(labels) if labels.is_dir() else labels.unlink()
    with pytest.raises(BenchError, match=r"no label map for number .*; complete the download"):
        opened(root, name).cases()
    with pytest.raises(BenchError, match="get the data "):
        opened(tmp_path / "nowhere", name).cases()
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/data.ZIP").touch()
    with pytest.raises(BenchError, match=r"unpack data\.ZIP; expected"):
        opened(tmp_path / "packed", name).cases()


@pytest.mark.parametrize("name", NAMES)
def test_every_adapter_states_its_facts(name):
    module = importlib.import_module(f"bench.datasets.{name}")
    (cls,) = (
        found
        for found in vars(module).values()
        if isinstance(found, type)
        and issubclass(found, Release)
        and found.__module__ == module.__name__
    )
    assert cls.called == name
    assert cls.citation
    assert cls.licence
    assert cls.licence in cls.source
    assert cls.complete or name == "msd"  # it has one for each task
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
        (warning,) = (p for p in check(dataset).warnings if p.case == "lits_028")
        assert "true voxel size" in warning.message


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
        ("abdomenct1k", releases.abdomenct1k, "a1k_00010"),
        ("flare22", releases.flare22, "flare22_unlabelled_00007"),
        ("chaos", releases.chaos, "chaos_03"),
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


def flags(dataset) -> dict[str, set[str]]:
    """Return the annotated organs of every case."""
    return {
        case.id: {o for o, flag in zip(dataset.organs, case.annotated, strict=True) if flag}
        for case in dataset.cases()
    }


@pytest.mark.parametrize(
    ("text", "case", "number", "organs", "options"),
    [
        ("flare22", "flare22_0050", 50, releases.numbered(releases.FLARE), {}),
        ("word", "word_0001", 1, releases.numbered(releases.WORD), {}),
        ("ctorg", "ctorg_139", 139, releases.CTORG, {}),
        ("abdomenct1k", "a1k_00001", 1, releases.A1K, {}),
        ("multiorgan", "multiorgan_btcv_0001", 1, releases.MULTIORGAN, {}),
    ],
)
def test_every_organ_is_where_it_was_drawn(tree, text, case, number, organs, options):
    dataset = opened(tree(text), text)
    box = (slice(1, 31), slice(1, 26), slice(1, 10)) if text == "multiorgan" else ()
    for name in organs.values():
        np.testing.assert_array_equal(
            organ(dataset, case, name), truth(number, organs, name, **options)[box], err_msg=name
        )


def test_images_without_any_labels_are_no_data_set(tree, tmp_path):
    root = shutil.copytree(tree("flare22"), tmp_path / "copy")
    shutil.rmtree(root / "flare22/FLARE22Train")
    with pytest.raises(BenchError, match="no scan of flare22 with an annotated organ"):
        opened(root, "flare22[unlabelled=true]").cases()


def test_tumours_and_cysts_are_part_of_their_organ(tree):
    kits = opened(tree("kits"), "kits")
    assert ids(kits) == ["case_00000", "case_00160", "case_00400"]
    mask = organ(kits, "case_00160", "kidney")
    wanted = truth(160, releases.KITS, *releases.KITS.values(), shape=(40, 28, 12))
    np.testing.assert_array_equal(mask, wanted)
    pancreas = opened(tree("msd[task=Task07_Pancreas]"), "msd[task=Task07_Pancreas]")
    assert ids(pancreas) == ["pancreas_001", "pancreas_004", "pancreas_421"]
    mask = organ(pancreas, "pancreas_421", "pancreas")
    np.testing.assert_array_equal(
        mask, truth(421, releases.numbered(releases.PANCREAS), *releases.PANCREAS)
    )


def test_labels_of_kits19_without_sform_are_read_and_its_test_images_have_none(tree):
    dataset = opened(tree("kits[release=19]"), "kits[release=19,unlabelled=true]")
    assert ids(dataset) == ["case_00003", "case_00015", "case_00210"]
    assert flags(dataset)["case_00210"] == set()
    organs = {value: releases.KITS[value] for value in (1, 2)}
    mask = organ(dataset, "case_00015", "kidney")
    np.testing.assert_array_equal(mask, truth(15, organs, *organs.values()))
    with pytest.raises(BenchError, match="no label map for number 210"):
        opened(tree("kits[release=19]"), "kits").cases()


def test_every_task_of_the_decathlon_has_a_name(tmp_path):
    with pytest.raises(BenchError, match="'Task07_Pancreas'"):
        opened(tmp_path, "msd[task=Task11]")
    with pytest.raises(BenchError, match="task is missing"):
        opened(tmp_path, "msd")
    heart = opened(tmp_path, "msd[task=Task02_Heart]")
    assert heart.organs == ("left_atrium",)
    assert [channel.rule for channel in heart.channels] == ["percentile"]
    assert len(opened(tmp_path, "msd[task=Task01_BrainTumour]").channels) == 4


def test_a_structure_without_a_mask_is_annotated_and_out_of_view(tree):
    dataset = opened(tree("totalsegmentator"), "totalsegmentator[organs=paper7]")
    assert all(all(case.annotated) for case in dataset.cases())
    assert not [p for p in check(dataset).warnings if "no voxel" in p.message]
    spleens = [organ(dataset, case, "spleen").any() for case in ids(dataset)]
    assert spleens == [False, False, True]
    organs = releases.numbered(releases.TOTAL)
    mask = organ(dataset, "s0011", "kidney_l")
    np.testing.assert_array_equal(mask, truth(11, organs, "kidney_l"))
    case = dataset.cases()[0]
    assert [path.name for path in dataset.files(case)] == [
        *("ct.nii.gz", "liver.nii.gz", "kidney_left.nii.gz")
    ]


def test_voxels_in_two_masks_of_totalsegmentator_are_of_no_known_class(tree, tmp_path):
    root = shutil.copytree(tree("totalsegmentator"), tmp_path / "copy")
    (liver,) = root.rglob("s0011/segmentations/liver.nii.gz")
    shutil.copy(liver, liver.with_name("stomach.nii.gz"))
    dataset = opened(root, "totalsegmentator[organs=liver:stomach:kidney_l]")
    (case,) = (case for case in dataset.cases() if case.id == "s0011")
    drawn = np.asarray(nib.load(liver).dataobj) > 0
    labels = np.asarray(dataset.labels(case).dataobj)
    assert (labels[drawn] == VOID).all()
    assert (labels == dataset.organs.index("kidney_l") + 1).any()
    assert any("neither learned from nor measured" in said for said in check(dataset).remarks)


def test_the_split_of_totalsegmentator_is_that_of_its_table(tree, tmp_path):
    test = opened(tree("totalsegmentator"), "totalsegmentator[split=test]")
    assert (ids(test), test.name) == (["s0001"], "totalsegmentator[split=test]")
    root = shutil.copytree(tree("totalsegmentator"), tmp_path / "copy")
    next(root.rglob("meta.csv")).write_text("image_id;group\ns0000;train\n")
    with pytest.raises(BenchError, match="no columns image_id and split among image_id, group"):
        opened(root, "totalsegmentator[split=test]").cases()


def test_masks_that_are_called_otherwise_are_read_or_named(tree, tmp_path):
    root = shutil.copytree(tree("totalsegmentator"), tmp_path / "copy")
    rename("s0000/segmentations/liver.nii.gz", "Liver.nii.gz")(root)
    rename("s0001/segmentations/liver.nii.gz", "liver (1).nii.gz")(root)
    rename("s0001/segmentations/kidney_left.nii.gz", "kidney_l.nii.gz")(root)
    dataset = opened(root, "totalsegmentator[organs=paper7]")
    assert [organ(dataset, case, "liver").any() for case in ids(dataset)] == [True, False, True]
    (doubt,) = dataset.doubts()
    assert "kidney_l.nii.gz (in 1 scan), liver (1).nii.gz (in 1 scan), the first in" in doubt


def test_scans_without_a_row_of_the_split_are_named(tree, tmp_path):
    root = shutil.copytree(tree("totalsegmentator"), tmp_path / "copy")
    next(root.rglob("meta.csv")).write_text("image_id;split\ns0000;train\n")
    assert opened(root, "totalsegmentator").doubts() == ()
    (doubt,) = opened(root, "totalsegmentator[split=train]").doubts()
    assert doubt.endswith("left out: s0001, s0011")


def test_an_archive_beside_some_of_the_scans_is_named(tree, tmp_path):
    root = shutil.copytree(tree("lits"), tmp_path / "copy")
    assert opened(root, "lits").doubts() == ()
    (root / "Training_Batch2.zip").touch()
    (doubt,) = opened(root, "lits").doubts()
    assert doubt == "still packed: Training_Batch2.zip; unpack what holds the missing scans"


def test_three_groups_of_scans_have_their_own_annotated_organs(tree):
    dataset = opened(tree("multiorgan"), "multiorgan")
    eight = {releases.MULTIORGAN[value] for value in releases.EIGHT}
    assert flags(dataset) == {
        "multiorgan_btcv_0001": set(releases.MULTIORGAN.values()),
        "multiorgan_btcv_0061": eight,
        "multiorgan_tcia_0002": eight,
    }
    assert set(flags(opened(tree("multiorgan"), "multiorgan[part=tcia]"))) == {
        "multiorgan_tcia_0002"
    }


def test_image_and_labels_are_cropped_to_the_box_of_the_table(tree):
    dataset = opened(tree("multiorgan"), "multiorgan")
    whole = opened(tree("multiorgan"), "multiorgan[organs=duodenum]")
    case = dataset.cases()[0]
    scan = read_scan(dataset, case)
    assert scan.labels_XYZ.shape == (30, 25, 9)
    made = releases.scan(1, releases.MULTIORGAN)
    # The file runs to left and posterior, and so does the box.
    np.testing.assert_array_equal(scan.image_CXYZ[0], made.image_XYZ[1:31, 1:26, 1:10])
    assert read_scan(whole, whole.cases()[0]).labels_XYZ.max() == 1
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    native = np.asarray(dataset.image(case).affine)
    start = trees.LPS @ [1, 2, 1, 1]
    np.testing.assert_allclose(native[:3, 3], start[:3])
    assert scan.geometry.spacing_mm == tuple(np.diag(affine)[:3])


def test_labels_that_lie_upside_down_are_turned_before_they_are_cropped(tree):
    dataset = opened(tree("multiorgan"), "multiorgan[part=tcia]")
    some = {value: releases.MULTIORGAN[value] for value in releases.EIGHT}
    mask = organ(dataset, "multiorgan_tcia_0002", "kidney_l")
    # Stored to left and anterior from the top down, and cropped as stored.
    wanted = truth(2, some, "kidney_l")[1:31, 2:27, 2:11]
    np.testing.assert_array_equal(mask, wanted)
    (case,) = dataset.cases()
    image_XYZ = read_scan(dataset, case).image_CXYZ[0]
    assert (image_XYZ[mask] > 20).all()


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("turned", [(), (1,), (0, 2)])
def test_the_labels_tell_from_which_end_a_box_is_counted(tree, tmp_path, swapped, turned):
    root = shutil.copytree(tree("multiorgan"), tmp_path / "copy")
    path = next(root.rglob("label_btcv_multiorgan/label0001.nii.gz"))
    stored = np.asarray(nib.load(path).dataobj)
    inside = np.argwhere(stored)
    box = [*zip(inside.min(axis=0).tolist(), (inside.max(axis=0) + 1).tolist(), strict=True)]
    ends = [
        (size - high, size - low) if axis in turned else (low, high)
        for axis, ((low, high), size) in enumerate(zip(box, stored.shape, strict=True))
    ]
    ends = [ends[1], ends[0], ends[2]] if swapped else ends
    table = next(root.rglob("cropping.csv"))
    rows = table.read_text().splitlines()
    rows[3] = ",".join(["btcv,,0001", *(str(end) for side in ends for end in side)])
    table.write_text("\n".join(rows))
    dataset = opened(root, "multiorgan")
    labels = np.asarray(dataset.labels(dataset.cases()[0]).dataobj)
    np.testing.assert_array_equal(labels, stored[tuple(slice(*side) for side in box)])


def test_a_box_of_another_scan_is_refused(tree, tmp_path):
    root = shutil.copytree(tree("multiorgan"), tmp_path / "copy")
    table = next(root.rglob("cropping.csv"))
    table.write_text(table.read_text().replace("0001,1,31", "0001,20,31"))
    dataset = opened(root, "multiorgan")
    with pytest.raises(BenchError, match="outside the box of cropping"):
        dataset.labels(dataset.cases()[0])


def test_pancreas_labels_are_turned_to_lie_on_the_organ(tree):
    dataset = opened(tree("tcia_pancreas"), "tcia_pancreas")
    assert ids(dataset) == ["pancreas_0001", "pancreas_0007", "pancreas_0082"]
    for number in (1, 7, 82):
        mask = organ(dataset, f"pancreas_{number:04d}", "pancreas")
        np.testing.assert_array_equal(mask, truth(number, {1: "pancreas"}, "pancreas"))
    doubted = [p.case for p in check(dataset).warnings if "slice distance" in p.message]
    assert doubted == ["pancreas_0007"]


def test_labels_that_fit_in_two_ways_are_refused():
    image_XYZ = np.full((8, 8, 8), 20.0)
    labels_XYZ = np.zeros((8, 8, 8), np.uint8)
    labels_XYZ[2:4, 1:3, 1:3] = 1
    with pytest.raises(BenchError, match="do not tell which is right"):
        flips(image_XYZ, labels_XYZ, "label map")
    image_XYZ[:, 4:] = image_XYZ[:, :, 4:] = -1000
    assert flips(image_XYZ, labels_XYZ[:, ::-1], "label map")[1].step == -1
    with pytest.raises(BenchError, match="not of one scan"):
        flips(image_XYZ[1:], labels_XYZ, "label map")


def test_pictures_of_chaos_follow_the_names_of_the_slices(tree):
    dataset = opened(tree("chaos"), "chaos")
    assert ids(dataset) == ["chaos_01", "chaos_21"]
    for number in (1, 21):
        mask = organ(dataset, f"chaos_{number:02d}", "liver")
        np.testing.assert_array_equal(mask, truth(number, {1: "liver"}, "liver"))


def test_flare23_takes_annotations_from_tables_and_corrected_labels(tree):
    dataset = opened(tree("flare23"), "flare23")
    five = {"liver", "kidney_r", "spleen", "pancreas", "kidney_l"}
    assert flags(dataset) == {
        "flare23_0001": set(releases.FLARE),
        "flare23_0002": five,
        "flare23_0003": five,
        "flare23_0004": {"liver"},
    }
    assert organ(dataset, "flare23_0001", "liver").any()
    more = opened(tree("flare23"), "flare23[unlabelled=true]")
    assert set(ids(more)) - set(ids(dataset)) == {"flare23_2201"}
    assert not check(more).errors


def test_a_tumour_of_an_unknown_organ_is_neither_organ_nor_background(tree):
    tumour = truth(4, {1: "liver", 14: "tumour"}, "tumour")
    view = f"flare23[root={tree('flare23')},organs=spleen:liver]"
    lits = f"lits[root={tree('lits')}]"
    for text, prefix in ((view, ""), (f"union[sources={view}:{lits},organs=liver]", "flare23_")):
        dataset = parse_dataset(text)
        case = next(case for case in dataset.cases() if case.id == f"{prefix}flare23_0004")
        labels_XYZ = read_scan(dataset, case).labels_XYZ
        np.testing.assert_array_equal(labels_XYZ == VOID, tumour)
        assert (labels_XYZ == dataset.organs.index("liver") + 1).any()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda top: (top / "FLARE23-annotated.csv").unlink(),
            "each of Five, Tumours, Whole",
        ),
        (
            lambda top: (top / "FLARE23-annotated.csv").write_text("Dataset,organs\nFive,liver\n"),
            "must say which organs were drawn on Dataset Whole",
        ),
        (lambda top: (top / "FLARE23-DataInfoTraining.xlsx").write_bytes(b"?"), "cannot be read"),
        (lambda top: (top / "FLARE23-DataInfoTraining.xlsx").unlink(), "no FLARE23-DataInfo"),
    ],
)
def test_flare23_guesses_no_annotation(tree, tmp_path, spoil, message):
    root = shutil.copytree(tree("flare23"), tmp_path / "copy")
    spoil(root / "MICCAI-FLARE23")
    with pytest.raises(BenchError, match=message):
        opened(root, "flare23").cases()


def test_the_page_of_data_sets_states_the_facts_of_the_adapters():
    assert datasets_page.PAGE.read_text(encoding="utf-8") == datasets_page.page(), (
        "run `python tests/datasets_page.py`"
    )


def test_the_verbose_list_of_data_sets_has_their_numbers(bench, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    answer = bench("list", "datasets", "-v")
    lines = {line.split()[0]: line.split() for line in answer.out.splitlines() if line.strip()}
    assert lines["multiorgan[part=btcv]"][1:4] == ["47", "14", "556"]
    assert lines["word"][1:5] == ["150", "16", "2400", "GPL-3.0"]
    assert "phantom" in lines
    refused = bench("list", "networks", "-v")
    assert (refused.code, "is for datasets" in refused.err) == (2, True)


def test_channels_of_a_task_are_on_the_last_axis_of_its_images(tmp_path):
    made = releases.scan(0, {1: "prostate"})
    both = np.stack([made.image_XYZ, 2 * made.image_XYZ], axis=-1)
    for folder, voxels in (("imagesTr", both), ("labelsTr", made.labels_XYZ.astype(np.uint8))):
        path = tmp_path / f"Task05_Prostate/{folder}/prostate_00.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(voxels, np.eye(4) * 2), path)
    dataset = opened(tmp_path, "msd[task=Task05_Prostate]")
    scan = read_scan(dataset, dataset.cases()[0])
    np.testing.assert_array_equal(scan.image_CXYZ[1], 2 * made.image_XYZ)
    np.testing.assert_array_equal(scan.labels_XYZ, made.labels_XYZ)


def test_a_view_with_unlabelled_scans_is_trained_and_measured_where_it_is_annotated(
    bench, tree, tmp_path
):
    root = tree("msd[task=Task09_Spleen]")
    text = f"msd[task=Task09_Spleen,root={root},organs=paper7,unlabelled=true]"
    chosen = ("-m", "inerrant,naive", "-d", text, "-l", "100", "-p", "smoke[steps=2,max_side=32]")
    answer = bench("run", *chosen, "--launcher", "inline", "-q")
    assert answer.code == 0, answer.err
    (path,) = (tmp_path / "bench-store/results").glob("msd*[0-9a-f].parquet")
    rows = RESULTS.load(path)
    assert set(rows["organ"]) == {"spleen"}
    assert set(rows["case"]) < {"spleen_002", "spleen_010", "spleen_063"}
    assert set(rows["dataset"]) == {"msd[organs=paper7,task=Task09_Spleen,unlabelled=true]"}


def test_a_fusion_of_views_trains_on_scans_that_nobody_annotated(tree):
    full = f"btcv[root={tree('btcv')},organs=paper7,unlabelled=true]"
    partial = f"msd[task=Task09_Spleen,root={tree('msd[task=Task09_Spleen]')}]"
    dataset = parse_dataset(f"fusion[full={full},partial={partial},keeps=spleen,n_full=1]")
    assert dataset.organs == PAPER7
    trains = {case.id: case.trains_in for case in dataset.cases()}
    assert trains["full_btcv_0061"] == trains["partial_spleen_002"] == "all"
    assert sum(0 in trains[f"full_btcv_{n:04d}"] for n in (1, 21, 40)) == 1
    case = next(case for case in dataset.cases() if case.id == "partial_spleen_002")
    assert set(np.unique(read_scan(dataset, case).labels_XYZ)) == {0, PAPER7.index("spleen") + 1}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (flare22.OF_TASK07, "msd[task=Task07_Pancreas]"),
        (ctorg.OF_LITS, "lits"),
    ],
)
def test_scans_that_two_releases_share_are_of_one_patient(tree, one, other):
    assert len(set(one.values())) == len(one) in (33, 128)
    name, case = ("flare22", "flare22_0001") if one is flare22.OF_TASK07 else ("ctorg", "ctorg_000")
    twin = "msd_pancreas_001" if name == "flare22" else "lits_lits_000"
    base, _, options = other.rstrip("]").partition("[")
    options = ",".join(filter(None, (options, f"root={tree(other)}")))
    union = f"union[sources={name}[root={tree(name)}]:{base}[{options}]"
    patients = {found.id: found.patient for found in parse_dataset(f"{union}]").cases()}
    assert patients[f"{name}_{case}"] == patients[twin]
    with pytest.raises(BenchError, match=f"{name}_{case} is tested, and {twin} of the same"):
        parse_dataset(f"{union},test={name}]").cases()


def test_the_same_patients_in_two_releases_never_part_between_training_and_test(tree):
    sources = f"btcv[root={tree('btcv')}]:multiorgan[root={tree('multiorgan')},part=btcv]"
    with pytest.raises(BenchError, match="of the same patient always trains"):
        parse_dataset(f"union[sources={sources},test=btcv]").cases()
    both = parse_dataset(f"union[sources={sources}]").cases()
    patients = {case.id: case.patient for case in both}
    assert patients["btcv_btcv_0001"] == patients["multiorgan_multiorgan_btcv_0001"]
    lits = opened(tree("task03", releases.task03), "lits")
    task = opened(tree("task03", releases.task03), "msd[task=Task03_Liver]")
    assert {case.patient for case in lits.cases()} == {case.patient for case in task.cases()}


def drop_picture(root):
    next(root.rglob("CT/1/Ground/liver_GT_003.png")).unlink()


def crop_pancreas(root):
    path = next(root.rglob("label0001.nii.gz"))
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[1:], image.affine), path)


def move_mask(root):
    path = next(root.rglob("s0000/segmentations/liver.nii.gz"))
    nib.save(nib.Nifti1Image(np.asarray(nib.load(path).dataobj), np.diag([1.5, 1.5, 3, 1])), path)


def forget_row(root):
    table = next(root.rglob("cropping.csv"))
    table.write_text("\n".join(row for row in table.read_text().split("\n") if ",0001," not in row))


def shorten_row(root):
    table = next(root.rglob("cropping.csv"))
    table.write_text(table.read_text().replace("0001,1,31,2", "0001,1,31,x"))


def break_row(root):
    next(root.rglob("meta.csv")).write_text("image_id;split\nnobody;train\n")


def rename(pattern, name):
    def spoil(root):
        path = next(root.rglob(pattern))
        path.rename(path.with_name(name))

    return spoil


def empty(root):
    for mask in root.glob("*/s0001/segmentations/*"):
        mask.unlink()


def draw_twice(root):
    liver = next(root.rglob("s0000/segmentations/liver.nii.gz"))
    shutil.copy(liver, liver.with_name("Liver.nii"))


UNFINISHED = "an unfinished download; finish and rename it"


@pytest.mark.parametrize(
    ("text", "spoil", "message"),
    [
        ("chaos", drop_picture, "11 pictures for 12 slices"),
        ("tcia_pancreas", crop_pancreas, "not of one scan, or the series is not complete"),
        ("totalsegmentator", move_mask, "liver.nii.gz: is not on the grid of the image"),
        ("multiorgan", forget_row, "has no row for it"),
        ("multiorgan", shorten_row, "row 4: holds no id and box"),
        ("totalsegmentator[split=train]", break_row, "row 2: holds no image_id such as s0001"),
        ("totalsegmentator", rename("liver.nii.gz", "liver.nii.gz.part"), f"part: {UNFINISHED}"),
        ("totalsegmentator", rename("liver.nii.gz", "x.Partial"), f"x.Partial: {UNFINISHED}"),
        ("lits", rename("volume-27.nii", "volume-27.nii.crdownload"), f"download: {UNFINISHED}"),
        ("totalsegmentator", empty, "s0001/segmentations: holds no label map"),
        ("totalsegmentator", draw_twice, r"both Liver.nii and liver.nii.gz; keep one"),
    ],
)
def test_a_damaged_release_is_one_line(tree, tmp_path, text, spoil, message):
    root = shutil.copytree(tree(text.partition("[")[0]), tmp_path / "copy")
    spoil(root)
    dataset = opened(root, text)
    with pytest.raises(BenchError, match=message):
        [read_scan(dataset, case) for case in dataset.cases()[:1]]
