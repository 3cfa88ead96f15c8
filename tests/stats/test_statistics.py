"""Statistics against brute force, scipy, statsmodels and the specification's vectors."""

import itertools
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.stats.intervals import bca, two_level
from bench.stats.mixed import mixed_model
from bench.stats.multiple import holm
from bench.stats.paired import corrected_t, effect, needed_correlation, paired_t, wilcoxon
from bench.stats.stability import bootstrap_ranks, friedman

RNG = np.random.default_rng(3)
NAN = float("nan")


@pytest.fixture(autouse=True)
def _no_warnings() -> None:
    warnings.simplefilter("error")


# --- tests over folds ---------------------------------------------------------------------------


def test_the_vector_of_the_specification() -> None:
    d = np.array([1.2, 0.8, 1.5, 0.9, 1.1])
    plain, corrected = paired_t(d, np.zeros(5)), corrected_t(d, np.zeros(5), 16.4 / 65.6)
    assert plain.statistic == pytest.approx(8.981462, abs=1e-6)
    assert plain.p == pytest.approx(0.000851, abs=1e-6)
    assert corrected.statistic == pytest.approx(5.987642, abs=1e-6)
    assert corrected.p == pytest.approx(0.003912, abs=1e-6)
    assert plain.statistic / corrected.statistic == pytest.approx(1.5)


@pytest.mark.parametrize("n", [2, 5, 30])
def test_the_plain_t_is_that_of_scipy(n: int) -> None:
    a, b = RNG.normal(60, 5, (2, n))
    found, expected = paired_t(a, b), stats.ttest_rel(a, b)
    interval = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.statistic == pytest.approx(expected.statistic)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_the_corrected_interval_excludes_zero_exactly_when_p_is_below_a_twentieth(
    ratio: float,
) -> None:
    for _ in range(50):
        a, b = RNG.normal(0, 1, 5) + 1.2, RNG.normal(0, 1, 5)
        found = corrected_t(a, b, ratio)
        assert (found.low > 0 or found.high < 0) == (found.p < 0.05)
        if not ratio:
            assert found[:6] == pytest.approx(paired_t(a, b)[:6])


def test_a_pair_with_a_gap_is_left_out_and_counted() -> None:
    a, b = np.array([1.0, 2, NAN, 4, 7]), np.array([0.0, NAN, 1, 1, 2])
    assert paired_t(a, b) == paired_t(a[[0, 3, 4]], b[[0, 3, 4]])
    assert paired_t(a, b).n == 3


@pytest.mark.parametrize("test", [paired_t, lambda a, b: corrected_t(a, b, 0.25)])
def test_what_no_t_test_can_judge(test) -> None:
    same = np.array([50.1, 60.3, 70.7])
    identical = test(same, same)
    assert (identical.p, identical.diff, identical.note) == (1.0, 0.0, "identical")
    constant = test(same + 1.1, same)
    assert math.isnan(constant.p)
    assert constant.note == "zero variance"
    assert constant.diff == pytest.approx(1.1)
    for n in (0, 1):
        few = test(same[:n] + 1, same[:n])
        assert math.isnan(few.p)
        assert (few.n, few.note) == (n, "n too small")


@pytest.mark.parametrize(("test", "ratio"), [(paired_t, 0.0), (corrected_t, 0.25)])
def test_the_correlation_that_a_published_difference_needs(test, ratio: float) -> None:
    for _ in range(20):
        a, b = RNG.normal(62, 2, 5), RNG.normal(60, 3, 5)
        diff, spread = a.mean() - b.mean(), (a.std(ddof=1), b.std(ddof=1))
        needed = needed_correlation(diff, *spread, 5, ratio)
        p = test(a, b, ratio).p if ratio else test(a, b).p
        assert (p < 0.05) == (np.corrcoef(a, b)[0, 1] > needed)


# --- signed ranks and effect sizes --------------------------------------------------------------


def test_signed_ranks_against_all_signs() -> None:
    d = np.array([3.1, -0.4, 2.2, 1.7, -1.1, 0.9, 2.8])
    ranks = stats.rankdata(abs(d))
    w = ranks[d > 0].sum()
    sums = [ranks[list(signs)].sum() for signs in itertools.product([False, True], repeat=d.size)]
    tail = min(np.mean(np.array(sums) >= w), np.mean(np.array(sums) <= w))
    assert wilcoxon(d, np.zeros(d.size)).p == pytest.approx(min(1, 2 * tail))


def test_signed_ranks_keep_zeros_as_pratt_does() -> None:
    d = np.array([0.0, 0.0, 1, 2, -3, 4, 5, 6])
    expected = stats.wilcoxon(d, zero_method="pratt", method="auto")
    assert wilcoxon(d, np.zeros(8)).p == pytest.approx(expected.pvalue)


