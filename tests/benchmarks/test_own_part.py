"""The comparison of what models predict with the hidden labels."""

from __future__ import annotations

import math
import runpy
from pathlib import Path
from typing import Any

import pytest
from conftest import Finished

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "own_part.py"


@pytest.fixture(scope="module")
def program() -> dict[str, Any]:
    return runpy.run_path(str(PROGRAM))


def test_shares_by_hand(program: dict[str, Any]) -> None:
    counts = {"gt_missing": 200, "candidates": 100, "right": 80, "sure": 20, "sure_right": 19}
    assert program["shares"](counts) == pytest.approx([40, 80, 9.5, 95])
    found = program["shares"](dict(counts, sure=0, sure_right=0))
    assert found[2] == 0
    assert math.isnan(found[3])


def test_a_method_without_relabelling_is_compared(
    program: dict[str, Any], finished: Finished
) -> None:
    runs = [finished.of("fixmatch"), finished.of("inerrant0")]
    rows = list(program["audited"](runs, finished.store))
    assert {method for method, _, _ in rows} == {"fixmatch", "inerrant0"}
    for _, _, counts in rows:
        assert counts["sure_right"] <= counts["sure"] <= counts["candidates"]
        assert counts["right"] <= counts["candidates"]
    everything = [counts for _, organ, counts in rows if organ == "all organs"]
    assert everything[0]["gt_missing"] == everything[1]["gt_missing"] > 0
