"""`bench predict`, as one leaves it alone with the scans of patients."""

from __future__ import annotations

import json
import re
from pathlib import Path

import helpers
import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
import scanner
import trees
from command import Answer, Bench

from bench.data import dicom
from bench.datasets.phantom import Phantom
from bench.experiment import segment
from bench.stages import images

SHAPE = (40, 36, 6)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """A store and the keys of two models."""
    root = tmp_path_factory.mktemp("models")
    data = trees.nnunet(root / "set", shape=SHAPE)
    process = helpers.bench(
        *("run", "-m", "naive", "-d", str(data), "-l", "100", "-f", "all", "--launcher", "inline"),
        *("-p", "smoke[steps=60]", "--store", str(root / "store")),
    )
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    folders = sorted((root / "store").glob("Train/*"))
    return str(root / "store"), [f"Train-{path.name.rpartition('-')[2]}" for path in folders]


@pytest.fixture
def predict(bench: Bench, models: tuple[str, list[str]]):
    def run(*arguments: object, model: int = 0) -> Answer:
        store, keys = models
        return bench("predict", keys[model], *map(str, arguments), "--store", store)

    return run


def scan(path: Path, add: float = 0, affine=trees.LPS) -> Path:
    return trees.save(path, trees.volume(7, SHAPE).image_XYZ + np.int16(add), affine)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_only_unchanged_files_of_earlier_calls_are_replaced(predict, tmp_path):
    image = scan(tmp_path / "a.nii.gz")
    assert predict(image, "-o", "out").code == 0
    before = contents(tmp_path / "out")
    scan(image, add=1)
    again = predict(image, "-o", "out")
    assert again.code == 2
    assert "out/a.nii.gz: written by an earlier call; --overwrite replaces it" in again.err
    assert contents(tmp_path / "out") == before
    scan(image)
    assert predict(image, "-o", "out", "--overwrite").code == 0
    assert (tmp_path / "out/a.nii.gz").read_bytes() == before["a.nii.gz"]

    corrected = nib.load(tmp_path / "out/a.nii.gz")
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), corrected.affine), tmp_path / "out/a.nii.gz")
    before = contents(tmp_path / "out")
    refused = predict(image, "-o", "out", "--overwrite")
    assert refused.code == 2
    assert "out/a.nii.gz: was changed since an earlier call wrote it" in refused.err
    assert contents(tmp_path / "out") == before


def test_the_same_command_goes_on(predict, tmp_path):
    images = [scan(tmp_path / f"{k}.nii.gz") for k in range(3)]
    scanner.save([scanner.scout("1.2.9")], tmp_path / "disc/scout")
    images[1].write_bytes(images[1].read_bytes()[:-50])
    first = predict(*images, "disc", "-o", "out", "--preview")
    assert first.code == 2
    before = contents(tmp_path / "out")
    scan(images[1])
    again = predict(*images, "disc", "-o", "out")
    assert (again.code, again.out) == (0, "out/1.nii.gz\n")
    assert "note: out: 2 scans segmented by an earlier call; --overwrite segments" in again.err
    assert "note: passed over: disc/scout" in again.err
    after = contents(tmp_path / "out")
    assert {k: v for k, v in before.items() if "organs" not in k}.items() <= after.items()
    more = predict(images[0], "-o", "out", "--uncertainty")
    assert more.code == 2
    assert "out/0.nii.gz: written by an earlier call" in more.err
    (tmp_path / "out/0.nii.gz").unlink()
    assert predict(images[0], "-o", "out").out == "out/0.nii.gz\n"


def test_what_was_made_with_a_replaced_label_map_goes_with_it(predict, models, tmp_path):
    hu = trees.volume(7, SHAPE).image_XYZ[::-1, ::-1].transpose(1, 0, 2)
    folder = scanner.save(scanner.series(hu=hu), tmp_path / "ct")
    maps = ("--probabilities", "--uncertainty", "--preview", "--dicom-seg")
    assert predict(folder, "-o", "out", *maps).code == 0
    first = contents(tmp_path / "out")
    assert predict(folder, "-o", "out", "--overwrite").err == ""
    assert contents(tmp_path / "out").keys() == first.keys()

    scanner.save(scanner.series(hu=np.full_like(hu, -1000)), tmp_path / "ct")
    picture = (tmp_path / "out/ct.png").read_bytes()
    (tmp_path / "out/ct.png").write_bytes(b"drawn upon")
    refused = predict(folder, "-o", "out", "--overwrite")
    assert refused.code == 2
    assert "out/ct.png: was changed since an earlier call wrote it" in refused.err
    (tmp_path / "out/ct.png").write_bytes(picture)
    answer = predict(folder, "-o", "out", "--overwrite", "--dicom-seg", "--uncertainty", model=1)
    assert answer.code == 0
    assert answer.out.split() == ["out/ct.nii.gz", "out/ct_uncertainty.nii.gz"]
    assert re.search(r"note: out/ct\S+ \(and 5 more files\): removed, made by an", answer.err)
    after = contents(tmp_path / "out")
    records = {f"organs-{key}.json" for key in models[1]}
    assert after.keys() == {"ct.nii.gz", "ct_uncertainty.nii.gz"} | records
    old, new = (json.loads(after[f"organs-{key}.json"]) for key in models[1])
    assert not old["files"]
    assert new["files"].keys() == after.keys() - records