def test_signed_ranks_at_the_edges() -> None:
    assert wilcoxon(np.ones(8), np.ones(8)).p == 1.0
    five = wilcoxon(np.arange(1.0, 6), np.zeros(5))
    assert math.isnan(five.p)
    assert "n too small" in five.note
    assert wilcoxon(np.arange(1.0, 7), np.zeros(6)).p == pytest.approx(0.03125)
    assert wilcoxon([], []).n == 0


def test_effect_sizes_against_loops() -> None:
    a, b = RNG.normal(0.4, 1, (2, 25)).round(1)
    d = a - b
    sizes = sorted(abs(value) for value in d if value)

    def mid_rank(value: float) -> float:
        return np.mean([i + 1 for i, size in enumerate(sizes) if size == abs(value)])

    favour = sum(mid_rank(value) * np.sign(value) for value in d if value)
    total = sum(mid_rank(value) for value in d if value)
    wins = sum((x > y) + (x == y) / 2 for x, y in zip(a, b, strict=True)) / 25
    dz = np.mean(d) / np.std(d, ddof=1)
    assert effect(a, b) == pytest.approx((dz, dz * (1 - 3 / 95), favour / total, wins))


def test_effect_sizes_at_the_edges() -> None:
    assert effect([1.0, 2], [1.0, 2]) == (0.0, 0.0, 0.0, 0.5) or math.isnan(
        effect([1.0, 2], [1.0, 2]).gz
    )
    constant = effect([2.0, 3, 4], [1.0, 2, 3])
    assert math.isnan(constant.dz)
    assert (constant.rank_biserial, constant.superiority) == (1.0, 1.0)
    assert all(math.isnan(value) for value in effect([], []))


# --- many comparisons ---------------------------------------------------------------------------


def test_holm_against_its_definition() -> None:
    p = RNG.uniform(0, 0.2, 9)
    order = np.argsort(p)
    running, expected = 0.0, np.empty(9)
    for place, index in enumerate(order):
        running = max(running, min(1.0, (9 - place) * p[index]))
        expected[index] = running
    assert holm(p) == pytest.approx(expected)


def test_holm_does_not_count_what_was_not_tested() -> None:
    assert holm([0.01, NAN, 0.03]) == pytest.approx([0.02, NAN, 0.03], nan_ok=True)
    assert holm([]).size == 0
    assert np.isnan(holm([NAN])).all()


# --- intervals ----------------------------------------------------------------------------------


def test_bca_against_its_formula() -> None:
    d = RNG.exponential(2, 20)
    interval = bca(d, seed=5, n_resamples=4000)
    means = np.array(
        [np.mean(np.random.default_rng(i).choice(d, 20)) for i in range(4000)]
    )  # other draws: equal up to Monte Carlo error
    z0 = stats.norm.ppf(np.mean(means < d.mean()))
    jack = np.array([np.delete(d, i).mean() for i in range(20)])
    u = jack.mean() - jack
    a = (u**3).sum() / (6 * (u**2).sum() ** 1.5)
    z = stats.norm.ppf([0.025, 0.975])
    levels = stats.norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z)))
    assert interval[:2] == pytest.approx(np.quantile(means, levels), abs=0.12)
    assert bca(d, seed=5, n_resamples=4000) == interval


def test_intervals_at_the_edges() -> None:
    assert bca([2.0, 2.0, 2.0]) == (2.0, 2.0, "zero variance")
    assert math.isnan(bca([2.0]).low)
    assert math.isnan(two_level([1.0, 2, 3], [0, 0, 0]).low)
    assert math.isnan(two_level([], []).low)
    assert two_level([2.0, 2, 2], [0, 1, 1])[:2] == (2.0, 2.0)


def test_two_levels_vary_as_folds_and_patients_do() -> None:
    fold = np.repeat(np.arange(5), 12)
    shift = np.array([-3.0, -1, 0, 1, 3])
    d = shift[fold] + RNG.normal(0, 1, 60)
    interval = two_level(d, fold, seed=1)
    means = []
    for i in range(4000):
        rng = np.random.default_rng(i)
        drawn = rng.integers(5, size=5)
        means.append(np.mean([rng.choice(d[fold == f], 12).mean() for f in drawn]))
    assert interval[:2] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.15)
    assert interval.high - interval.low > 3 * (bca(d).high - bca(d).low) / 2


# --- mixed model --------------------------------------------------------------------------------


