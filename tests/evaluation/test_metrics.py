import math
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from bench.errors import BenchError
from bench.evaluation.audit import relabel_audit
from bench.evaluation.cases import case_scores
from bench.evaluation.masks import OrganMasks
from bench.evaluation.metrics import METRICS, NSD_TOLERANCE_MM, dice_percent

SPACING = (0.8, 1.7, 3.1)


def surface(mask_XYZ):
    return mask_XYZ & ~ndimage.binary_erosion(mask_XYZ)


def brute_force(pred_XYZ, truth_XYZ, spacing_mm):
    """Every metric of two masks that are not empty, by distance transforms of the whole volume."""
    border_pred, border_truth = surface(pred_XYZ), surface(truth_XYZ)
    to_truth = ndimage.distance_transform_edt(~border_truth, sampling=spacing_mm)[border_pred]
    to_pred = ndimage.distance_transform_edt(~border_pred, sampling=spacing_mm)[border_truth]
    both = np.concatenate([to_truth, to_pred])
    tp, n_pred, n_gt = (pred_XYZ & truth_XYZ).sum(), pred_XYZ.sum(), truth_XYZ.sum()
    return {
        "dsc": 200 * tp / (n_pred + n_gt),
        "hd95_mm": max(np.percentile(to_truth, 95), np.percentile(to_pred, 95)),
        "nsd": 100 * (both <= NSD_TOLERANCE_MM).mean(),
        "assd_mm": both.mean(),
        "rve": 100 * abs(n_pred - n_gt) / n_gt,
        "sensitivity": 100 * tp / n_gt,
        "precision": 100 * tp / n_pred,
    }


def one_organ(pred_XYZ, truth_XYZ, spacing_mm=SPACING):
    """Return the only row of masks with the value 1."""
    (row,) = case_scores(pred_XYZ, truth_XYZ, [True], ["liver"], spacing_mm, METRICS)
    return row


def blobs(rng, organs=3):
    smooth = np.stack(
        [ndimage.gaussian_filter(rng.normal(size=(24, 20, 16)), 2) for _ in range(organs)]
    )
    return np.where(smooth.max(0) > 0.03, smooth.argmax(0) + 1, 0).astype(np.uint8)


@pytest.mark.parametrize("spacing_mm", [SPACING, (0.4, 0.4, 2.0), (1.0, 1.0, 1.0)])
def test_surface_distances_are_those_of_monai_bit_by_bit(spacing_mm):
    from monai.metrics.utils import get_edge_surface_distance

    rng = np.random.default_rng(2)
    for _ in range(5):
        pred, truth = blobs(rng, organs=1) == 1, blobs(rng, organs=1) == 1
        masks = OrganMasks(1, 1, 1, pred, truth, spacing_mm)
        _, oracle, _ = get_edge_surface_distance(
            *map(torch.from_numpy, (pred, truth)), spacing=list(spacing_mm), symmetric=True
        )
        for ours, theirs in zip(masks.surface_distances_mm, oracle, strict=True):
            assert len(ours) > 100
            np.testing.assert_array_equal(ours, theirs.numpy().astype(np.float64))


def test_voxels_exactly_at_the_tolerance_are_within_it_wherever_they_lie():
    for start in range(30):
        pred, truth = np.zeros((2, 40, 4, 4), np.uint8)
        truth[start], pred[start + 5] = 1, 1
        assert one_organ(pred, truth, (0.4, 1.0, 1.0))["nsd"] == 100


def test_scores_do_not_depend_on_how_maps_lie_in_memory():
    rng = np.random.default_rng(3)
    pred, truth = blobs(rng), blobs(rng)
    arguments = [True] * 3, ["a", "b", "c"], SPACING, METRICS
    rows = case_scores(pred, truth, *arguments)
    turned = np.asfortranarray(pred[::-1, ::-1])[::-1, ::-1]
    assert case_scores(turned, np.asfortranarray(truth), *arguments) == rows
    wide = [np.pad(labels, ((3, 0), (0, 5), (7, 2))) for labels in (pred, truth)]
    assert case_scores(*wide, *arguments) == rows


def test_scoring_a_case_imports_no_framework():
    program = (
        "import sys, numpy as np, bench.stages.evaluate\n"
        "from bench.evaluation import cases, metrics\n"
        "labels = np.ones((4, 4, 4), np.uint8)\n"
        "cases.case_scores(labels, labels, [True], ['a'], (1.0,) * 3, metrics.METRICS)\n"
        "print({'torch', 'monai', 'pandas'} & sys.modules.keys())"
    )
    command = [sys.executable, "-P", "-c", program]
    assert subprocess.run(command, check=True, capture_output=True).stdout == b"set()\n"


