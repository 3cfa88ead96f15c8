"""How often does each test find a difference where there is none?

``python benchmarks/null_rates.py`` cross-validates two methods that are equally good by
construction: both are least squares on features of their own, and the features are exchangeable.
Five folds share three quarters of their training patients and patients of a fold share a model, as
in a real comparison. A test at the 5 % level should reject in 5 % of the experiments.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.stats.intervals import bca, two_level
from bench.stats.mixed import mixed_model
from bench.stats.paired import corrected_t, paired_t, wilcoxon

FOLDS = 5
FEATURES = 20


def errors(rng: np.random.Generator, patients: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the absolute error of both methods on every patient, shape (2, P), and the folds."""
    features = rng.normal(size=(2, patients, FEATURES))
    truth = features.sum(axis=(0, 2)) + rng.normal(0, 3, patients)
    fold = rng.permutation(np.arange(patients) % FOLDS)
    found = np.empty((2, patients))
    for test in range(FOLDS):
        train, held = fold != test, fold == test
        for method in range(2):
            weights, *_ = np.linalg.lstsq(features[method, train], truth[train], rcond=None)
            found[method, held] = np.abs(features[method, held] @ weights - truth[held])
    return found, fold


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--patients", type=int, default=90)
    parser.add_argument("--slow", type=int, default=200, help="experiments for the slow methods")
    options = parser.parse_args()
    rejected: Counter[str] = Counter()
    tried: Counter[str] = Counter()

    def count(name: str, rejects: bool) -> None:
        tried[name] += 1
        rejected[name] += bool(rejects)

    for experiment in range(options.experiments):
        (a, b), fold = errors(np.random.default_rng(experiment), options.patients)
        a_by_fold, b_by_fold = (
            [float(x[fold == test].mean()) for test in range(FOLDS)] for x in (a, b)
        )
        count("paired t over folds (the paper's)", paired_t(a_by_fold, b_by_fold).p < 0.05)
        corrected = corrected_t(a_by_fold, b_by_fold, 1 / (FOLDS - 1))
        count("corrected resampled t (primary)", corrected.p < 0.05)
        count("paired t over patients", paired_t(a, b).p < 0.05)
        count("Wilcoxon over patients", wilcoxon(a, b).p < 0.05)
        if experiment >= options.slow:
            continue
        low, high, _ = bca(a - b, n_resamples=999)
        count("BCa over patients", low > 0 or high < 0)
        low, high, _ = two_level(a - b, fold, n_resamples=999)
        count("bootstrap over folds, then patients", low > 0 or high < 0)
        rows = pd.DataFrame(
            {
                "value": np.concatenate([a, b]),
                "method": np.repeat(["a", "b"], options.patients),
                "organ": "one",
                "fold": np.tile(fold, 2),
                "patient": np.tile(np.arange(options.patients), 2),
            }
        )
        count("mixed model", mixed_model(rows, [("b", "a")]).contrasts["b", "a"].p < 0.05)
    print(f"{options.patients} patients, {FOLDS} folds, equally good methods, level 5 %")
    for name, n in tried.items():
        rate = rejected[name] / n
        error = 1.96 * np.sqrt(rate * (1 - rate) / n)
        print(f"{name:<38} {100 * rate:5.1f} % ± {100 * error:.1f}   ({n} experiments)")


if __name__ == "__main__":
    main()
