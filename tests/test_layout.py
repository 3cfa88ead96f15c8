"""What is installed: one package, complete, light to import."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAPPED = {"bench": "bench", "methods": "bench/methods", "datasets": "bench/datasets"}
MAPPED["reports"] = "bench/reports"
"""Folder of the checkout -> folder in the package."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the wheel from a copy, so that nothing is left in the checkout."""
    copy = tmp_path_factory.mktemp("source")
    for name in MAPPED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    code = "import setuptools.build_meta as backend; print(backend.build_wheel('.'))"
    built = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=copy, capture_output=True, text=True, check=True
    )
    return zipfile.ZipFile(copy / built.stdout.splitlines()[-1])


def test_the_wheel_brings_one_package(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"bench"}


def test_the_wheel_holds_every_module_of_the_checkout(wheel: zipfile.ZipFile) -> None:
    expected = {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, package in MAPPED.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    packed = {name for name in wheel.namelist() if name.endswith(".py")}
    assert packed == expected
    assert {
        "bench/py.typed",
        "bench/reporting/page.html.j2",
        "bench/reports/paper/published.csv",
    } <= set(wheel.namelist())


def test_the_wheel_carries_licence_and_command(wheel: zipfile.ZipFile) -> None:
    names = {name.split(".dist-info/")[-1]: name for name in wheel.namelist()}
    assert "Apache License" in wheel.read(names["licenses/LICENSE"]).decode()
    assert "bench = bench.cli.main:main" in wheel.read(names["entry_points.txt"]).decode()


def test_the_version_is_the_same_everywhere() -> None:
    import bench

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == bench.__version__
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(rf"^version: {re.escape(bench.__version__)}$", citation, re.MULTILINE)


@pytest.mark.parametrize("module", ["bench", "bench.cli.main", "bench.plugins.registry"])
def test_importing_is_light(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"torch", "numpy", "pandas", "scipy", "nibabel", "monai", "pydicom", "seaborn"}
    assert not heavy & set(done.stdout.split())


def test_no_other_top_level_name_is_taken() -> None:
    code = (
        "from importlib.util import find_spec\n"
        "import bench.methods, bench.datasets, bench.reports\n"
        "print([n for n in ('methods', 'reports') if find_spec(n)])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.strip() == "[]"


def test_listing_plugins_imports_none_of_them() -> None:
    code = (
        "import sys; from bench.plugins import registry\n"
        "for kind in ('methods', 'datasets', 'reports'):\n"
        "    assert all(registry.summary(kind, name) for name in registry.names(kind))\n"
        "print(*(name for name in sys.modules if name.startswith('bench.')))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    light = {"bench.plugins", "bench.plugins.files", "bench.plugins.registry", "bench.errors"}
    kinds = {f"bench.{kind}" for kind in ("methods", "datasets", "reports")}
    assert set(done.stdout.split()) <= light | kinds
