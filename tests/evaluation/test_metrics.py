import math
import warnings

import numpy as np
import pytest
from scipy import ndimage

from bench.errors import BenchError
from bench.evaluation.metrics import (
    NSD_TOLERANCE_MM,
    case_scores,
    dice_percent,
    organ_scores,
    relabel_audit,
)

SPACING = (0.8, 1.7, 3.1)


def surface(mask_XYZ):
    return mask_XYZ & ~ndimage.binary_erosion(mask_XYZ)


def brute_force(pred_XYZ, truth_XYZ, spacing_mm):
    """HD95 and NSD by distance transforms of the whole volume."""
    border_pred, border_truth = surface(pred_XYZ), surface(truth_XYZ)
    to_truth = ndimage.distance_transform_edt(~border_truth, sampling=spacing_mm)[border_pred]
    to_pred = ndimage.distance_transform_edt(~border_pred, sampling=spacing_mm)[border_truth]
    near = (to_truth <= NSD_TOLERANCE_MM).sum() + (to_pred <= NSD_TOLERANCE_MM).sum()
    hd95 = max(np.percentile(to_truth, 95), np.percentile(to_pred, 95))
    return hd95, 100 * near / (to_truth.size + to_pred.size)


def blobs(rng, organs=3):
    smooth = np.stack(
        [ndimage.gaussian_filter(rng.normal(size=(24, 20, 16)), 2) for _ in range(organs)]
    )
    return np.where(smooth.max(0) > 0.03, smooth.argmax(0) + 1, 0).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_scores_agree_with_brute_force_on_anisotropic_voxels(seed):
    rng = np.random.default_rng(seed)
    pred, truth = blobs(rng), blobs(rng)
    for organ in (1, 2, 3):
        p, g = pred == organ, truth == organ
        scores = organ_scores(pred, truth, organ, SPACING)
        hd95, nsd = brute_force(p, g, SPACING)
        assert scores.status == "ok"
        assert (scores.tp, scores.n_pred, scores.n_gt) == ((p & g).sum(), p.sum(), g.sum())
        assert scores.dsc == pytest.approx(200 * (p & g).sum() / (p.sum() + g.sum()))
        assert scores.hd95_mm == pytest.approx(hd95, rel=1e-5)
        assert scores.nsd == pytest.approx(nsd, rel=1e-5)


@pytest.mark.parametrize("axis", range(3))
def test_spacing_belongs_to_the_axes_in_order(axis):
    pred, truth = np.zeros((2, 20, 20, 20), np.uint8)
    truth[5:12, 5:12, 5:12] = 1
    pred[:] = np.roll(truth, 3, axis)
    scores = organ_scores(pred, truth, 1, (1.0, 2.0, 5.0))
    assert scores.hd95_mm == pytest.approx(3 * (1.0, 2.0, 5.0)[axis])


def test_identical_masks_are_perfect_even_at_the_edge_of_the_image():
    truth = np.ones((6, 5, 4), np.uint8)
    assert organ_scores(truth, truth, 1, SPACING)[3:] == (100.0, 0.0, 100.0, "ok")


def test_empty_masks_follow_the_policy():
    full, empty = np.zeros((2, 6, 6, 6), np.uint8)
    full[2:4, 2:4, 2:4] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        missed = organ_scores(empty, full, 1, SPACING)
        hallucinated = organ_scores(full, empty, 1, SPACING)
        both_empty = organ_scores(empty, empty, 1, SPACING)
    assert (missed.status, missed.dsc, missed.nsd) == ("missed", 0, 0)
    assert (hallucinated.status, hallucinated.dsc, hallucinated.nsd) == ("hallucinated", 0, 0)
    assert math.isnan(missed.hd95_mm)
    assert math.isnan(hallucinated.hd95_mm)
    assert both_empty.status == "both_empty"
    assert all(map(math.isnan, both_empty[3:6]))


def test_case_scores_leave_out_organs_that_are_not_annotated():
    rng = np.random.default_rng(0)
    pred, truth = blobs(rng), blobs(rng)
    truth[truth == 2] = 0
    rows = case_scores(pred, truth, [True, False, True], ["liver", "spleen", "aorta"], SPACING)
    assert [row["organ"] for row in rows] == ["liver", "aorta"]
    for row, organ in zip(rows, (1, 3), strict=True):
        assert row == {"organ": row["organ"]} | organ_scores(pred, truth, organ, SPACING)._asdict()


def test_maps_that_do_not_fit_are_refused():
    small, large = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 5), np.uint8)
    with pytest.raises(BenchError, match=r"\(4, 4, 4\).*\(4, 4, 5\)"):
        organ_scores(small, large, 1, SPACING)
    with pytest.raises(BenchError, match="prediction holds label 9"):
        case_scores(small + np.uint8(9), small, [True], ["liver"], SPACING)


def test_dice_of_two_empty_masks_is_undefined():
    assert math.isnan(dice_percent(0, 0, 0))
    assert dice_percent(5, 10, 10) == 50


def test_relabel_audit_is_incremental_and_cumulated():
    first, second, third = relabel_audit(added=[40, 0, 60], tp=[36, 0, 24], gt_missing=120)
    assert (first.precision, first.recall) == (0.9, 0.3)
    assert math.isnan(second.precision)
    assert (second.recall, second.precision_cum, second.recall_cum) == (0, 0.9, 0.3)
    assert (third.precision, third.recall) == (0.4, 0.2)
    assert (third.added_cum, third.precision_cum, third.recall_cum) == (100, 0.6, 0.5)
    assert math.isnan(relabel_audit([1], [0], 0)[0].recall)
