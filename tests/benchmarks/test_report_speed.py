"""The generated results on which reports are timed."""

from __future__ import annotations

import runpy
from pathlib import Path

from bench.results.tables import AUDIT, RESULTS

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "report_speed.py"


def test_what_reports_are_timed_on_is_valid() -> None:
    program = runpy.run_path(str(PROGRAM))
    for schema, table in ((RESULTS, program["results"](2000)), (AUDIT, program["audit"]())):
        assert len(table)
        schema.check(table)
