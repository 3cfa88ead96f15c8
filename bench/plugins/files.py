"""Plug-ins in files outside any package: loaded from their path, called by the file's name.

``--plugin FILE`` names them; ``$BENCH_PLUGINS`` carries them to worker processes.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from bench.errors import BenchError

VARIABLE = "BENCH_PLUGINS"
"""Plug-in files, separated as in ``$PATH``."""
PREFIX = "bench_plugins."
"""Of the modules that plug-in files become."""
KINDS = {
    "Method": "methods",
    "Dataset": "datasets",
    "Report": "reports",
    "Launcher": "launchers",
    "Network": "networks",
}
"""Base class, as :mod:`bench.api` exports it -> kind of plug-in."""


class PlugIn(NamedTuple):
    """The one public class of a plug-in file."""

    name: str
    kind: str
    path: Path
    cls: type


def add(files: Iterable[Path]) -> None:
    """Load plug-in files, and make them known to worker processes.

    Parameters
    ----------
    files
        A Python file, or a package (a folder with ``__init__.py``), each with one plug-in.

    Raises
    ------
    BenchError
        A file that does not exist, cannot be imported, or does not hold exactly one plug-in.
    """
    paths = [plugin.path for plugin in known()]
    for file in files:
        plugin = load(file.absolute())
        if plugin.path not in paths:
            paths.append(plugin.path)
    os.environ[VARIABLE] = os.pathsep.join(map(str, paths))


def known() -> Iterator[PlugIn]:
    """Yield the plug-ins of :data:`VARIABLE`."""
    for file in os.environ.get(VARIABLE, "").split(os.pathsep):
        if file:
            yield load(Path(file))


def load(path: Path) -> PlugIn:
    """Return the plug-in in a file, importing it the first time."""
    name = path.stem
    source = path / "__init__.py" if path.is_dir() else path
    if not source.is_file():
        raise BenchError(f"plug-in {path}: no such file")
    if not name.isidentifier() or name.startswith("_") or (path.is_file() and path.suffix != ".py"):
        raise BenchError(f"plug-in {path}: the file name is the plug-in's name; call it NAME.py")
    module = sys.modules.get(PREFIX + name)
    if module is None:
        module = _import(PREFIX + name, source)
    elif module.__file__ != str(source):
        raise BenchError(
            f"plug-in {path}: {module.__file__} has the same name; name the file differently"
        )
    return _plugin(module, name, path)


def module_file(module: str) -> Path | None:
    """Return the file or package that a module was loaded from, None if it is no plug-in file."""
    if not module.startswith(PREFIX):
        return None
    top = sys.modules[PREFIX + module.removeprefix(PREFIX).partition(".")[0]]
    path = Path(str(top.__file__))
    return path.parent if path.name == "__init__.py" else path


def _import(name: str, source: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, BenchError) or not isinstance(error, Exception):
            raise
        raise BenchError(
            f"plug-in {source}{_line(error, source)}: {type(error).__name__}: {error}"
        ) from error
    return module


def _line(error: Exception, source: Path) -> str:
    """Return where in the file an import failed, as ``:LINE``."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(source)]
    return f":{lines[-1]}" if lines else ""


def _plugin(module: ModuleType, name: str, path: Path) -> PlugIn:
    found = [
        (kind, member)
        for member_name, member in vars(module).items()
        if isinstance(member, type)
        and member.__module__ == module.__name__
        and not member_name.startswith("_")
        and not getattr(member, "__abstractmethods__", None)
        and (kind := _kind(member)) is not None
    ]
    if len(found) != 1:
        bases = ", ".join(KINDS)
        raise BenchError(
            f"plug-in {path}: defines {len(found)} public subclasses of {bases}; must be one"
        )
    ((kind, cls),) = found
    return PlugIn(name, kind, path, cls)


def _kind(cls: type) -> str | None:
    for base in cls.__mro__[1:]:
        if base.__module__.startswith("bench.") and base.__name__ in KINDS:
            return KINDS[base.__name__]
    return None
