"""How often does each test find a difference where there is none?

``python benchmarks/null_rates.py`` prints the tables of docs/explanation/null-rates.md: two methods
that are equally good by construction, 2000 times. A test at the 5 % level should reject in 5 %.

Trained again: both methods are least squares on features of their own, the features are
exchangeable, and they are cross-validated in five folds. Folds share three quarters of their
training patients and patients of a fold share a model, as in a real comparison.

Trained once: folds are unknown, and the question is about these models. Patients differ in
difficulty, both models have errors of the same skewed distribution.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.stats.mixed import mixed_model
from bench.stats.paired import corrected_t, crossed_t, differences, paired_t
from bench.stats.ranks import ranks_over_folds, signed_ranks

Scores = NDArray[np.float64]

FOLDS = 5
FEATURES = 20
BATCH = 250
SHARE = 0.15
"""Share of the values of a method that is missing, and of the cases that fail."""


class Experiment(NamedTuple):
    """Errors of two equally good methods on every seed and patient, shape (2, S, P); the folds."""

    errors: Scores
    fold: NDArray[np.intp]


def trained_again(count: int, patients: int, seeds: int, first: int) -> Iterator[Experiment]:
    """Yield cross-validations; with several seeds each splits anew and has its training noise."""
    rng = np.random.default_rng(first)
    features = rng.normal(size=(count, 2, patients, FEATURES))
    truth = features.sum(axis=(1, 3)) + rng.normal(0, 3, (count, patients))
    fold = np.argsort(rng.random((count, seeds, patients)), axis=2) % FOLDS
    errors = np.empty((count, 2, seeds, patients))
    for seed in range(seeds):
        noisy = truth[:, None] + rng.normal(0, 3 * (seeds > 1), (count, 2, patients))
        for test in range(FOLDS):
            held = (fold[:, seed] == test)[:, None, :, None]
            seen = np.where(held, 0.0, features)
            right = seen.swapaxes(2, 3) @ noisy[..., None]
            weights = np.linalg.solve(seen.swapaxes(2, 3) @ seen, right)
            missed = np.abs((features @ weights)[..., 0] - truth[:, None])
            errors[:, :, seed] = np.where(held[..., 0], missed, errors[:, :, seed])
    yield from map(Experiment, errors, fold)


def trained_once(count: int, patients: int, seeds: int, first: int) -> Iterator[Experiment]:
    """Yield errors on independent patients: difficulty, the method's own error, and its seeds'."""
    rng = np.random.default_rng(first)
    difficulty = rng.gamma(1.0, 6.0, (count, 1, 1, patients))
    own = rng.gamma(1.0, 4.0, (count, 2, 1, patients))
    of_seed = rng.normal(0, 1.0, (count, 2, seeds, 1)) * (seeds > 1)
    noise = rng.gamma(2.0, 1.0, (count, 2, seeds, patients)) * (seeds > 1)
    fold = np.zeros((seeds, patients), np.intp)
    for errors in np.abs(difficulty + own + of_seed + noise):
        yield Experiment(errors, fold)


def complete(errors: Scores, rng: np.random.Generator) -> Scores:
    """Return scores of every case."""
    return -errors


def at_random(errors: Scores, rng: np.random.Generator) -> Scores:
    """Return scores of which each method lacks some, whatever they are."""
    return np.where(rng.random(errors.shape) < SHARE, np.nan, -errors)


def failing(errors: Scores, rng: np.random.Generator) -> Scores:
    """Return scores without those where a method fails, which are left out of pairs."""
    return np.where(errors > np.quantile(errors, 1 - SHARE), np.nan, -errors)


def substituted(errors: Scores, rng: np.random.Generator) -> Scores:
    """Return scores in which a failure counts as the worst that was measured."""
    return -np.minimum(errors, np.quantile(errors, 1 - SHARE))


def tied(errors: Scores, rng: np.random.Generator) -> Scores:
    """Return coarse scores, of which many are equal."""
    rounded: Scores = np.round(errors / errors.std())
    return -rounded


KINDS: Mapping[str, Callable[[Scores, np.random.Generator], Scores]] = {
    "complete": complete,
    "missing at random": at_random,
    "missing where a method fails": failing,
    "failures as the worst": substituted,
    "ties": tied,
}


def fold_means(values_SP: Scores, fold: NDArray[np.intp]) -> Scores:
    """Return the mean difference of every seed and fold, NaN for none."""
    run = fold + FOLDS * np.arange(len(fold))[:, None]
    known = ~np.isnan(values_SP)
    size = FOLDS * len(fold)
    counts = np.bincount(run[known], minlength=size)
    sums = np.bincount(run[known], values_SP[known], minlength=size)
    means: Scores = np.full(size, np.nan)
    return np.divide(sums, counts, out=means, where=counts > 0)


def over_folds(scores: Scores, fold: NDArray[np.intp]) -> dict[str, bool]:
    """Return which tests reject; those that are not reported show why."""
    diff = scores[0] - scores[1]
    means, ratio = fold_means(diff, fold), 1 / (FOLDS - 1)
    zero = np.zeros_like(means)
    seed = np.repeat(np.arange(len(diff)), diff.shape[1])
    known = ~np.isnan(diff)
    run = (fold + FOLDS * np.arange(len(diff))[:, None])[known]
    flat = differences(diff[known], np.zeros(known.sum()))
    first = differences(diff[0], np.zeros(diff.shape[1]))
    return {
        "corrected resampled t (decides)": corrected_t(means, zero, ratio).p < 0.05,
        "signed ranks over folds": ranks_over_folds(flat, run, ratio).p < 0.05,
        "mixed model": mixed_model(diff.ravel(), fold.ravel(), seed, ratio).p < 0.05,
        "not reported: paired t over folds": paired_t(means, zero).p < 0.05,
        "not reported: paired t over patients": paired_t(first, np.zeros_like(first)).p < 0.05,
        "not reported: Wilcoxon over patients": signed_ranks(first, interval=False).p < 0.05,
    }


def over_patients(scores: Scores, fold: NDArray[np.intp]) -> dict[str, bool]:
    """Return which tests reject where folds are unknown."""
    diff = scores[0] - scores[1]
    if len(diff) > 1:
        return {"patients and seeds crossed (decides)": crossed_t(diff.T).p < 0.05}
    flat = differences(diff[0], np.zeros(diff.shape[1]))
    ranked = signed_ranks(flat)  # which decide only where there is an interval, too
    return {
        "paired t over cases (decides)": paired_t(flat, np.zeros_like(flat)).p < 0.05,
        "signed ranks over cases (with `decides=ranks`)": ranked.p < 0.05
        and ranked.low == ranked.low,
    }


class Design(NamedTuple):
    """What is simulated, what is asked of it, and how often as a multiple of ``--experiments``."""

    name: str
    draw: Callable[[int, int, int, int], Iterator[Experiment]]
    tests: Callable[[Scores, NDArray[np.intp]], dict[str, bool]]
    patients: int
    seeds: int = 1
    times: int = 1


DESIGNS = (
    Design("five folds, 90 patients", trained_again, over_folds, 90),
    Design("five folds, 40 patients", trained_again, over_folds, 40, times=3),
    Design("five folds, 90 patients, 3 seeds", trained_again, over_folds, 90, seeds=3),
    Design("trained once, 20 cases", trained_once, over_patients, 20, times=10),
    Design("trained once, 200 cases", trained_once, over_patients, 200, times=10),
    Design("trained once, 60 patients, 3 seeds", trained_once, over_patients, 60, seeds=3),
)


def rejections(design: Design, experiments: int) -> dict[str, dict[str, int]]:
    """Return how often each test rejects, by the kind of data."""
    found: dict[str, dict[str, int]] = {}
    for start in range(0, experiments, BATCH):
        count = min(BATCH, experiments - start)
        drawn = design.draw(count, design.patients, design.seeds, start)
        for number, experiment in enumerate(drawn, start=start):
            for kind, scored in KINDS.items():
                scores = scored(experiment.errors, np.random.default_rng([1, number]))
                for test, rejects in design.tests(scores, experiment.fold).items():
                    counts = found.setdefault(test, {})
                    counts[kind] = counts.get(kind, 0) + bool(rejects)
    return found


def rate(count: int, experiments: int) -> str:
    """Return the rate in percent with its interval (Clopper and Pearson 1934)."""
    low, high = stats.binomtest(count, experiments).proportion_ci(0.95, "exact")
    return f"{100 * count / experiments:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--design", default="", help="only designs whose name holds this text")
    options = parser.parse_args()
    for design in DESIGNS:
        if options.design not in design.name:
            continue
        experiments = options.experiments * design.times
        print(f"\n| {design.name}; {experiments} times | {' | '.join(KINDS)} |")
        print(f"| :-- |{' --: |' * len(KINDS)}")
        for test, counts in rejections(design, experiments).items():
            cells = (rate(counts[kind], experiments) for kind in KINDS)
            print(f"| {test} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