def scores(methods: int, organs: int, patients: int = 24, gap: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(11)
    rows = [
        {"method": f"m{m}", "organ": f"o{k}", "patient": f"p{p}", "fold": p % 4, "value": value}
        for m, k, p in itertools.product(range(methods), range(organs), range(patients))
        for value in [60 + 3 * m + 5 * k + 4 * np.sin(p) + rng.normal(0, 2)]
        if rng.random() >= gap
    ]
    return pd.DataFrame(rows)


def test_with_two_methods_it_is_the_paired_t() -> None:
    rows = scores(methods=2, organs=1)
    wide = rows.pivot(index="patient", columns="method", values="value")
    found = mixed_model(rows, [("m1", "m0"), ("m0", "m1")])
    expected = stats.ttest_rel(wide["m1"], wide["m0"])
    contrast = found.contrasts["m1", "m0"]
    assert contrast.diff == pytest.approx(float((wide["m1"] - wide["m0"]).mean()), abs=1e-6)
    assert contrast.p == pytest.approx(2 * stats.norm.sf(abs(expected.statistic)), rel=1e-3)
    assert found.contrasts["m0", "m1"].diff == pytest.approx(-contrast.diff)
    assert found.note == ""


def test_it_averages_over_organs_and_bears_gaps() -> None:
    rows = scores(methods=3, organs=3, gap=0.1)
    found = mixed_model(rows, [("m2", "m0"), ("m2", "m1")])
    assert found.rows == len(rows)
    for pair, true in ((("m2", "m0"), 6.0), (("m2", "m1"), 3.0)):
        contrast = found.contrasts[pair]
        assert contrast.low < true < contrast.high
        assert contrast.p < 0.01
    organs = rows.groupby(["organ", "method"])["value"].mean().unstack()
    assert found.contrasts["m2", "m0"].diff == pytest.approx(
        float((organs["m2"] - organs["m0"]).mean()), abs=0.3
    )


def test_patients_that_do_not_vary_fall_back_to_clustered_errors() -> None:
    rng = np.random.default_rng(0)
    rows = scores(methods=2, organs=1).assign(value=lambda r: 50 + rng.normal(0, 1, len(r)))
    centred = rows["value"] - rows.groupby("patient")["value"].transform("mean")
    found = mixed_model(rows.assign(value=50 + centred), [("m1", "m0")])
    assert "clustered by patient" in found.note
    assert not math.isnan(found.contrasts["m1", "m0"].p)


def test_a_model_of_nothing_is_nan() -> None:
    rows = scores(methods=2, organs=1)
    for nothing in (rows[rows["method"] == "m0"], rows.assign(value=7.0), rows.assign(value=NAN)):
        found = mixed_model(nothing, [("m1", "m0")])
        assert math.isnan(found.contrasts["m1", "m0"].p)
        assert found.note


# --- rankings -----------------------------------------------------------------------------------


def test_ranks_on_drawn_patients_against_loops() -> None:
    values = RNG.normal([60, 61, 55], 6, (20, 3))
    values[3, 1] = NAN
    found = bootstrap_ranks(values, seed=2, n_resamples=300)
    rng = np.random.default_rng(2)
    weights = rng.multinomial(20, np.full(20, 1 / 20), 300)
    counts, taus = np.zeros((3, 3)), []
    full = [1 + sum(np.nanmean(v) > np.nanmean(w) for v in values.T) for w in values.T]
    for sample in weights:
        drawn = np.repeat(values, sample, axis=0)
        means = np.nanmean(drawn, axis=0)
        ranks = [1 + sum(other > mean for other in means) for mean in means]
        for method, place in enumerate(ranks):
            counts[method, place - 1] += 1
        taus.append(stats.kendalltau(full, ranks).statistic)
    assert list(found.ranks) == full
    assert found.shares == pytest.approx(counts / 300)
    assert found.tau == pytest.approx(np.mean(taus))


def test_rankings_without_order() -> None:
    found = bootstrap_ranks(np.ones((5, 3)))
    assert list(found.ranks) == [1, 1, 1]
    assert math.isnan(found.tau)
    nothing = bootstrap_ranks(np.column_stack([np.ones(4), np.full(4, NAN)]))
    assert list(nothing.ranks) == [1, 2]


def test_friedman_is_that_of_scipy() -> None:
    values = RNG.normal([0, 1, 2, 1], 1, (8, 4))
    found = friedman(np.vstack([values, [NAN, 1, 2, 3]]))
    expected = stats.friedmanchisquare(*values.T)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.blocks == 8
    # Demsar 2006, Table 5: q = 2.569 for four methods.
    assert found.critical_difference == pytest.approx(2.569 * math.sqrt(20 / 48), abs=1e-3)
    assert found.mean_ranks.sum() == pytest.approx(10)


def test_friedman_at_the_edges() -> None:
    assert math.isnan(friedman(RNG.normal(size=(6, 2))).p)
    assert not math.isnan(friedman(RNG.normal(size=(6, 2))).critical_difference)
    assert math.isnan(friedman(np.ones((6, 3))).p)
    assert friedman(np.full((2, 3), NAN)).blocks == 0
