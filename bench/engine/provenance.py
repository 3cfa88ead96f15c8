"""The code and the machine that computed a result."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import bench
from bench.engine.sharing import cores

_PACKAGES = ("torch", "numpy", "scipy", "nibabel", "monai", "segmentation-models-pytorch")


EXPERIMENT = "BENCH_EXPERIMENT"
"""Name of the file in the store's ``experiments/`` for which stages are computed."""


@cache
def provenance() -> dict[str, str]:
    """Return versions, the commit of the checkout (if it is one) and the platform."""
    return {
        "bench": bench.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": str(cores()),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "experiment": os.environ.get(EXPERIMENT, ""),
        **_slurm_job(),
    } | {package: found for package in _PACKAGES if (found := _version(package))}


def _slurm_job() -> dict[str, str]:
    """Return the job around this process, if there is one, and how often it was queued again."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return {}
    array, task = (os.environ.get(f"SLURM_ARRAY_{part}_ID") for part in ("JOB", "TASK"))
    return {
        "slurm_job": f"{array}_{task}" if array else job,
        "slurm_restarts": os.environ.get("SLURM_RESTART_COUNT", "0"),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        return done.stdout.strip()

    # An installed package may be inside another repository: only this suite's counts.
    if git("ls-files", "--error-unmatch", "provenance.py") == "":
        return "unknown"
    return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "-uno") else "")