def test_surface_distances_of_a_tilted_gantry_are_those_of_the_body():
    axes_mm = np.diag([1.0, 2.0, 5.0])
    axes_mm[1, 2] = 3.0
    rng = np.random.default_rng(0)
    pred, truth = blobs(rng, organs=1), blobs(rng, organs=1)
    spacing_mm = np.linalg.norm(axes_mm, axis=0)
    (row,) = case_scores(pred, truth, [True], ["a"], spacing_mm, METRICS, axes_mm)
    border_pred, border_truth = (
        np.argwhere(surface(labels == 1)) @ axes_mm.T for labels in (pred, truth)
    )
    apart = np.linalg.norm(border_pred[:, None] - border_truth, axis=2)
    to_truth, to_pred = apart.min(1), apart.min(0)
    both = np.concatenate([to_truth, to_pred])
    assert row["assd_mm"] == pytest.approx(both.mean())
    assert row["hd95_mm"] == pytest.approx(max(np.percentile(d, 95) for d in (to_truth, to_pred)))
    assert row["nsd"] == pytest.approx(100 * (both <= NSD_TOLERANCE_MM).mean())
    straight = one_organ(pred, truth, spacing_mm)
    assert abs(row["assd_mm"] - straight["assd_mm"]) > 0.03


def test_distances_of_whole_voxels_are_within_the_tolerance_on_a_tilted_grid():
    axes_mm = np.diag([0.5, 0.5, 2.5])
    axes_mm[1, 2] = 2.5 * np.tan(np.radians(10))
    pred, truth = np.zeros((2, 30, 40, 12), np.uint8)
    truth[5:25, 5:25, 2:10] = 1
    pred[5:25, 9:29, 2:10] = 1  # NSD_TOLERANCE_MM away
    spacing_mm = np.linalg.norm(axes_mm, axis=0)
    (row,) = case_scores(pred, truth, [True], ["a"], spacing_mm, METRICS, axes_mm)
    assert row["nsd"] == 100


