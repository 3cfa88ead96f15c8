"""The simulation of false positives: few experiments, and rates that leave room for chance."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "null_rates.py"


@pytest.fixture(scope="module")
def program() -> dict[str, Any]:
    return runpy.run_path(str(PROGRAM))


@pytest.mark.parametrize("name", ["five folds, 40 patients", "trained once, 20 cases"])
def test_reported_tests_find_no_more_than_they_may(program: dict[str, Any], name: str) -> None:
    (design,) = (one for one in program["DESIGNS"] if one.name == name)
    found = program["rejections"](design, 100)
    assert set(next(iter(found.values()))) == set(program["KINDS"])
    most = stats.binom.isf(1e-4, 100, 0.055)
    for test, counts in found.items():
        if not test.startswith("not reported"):
            assert max(counts.values()) <= most, test
        elif test.endswith("paired t over patients"):  # patients that share a model
            assert counts["complete"] > most


def test_rates_are_printed_with_their_interval(program: dict[str, Any]) -> None:
    assert program["rate"](100, 2000) == "5.0 (4.1 to 6.0)"
