"""Voxels of unknown class: nobody learns from them, nothing is measured on them."""

from __future__ import annotations

import json
from pathlib import Path

import helpers
import nibabel as nib
import numpy as np
import pytest
import torch
import trees
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.data.check import check
from bench.data.grid import labels_to_grid
from bench.data.hidden import CompleteLabels
from bench.data.index import SliceIndex
from bench.data.scan import read_scan
from bench.data.visible import TrainView
from bench.datasets.folder import Folder
from bench.engine.launchers.inline import Inline
from bench.engine.store import Store
from bench.errors import BenchError
from bench.evaluation.cases import case_scores
from bench.evaluation.masks import without_void
from bench.evaluation.metrics import METRICS
from bench.experiment.plan import graph_of
from bench.labels import BACKGROUND, MAX_ORGANS, VOID
from bench.methods.marginal import Marginal
from bench.stages.targets import joint_counts
from bench.training.batch import Batch, targets
from bench.training.objective import Loss, TrainingProgress
from bench.training.relabelling import find_candidates
from bench.training.shared_loss import SharedLoss
from bench.training.supervised import Supervised

IGNORE = 7
NOT_SAID = slice(8, 24), slice(6, 20), slice(0, 5)
"""A box that cuts through organs and background."""


def ignoring(root: Path, cases: int = 6) -> Path:
    """Write a folder in which a box of every case has nnU-Net's ignore label."""
    trees.nnunet(root, cases, hidden={4: ("spleen",)})
    path = root / "dataset.json"
    description = json.loads(path.read_text())
    description["labels"]["ignore"] = IGNORE
    path.write_text(json.dumps(description))
    for file in (root / "labelsTr").iterdir():
        image = nib.load(file)
        labels = np.asarray(image.dataobj).copy()
        labels[NOT_SAID] = IGNORE
        nib.save(nib.Nifti1Image(labels, image.affine), file)
    return root


def test_the_target_of_a_voxel_of_unknown_class_is_unknown_for_every_organ() -> None:
    lab = torch.tensor([[VOID, VOID, VOID, VOID, 0, 1]])
    ps = torch.tensor([[0, 2, BACKGROUND, 1, 0, 0]])
    flags = torch.tensor([[True, False]])
    y, w = targets(lab, ps, flags)
    assert w[0].int().tolist() == [[0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 0, 1]]
    assert y[0].int().tolist() == [[0, 0, 0, 1, 0, 1], [0, 1, 0, 0, 0, 0]]
    _, w = targets(lab, ps, flags, pseudo_negatives=False)
    assert w[0].int().tolist() == [[0, 0, 1, 1, 1, 1], [0, 1, 1, 0, 0, 1]]


class Given(nn.Module):
    """Returns its parameters as logits."""

    def __init__(self) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(3)
        self.logits = nn.Parameter(torch.randn(2, 3, 6, 5, generator=rng))

    def forward(self, _image: Tensor) -> Tensor:
        return self.logits


def batch(lab_BHW: Tensor) -> Batch:
    flags = torch.tensor([[True, False, True], [True, True, True]])
    return Batch(torch.zeros(2, 1, 6, 5), lab_BHW, torch.zeros_like(lab_BHW), flags)


@pytest.mark.parametrize("shared", [SharedLoss(), SharedLoss(loss="balanced")])
@pytest.mark.parametrize(
    "loss", [Supervised(unlabelled="background"), Supervised(unlabelled="ignored"), Marginal()]
)
def test_no_loss_is_drawn_from_voxels_of_unknown_class(loss: Loss, shared: SharedLoss) -> None:
    lab = torch.tensor([0, 1, 3]).repeat(20).view(2, 6, 5)
    lab[:, 2:4] = VOID
    progress = TrainingProgress(step=0, total=10)
    net = Given()
    value = loss.loss(net, batch(lab), progress, shared)["loss"]  # type: ignore[arg-type]
    value.backward()
    assert net.logits.grad is not None
    assert not net.logits.grad[:, :, 2:4].any()
    assert net.logits.grad[1, :, :2].all()
    with torch.no_grad():
        net.logits[:, :, 2:4] += 5.0
        moved = loss.loss(net, batch(lab), progress, shared)["loss"]  # type: ignore[arg-type]
    assert moved == value


def test_relabelling_leaves_voxels_of_unknown_class_alone() -> None:
    pred = np.array([[[1, 1, 2]]], np.uint8)
    lab = np.array([[[0, VOID, VOID]]], np.uint8)
    flags = np.array([False, False])
    first, second = find_candidates(
        pred, np.ones(pred.shape, np.float32), lab, np.zeros_like(pred), flags
    )
    assert first.index_E.tolist() == [0]
    assert second.index_E.tolist() == []


def test_scores_are_those_of_maps_without_the_voxels() -> None:
    truth, predicted = np.zeros((2, 12, 10, 6), np.uint8)
    truth[2:8, 2:8, 1:5] = 1
    predicted[3:9, 2:8, 1:5] = 1
    clean = predicted.copy(), truth.copy()
    for labels in clean:
        labels[:, 5:] = 0
    truth[:, 5:] = VOID
    arguments = ((True,), ("liver",), (1.0, 1.0, 2.0), METRICS)
    found = case_scores(*without_void(predicted, truth), *arguments)
    assert found == case_scores(*clean, *arguments)
    assert found[0]["dsc"] == pytest.approx(100 * 2 * 60 / (72 + 72))


