"""Statistics against brute force, scipy, statsmodels and the specification's vectors."""

import itertools
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.stats.mixed import mixed_model
from bench.stats.multiple import holm, holm_levels
from bench.stats.paired import (
    corrected_t,
    crossed_t,
    differences,
    effect,
    needed_correlation,
    paired_t,
)
from bench.stats.power import DETECTED, needed, standard_errors
from bench.stats.ranks import ranks_over_folds, signed_ranks
from bench.stats.stability import bootstrap_ranks, friedman, kendall_tau, range_of_normals

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
    assert found.interval() == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_the_corrected_interval_excludes_zero_exactly_when_p_is_below_a_twentieth(
    ratio: float,
) -> None:
    for _ in range(50):
        a, b = RNG.normal(0, 1, 5) + 1.2, RNG.normal(0, 1, 5)
        found = corrected_t(a, b, ratio)
        for level in (0.95, 0.99):
            low, high = found.interval(level)
            assert (low > 0 or high < 0) == (found.p < 1 - level)
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


def all_signs(d: np.ndarray) -> float:
    """Return the two-sided p value over all signs of the ranks, zeros and ties as they are."""
    ranks = stats.rankdata(abs(d))
    seen = abs((ranks * np.sign(d)).sum())
    moved = ranks[d != 0]
    signs = np.array(list(itertools.product([1, -1], repeat=moved.size)))
    return float((abs(signs @ moved) >= seen - 1e-9).mean())


@pytest.mark.parametrize("decimals", [0, 1, 3])
def test_signed_ranks_against_all_signs(decimals: int) -> None:
    for seed in range(8):
        d = np.random.default_rng(seed).normal(0.5, 1, 9).round(decimals)
        assert signed_ranks(d).p == pytest.approx(all_signs(d))


@pytest.mark.parametrize("decimals", [1, 4])
def test_many_signed_ranks_are_those_of_scipy(decimals: int) -> None:
    d = np.random.default_rng(decimals).normal(0.1, 1, 90).round(decimals)
    expected = stats.wilcoxon(d, zero_method="pratt", method="asymptotic")
    assert signed_ranks(d).p == pytest.approx(expected.pvalue)


def test_the_estimate_of_signed_ranks_is_the_median_of_all_walsh_averages() -> None:
    for n, decimals in itertools.product((6, 7, 40), (0, 1, 6)):
        d = np.random.default_rng(n).normal(0.5, 1, n).round(decimals)
        i, j = np.triu_indices(n)
        found = signed_ranks(d)
        assert found.shift == pytest.approx(np.median((d[i] + d[j]) / 2))


def test_the_interval_of_signed_ranks_is_the_textbook_one_and_agrees_with_its_test() -> None:
    # Without ties: the c-th smallest and largest of the Walsh averages (Hollander and Wolfe).
    d = np.random.default_rng(1).normal(0.5, 1, 10).round(6)
    i, j = np.triu_indices(10)
    walsh = np.sort((d[i] + d[j]) / 2)
    c = 9  # P(T+ <= 8) = 0.0244 for n = 10
    found = signed_ranks(d)
    assert (found.low, found.high) == pytest.approx((walsh[c - 1], walsh[-c]))
    for seed in range(200):
        rng = np.random.default_rng(seed)
        d = rng.normal(rng.choice([0, 0.4, 0.9]), 1, rng.integers(6, 40)).round(rng.integers(0, 3))
        found = signed_ranks(d)
        if found.note:
            continue
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
        assert found.low <= found.shift <= found.high
        for alpha in (0.01, 0.0025):
            wider = signed_ranks(d, level=1 - alpha)
            if wider.note:  # not even differences of one sign would be significant
                assert found.p >= alpha
            else:
                assert (found.p < alpha) == (not wider.low <= 0 <= wider.high)
                assert wider.low <= found.low <= found.high <= wider.high


def test_signed_ranks_at_the_edges() -> None:
    assert signed_ranks(np.zeros(8)).p == 1.0
    five = signed_ranks(np.arange(1.0, 6))
    assert math.isnan(five.p)
    assert "n too small" in five.note
    assert signed_ranks(np.arange(1.0, 7)).p == pytest.approx(0.03125)
    assert signed_ranks([]).n == 0
    mostly_equal = signed_ranks(np.r_[np.zeros(75), np.full(25, 8.0)])
    assert mostly_equal.p < 0.001
    assert math.isnan(mostly_equal.low)
    assert "too many equal values" in mostly_equal.note


def test_ranks_do_not_depend_on_the_unit() -> None:
    a, b = RNG.uniform(0.5, 1, (2, 40)).round(3)
    fraction, percent = (signed_ranks(differences(k * a, k * b)) for k in (1, 100))
    assert fraction.p == percent.p
    assert 100 * fraction.low == pytest.approx(percent.low)