def test_a_link_in_the_place_of_a_label_map_is_not_followed(predict, tmp_path):
    image, other = scan(tmp_path / "a.nii.gz"), tmp_path / "other"
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.nii.gz").symlink_to(other)
    answer = predict(image, "-o", "out", "--overwrite")
    assert answer.code == 2
    assert "no earlier call wrote it" in answer.err
    assert not other.exists()


def test_scans_with_one_file_name_are_told_apart(predict, tmp_path):
    images = [scan(tmp_path / f"s{k}/ct.nii.gz") for k in range(2)]
    answer = predict(*images, "-o", "out")
    assert answer.code == 0
    assert answer.out.split() == ["out/s0_ct.nii.gz", "out/s1_ct.nii.gz"]


def test_label_maps_of_two_models_keep_their_meaning(predict, models, tmp_path):
    images = [scan(tmp_path / f"{name}.nii.gz") for name in "ab"]
    for model in range(2):
        assert predict(images[model], "-o", "out", model=model).code == 0
    for model, name in enumerate("ab"):
        record = json.loads((tmp_path / f"out/organs-{models[1][model]}.json").read_text())
        assert record["model"] == models[1][model]
        values = {organ: k for k, organ in enumerate(trees.ORGANS, start=1)}
        assert record["values"] == {"background": 0} | values
        assert list(record["files"]) == [f"{name}.nii.gz"]
    assert predict(images[0], "-o", "out", "--overwrite", model=1).code == 0
    first, second = (
        json.loads((tmp_path / f"out/organs-{key}.json").read_text())["files"] for key in models[1]
    )
    assert not first
    assert set(second) == {"a.nii.gz", "b.nii.gz"}


def test_one_broken_scan_does_not_stop_the_others(predict, tmp_path):
    images = [scan(tmp_path / f"{k}.nii.gz") for k in range(3)]
    images[1].write_bytes(images[1].read_bytes()[:-50])
    images.append(trees.save(tmp_path / "4d.nii.gz", np.zeros((9, 9, 5, 2), np.int16), trees.LPS))
    answer = predict(*images, tmp_path / "none.nii.gz", "-o", "out")
    assert answer.code == 2
    assert answer.out.split() == ["out/0.nii.gz", "out/2.nii.gz"]
    lines = answer.err.splitlines()
    assert all(re.search(r"(1|none|4d)\.nii\.gz", line) for line in lines[:-1])
    assert "4d.nii.gz: holds 2 volumes (9 x 9 x 5 x 2), and the model takes one" in answer.err
    assert lines[3] == "error: 3 scans not or not wholly segmented; 2 files written to out"


@pytest.mark.parametrize(
    ("scans", "out"),
    [
        ("set/imagesTr", "set/imagesTr"),
        ("set/imagesTr/a_0000.nii.gz", "set/imagesTr/../imagesTr"),
        ("set/imagesTr", "set/labelsTr"),
        ("disc/p1", "disc/p1"),
        ("disc", "disc"),
        ("disc", "set"),
        ("disc", "described"),
    ],
)
def test_label_maps_do_not_lie_among_scans(predict, tmp_path, scans, out):
    scan(tmp_path / "set/imagesTr/a_0000.nii.gz")
    scanner.save(scanner.series(), tmp_path / "disc/p1")
    (tmp_path / "described").mkdir()
    (tmp_path / "described/dataset.json").touch()
    answer = predict(scans, "-o", out)
    assert answer.code == 2
    assert re.match(rf"error: {out}: .* such as -o {out}-labels\n", answer.err)
    assert not list(tmp_path.rglob("organs-*"))


