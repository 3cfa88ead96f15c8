"""Plugins by name: the file name is the plugin's name, one plugin a file.

Names and one-line summaries are read from the folder and the files' first docstring lines; a plugin
is imported only when it is asked for. Packages outside this one add plugins through the entry-point
groups ``bench.methods``, ``bench.datasets`` and ``bench.reports``; a method in a single file is
named with ``--plugin`` or in ``$BENCH_PLUGINS``, which worker processes inherit.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeVar

from bench.errors import BenchError, unknown_name

Kind = Literal["methods", "datasets", "reports"]
PluginT = TypeVar("PluginT")


PLUGINS = "BENCH_PLUGINS"
"""Files of methods outside any package, separated as in ``$PATH``."""


def plug_in(files: Iterable[Path]) -> None:
    """Make methods in files outside the package known, here and in worker processes.

    Raises
    ------
    BenchError
        A file that does not exist, whose name is no Python name, or that of a method of ours.
    """
    paths = _checked([*_plugin_files().values(), *(file.absolute() for file in files)])
    os.environ[PLUGINS] = os.pathsep.join(map(str, paths.values()))
    package = importlib.import_module("bench.methods")
    package.__path__.extend(set(plugin_folders()) - set(package.__path__))


def plugin_folders() -> set[str]:
    """Return the folders of methods outside the package."""
    return {str(path.parent) for path in _plugin_files().values()}


def names(kind: Kind) -> list[str]:
    """Return the names of all plugins of a kind, sorted."""
    return sorted(_files(kind) | _entry_points(kind))


def summary(kind: Kind, name: str) -> str:
    """Return the first docstring line of a plugin's file, without importing it if it is ours."""
    file = _files(kind).get(name)
    if file is None:
        return (_module(kind, name).__doc__ or "").strip().split("\n")[0]
    doc = ast.get_docstring(ast.parse(file.read_text())) or ""
    return doc.split("\n")[0]


def load(kind: Kind, name: str, base: type[PluginT]) -> type[PluginT]:
    """Import a plugin and return its one public subclass of ``base``.

    Raises
    ------
    BenchError
        Unknown name (with suggestions), or a file that defines no or several plugins.
    """
    module = _module(kind, name)
    found = [
        member
        for member_name, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, base)
        and member.__module__ == module.__name__
        and not member_name.startswith("_")
        and not inspect.isabstract(member)
    ]
    if len(found) != 1:
        raise BenchError(
            f"{module.__file__}: defines {len(found)} public {base.__name__} classes, must be one"
        )
    return found[0]


def _module(kind: Kind, name: str) -> ModuleType:
    if name in _files(kind):
        return importlib.import_module(f"bench.{kind}.{name}")
    external = _entry_points(kind).get(name)
    if external is None:
        raise unknown_name(kind.removesuffix("s"), name, names(kind))
    loaded = external.load()
    return loaded if isinstance(loaded, ModuleType) else importlib.import_module(loaded.__module__)


def _files(kind: Kind) -> dict[str, Path]:
    return _own_files(kind) | (_plugin_files() if kind == "methods" else {})


def _own_files(kind: Kind) -> dict[str, Path]:
    spec = find_spec(f"bench.{kind}")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    files = {file.stem: file for file in folder.glob("*.py")}
    packages = {file.parent.name: file for file in folder.glob("*/__init__.py")}
    return {name: file for name, file in (files | packages).items() if not name.startswith("_")}


def _plugin_files() -> dict[str, Path]:
    listed = os.environ.get(PLUGINS, "").split(os.pathsep)
    return _checked(Path(file) for file in listed if file)


def _checked(paths: Iterable[Path]) -> dict[str, Path]:
    """Return plugin name -> file; raise for a file that cannot be a method of its own name."""
    checked: dict[str, Path] = {}
    for path in paths:
        if not path.is_file():
            raise BenchError(f"plugin {path}: no such file")
        if path.suffix != ".py" or not path.stem.isidentifier() or path.stem.startswith("_"):
            raise BenchError(f"plugin {path}: the file name is the method's name; call it NAME.py")
        if path.stem in _own_files("methods"):
            raise BenchError(
                f"plugin {path}: a method {path.stem} exists already; name the file differently"
            )
        checked[path.stem] = path
    return checked


def _entry_points(kind: Kind) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"bench.{kind}")}