def test_signed_ranks_over_folds_are_a_t_test_of_their_means() -> None:
    d, fold = RNG.normal(1, 2, 30), np.repeat(np.arange(5), 6)
    ranks = np.sign(d) * stats.rankdata(abs(d))
    expected = stats.ttest_1samp([ranks[fold == test].mean() for test in range(5)], 0)
    assert ranks_over_folds(d, fold, 0.25).statistic == pytest.approx(expected.statistic / 1.5)
    assert ranks_over_folds([], [], 0.25).n == 0


def test_effect_sizes_against_loops() -> None:
    a, b = RNG.normal(0.4, 1, (2, 25)).round(1)
    d = (a - b).round(9)
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
    shorter = effect([1.0, 2, 4], [2.0, 3, 9], higher_is_better=False)
    assert shorter.dz < 0  # of the difference
    assert (shorter.rank_biserial, shorter.superiority) == (1.0, 1.0)


# --- seeds --------------------------------------------------------------------------------------


def test_seeds_that_agree_are_averaged() -> None:
    rng = np.random.default_rng(3)
    d = rng.normal(1, 3, (20, 1)) + rng.normal(0, 0.1, (20, 3))
    d -= d.mean(axis=0) - d.mean()
    assert crossed_t(d) == paired_t(d.mean(axis=1), np.zeros(20))
    assert crossed_t(d[:, :1]) == paired_t(d[:, 0], np.zeros(20))


def test_seeds_that_differ_are_a_random_effect() -> None:
    rng = np.random.default_rng(3)
    d = rng.normal(1, 3, (20, 1)) + np.array([0.0, 4, 8]) + rng.normal(0, 0.1, (20, 3))
    found = crossed_t(np.vstack([d, [NAN, 1, 2]]))
    table = pd.DataFrame(d).stack().rename("d").rename_axis(["patient", "seed"]).reset_index()
    import statsmodels.formula.api as smf
    from statsmodels.stats.anova import anova_lm

    squares = anova_lm(smf.ols("d ~ C(patient) + C(seed)", table).fit())["mean_sq"]
    variance = (squares["C(patient)"] + squares["C(seed)"] - squares["Residual"]) / 60
    assert found.error == pytest.approx(math.sqrt(variance))
    assert (found.n, found.df) == (20, 2)


# --- many comparisons ---------------------------------------------------------------------------


def test_holm_against_its_definition() -> None:
    p = RNG.uniform(0, 0.2, 9)
    order = np.argsort(p)
    running, expected = 0.0, np.empty(9)
    for place, index in enumerate(order):
        running = max(running, min(1.0, (9 - place) * p[index]))
        expected[index] = running
    assert holm(p) == pytest.approx(expected)


def test_an_interval_at_the_level_of_holm_agrees_with_the_corrected_p_value() -> None:
    for seed in range(100):
        d = np.random.default_rng(seed).normal([0, 0, 0, 1, 2, 3, 0.8], 1, (6, 7)).T
        tests = [paired_t(one, np.zeros(6)) for one in d]
        raw = [test.p for test in tests]
        for test, p, level in zip(tests, holm(raw), holm_levels(raw), strict=True):
            low, high = test.interval(1 - level)
            assert (p < 0.05) == (low > 0 or high < 0)
    assert holm_levels([0.001, 0.02, 0.04, NAN]) == pytest.approx(
        [0.05 / 3, 0.05 / 2, 0.05, NAN], nan_ok=True
    )
    assert holm_levels([0.03, 0.04]) == pytest.approx([0.025, 0.025])
    assert holm_levels([]).size == 0


@pytest.mark.parametrize("decimals", [2, 17])
def test_holm_is_that_of_statsmodels_bit_by_bit(decimals: int) -> None:
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(decimals)
    for size in (1, 2, 15, 171):
        p = (rng.random(size) ** 4).round(decimals)
        assert np.array_equal(holm(p), multipletests(p, method="holm")[1])


@pytest.mark.parametrize("df", [1, 4, 29, 5000])
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 171])
def test_power_is_that_of_statsmodels(df: int, alpha: float) -> None:
    from statsmodels.stats.power import TTestPower

    errors = standard_errors(df, alpha, DETECTED)
    effect = errors / np.sqrt(df + 1)
    found = TTestPower().power(effect, df + 1, alpha / 2, alternative="larger")
    assert found == pytest.approx(DETECTED, abs=1e-9)
    assert needed(effect, alpha, DETECTED) == pytest.approx(df + 1)


def test_tau_is_that_of_scipy_bit_by_bit() -> None:
    rng = np.random.default_rng(0)
    for size in (2, 3, 7, 20):
        for most in (1, 3, 20):
            a, b = rng.integers(0, most, (2, size))
            expected = stats.kendalltau(a, b).statistic
            assert np.array_equal(kendall_tau(a, b), expected, equal_nan=True)