def test_a_series_of_another_modality_is_refused(predict, tmp_path):
    mr = scanner.change(scanner.series(), slice(None), Modality="MR")
    scanner.save(mr, tmp_path / "disc/mr")
    scanner.save(scanner.series(), tmp_path / "disc/ct")
    answer = predict("disc", "-o", "out")
    assert (answer.code, answer.out) == (2, "out/ct.nii.gz\n")
    assert "error: disc/mr: its Modality is MR, but the model was trained on CT; name" in answer.err


def test_links_that_lead_nowhere_are_named_and_stop_nothing(predict, tmp_path):
    scan(tmp_path / "in/a.nii.gz")
    (tmp_path / "in/b.nii.gz").symlink_to("/nowhere/b.nii.gz")
    (tmp_path / "in/c.nii.gz").symlink_to("c.nii.gz")
    (tmp_path / "in/d.dcm").symlink_to("/nowhere/d.dcm")
    answer = predict("in", "-o", "out")
    assert (answer.code, answer.out) == (2, "out/a.nii.gz\n")
    said = {line.split(": ")[1]: line for line in answer.err.splitlines()[:-1]}
    assert list(said) == ["in/d.dcm", "in/b.nii.gz", "in/c.nii.gz"]
    for name in "bd":
        assert f"is a link, and its target /nowhere/{name}." in "".join(said.values())
    assert "symbolic links lead in a circle" in said["in/c.nii.gz"]


def test_a_scan_that_changes_while_it_is_read_is_refused(predict, tmp_path, monkeypatch):
    folder = scanner.save(scanner.series(), tmp_path / "ct")
    read = dicom.series_image

    def slowly(series):
        scanner.save(scanner.series()[:1], folder, "late{k}.dcm")
        return read(series)

    monkeypatch.setattr(dicom, "series_image", slowly)
    answer = predict(folder, "-o", "out")
    assert (answer.code, answer.out) == (2, "")
    assert "ct/late0.dcm: changed while the scan was read; wait until it is complete" in answer.err


@pytest.mark.parametrize(
    ("sform", "qform", "note"),
    [
        ((trees.LPS, 0), (trees.LPS, 0), "carries no geometry"),
        ((trees.LPS, 0), (trees.LPS, 1), ""),
        ((trees.LPS, 1), (trees.LPS * [[-1], [1], [1], [1]], 1), "LPS by the sform .* RPS by its"),
        ((trees.LPS + np.eye(4)[:, [0, 2, 1, 3]] - np.eye(4), 2), (trees.LPS, 1), "tilted"),
    ],
)
def test_a_label_map_is_where_every_program_puts_its_scan(predict, tmp_path, sform, qform, note):
    image = nib.Nifti1Image(trees.volume(7, SHAPE).image_XYZ, sform[0])
    image.set_sform(*sform)
    image.set_qform(*qform)
    nib.save(image, tmp_path / "a.nii.gz")
    answer = predict("a.nii.gz", "-o", "out", "--uncertainty")
    assert answer.code == 0
    assert re.search(note, answer.err) if note else not answer.err
    headers = [nib.load(p).header for p in ("a.nii.gz", "out/a.nii.gz", "out/a_uncertainty.nii.gz")]
    for form in ("sform", "qform"):
        affines, codes = zip(*(getattr(h, f"get_{form}")(coded=True) for h in headers), strict=True)
        assert len(set(codes)) == 1
        for affine in affines[1:]:
            assert affine is affines[0] is None or np.array_equal(affine, affines[0])
    assert len({str(h["pixdim"][:4]) for h in headers}) == 1


def test_what_may_be_another_scan_than_was_meant_is_noticed(predict, tmp_path):
    hu = trees.volume(7, SHAPE).image_XYZ[::-1, ::-1].transpose(1, 0, 2)
    for half, which in enumerate((slice(3), slice(3, 6))):
        headers = scanner.change(scanner.series(hu=hu)[which], slice(None), RescaleType="Z_EFF")
        scanner.save(headers, tmp_path / f"disc/{half}")
    scan(tmp_path / "fine.nii.gz", affine=np.diag([0.002, 0.002, 0.005, 1]))
    scan(tmp_path / "a\nb.nii.gz")
    answer = predict("disc", "fine.nii.gz", "a\nb.nii.gz", "-o", "out")
    assert answer.out.split() == ["out/0.nii.gz", "out/1.nii.gz", "out/fine.nii.gz"]
    lines = (
        "error: a b.nii.gz: the name holds control characters",
        "note: disc/0: its values are in Z_EFF",
        "note: disc/1: its values are in Z_EFF",
        "note: disc/1: of the same series as disc/0",
        "note: fine.nii.gz: spacing 0.002 x 0.002 x 0.005 mm; is the header in another unit",
        "error: 1 scan not",
    )
    for said, line in zip(answer.err.splitlines(), lines, strict=True):
        assert said.startswith(line)


