"""How long do the reports take on a large study, and how much memory?

``python benchmarks/report_speed.py`` builds every report twice, each in a process of its own, and
prints the time of the first and the peak memory of all processes of the second: from results of 6
methods x 5 folds x 5 label fractions x P patients x 7 organs (94,500 rows; ``--rows 1000000`` for
more), and from a CSV of the shape of a public benchmark, 19 methods x 9 organs x 743 cases, half of
it empty.
``--reports html,power`` builds some.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from bench.evaluation.metrics import METRICS
from bench.results.basis import BASIS, DEFINED
from bench.results.files import beside
from bench.results.tables import AUDIT, RESULTS

METHODS = ("naive", "inerrant0", "inerrant", "bai", "asdnet", "uamt")
FRACTIONS = (100, 70, 50, 30, 10)
FOLDS = 5
ORGANS = tuple(f"organ{number}" for number in range(7))
REPORTS = ("leaderboard", "significance", "paper", "fairness", "power", "relabelling", "html")
OF_CSV = ("significance",)
MODELS = len(METHODS) * len(FRACTIONS) * FOLDS


def results(rows: int) -> pd.DataFrame:
    """Return a valid results table of one model per run, of about so many rows."""
    rng = np.random.default_rng(0)
    patients = max(1, round(rows / MODELS / len(ORGANS)))
    names = ["method", "label_pct", "fold", "number", "organ"]
    table = _grid(names, METHODS, FRACTIONS, range(FOLDS), range(patients), ORGANS)
    number = table.pop("number")
    patient = "p" + table["fold"].astype(str) + "-" + number.astype(str)
    n_gt = 1000 + number * 7 % 200
    quality = 0.4 + 0.05 * table["method"].map(METHODS.index) + 0.002 * table["label_pct"]
    quality += 0.03 * np.sin(number) + rng.normal(0, 0.05, len(table))
    tp = (quality.clip(0, 1) * n_gt).astype(int)
    table[list(METRICS)] = np.nan
    table["dsc"], table["hd95_mm"] = 100 * tp / n_gt, 5.0
    table = table.assign(
        title=table["method"], colour="", order=0, upper_bound=False, domain="",
        dataset="large", seed=0, profile="paper", backbone="unet", dims=2, test_to_train=0.25,
        round=0, final=True, case=patient, patient=patient, coverage=np.nan, spacing_known=True,
        dsc_inside=np.nan, tp=tp, n_pred=n_gt, n_gt=n_gt, nsd=np.nan,
        status="ok", seg_steps=1000, networks=1, parameters=1000, passes=1.0, departs="nothing",
        device_s=60.0, peak_mb=100.0, device="cpu", software="bench",
        stage="Evaluate/" + table["method"] + table["fold"].astype(str),
        **dict.fromkeys((*BASIS, *DEFINED), "some"),
    )  # fmt: skip
    return table[list(RESULTS.columns)]


def audit() -> pd.DataFrame:
    """Return a valid table of pseudo-labels, which the report on relabelling shows."""
    rows: list[dict[str, Any]] = []
    for method, pct, fold, organ in product(METHODS[2:4], FRACTIONS, range(FOLDS), ORGANS):
        rows += [
            dict.fromkeys(BASIS, "some")
            | dict.fromkeys(("precision", "precision_cum", "auc", "ap_success"), 0.9)
            | dict.fromkeys(("recall", "recall_cum", "gamma", "ap_error"), 0.3)
            | {"method": method, "label_pct": pct, "fold": fold, "organ": organ, "round": step}
            | {"dataset": "large", "profile": "paper", "backbone": "unet", "seed": 0}
            | {"added": 1000, "added_cum": 1000 * step, "tp": 900, "gt_missing": 3000}
            | {"candidates": 5000, "candidate_error": 0.1}
            | dict.fromkeys(("sure", "sure_right", "volumes", "left_out"), 0)
            | dict.fromkeys(("dsc_kept", "dsc_left_out"), np.nan)
            for step in (1, 2, 3)
        ]
    return AUDIT.frame(rows)


def public() -> pd.DataFrame:
    """Return scores of the shape of a public benchmark; cases fail where they are difficult."""
    rng = np.random.default_rng(1)
    skill, organ = np.linspace(0.75, 0.92, 19), rng.normal(0, 0.05, 9)
    case, seen = rng.normal(0, 0.06, 743), rng.random((743, 9)) < 0.55
    value = skill[:, None, None] + organ + case[:, None] + rng.normal(0, 0.04, (19, 743, 9))
    failed = rng.random(value.shape) < 0.15 / (1 + np.exp(40 * (value - 0.75)))
    value = np.where(seen & ~failed, value.clip(0, 1), np.nan)
    table = _grid(["method", "case", "organ"], range(19), range(743), range(9))
    return table.assign(
        value=value.ravel().round(4),
        task="public",
        method="method" + table["method"].astype(str),
        case="case" + table["case"].astype(str),
        organ="organ" + table["organ"].astype(str),
    )


def _grid(names: list[str], *values: Sequence[object]) -> pd.DataFrame:
    return pd.MultiIndex.from_product(values, names=names).to_frame(index=False)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=94_500)
    parser.add_argument("--reports", default="", help="comma-separated; all by default")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        path = options.make / "large.parquet"
        RESULTS.save(results(options.rows), path)
        AUDIT.save(audit(), beside(path, AUDIT))
        public().to_csv(options.make / "public.csv", index=False)
        return
    with tempfile.TemporaryDirectory() as folder:
        make = [sys.executable, "-P", __file__, "--rows", str(options.rows), "--make", folder]
        subprocess.run(make, check=True)
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        chosen = options.reports.split(",") if options.reports else None
        for report in chosen or REPORTS:
            measure(f"{report}, {options.rows} rows", [report, f"{folder}/large.parquet"], folder)
        for report in [name for name in OF_CSV if name in (chosen or OF_CSV)]:
            measure(f"{report}, public shape", [f"{report}[csv={folder}/public.csv]"], folder)


def measure(name: str, arguments: list[str], folder: str) -> None:
    """Print how long a report takes, and what its processes hold when it is made once more."""
    command = [sys.executable, "-P", "-m", "bench", "report", *arguments, "--out", f"{folder}/out"]
    before, started = spent(), time.perf_counter()
    run = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    seconds, of_processors = time.perf_counter() - started, spent() - before
    print(
        f"{name:<34} {seconds:6.1f} s  {of_processors:6.1f} s of processors"
        f"  {peak(command) / 1e6:6.0f} MB {run.stderr if run.returncode else ''}",
        flush=True,
    )


def peak(command: list[str]) -> int:
    """Return the most bytes that the processes of a command held; looking slows them down."""
    most = 0
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        most = max(most, memory(process))
        time.sleep(0.2)
    return most


def spent() -> float:
    """Return the processor time of the processes that have ended, in seconds."""
    times = os.times()
    return times.children_user + times.children_system


def memory(process: psutil.Process) -> int:
    """Return the bytes that a process and those it began hold, what they share counted once."""
    held = 0
    with suppress(psutil.NoSuchProcess):  # one that has ended meanwhile
        for one in (process, *process.children(recursive=True)):
            full = one.memory_full_info()
            held += getattr(full, "pss", full.uss)  # other systems do not know the first
    return held


if __name__ == "__main__":
    main()
