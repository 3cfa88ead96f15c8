"""Contact sheets of data sets, and the command that writes them."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import trees
from command import Bench
from PIL import Image

from bench.data.catalogue import parse_dataset
from bench.data.dataset import Case
from bench.data.geometry import Geometry
from bench.data.intensity import Channel
from bench.data.preview import facts, heading, hidden_in, preview, select
from bench.data.simulate import Split, make_split
from bench.errors import BenchError
from bench.evaluation import sheet

CT = Channel(name="CT", rule="window", hu_window=(-160.0, 240.0))


def case(name: str, *annotated: bool) -> Case:
    return Case(id=name, patient=name, annotated=annotated)


CASES = [case(f"c{number:03d}", True) for number in range(197)]


def test_small_sets_are_shown_whole_and_of_others_an_even_part() -> None:
    assert select(CASES[:5], 12).words == "all 5 cases"
    chosen = select(CASES, 12)
    assert chosen.words == "12 of 197 cases, evenly spread over the list of their names"
    places = [CASES.index(one) for one in chosen.cases]
    assert len(places) == 12
    assert set(np.diff(places)) <= {16, 17}
    assert [one.id for one in select(CASES, 12, ["c150,c003", "c150"]).cases] == ["c150", "c003"]
    assert len(select([case("a,b", True)], 12, ["a,b"]).cases) == 1
    with pytest.raises(BenchError, match="unknown case 'c3'"):
        select(CASES, 12, ["c3"])


def split(dataset_cases: list[Case], pct: int = 30) -> Split:
    return make_split(
        dataset_cases, ["a", "b"], dataset="d", fold=0, n_folds=2, label_pct=pct, seed=0
    )


def test_what_the_simulation_hides_is_told_from_what_nobody_drew() -> None:
    cases = [case(f"c{number:02d}", number % 2 == 0, True) for number in range(20)]
    shown = split(cases)
    top = heading("d", ["a", "b"], cases, CT, select(cases, 4), shown)
    for row, one in zip(top.rows, cases, strict=True):
        assert row.tested == (one.id in shown.test)
        for k, state in enumerate(row.states):
            if not one.annotated[k]:
                assert state == "missing"
            elif row.tested or shown.flags[one.id][k]:
                assert state == "unopened"
            else:
                assert state == "hidden"
    hidden = sum(any(hidden_in(one, shown)) for one in cases)
    assert hidden > 5
    trained = sum(one.id in shown.flags and one.annotated[0] for one in cases)
    kept = sum(flags[0] for flags in shown.flags.values())
    assert top.counts[0] == f"10 of 20, {kept} of {trained}"
    assert "30 % in fold 0 of 2: 10 cases to train on, 10 to be tested" in top.lines[1]
    assert len(heading("d", ["a", "b"], cases, CT, select(cases, 4)).lines) == 1


def test_a_tilt_is_named() -> None:
    angle = math.radians(18)
    affine = np.diag([0.8, 0.8, 6.0, 1.0])
    turned = np.eye(4)
    turned[1:3, 1:3] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    for matrix, words in ((affine, ""), (turned @ affine, ", slices tilted by 18°")):
        lines = facts(CASES[0], Geometry.of((120, 100, 16), matrix))
        assert lines[0] == "120 × 100 × 16, 0.8 × 0.8 × 6 mm"
        assert ", ".join(("", *lines[1:])) == words


@pytest.fixture(scope="module")
def gaps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cases; one organ is not annotated in the second, and nothing of it is in the fourth."""
    root = trees.nnunet(tmp_path_factory.mktemp("gaps") / "set", 5, hidden={1: ("spleen",)})
    path = root / "labelsTr/case_003.nii.gz"
    labels = nib.load(path)
    values = np.asarray(labels.dataobj)
    kept = np.where(values == 2, 0, values).astype(np.uint8)
    nib.save(nib.Nifti1Image(kept, labels.affine), path)
    return root