def test_holm_does_not_count_what_was_not_tested() -> None:
    assert holm([0.01, NAN, 0.03]) == pytest.approx([0.02, NAN, 0.03], nan_ok=True)
    assert holm([]).size == 0
    assert np.isnan(holm([NAN])).all()


# --- mixed model --------------------------------------------------------------------------------


def runs_of(seed: int, spread: float, seeds: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return differences of 60 patients, with the fold and seed of each."""
    rng = np.random.default_rng(seed)
    fold, of_seed = np.tile(np.arange(60) % 5, seeds), np.repeat(np.arange(seeds), 60)
    d = 1 + rng.normal(0, spread, (seeds, 5))[of_seed, fold] + 2 * of_seed
    return d + rng.normal(0, 1, d.size), fold, of_seed


def test_the_mixed_model_is_the_corrected_t_where_folds_differ_and_data_are_complete() -> None:
    d, fold, seed = runs_of(1, 2.0)
    means = [d[fold == test].mean() for test in range(5)]
    found, expected = mixed_model(d, fold, seed, 0.25), corrected_t(means, np.zeros(5), 0.25)
    assert found[:6] == pytest.approx(expected[:6], rel=1e-8)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_mixed_model_is_that_of_statsmodels(seeds: int) -> None:
    from statsmodels.regression.mixed_linear_model import MixedLM

    d, fold, seed = runs_of(2, 2.0, seeds)
    d[:17] = NAN
    rows = pd.DataFrame({"d": d, "run": fold, "seed": seed}).dropna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if seeds > 1:
            model = MixedLM.from_formula(
                "d ~ 1", rows, groups="seed", re_formula="1", vc_formula={"run": "0 + C(run)"}
            )
        else:
            model = MixedLM.from_formula("d ~ 1", rows, groups="run")
        expected = model.fit(reml=True)
    found = mixed_model(d, fold, seed, 0.25)
    assert found.n == 5 * seeds
    assert found.diff == pytest.approx(float(expected.fe_params.iloc[0]), rel=1e-3)
    error = found.error / math.sqrt(1 + 5 * seeds * 0.25)
    assert error == pytest.approx(float(expected.bse_fe.iloc[0]), rel=5e-3)


def test_a_mixed_model_of_nothing_is_nan() -> None:
    d, fold, seed = runs_of(3, 1.0)
    one = fold == 0
    for values, note in (
        (np.full_like(d, NAN), "n too small"),
        (np.where(one, d, NAN), "n too small"),
        (fold.astype(float), "no variance within runs"),
    ):
        found = mixed_model(values, fold, seed, 0.25)
        assert math.isnan(found.p)
        assert found.note == note
    assert mixed_model(np.zeros_like(d), fold, seed, 0.25).p == 1.0


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


def test_equal_methods_share_a_rank_whatever_order_their_sums_are_in() -> None:
    scores = RNG.normal(60, 9, 53)
    found = bootstrap_ranks(np.column_stack([scores - 1, *[scores] * 4]))
    assert list(found.ranks) == [5, 1, 1, 1, 1]
    assert found.shares[1:, 0] == pytest.approx(1)
    assert found.tau == 1


def test_friedman_is_that_of_scipy() -> None:
    values = RNG.normal([0, 1, 2, 1], 1, (8, 4))
    found = friedman(np.vstack([values, [NAN, 1, 2, 3]]))
    expected = stats.friedmanchisquare(*values.T)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.blocks == 8
    # Demsar 2006, Table 5: q = 2.569 for four methods.
    assert found.critical_difference == pytest.approx(2.569 * math.sqrt(20 / 48), abs=1e-3)
    assert found.mean_ranks.sum() == pytest.approx(10)


def test_friedman_with_ties_is_that_of_scipy() -> None:
    rng = np.random.default_rng(5)
    for n_blocks, n_methods in ((2, 3), (5, 4), (9, 7)):
        values = rng.integers(0, 4, (n_blocks, n_methods)).astype(float)
        found, expected = friedman(values), stats.friedmanchisquare(*values.T)
        assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
        assert np.array_equal(found.mean_ranks, stats.rankdata(-values, axis=1).mean(axis=0))


@pytest.mark.parametrize("count", [2, 3, 10, 100])
def test_the_range_of_normals_is_that_of_scipy(count: int) -> None:
    expected = stats.studentized_range.ppf(0.95, count, np.inf)
    assert range_of_normals(count) == pytest.approx(expected, rel=1e-10)


def test_friedman_at_the_edges() -> None:
    assert math.isnan(friedman(RNG.normal(size=(6, 2))).p)
    assert not math.isnan(friedman(RNG.normal(size=(6, 2))).critical_difference)
    assert math.isnan(friedman(np.ones((6, 3))).p)
    assert friedman(np.full((2, 3), NAN)).blocks == 0
