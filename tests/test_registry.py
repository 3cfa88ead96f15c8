"""Plugins by file name or entry point."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from bench.data.dataset import Dataset
from bench.engine.launcher import AnyLauncher
from bench.errors import BenchError
from bench.experiment.method import Method
from bench.nets.catalogue import parse_network
from bench.plugins import files, registry

ROOT = Path(registry.__file__).parents[1]


@pytest.mark.parametrize("kind", ["methods", "datasets", "reports"])
def test_names_are_the_files(kind: registry.Kind) -> None:
    files = {path.stem for path in (ROOT / kind).glob("*.py") if not path.stem.startswith("_")}
    assert files <= set(registry.names(kind))
    assert registry.names(kind) == sorted(registry.names(kind))
    for name in registry.names(kind):
        assert len(registry.summary(kind, name)) > 10
        assert "\n" not in registry.summary(kind, name)


def test_the_methods_of_the_paper_are_there() -> None:
    assert {"naive", "full", "inerrant0", "inerrant", "inerrant_mcp"} <= set(
        registry.names("methods")
    )
    assert {"phantom", "folder", "lits", "openkbp"} <= set(registry.names("datasets"))


@pytest.mark.parametrize("name", registry.names("methods"))
def test_every_method_loads_and_is_cited(name: str) -> None:
    plugin = registry.load("methods", name, Method)  # type: ignore[type-abstract]
    assert issubclass(plugin, Method)
    assert plugin.citation
    assert plugin().notation(name) == name


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
    with pytest.raises(BenchError, match=r"put commas between, naive,inerrant$"):
        registry.load("methods", "naive inerrant", Method)  # type: ignore[type-abstract]
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


def test_a_broken_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", "no_such_package:Mine", "bench.methods")
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    with pytest.raises(BenchError, match="entry point mine = no_such_package:Mine: ModuleNotFound"):
        registry.load("methods", "mine", Method)  # type: ignore[type-abstract]


def test_a_package_does_not_take_a_name_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("naive", "my_package:Naive", "bench.methods")
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    with pytest.raises(BenchError, match="there is a method naive already"):
        registry.outside("methods")


METHOD = """
from bench.api import Method
class Mine(Method):
    number: int = 1
    def plan(self, recipe): return iter(())
"""
LAUNCHER = METHOD.replace("Method", "Launcher").replace("plan(self, recipe)", "run(self, g, s)")


@pytest.fixture
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget, before and after, the plug-in files that this process knows."""

    def forget() -> None:
        for module in [name for name in sys.modules if name.startswith(files.PREFIX)]:
            del sys.modules[module]
        files.digest.cache_clear()

    monkeypatch.setenv(files.VARIABLE, "")
    forget()
    yield
    forget()


@pytest.mark.usefixtures("no_plugins")
@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("naive", METHOD, r"naive.py: there is a method naive already, the package's own; name"),
        ("local", LAUNCHER, r"local.py: there is a launcher local already"),
        ("two", METHOD + METHOD.replace("Mine", "Yours"), "defines 2 public subclasses of Method"),
        ("no-name", METHOD, "the file name is the plug-in's name"),
        ("_private", METHOD, "the file name is the plug-in's name"),
        ("broken", "x = [\n1,\n1 / 0]", r"broken.py:3: ZeroDivisionError: division by zero"),
        (
            "untyped",
            METHOD.replace(": int", ""),
            r"untyped.py:3: PydanticUserError: A non-annotated",
        ),
    ],
)
def test_a_plugin_file_is_refused_in_one_line(
    name: str, code: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / f"{name}.py"
    file.write_text(code)
    with pytest.raises(BenchError, match=message) as refused:
        registry.plug_in([file])
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("no_plugins")
@pytest.mark.parametrize("kind", ["Launcher", "Submitter"])
def test_a_file_may_define_either_kind_of_launcher(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        f"from bench.engine.launcher import {kind}\n"
        f"class Mine({kind}):\n"
        "    def run(self, graph, store): return iter(())\n"
        "    def submit(self, graph, store): return iter(())\n"
    )
    registry.plug_in([file])
    assert registry.load("launchers", "mine", AnyLauncher).__name__ == "Mine"


@pytest.mark.usefixtures("no_plugins")
def test_a_class_that_has_the_name_of_a_base_only_is_no_plugin(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "Network = type('Network', (), {'__module__': 'bench.other'})\nclass Mine(Network): pass\n"
    )
    with pytest.raises(BenchError, match="defines 0 public subclasses of Method, Dataset, Report"):
        registry.plug_in([file])


@pytest.mark.usefixtures("no_plugins")
def test_a_network_file_does_not_take_a_name_of_ours(tmp_path: Path) -> None:
    file = tmp_path / "segresnet.py"
    file.write_text(METHOD.replace("Method", "Network").replace("plan(self, recipe)", "make(self)"))
    registry.plug_in([file])
    with pytest.raises(BenchError, match=r"segresnet.py: there is a network segresnet already"):
        parse_network("segresnet")


@pytest.mark.usefixtures("no_plugins")
def test_the_line_of_an_error_is_that_of_the_module_of_a_package(tmp_path: Path) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("from .loss import Loss\n")
    (package / "loss.py").write_text("\nimport nothing_of_that_name\n")
    with pytest.raises(BenchError, match=r"mine/loss.py:2: ModuleNotFoundError"):
        registry.plug_in([package])


@pytest.mark.usefixtures("no_plugins")
def test_a_file_given_in_two_ways_is_one_plugin(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(METHOD)
    (tmp_path / "below").mkdir()
    registry.plug_in([file, tmp_path / "below" / ".." / "mine.py"])
    assert registry.outside("methods") == ["mine"]


@pytest.mark.usefixtures("no_plugins")
def test_an_edit_of_equal_length_in_the_same_second_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.py"
    digests = []
    for number in (1, 2):
        file.write_text(METHOD.replace("= 1", f"= {number}"))
        os.utime(file, (1_000_000, 1_000_000))
        plugin = files.load(file)
        assert plugin.cls().number == number
        digests.append(files.digest(file))
        files.digest.cache_clear()
        del sys.modules[plugin.cls.__module__]
    assert digests[0] != digests[1]


def test_a_digest_knows_neither_folder_nor_date(tmp_path: Path) -> None:
    digests = set()
    for folder in ("one", "two"):
        package = tmp_path / folder / "mine"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(METHOD)
        (package / "loss.py").write_text("x = 1\n")
        digests.add(files.digest(package))
        os.utime(package / "loss.py", (1, 1))
    assert len(digests) == 1
    (package / "loss.py").write_text("x = 2\n")
    files.digest.cache_clear()
    assert files.digest(package) not in digests


def test_a_plugin_whose_path_would_be_cut_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a:b"
    folder.mkdir()
    (folder / "mine.py").write_text("raise SystemExit")
    with pytest.raises(BenchError, match=r"a:b/mine\.py: a path with : cannot be passed on"):
        files.add([folder / "mine.py"])
