"""The recipes of containers: both install the same, and what they build runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "containers"
RUN = ["run", "-m", "naive", "-d", "phantom[n_cases=4,scale=0.25]", "-p", "smoke", "-l", "100"]


def refusal(*command: str) -> str:
    """Return why a builder does not work here, empty if it does."""
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not installed"
    asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    return asked.stderr.strip().splitlines()[-1] if asked.returncode else ""


def test_both_recipes_start_from_one_image_and_take_the_same_files() -> None:
    docker = (RECIPES / "Dockerfile").read_text()
    apptainer = (RECIPES / "bench.def").read_text()
    (base,) = re.findall(r"^ARG BASE=(\S+)$", docker, re.MULTILINE)
    assert f"From: {base}\n" in apptainer
    copied = " ".join(re.findall(r"^COPY (.+) \S+$", docker, re.MULTILINE)).split()
    listed = apptainer.partition("%files")[2].partition("%")[0].split()[::2]
    kept = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert copied == listed == kept
    assert all((ROOT / name).exists() for name in copied)
    install = 'python3 -m pip install --no-cache-dir "/source[slurm]"'
    assert install in docker
    assert install in apptainer


def test_the_image_of_docker_runs(tmp_path: Path) -> None:
    if why := refusal("docker", "info") or refusal("docker", "pull", "python:3.12-slim"):
        pytest.skip(why)
    build = ["docker", "build", "--quiet", "--file", RECIPES / "Dockerfile", ROOT]
    image = subprocess.run(build, capture_output=True, text=True, check=True).stdout.strip()
    mounted = f"--volume={tmp_path}:/work"
    subprocess.run(["docker", "run", "--rm", mounted, image, *RUN], check=True)
    assert list(tmp_path.glob("bench-store/results/*.parquet"))


def test_the_image_of_apptainer_runs(tmp_path: Path) -> None:
    image = tmp_path / "bench.sif"
    if why := refusal("apptainer", "pull", str(tmp_path / "x.sif"), "docker://python:3.12-slim"):
        pytest.skip(why)
    subprocess.run(["apptainer", "build", image, RECIPES / "bench.def"], cwd=ROOT, check=True)
    inside = ["apptainer", "run", "--bind", f"{tmp_path}:/work", "--pwd", "/work", image]
    subprocess.run([*inside, *RUN], check=True)
    assert list(tmp_path.glob("bench-store/results/*.parquet"))
