"""The code and the machine that computed a result."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import bench

_PACKAGES = ("torch", "numpy", "scipy", "nibabel", "monai", "segmentation-models-pytorch")

UNKNOWN = "unknown"
"""The commit of a program that was installed from files, not from a repository."""
EXPERIMENT = "BENCH_EXPERIMENT"
"""Name of the file in the store's ``experiments/`` for which stages are computed."""


@cache
def provenance() -> dict[str, str]:
    """Return versions, the commit (of the checkout, or installed from git) and the platform."""
    from bench.machine.processor import cores

    return {
        "bench": bench.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": str(cores()),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "experiment": os.environ.get(EXPERIMENT, ""),
        **_queue(),
    } | {package: found for package in _PACKAGES if (found := _version(package))}


def slurm_job() -> str | None:
    """Return the Slurm job around this process; of an array with its place, as Slurm writes it."""
    # The bare id of one job of an array is that of the whole array.
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def _queue() -> dict[str, str]:
    """Return the job, and how often it was queued again."""
    job = slurm_job()
    if job is None:
        return {}
    return {"slurm_job": job, "slurm_restarts": os.environ.get("SLURM_RESTART_COUNT", "0")}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _installed_commit() -> str:
    """Return the commit that pip recorded when it installed from a git repository (PEP 610)."""
    try:
        recorded = distribution("organ-bench").read_text("direct_url.json")
        return str(json.loads(recorded or "{}").get("vcs_info", {}).get("commit_id", ""))
    except (PackageNotFoundError, ValueError, AttributeError):
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
        return _installed_commit() or UNKNOWN
    return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "-uno") else "")
