"""What training can see: the slices on disk, and that nothing else is within its reach."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Finished
from helpers import stage_of
from numpy.typing import NDArray

from bench.data.grid import labels_to_grid
from bench.data.hidden import CompleteLabels
from bench.data.index import SliceIndex
from bench.data.simulate import Split
from bench.data.slices import LabelSlices, LabelSliceWriter
from bench.data.visible import TrainView, normalise
from bench.labels import BACKGROUND
from bench.plugins import registry
from bench.stages.labels import Labels
from bench.stages.relabel import Relabel


@pytest.fixture(scope="module", params=[50, 100])
def labels(request: pytest.FixtureRequest, finished: Finished) -> Labels:
    return next(s for s in stage_of(finished.runs, "Labels") if s.label_pct == request.param)


@pytest.fixture(scope="module")
def half(finished: Finished) -> Labels:
    return next(s for s in stage_of(finished.runs, "Labels") if s.label_pct == 50)


def view_of(finished: Finished, labels: Labels, relabelling: Relabel | None = None) -> TrainView:
    store = finished.store
    pseudo = None if relabelling is None else store.out(relabelling)
    return TrainView(store.out(labels.images), store.out(labels), pseudo)


def test_the_slices_on_disk_hold_visible_organs_and_nothing_else(
    finished: Finished, labels: Labels
) -> None:
    store = finished.store
    split = Split.read(store.out(labels))
    written = LabelSlices(store.out(labels) / "slices")
    truth = CompleteLabels(store.out(labels.truth))
    index = SliceIndex.read(store.out(labels.images))
    row, hidden_voxels, shown_voxels = 0, 0, 0
    for case_id in split.train:
        entry = index[case_id]
        seen_SHW = written.gather(range(row, row + entry.n_slices))
        true_SHW = labels_to_grid(truth.labels_XYZ(case_id), entry.placement, index.grid)
        for organ, visible in enumerate(split.flags[case_id], start=1):
            expected = true_SHW == organ if visible else np.zeros_like(true_SHW, bool)
            assert np.array_equal(seen_SHW == organ, expected), (case_id, organ)
            hidden_voxels += 0 if visible else int((true_SHW == organ).sum())
            shown_voxels += int(expected.sum())
        assert seen_SHW.max() <= len(labels.images.organs)
        row += entry.n_slices
    assert row == len(written)  # the test cases are not there at all
    assert shown_voxels > 500
    assert hidden_voxels > 200 if labels.label_pct < 100 else hidden_voxels == 0


def test_nothing_else_lies_in_the_folder(finished: Finished, labels: Labels) -> None:
    files = {p.name for p in finished.store.out(labels).rglob("*") if p.is_file()}
    made = {"split.json", "split.sha256", "shown.npy", "index.npz", "slices.bin"}
    assert files == made | {"DONE"}
    images = finished.store.out(labels.images)
    assert {path.name for path in images.iterdir()} == {"images.npy", "index.json", "DONE"}


def test_the_arrays_of_the_view_fit_together(finished: Finished, labels: Labels) -> None:
    view = view_of(finished, labels)
    index = SliceIndex.read(finished.store.out(labels.images))
    assert [case.id for case in view.cases] == list(view.split.train)
    assert not {case.id for case in view.cases} & set(view.split.test)
    assert len(view.labels) == len(view.volume_S) == len(view.image_row_S) == len(view.shown_SK)
    assert view.images_SCHW.shape == (sum(e.n_slices for e in index.cases), 1, *index.grid)
    with pytest.raises(ValueError, match="read-only"):
        view.images_SCHW[0, 0, 0, 0] = 0
    for v, case in enumerate(view.cases):
        rows = np.flatnonzero(view.volume_S == v)
        assert np.array_equal(rows, np.arange(case.labels.start, case.labels.stop))
        assert view.image_row_S[rows].tolist() == list(range(case.images.start, case.images.stop))
        assert index[case.id].rows == case.images
        assert view.flags_VK[v].tolist() == list(view.split.flags[case.id])
        assert case.flags_K.tolist() == list(view.split.flags[case.id])
    for row in range(len(view.labels)):
        organs = np.flatnonzero(view.shown_SK[row]) + 1
        assert set(organs) == set(np.unique(view.labels[row])) - {0}


def test_an_image_and_its_labels_belong_together(finished: Finished, half: Labels) -> None:
    view = view_of(finished, half)
    bright = {"liver": 90, "spleen": 150, "kidney_l": 210, "kidney_r": 210}
    found = 0
    for row in np.flatnonzero(view.shown_SK.any(axis=1)):
        lab_HW, image_HW = view.labels[row], view.images_SCHW[view.image_row_S[row], 0]
        for organ in np.unique(lab_HW[lab_HW > 0]):
            name = half.images.organs[organ - 1]
            assert abs(np.median(image_HW[lab_HW == organ]) - bright[name]) < 15
            found += 1
    assert found > 10


def test_supervised_and_incomplete_volumes(finished: Finished, half: Labels) -> None:
    view = view_of(finished, half)
    assert view.supervised_V.tolist() == [any(view.split.flags[i]) for i in view.split.train]
    assert view.incomplete_V.tolist() == [not all(view.split.flags[i]) for i in view.split.train]
    assert view.incomplete_V.any()


def organs_on(labels_SHW: NDArray[np.uint8], n_organs: int) -> NDArray[np.bool_]:
    """Return which organs each slice shows."""
    found = [(labels_SHW == organ).any(axis=(1, 2)) for organ in range(1, n_organs + 1)]
    return np.stack(found, axis=1)


def test_a_pseudo_label_makes_a_volume_supervised(
    finished: Finished, half: Labels, tmp_path: Path
) -> None:
    plain = view_of(finished, half)
    plain.flags_VK[:] = False
    assert not plain.supervised_V.any()

    def with_pseudo(ps_SHW: NDArray[np.uint8]) -> TrainView:
        with LabelSliceWriter(tmp_path / "slices", plain.grid) as writer:
            writer.append(ps_SHW)
        shown_SK = organs_on(ps_SHW, 4)
        np.save(tmp_path / "shown.npy", shown_SK)
        store = finished.store
        view = TrainView(store.out(half.images), store.out(half), tmp_path)
        view.flags_VK[:] = False
        view.shown_SK = shown_SK
        return view

    ps_SHW = np.zeros((len(plain.labels), *plain.grid), np.uint8)
    assert not with_pseudo(ps_SHW).supervised_V.any()
    ps_SHW[plain.cases[2].labels.start, 3, 3] = BACKGROUND  # a target like any other
    assert with_pseudo(ps_SHW).supervised_V.tolist() == [v == 2 for v in range(len(plain.cases))]
    ps_SHW[plain.cases[1].labels.start, 3, 3] = 2
    supervised_V = with_pseudo(ps_SHW).supervised_V
    assert supervised_V.tolist() == [v in (1, 2) for v in range(len(plain.cases))]


def test_pseudo_labels_join_what_is_shown(finished: Finished, half: Labels) -> None:
    relabelling = next(stage_of(finished.runs, "Relabel"))
    with_ps, without = view_of(finished, half, relabelling), view_of(finished, half)
    assert with_ps.pseudo is not None
    ps_SHW = with_ps.pseudo.gather(range(len(with_ps.pseudo)))
    assert np.array_equal(with_ps.shown_SK, without.shown_SK | organs_on(ps_SHW, 4))


def test_the_share_of_an_organ_counts_visible_labels_where_they_show(
    finished: Finished, half: Labels
) -> None:
    relabelling = next(stage_of(finished.runs, "Relabel"))
    view = view_of(finished, half)
    labels_SHW = view.labels.gather(range(len(view.labels)))
    shares = []
    for organ in range(1, 5):
        mask_SHW = labels_SHW == organ
        shown_S = mask_SHW.any(axis=(1, 2))
        assert 0 < shown_S.sum() < 128  # fewer are all read
        shares.append(mask_SHW[shown_S].mean())
    assert view.organ_share() == pytest.approx(np.mean(shares))
    assert view_of(finished, half, relabelling).organ_share() == view.organ_share()


def test_slices_are_read_back_in_any_order(tmp_path: Path) -> None:
    maps_SHW = np.random.default_rng(0).integers(0, 256, (7, 5, 6), dtype=np.uint8)
    with LabelSliceWriter(tmp_path, (5, 6)) as writer:
        writer.append(maps_SHW[:3])
        writer.append(maps_SHW[3:])
    read = LabelSlices(tmp_path)
    assert len(read) == 7
    assert np.array_equal(read.gather([6, 0, 3, 3]), maps_SHW[[6, 0, 3, 3]])


def test_the_range_of_each_channel_becomes_zero_to_one() -> None:
    stored_SCHW = np.array([[[[-160, 40, 240]], [[0, 5_000, 10_000]]]], np.int16)
    scaled_SCHW = normalise(stored_SCHW, ((-160.0, 240.0), (0.0, 10_000.0)))
    assert scaled_SCHW.dtype == np.float32
    assert scaled_SCHW.tolist() == [[[[0.0, 0.5, 1.0]], [[0.0, 0.5, 1.0]]]]


TRAINING = (
    "bench.stages.train",
    "bench.stages.relabel",
    "bench.stages.predict",
    "bench.training.relabelling",
    "bench.nets.inference",
    "bench.data.visible",
    "bench.training",
    "bench.nets",
)


def imported_by(module: str) -> set[str]:
    """Return the modules of this package that a module imports, in functions too."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return set()
    found = set()
    for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.startswith("bench.") and is_module(name)}