@pytest.mark.parametrize("add", [1024, 3000])
def test_values_that_are_no_hu_are_noticed(predict, tmp_path, add):
    answer = predict(scan(tmp_path / "a.nii.gz", add), scan(tmp_path / "b.nii.gz"), "-o", "out")
    assert answer.code == 0
    assert len(answer.err.splitlines()) == 1
    assert re.match(r"note: .*/a\.nii\.gz: values from .* do not look like HU", answer.err)


def test_a_series_that_is_not_in_hu_is_noticed_by_what_its_headers_say(predict, tmp_path):
    hu = trees.volume(7, SHAPE).image_XYZ[::-1, ::-1].transpose(1, 0, 2) + 1024
    for name, intercept in (("given", "0"), ("none", None)):
        headers = scanner.series(hu=hu, rescale=lambda k: (1, 0), uid=f"1.2.{len(name)}")
        scanner.change(headers, slice(None), RescaleIntercept=intercept)
        scanner.save(headers, tmp_path / "disc" / name)
    answer = predict("disc", "-o", "out")
    assert answer.code == 0
    given, none = answer.err.splitlines()
    assert re.match(r"note: disc/given: .* HU.*, though slope and intercept are applied;", given)
    assert re.match(r"note: disc/none: .* HU.*, and its headers have no intercept; export", none)


def test_folders_are_taken_for_the_scans_that_they_hold(predict, tmp_path):
    for name in ("a", "b", ".hidden"):
        scan(tmp_path / f"imagesTs/{name}_0000.nii.gz")
    (tmp_path / "imagesTs/dataset.json").write_text("{}")
    hu = trees.volume(7, SHAPE).image_XYZ[::-1, ::-1].transpose(1, 0, 2)
    for patient in ("p1", "p2"):
        series = scanner.series(hu=hu, uid=f"1.2.3.{patient[1]}")
        scanner.save(series, tmp_path / "disc" / patient / "CT")
    scanner.save([scanner.scout("1.2.9")], tmp_path / "disc/p1/scout")
    answer = predict("imagesTs", "disc", "-o", "out")
    assert answer.code == 0
    names = [Path(line).name for line in answer.out.split()]
    assert names == ["a.nii.gz", "b.nii.gz", "p1_CT.nii.gz", "p2_CT.nii.gz"]
    assert re.fullmatch(r"note: passed over: disc/p1/scout: holds 0 DICOM series .*\n", answer.err)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("dicom/000.dcm", "one file of a DICOM series; name the folder of the series, dicom"),
        ("empty", "holds no scan, neither NIfTI files"),
        ("DICOMDIR", "DICOMDIR: the index of a disc; name its folder, ."),
        ("both", "holds NIfTI files, such as a.nii.gz, and the DICOM series both"),
    ],
)
def test_what_is_no_scan_is_refused_before_anything_is_written(
    predict, tmp_path, argument, message
):
    for folder in ("dicom", "both"):
        scanner.save(scanner.series(), tmp_path / folder)
    scan(tmp_path / "both/a.nii.gz")
    (tmp_path / "empty").mkdir()
    (tmp_path / "DICOMDIR").touch()
    answer = predict(scan(tmp_path / "a.nii.gz"), argument, "-o", "out")
    assert answer.code == 2
    assert message in answer.err
    assert not (tmp_path / "out").exists()


def test_pieces_that_save_memory_change_nothing(predict, tmp_path, monkeypatch):
    image = scan(tmp_path / "a.nii.gz")
    assert predict(image, "-o", "whole", "--uncertainty").code == 0
    for module in (images, segment):
        monkeypatch.setattr(module, "SLICES_AT_ONCE", 4)
    assert predict(image, "-o", "pieces", "--uncertainty").code == 0
    for name in ("a.nii.gz", "a_uncertainty.nii.gz"):
        whole, pieces = (
            np.asarray(nib.load(tmp_path / folder / name).dataobj) for folder in ("whole", "pieces")
        )
        np.testing.assert_allclose(pieces, whole, atol=1 / 255)
        assert whole.any()