def test_annotated_and_absent_is_told_from_not_annotated(
    gaps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards: list[sheet.Card] = []

    def keep(top: sheet.Heading, drawn: Sequence[sheet.Card]) -> Image.Image:
        cards.extend(drawn)
        return sheet.page(top, drawn)

    monkeypatch.setattr("bench.data.preview.page", keep)
    dataset = parse_dataset(str(gaps))
    cases = dataset.cases()
    (only,) = preview(dataset, select(cases, 12), cases, None, 3)
    assert only.n_drawn == 5
    spleen = [one.states[1] for one in cards]
    assert spleen == ["drawn", "missing", "drawn", "empty", "drawn"]
    assert [one.case for one in cards] == [f"case_{number:03d}" for number in range(5)]
    for one in cards:
        assert one.cut is not None
        shown = set(np.unique(one.cut.labels_SHW)) - {0}
        assert shown == {k + 1 for k, state in enumerate(one.states) if state == "drawn"}


def test_one_scan_that_cannot_be_read_costs_its_own_picture_alone(
    gaps: Path, bench: Bench, tmp_path: Path
) -> None:
    root = tmp_path / "set"
    shutil.copytree(gaps, root)
    (root / "imagesTr/case_002_0000.nii.gz").write_bytes(b"<html>")
    answer = bench("data", "preview", str(root), "-o", "new/sheet.png")
    assert answer.code == 2
    first, last = answer.err.strip().splitlines()
    assert first.startswith("error: Generated, case case_002, image")
    assert last == "error: 1 case not drawn; mend what is named above"
    assert "new/sheet.png  Generated, 4 cases" in answer.out
    assert Image.open("new/sheet.png").width > 800


def test_nothing_is_written_where_nothing_can_be_read(
    gaps: Path, bench: Bench, tmp_path: Path
) -> None:
    root = tmp_path / "set"
    shutil.copytree(gaps, root)
    for path in (root / "imagesTr").iterdir():
        path.write_bytes(b"")
    answer = bench("data", "preview", str(root))
    assert answer.code == 2
    assert "no case could be read, nothing is drawn" in answer.err
    assert not Path("preview.png").exists()


def test_pages_and_data_sets_are_files_of_their_own(
    gaps: Path, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.data.preview.PER_PAGE", 3)
    other = trees.decathlon(tmp_path / "other", 2)
    answer = bench("data", "preview", str(gaps), str(other), "-o", "s.png", "--slices", "1")
    assert answer.code == 0, answer.err
    assert sorted(path.name for path in Path().glob("*.png")) == [
        "s-Generated-2.png",
        "s-Generated.png",
        "s-LIVER.png",
    ]
    answer = bench("data", "preview", str(gaps), "-o", "s.png", "--slices", "1", "--cases", "5")
    Image.new("L", (3, 3)).save("s-3.png")
    assert (answer.code, Path("s-2.png").exists()) == (0, True)
    answer = bench("data", "preview", str(gaps), "-o", "s.png", "--case", "case_001,case_003")
    assert "s-2.png is removed, a page of an earlier sheet" in answer.out
    assert (Path("s-2.png").exists(), Path("s-3.png").exists()) == (False, True)
    answer = bench("data", "preview", str(gaps), str(other), "-o", "t.png", "--case", "liver_0")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert [path.name for path in Path().glob("t*.png")] == ["t-LIVER.png"]
    before = Path("s-LIVER.png").read_bytes()
    assert bench("data", "preview", str(other), "-o", "s-LIVER.png", "--slices", "1").code == 0
    assert Path("s-LIVER.png").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "sheet.jpg"), "ends with .png"),
        (("--case", "case_9"), "unknown case 'case_9': did you mean case_0"),
        (("-l", "30", "-f", "7"), "fold 7 does not exist"),
        (("-l", "30", "--n-folds", "9"), "--n-folds"),
        (("--cases", "0"), "--cases"),
    ],
)
def test_a_wrong_choice_is_one_line(
    options: tuple[str, ...], message: str, gaps: Path, bench: Bench
) -> None:
    answer = bench("data", "preview", str(gaps), *options)
    assert answer.code == 2
    assert message in answer.err
    assert answer.err.count("\n") == 1
    assert not list(Path().glob("*.png"))