def is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def submodules(package: str) -> set[str]:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    below = {
        f"{package}.{path.stem}"
        for location in spec.submodule_search_locations or []
        for path in Path(location).glob("*.py")
        if path.stem != "__init__"
    }
    return {package, *below}


def test_no_code_that_trains_can_reach_a_hidden_label() -> None:
    pending = [module for package in TRAINING for module in submodules(package)]
    reached: dict[str, str] = dict.fromkeys(pending, "")
    while pending:
        module = pending.pop()
        if module == "bench.stages.labels":
            continue  # the simulator; training takes its description only, and its output folder
        for name in imported_by(module) - set(reached):
            reached[name] = module
            pending.append(name)
    assert {"bench.data.index", "bench.training.trainer", "bench.nets.unet_t11"} <= set(reached)
    assert "bench.data.hidden" not in reached, reached.get("bench.data.hidden")


def test_training_does_not_import_the_hidden_labels_when_it_runs(finished: Finished) -> None:
    code = (
        "import shutil, sys, tempfile; from pathlib import Path\n"
        "from bench.engine.store import Store; from bench.engine.worker import RunContext\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for stage in map(store.find, sys.argv[2:]):\n"
        "    out = Path(tempfile.mkdtemp())\n"
        "    stage.run(RunContext(store, stage, out, lambda *_: None))\n"
        "    assert list(out.iterdir())\n"
        "    shutil.rmtree(out)\n"
        "assert 'bench.data.hidden' not in sys.modules\n"
    )
    stages = [next(stage_of(finished.runs, kind)).key for kind in ("Train", "Relabel", "Predict")]
    done = subprocess.run(
        [sys.executable, "-c", code, str(finished.store.root), *stages],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_methods_do_not_import_the_hidden_labels() -> None:
    for name in registry.names("methods"):
        assert "bench.data.hidden" not in imported_by(f"bench.methods.{name}")
