"""How long do the reports take on a large study, and how much memory?

``python benchmarks/report_speed.py`` builds every report that reads results, each in a process of
its own, from 6 methods x 5 folds x 5 label fractions x 90 patients x 7 organs: 94,500 rows.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from bench.evaluation.metrics import METRICS
from bench.results.basis import BASIS
from bench.results.tables import RESULTS

METHODS = ("naive", "inerrant0", "inerrant", "bai", "asdnet", "uamt")
FRACTIONS = (100, 70, 50, 30, 10)
ORGANS = tuple(f"organ{number}" for number in range(7))
REPORTS = ("leaderboard", "significance", "paper", "fairness", "power", "html")


def table(folds: int = 5, patients: int = 90) -> pd.DataFrame:
    """Return a valid results table of one model per run."""
    rng = np.random.default_rng(0)
    names = ["method", "label_pct", "fold", "number", "organ"]
    conditions = product(METHODS, FRACTIONS, range(folds), range(patients), ORGANS)
    rows = pd.DataFrame(list(conditions), columns=names)
    patient = "p" + rows["fold"].astype(str) + "-" + rows.pop("number").astype(str)
    n_gt = 1000 + patient.map(hash_of)
    quality = 0.4 + 0.05 * rows["method"].map(METHODS.index) + 0.002 * rows["label_pct"]
    quality = (quality + rng.normal(0, 0.05, len(rows))).clip(0, 1)
    tp = (quality * n_gt).astype(int)
    rows[list(METRICS)] = np.nan
    rows["dsc"], rows["hd95_mm"] = 100 * tp / n_gt, 5.0
    rows = rows.assign(
            title=rows["method"], colour="", order=0, upper_bound=False,
            dataset="large", seed=0, profile="paper", backbone="unet", dims=2, test_to_train=0.25,
            round=0, final=True, case=patient, patient=patient, coverage=np.nan,
            dsc_inside=np.nan, tp=tp, n_pred=n_gt, n_gt=n_gt,
            status="ok", seg_steps=1000, networks=1, parameters=1000, passes=1.0, departs="nothing",
            device_s=60.0, peak_mb=100.0, device="cpu", software="bench", stage="Evaluate",
            **dict.fromkeys(BASIS, "some"),
    )  # fmt: skip
    return RESULTS.frame(
        {str(name): value for name, value in row.items()} for row in rows.to_dict("records")
    )


def hash_of(text: str) -> int:
    """Return a number below 200 that depends on the text alone."""
    return sum(map(ord, text)) % 200


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.parquet"
        RESULTS.save(table(), path)
        print(f"{6 * 5 * 5 * 90 * 7} rows")
        for report in REPORTS:
            started = time.perf_counter()
            command = [sys.executable, "-P", "-m", "bench", "report", report, str(path)]
            subprocess.run(
                [*command, "--out", f"{folder}/{report}"], check=True, stdout=subprocess.DEVNULL
            )
            seconds = time.perf_counter() - started
            # Of all children so far: the largest.
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            print(f"{report:<13} {seconds:6.1f} s   largest process so far {peak:.0f} MB")


if __name__ == "__main__":
    main()
