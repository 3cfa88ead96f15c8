"""Plugins by file name or entry point."""

from __future__ import annotations

import subprocess
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bench.data.dataset import Dataset
from bench.errors import BenchError
from bench.experiment.method import Method
from bench.plugins import registry

ROOT = Path(registry.__file__).parents[1]


@pytest.mark.parametrize("kind", ["methods", "datasets", "reports"])
def test_names_are_the_files(kind: registry.Kind) -> None:
    files = {path.stem for path in (ROOT / kind).glob("*.py") if not path.stem.startswith("_")}
    assert files <= set(registry.names(kind))
    assert registry.names(kind) == sorted(registry.names(kind))
    for name in registry.names(kind):
        assert len(registry.summary(kind, name)) > 10
        assert "\n" not in registry.summary(kind, name)


def test_the_paper_and_its_rivals_are_there() -> None:
    assert {"naive", "full", "inerrant0", "inerrant", "inerrant_mcp"} <= set(
        registry.names("methods")
    )
    assert {"phantom", "folder", "lits", "openkbp"} <= set(registry.names("datasets"))


@pytest.mark.parametrize("name", registry.names("methods"))
def test_every_method_loads_and_is_cited(name: str) -> None:
    plugin = registry.load("methods", name, Method)  # type: ignore[type-abstract]
    assert issubclass(plugin, Method)
    assert plugin.citation
    assert plugin().label(name) == name


@pytest.mark.parametrize("name", registry.names("datasets"))
def test_every_data_set_loads_and_says_where_it_comes_from(name: str) -> None:
    plugin = registry.load("datasets", name, Dataset)  # type: ignore[type-abstract]
    assert plugin.summary
    assert plugin.source


def test_listing_imports_no_plugin() -> None:
    code = (
        "import sys; from bench.plugins import registry\n"
        "for kind in ('methods', 'datasets', 'reports'):\n"
        "    for name in registry.names(kind): registry.summary(kind, name)\n"
        "    assert not [m for m in sys.modules if m.startswith(f'bench.{kind}.')]\n"
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_gets_suggestions() -> None:
    with pytest.raises(BenchError, match="unknown method 'inerant': did you mean inerrant"):
        registry.load("methods", "inerant", Method)  # type: ignore[type-abstract]
    with pytest.raises(BenchError, match=r"unknown dataset 'xyz': known: .*phantom"):
        registry.load("datasets", "xyz", Dataset)  # type: ignore[type-abstract]


def test_a_file_must_define_exactly_one_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("bench.methods.two")
    module.__file__ = "methods/two.py"
    code = (
        "from bench.experiment.plan import Method\n"
        "class One(Method):\n    def plan(self, recipe): return iter(())\n"
        "class Two(One): pass\n"
        "class _Hidden(One): pass\n"
    )
    exec(code, module.__dict__)
    monkeypatch.setattr(registry, "_module", lambda *_: module)
    with pytest.raises(BenchError, match=r"methods/two.py: defines 2 public Method classes"):
        registry.load("methods", "two", Method)  # type: ignore[type-abstract]
    del module.Two
    assert registry.load("methods", "two", Method) is module.One  # type: ignore[type-abstract]


def test_other_packages_add_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", "bench.methods.naive:Naive", "bench.methods")
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [entry] if group == "bench.methods" else []
    )
    assert "mine" in registry.names("methods")
    assert "mine" not in registry.names("datasets")
    assert registry.load("methods", "mine", Method).__name__ == "Naive"  # type: ignore[type-abstract]
    assert registry.summary("methods", "mine") == registry.summary("methods", "naive")