def test_axes_at_right_angles_give_the_same_scores_either_way():
    rng = np.random.default_rng(1)
    maps = blobs(rng), blobs(rng)
    organs = [True] * 3, ["a", "b", "c"]
    straight = case_scores(*maps, *organs, SPACING, METRICS)
    for row, by_axes in zip(
        straight, case_scores(*maps, *organs, SPACING, METRICS, np.diag(SPACING)), strict=True
    ):
        numbers = {name: value for name, value in row.items() if not isinstance(value, str)}
        assert {name: by_axes[name] for name in numbers} == pytest.approx(numbers, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_scores_agree_with_brute_force_on_anisotropic_voxels(seed):
    rng = np.random.default_rng(seed)
    pred, truth = blobs(rng), blobs(rng)
    rows = case_scores(pred, truth, [True] * 3, ["a", "b", "c"], SPACING, METRICS)
    for organ, row in enumerate(rows, start=1):
        p, g = pred == organ, truth == organ
        assert row["status"] == "ok"
        assert (row["tp"], row["n_pred"], row["n_gt"]) == ((p & g).sum(), p.sum(), g.sum())
        expected = brute_force(p, g, SPACING)
        assert {name: row[name] for name in METRICS} == pytest.approx(expected, rel=1e-5)


def test_metrics_by_hand():
    truth, pred = np.zeros((2, 8, 8, 8), np.uint8)
    truth[2:4, 2, 2], pred[2:3, 2, 2] = 1, 1
    pred[6, 2, 2] = 1
    row = one_organ(pred, truth, (2.0, 1.0, 1.0))
    assert (row["sensitivity"], row["precision"], row["rve"]) == (50, 50, 0)
    assert row["dsc"] == 50
    # predicted to true: 0 and 6 mm; true to predicted: 0 and 2 mm
    assert row["assd_mm"] == (0 + 6 + 0 + 2) / 4
    assert row["nsd"] == 75
    assert row["hd95_mm"] == pytest.approx(0.95 * 6)


@pytest.mark.parametrize("axis", range(3))
def test_spacing_belongs_to_the_axes_in_order(axis):
    pred, truth = np.zeros((2, 20, 20, 20), np.uint8)
    truth[5:12, 5:12, 5:12] = 1
    pred[:] = np.roll(truth, 3, axis)
    row = one_organ(pred, truth, (1.0, 2.0, 5.0))
    assert row["hd95_mm"] == pytest.approx(3 * (1.0, 2.0, 5.0)[axis])


def test_identical_masks_are_perfect_even_at_the_edge_of_the_image():
    truth = np.ones((6, 5, 4), np.uint8)
    row = one_organ(truth, truth)
    perfect = {name: 0.0 if metric.best == "low" else 100.0 for name, metric in METRICS.items()}
    assert {name: row[name] for name in METRICS} == perfect


def test_empty_masks_follow_the_policy():
    full, empty = np.zeros((2, 6, 6, 6), np.uint8)
    full[2:4, 2:4, 2:4] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        missed, hallucinated, both_empty = (
            one_organ(*masks) for masks in ((empty, full), (full, empty), (empty, empty))
        )
    undefined = dict.fromkeys(METRICS, math.nan)
    for row, status, values in (
        (missed, "missed", {"dsc": 0, "nsd": 0, "rve": 100, "sensitivity": 0}),
        (hallucinated, "hallucinated", {"dsc": 0, "nsd": 0, "precision": 0}),
        (both_empty, "both_empty", {}),
    ):
        assert row["status"] == status
        assert {name: row[name] for name in METRICS} == pytest.approx(
            undefined | values, nan_ok=True
        )


def test_case_scores_leave_out_organs_that_are_not_annotated():
    rng = np.random.default_rng(0)
    pred, truth = blobs(rng), blobs(rng)
    truth[truth == 2] = 0
    rows = case_scores(
        pred, truth, [True, False, True], ["liver", "spleen", "aorta"], SPACING, METRICS
    )
    assert [row["organ"] for row in rows] == ["liver", "aorta"]
    for row, organ in zip(rows, (1, 3), strict=True):
        alone = one_organ((pred == organ).astype(np.uint8), (truth == organ).astype(np.uint8))
        assert row == alone | {"organ": row["organ"]}


def test_without_a_voxel_size_distances_are_missing_whatever_was_predicted():
    rng = np.random.default_rng(0)
    full, empty = blobs(rng) // 3, np.zeros(blobs(rng).shape, np.uint8)
    unknown = (math.nan,) * 3
    for pred, truth in ((full, full), (empty, full), (full, empty)):
        row, known = one_organ(pred, truth, unknown), one_organ(pred, truth)
        assert (row["spacing_known"], known["spacing_known"]) == (False, True)
        for name, metric in METRICS.items():
            expected = math.nan if name in ("hd95_mm", "nsd", "assd_mm") else known[name]
            assert row[name] == pytest.approx(expected, nan_ok=True)
            assert metric.needs_spacing == (name in ("hd95_mm", "nsd", "assd_mm"))


def test_a_metric_that_does_not_say_that_it_needs_the_voxel_size_is_told_to():
    mask = np.ones((2, 2, 2), bool)
    with pytest.raises(BenchError, match="needs_spacing = True"):
        _ = OrganMasks(8, 8, 8, mask, mask, (math.nan,) * 3).surface_distances_mm


def test_maps_that_do_not_fit_are_refused():
    small, large = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 5), np.uint8)
    with pytest.raises(BenchError, match=r"\(4, 4, 4\).*\(4, 4, 5\)"):
        one_organ(small, large)
    with pytest.raises(BenchError, match="prediction holds label 9"):
        case_scores(small + np.uint8(9), small, [True], ["liver"], SPACING, METRICS)


def test_the_example_of_the_documentation_is_a_metric():
    page = Path(__file__).parents[2] / "docs/howto/add-a-metric.md"
    code = re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(code[1], names)
    mask = np.ones((2, 2, 2), bool)
    masks = OrganMasks(2, 4, 4, mask, mask, SPACING)
    assert names["Jaccard"]().compute(masks) == pytest.approx(100 / 3)


def test_dice_of_two_empty_masks_is_undefined():
    assert math.isnan(dice_percent(0, 0, 0))
    assert dice_percent(5, 10, 10) == 50


def test_relabel_audit_is_incremental_and_cumulated():
    afresh = [True, False, False]
    first, second, third = relabel_audit([40, 0, 60], [36, 0, 24], 120, afresh)
    assert (first.precision, first.recall) == (0.9, 0.3)
    assert math.isnan(second.precision)
    assert (second.recall, second.precision_cum, second.recall_cum) == (0, 0.9, 0.3)
    assert (third.precision, third.recall) == (0.4, 0.2)
    assert (third.added_cum, third.precision_cum, third.recall_cum) == (100, 0.6, 0.5)
    assert math.isnan(relabel_audit([1], [0], 0, [True])[0].recall)


def test_rounds_that_replace_each_other_cumulate_nothing():
    first, second = relabel_audit([80, 90], [60, 81], 120, [True, True])
    assert (first.recall_cum, second.recall_cum) == (0.5, 81 / 120)
    assert (second.added_cum, second.precision_cum) == (90, 0.9)