def test_views_give_a_label_map_of_their_own(predict, models, tmp_path, monkeypatch):
    image = scan(tmp_path / "a.nii.gz")
    maps = ("--views", "--probabilities", "--preview")
    assert predict(image, "-o", "out", *maps).code == 0
    _, keys = models
    assert json.loads((tmp_path / f"out/organs-{keys[0]}-views.json").read_text())["values"]
    other = predict(image, "-o", "out")  # not taken for done
    assert other.code == 2
    assert "written by an earlier call; --overwrite replaces it" in other.err
    assert predict(image, "-o", "plain").code == 0
    agreed, plain = (
        np.asarray(nib.load(tmp_path / folder / "a.nii.gz").dataobj) for folder in ("out", "plain")
    )
    probability = np.asarray(nib.load(next((tmp_path / "out").glob("a_prob*_1_*"))).dataobj)
    assert agreed.any()
    assert not np.array_equal(agreed, plain)
    assert (probability[agreed == 1] >= 0.49).all()
    monkeypatch.setattr(segment, "SLICES_AT_ONCE", 2)  # small objects are those of the whole scan
    assert predict(image, "-o", "pieces", "--views").code == 0
    assert contents(tmp_path / "pieces")["a.nii.gz"] == contents(tmp_path / "out")["a.nii.gz"]


@pytest.mark.parametrize("network", ["unet_t11[width=4]", "unet3d_t11[width=4]"])
def test_a_test_case_is_segmented_as_it_was_evaluated(bench: Bench, tmp_path, network):
    """Scans of unequal sides, so that padding is not that of each of them."""
    data = Phantom(n_cases=5, scale=0.4)
    run = ("run", "-d", "phantom[n_cases=5,scale=0.4]", "-l", "100", "-f", "0", "--store", "st")
    methods = "inerrant0,inerrant0[predict=views]"
    answer = bench(
        *run, "-m", methods, "-b", network, "-p", "smoke[steps=10,output_bias=0,patch=48:32:32]"
    )
    assert answer.code == 0, answer.err
    evaluated = sorted((tmp_path / "st").glob("Predict/*"))
    assert len(evaluated) == 2
    (trained,) = (tmp_path / "st").glob("Train/*")
    for folder in evaluated:
        views = json.loads((folder / "stage.json").read_text())["fields"].get("consensus")
        for path in folder.glob("out/*.nii.gz"):
            case = next(case for case in data.cases() if f"{case.id}.nii.gz" == path.name)
            nib.save(data.image(case), tmp_path / path.name)
            out = f"{folder.name} {case.id}"
            key = f"Train-{trained.name.rpartition('-')[2]}"
            asked = ["predict", key, path.name, "-o", out, "--store", "st"]
            assert bench(*asked, *(["--views"] if views else [])).code == 0
            maps = [np.asarray(nib.load(one).dataobj) for one in (path, tmp_path / out / path.name)]
            assert maps[0].any()
            np.testing.assert_array_equal(*maps)


def test_brackets_are_printed_as_they_are(predict, tmp_path):
    image = scan(tmp_path / "in [1]/ct [a].nii.gz")
    for out in ("out [b]", "out [/old]"):
        answer = predict(image, "-o", out)
        assert (answer.code, answer.out) == (0, f"{out}/ct [a].nii.gz\n")


def test_probabilities_and_uncertainty_fit_the_label_map(predict, tmp_path):
    image = scan(tmp_path / "a.nii.gz")
    answer = predict(image, "-o", "out", "--probabilities", "--uncertainty")
    assert answer.code == 0
    assert len(answer.out.split()) == 2 + len(trees.ORGANS)
    labels = nib.load(tmp_path / "out/a.nii.gz")
    values = np.asarray(labels.dataobj)
    shares = []
    for k, organ in enumerate(trees.ORGANS, start=1):
        share = nib.load(tmp_path / f"out/a_probability_{k}_{organ}.nii.gz")
        np.testing.assert_array_equal(share.affine, labels.affine)
        shares.append(share.get_fdata())
    best = np.max(shares, axis=0)
    assert 0 <= np.min(shares) < best.max() <= 1
    assert (best[values > 0] > 0.495).all()
    assert (best[values == 0] < 0.505).all()
    for k in np.unique(values[values > 0]):
        np.testing.assert_array_equal(shares[k - 1][values == k], best[values == k])
    p = np.clip(shares, 1e-9, 1 - 1e-9)
    entropy = np.max(-p * np.log2(p) - (1 - p) * np.log2(1 - p), axis=0)
    uncertainty = nib.load(tmp_path / "out/a_uncertainty.nii.gz").get_fdata()
    np.testing.assert_allclose(uncertainty, entropy, atol=0.03)


