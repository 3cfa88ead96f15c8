import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.evaluation.ranking import ranking_scores

VECTOR = ([0.95, 0.9, 0.9, 0.8, 0.7, 0.6, 0.6, 0.55], [1, 1, 0, 1, 1, 0, 1, 0])


def brute_auc(score, success):
    right, wrong = score[success], score[~success]
    pairs = (right[:, None] > wrong).sum() + 0.5 * (right[:, None] == wrong).sum()
    return pairs / (right.size * wrong.size)


def brute_average_precision(score, positive):
    """Sum over distinct thresholds of (R_n - R_{n-1}) P_n, from the definition."""
    total = previous = 0.0
    for threshold in sorted(set(score), reverse=True):
        chosen = score >= threshold
        recall = positive[chosen].sum() / positive.sum()
        total += (recall - previous) * positive[chosen].mean()
        previous = recall
    return total


def test_published_vector():
    scores = ranking_scores(*VECTOR)
    assert scores.auc == pytest.approx(0.733333, abs=1e-6)
    assert scores.ap_success == pytest.approx(0.786190, abs=1e-6)
    assert scores.ap_error == pytest.approx(0.698413, abs=1e-6)
    assert scores.candidate_error == 3 / 8
    assert scores.candidates == 8


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40))
def test_agrees_with_the_definitions_under_ties(voxels):
    score = np.array([value / 6 for value, _ in voxels], np.float32)
    success = np.array([flag for _, flag in voxels])
    scores = ranking_scores(score, success)
    if success.any():
        assert scores.ap_success == pytest.approx(brute_average_precision(score, success))
    if not success.all():
        assert scores.ap_error == pytest.approx(brute_average_precision(-score, ~success))
    if success.any() and not success.all():
        assert scores.auc == pytest.approx(brute_auc(score, success))


def test_degenerate_populations_have_no_auc():
    no_error = ranking_scores([0.1, 0.9], [True, True])
    no_success = ranking_scores([0.1, 0.9], [False, False])
    nothing = ranking_scores([], [])
    assert no_error.ap_success == no_success.ap_error == 1
    undefined = [no_error.auc, no_error.ap_error, no_success.auc, no_success.ap_success]
    assert all(map(math.isnan, [*undefined, *nothing[1:]]))


def test_constant_scores_rank_at_chance():
    scores = ranking_scores(np.ones(10), np.arange(10) < 3)
    assert (scores.auc, scores.ap_success, scores.ap_error) == (0.5, 0.3, 0.7)


def test_order_of_the_voxels_does_not_matter_and_many_fit():
    rng = np.random.default_rng(0)
    score = rng.random(1_000_000, dtype=np.float32).round(3)
    success = rng.random(score.size) < score
    shuffled = rng.permutation(score.size)
    first = ranking_scores(score, success)
    assert first == ranking_scores(score[shuffled], success[shuffled])
    assert first.auc == pytest.approx(5 / 6, abs=0.002)


def test_diverged_confidence_is_refused():
    with pytest.raises(BenchError, match="1 of 2 confidences are NaN"):
        ranking_scores([0.5, np.nan], [True, False])
