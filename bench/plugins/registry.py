"""Plug-ins by name: the file name is the plug-in's name, one plug-in a file.

Names and one-line summaries are read from the folder and the files' first docstring lines; a
plug-in is imported only when it is used. Other packages add theirs through entry points
(group ``bench.methods``, ``bench.datasets`` and so on), single files through ``--plugin``
(:mod:`bench.plugins.files`).
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import EntryPoint, distributions, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeVar, get_args

from bench.errors import BenchError, unknown_name
from bench.plugins import files
from bench.plugins.files import PlugIn

Kind = Literal["methods", "networks", "datasets", "reports", "launchers", "metrics"]
PluginT = TypeVar("PluginT")

FOLDERS: dict[Kind, str] = {
    "methods": "bench.methods",
    "datasets": "bench.datasets",
    "reports": "bench.reports",
    "launchers": "bench.engine.launchers",
}
"""Folders of the package's own plug-ins. Its networks and metrics are listed in tables."""


def plug_in(paths: Iterable[Path]) -> None:
    """Register plug-ins in files outside any package, here and in worker processes.

    Raises
    ------
    BenchError
        As :func:`bench.plugins.files.add`, or a name that another plug-in has.
    """
    files.add(paths)
    for kind in get_args(Kind):
        outside(kind)


def names(kind: Kind) -> list[str]:
    """Return the names of all plug-ins of a kind, sorted."""
    return sorted({*_own_files(kind), *outside(kind)})


def outside(kind: Kind, taken: Iterable[str] = ()) -> list[str]:
    """Return the sorted names of plug-ins from outside the package.

    Parameters
    ----------
    kind
        Kind of plug-in.
    taken
        Names of the package that are not file names.

    Raises
    ------
    BenchError
        A name that this package or another plug-in uses already.
    """
    found = dict.fromkeys((*_own_files(kind), *taken), "the package's own")
    sources = {name: f"plug-in {plugin.path}" for name, plugin in _plugin_files(kind).items()}
    points = {name: _described(point) for name, point in _entry_points(kind).items()}
    for name, source in (*sources.items(), *points.items()):
        if name in found:
            raise BenchError(
                f"{source}: there is a {kind.removesuffix('s')} {name} already, {found[name]}; "
                "name one differently"
            )
        found[name] = source
    return sorted({*sources, *points})


def summary(kind: Kind, name: str) -> str:
    """Return the first docstring line of a plug-in's module, importing none of the package."""
    if (file := _own_files(kind).get(name)) is not None:
        doc = ast.get_docstring(ast.parse(file.read_text())) or ""
    else:
        doc = (_module(kind, name).__doc__ or "").strip()
    return doc.split("\n")[0]


def load(kind: Kind, name: str, base: type[PluginT]) -> type[PluginT]:
    """Import a plug-in and return its one public subclass of ``base``.

    Raises
    ------
    BenchError
        Unknown name (with suggestions), or a module that defines no or several plug-ins.
    """
    module = _module(kind, name)
    found = [
        cls
        for its_kind, cls in files.plugin_classes(module)
        if its_kind == kind and issubclass(cls, base)
    ]
    if len(found) != 1:
        raise BenchError(
            f"{module.__file__}: defines {len(found)} public {base.__name__} classes, must be one"
        )
    return found[0]


def may_import(module: str) -> bool:
    """Tell whether a module that a store names may be imported, which runs it.

    True for this package, installed packages with entry points for it, and modules that this
    process has imported already.
    """
    top = module.partition(".")[0]
    return top == "bench" or module in sys.modules or top in _packages_of_entry_points()


@cache
def _packages_of_entry_points() -> frozenset[str]:
    """Return the outermost packages that register anything in a group ``bench.*``."""
    return frozenset(
        point.module.partition(".")[0]
        for installed in distributions()
        for point in installed.entry_points
        if point.group.startswith("bench.")
    )


def _module(kind: Kind, name: str) -> ModuleType:
    if name in _own_files(kind):
        return importlib.import_module(f"{FOLDERS[kind]}.{name}")
    if (plugin := _plugin_files(kind).get(name)) is not None:
        return importlib.import_module(plugin.cls.__module__)
    if (external := _entry_points(kind).get(name)) is not None:
        try:
            loaded = external.load()
        except (ImportError, AttributeError, SyntaxError) as error:
            raise BenchError(
                f"{_described(external)}: {type(error).__name__}: {error}; fix or uninstall it"
            ) from error
        if isinstance(loaded, ModuleType):
            return loaded
        return importlib.import_module(loaded.__module__)
    raise unknown_name(kind.removesuffix("s"), name, names(kind))


def _own_files(kind: Kind) -> dict[str, Path]:
    if kind not in FOLDERS:
        return {}
    spec = find_spec(FOLDERS[kind])
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    found = {file.stem: file for file in folder.glob("*.py")}
    found |= {file.parent.name: file for file in folder.glob("*/__init__.py")}
    return {name: file for name, file in found.items() if not name.startswith("_")}


def _plugin_files(kind: Kind) -> dict[str, PlugIn]:
    return {plugin.name: plugin for plugin in files.known() if plugin.kind == kind}


def _entry_points(kind: Kind) -> dict[str, EntryPoint]:
    return _scanned(entry_points, f"bench.{kind}")


@cache
def _scanned(scan: Callable[..., Iterable[EntryPoint]], group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group; every installed package is read for it, so once."""
    return {point.name: point for point in scan(group=group)}


def _described(point: EntryPoint) -> str:
    return f"entry point {point.name} = {point.value}"