@pytest.mark.parametrize("kind", ["slices", "frames"])
def test_a_tilted_series_is_segmented_where_its_slices_are(predict, tmp_path, kind):
    hu = trees.volume(7, SHAPE).image_XYZ[::-1, ::-1].transpose(1, 0, 2)
    if kind == "slices":
        headers = scanner.tilted(20, hu=hu)[::-1]
        names = ("PatientName", "PatientBirthDate", "StudyID", "StudyTime", "Modality")
        nameless = dict.fromkeys(names)
        scanner.change(headers, slice(None), **nameless)
    else:
        headers = [scanner.enhanced([1, 0, 2, 5, 4, 3], step=(0, 1.82, 5), hu=hu)]
    folder = scanner.save(headers, tmp_path / "ct")
    places = {(header.SOPInstanceUID, 1): header.get("ImagePositionPatient") for header in headers}
    if kind == "frames":
        places = {
            (headers[0].SOPInstanceUID, k): frame.PlanePositionSequence[0].ImagePositionPatient
            for k, frame in enumerate(headers[0].PerFrameFunctionalGroupsSequence, start=1)
        }
    answer = predict(folder, "-o", "out", "--dicom-seg")
    assert answer.code == 0
    assert "its slices are tilted" in answer.err
    labels = nib.load(tmp_path / "out/ct.nii.gz")
    np.testing.assert_allclose(labels.affine[:3, 2], [0, -1.82, 5], atol=1e-3)
    assert int(labels.header["qform_code"]) == 0
    values = np.asarray(labels.dataobj)
    assert values.any(), "the model finds something"

    segmentation = hd.seg.segread(tmp_path / "out/ct.dcm")
    present = [trees.ORGANS[k - 1] for k in np.unique(values[values > 0])]
    assert [s.SegmentLabel for s in segmentation.SegmentSequence] == present
    meant = {"kidney_l": "Kidney, Left", "kidney_r": "Kidney, Right"}
    for described in segmentation.SegmentSequence:
        (code,) = described.SegmentedPropertyTypeCodeSequence
        sides = code.get("SegmentedPropertyTypeModifierCodeSequence", [])
        organ = described.SegmentLabel
        assert ", ".join(c.CodeMeaning for c in (code, *sides)) == meant.get(organ, organ.title())
        assert {c.CodingSchemeDesignator for c in (code, *sides)} == {"SCT"}
    found = np.zeros(SHAPE, np.uint8)
    for frame, mask in zip(
        segmentation.PerFrameFunctionalGroupsSequence, segmentation.pixel_array, strict=True
    ):
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        place = places[source.ReferencedSOPInstanceUID, int(source.get("ReferencedFrameNumber", 1))]
        assert frame.PlanePositionSequence[0].ImagePositionPatient == place
        at = np.linalg.inv(labels.affine) @ [-place[0], -place[1], place[2], 1]
        np.testing.assert_allclose(at, np.rint(at), atol=1e-3)
        shared = segmentation.SharedFunctionalGroupsSequence[0]  # if there is one segment only
        group = frame if "SegmentIdentificationSequence" in frame else shared
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        value = trees.ORGANS.index(present[number - 1]) + 1
        found[:, :, round(at[2])][mask.T == 1] = value
    np.testing.assert_array_equal(found, values)


def test_a_segmentation_of_what_is_no_series_is_refused(predict, tmp_path):
    answer = predict(scan(tmp_path / "a.nii.gz"), "-o", "out", "--dicom-seg")
    assert answer.code == 2
    assert "a.nii.gz: a DICOM segmentation refers to a series" in answer.err


def test_a_series_that_nothing_can_refer_to_is_named_after_its_label_map(predict, tmp_path):
    hu = trees.volume(7, SHAPE).image_XYZ[::-1, ::-1].transpose(1, 0, 2)
    headers = scanner.change(scanner.series(hu=hu), slice(None), FrameOfReferenceUID=None)
    answer = predict(scanner.save(headers, tmp_path / "ct"), "-o", "out", "--dicom-seg")
    assert answer.code == 2
    assert answer.out == "out/ct.nii.gz\n"
    assert re.match(r"error: \S+/ct/000\.dcm: no DICOM segmentation can refer to", answer.err)
    assert not (tmp_path / "out/ct.dcm").exists()