def test_the_counts_of_targets_leave_them_out() -> None:
    truth = np.array([0, 1, 1, VOID, VOID], np.uint8)
    assert joint_counts(truth, truth, 1).tolist() == [[1, 0], [0, 2]]


def test_ignored_voxels_of_a_folder_are_kept_from_file_to_score(tmp_path: Path) -> None:
    dataset = Folder(root=ignoring(tmp_path / "set"))
    assert dataset.organs == trees.ORGANS
    scan = read_scan(dataset, dataset.cases()[0])
    share = np.mean(scan.labels_XYZ == VOID)
    assert share == 16 * 14 * 5 / (32 * 28 * 10)
    result = check(dataset)
    assert not result.errors
    said = "6 cases with voxels of unknown class, 12.50 % of theirs; neither learned"
    assert any(remark.startswith(said) for remark in result.remarks)

    store = Store(tmp_path / "store")
    runs = helpers.plan(store, dataset, "naive,inerrant,marginal,asdnet")
    graph = graph_of(runs, pictures=True)
    store.register(graph.in_order())
    for event in Inline().run(graph, store):
        assert event.kind != "failed", event.message

    run = runs[1]
    evaluate, labels = run.rounds[-1].evaluation, run.rounds[0].model.labels
    truth = CompleteLabels(store.out(evaluate.truth))
    images = store.out(run.rounds[0].model.images)
    index = SliceIndex.read(images)
    relabel = next(iter(helpers.stage_of([run], "Relabel")))
    view = TrainView(images, store.out(labels), store.out(relabel))
    for case in view.cases:
        rows = range(case.labels.start, case.labels.stop)
        whole = labels_to_grid(truth.labels_XYZ(case.id), index[case.id].placement, index.grid)
        void = whole == VOID
        assert void.any()
        np.testing.assert_array_equal(view.labels.gather(rows) == VOID, void)
        assert view.pseudo is not None
        assert not view.pseudo.gather(rows)[void].any()
    for record in json.loads((store.out(evaluate) / "cases.json").read_text()):
        whole_XYZ = truth.labels_XYZ(record["case"])
        k = trees.ORGANS.index(record["organ"]) + 1
        path = store.out(evaluate.prediction) / f"{record['case']}.nii.gz"
        predicted = nib.as_closest_canonical(nib.load(path)).get_fdata()
        said = whole_XYZ != VOID
        assert record["n_gt"] == np.count_nonzero(whole_XYZ == k)
        assert record["n_pred"] == np.count_nonzero((predicted == k) & said)
        assert record["tp"] == np.count_nonzero((predicted == k) & (whole_XYZ == k))


@pytest.mark.parametrize("value", [VOID, 300, 3])
def test_the_value_that_files_give_ignored_voxels_is_theirs(tmp_path: Path, value: int) -> None:
    root = trees.nnunet(tmp_path / "set", 2, organs=("liver", "spleen"))
    labels = {"background": 0, "liver": 1, "spleen": 255, "ignore": value}
    (root / "dataset.json").write_text(json.dumps({"labels": labels}))
    table = np.array([0, 1, 255, value], np.uint16)
    expected: NDArray[np.uint8] = np.array([0, 1, 2, VOID], np.uint8)
    for number in range(2):
        labels_XYZ = trees.volume(number, organs=("liver", "spleen")).labels_XYZ.copy()
        labels_XYZ[:4] = 3
        trees.save(root / f"labelsTr/case_{number:03d}.nii.gz", table[labels_XYZ])
        scan = read_scan(Folder(root=root), Folder(root=root).cases()[number])
        np.testing.assert_array_equal(scan.labels_XYZ, expected[labels_XYZ])


def test_regions_that_do_not_overlap_are_organs_and_others_are_taken_apart(tmp_path: Path) -> None:
    root = trees.nnunet(tmp_path / "set", 2)
    (root / "annotations.csv").unlink()

    def described(labels: dict[str, object]) -> Folder:
        (root / "dataset.json").write_text(json.dumps({"labels": labels}))
        return Folder(root=root)

    dataset = described({"background": 0, "kidneys": [3, 4], "liver": [1], "spleen": 2})
    assert dataset.organs == ("liver", "spleen", "kidneys")
    scan = read_scan(dataset, dataset.cases()[0])
    expected = np.array([0, 1, 2, 3, 3], np.uint8)[trees.volume(0).labels_XYZ]
    np.testing.assert_array_equal(scan.labels_XYZ, expected)

    nested = {"background": 0, "whole": [1, 2, 3, 4], "core": [2, 3, 4], "enhancing": 3}
    parts = '{"background": 0, "rest_of_whole": 1, "rest_of_core": [2, 4], "enhancing": 3}'
    with pytest.raises(BenchError, match="value 2 is in both regions whole and core") as error:
        described(nested).cases()
    assert str(error.value).endswith(f"Name the parts: {parts}")
    dataset = described(json.loads(parts))
    assert read_scan(dataset, dataset.cases()[0]).labels_XYZ.max() == 3


def test_there_is_room_for_the_value_beyond_the_organs() -> None:
    assert MAX_ORGANS < VOID < BACKGROUND
