"""Plug-ins in files outside any package: loaded from their path, named after the file.

``--plugin FILE`` loads them; ``$BENCH_PLUGINS`` passes them on to worker processes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

from typing_extensions import override

from bench.errors import BenchError

VARIABLE = "BENCH_PLUGINS"
"""Plug-in files, separated as in ``$PATH``."""
PREFIX = "bench_plugins."
"""Prefix of the module names of plug-in files."""
KINDS = {
    "bench.experiment.method.Method": "methods",
    "bench.data.dataset.Dataset": "datasets",
    "bench.reporting.report.Report": "reports",
    "bench.engine.launcher.AnyLauncher": "launchers",
    "bench.nets.network.Network": "networks",
    "bench.evaluation.metrics.Metric": "metrics",
}
"""Base class -> kind of plug-in; by name, so that listing plug-ins imports no base class."""
DIGITS = 12
"""Length of a digest of source."""


class PlugIn(NamedTuple):
    """The one public class of a plug-in file."""

    name: str
    kind: str
    path: Path
    cls: type
    unkeyed: tuple[Path, ...]
    """Files of no installed package that it imported and that its digest does not hold."""


def add(files: Iterable[Path]) -> None:
    """Load plug-in files and register them for worker processes.

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
        if os.pathsep in str(file.resolve()):
            raise BenchError(
                f"plug-in {file.resolve()}: a path with {os.pathsep} cannot be passed on to "
                "workers; move it to another folder"
            )
        plugin = load(file.resolve())
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
        digest(path)  # before the import: the code that runs is never newer than its keys
        before = set(sys.modules)
        module = _import(PREFIX + name, source)
        _unkeyed[path] = tuple(_outside(path, set(sys.modules) - before))
    elif module.__file__ != str(source):
        raise BenchError(
            f"plug-in {path}: {module.__file__} has the same name; name the file differently"
        )
    return _plugin(module, name, path)


def named(module: str) -> str | None:
    """Return the name of the plug-in file that a module was loaded from, else None."""
    return module.split(".")[1] if module.startswith(PREFIX) else None


def path_of(name: str) -> Path | None:
    """Return the file or package of a plug-in that this process has registered, else None."""
    module = sys.modules.get(PREFIX + name)
    if module is None:
        return next((plugin.path for plugin in known() if plugin.name == name), None)
    path = Path(str(module.__file__))
    return path.parent if path.name == "__init__.py" else path


def plugin_classes(module: ModuleType) -> list[tuple[str, type]]:
    """Return kind and class of the plug-ins that a module defines: public, and not abstract."""
    return [
        (kind, member)
        for name, member in vars(module).items()
        if inspect.isclass(member)
        and member.__module__ == module.__name__
        and not name.startswith("_")
        and not inspect.isabstract(member)
        and (kind := _kind(member)) is not None
    ]


@cache
def digest(path: Path) -> str:
    """Return a digest of a Python file or of all files of a package; read once per process."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    found = hashlib.sha256()
    for file in files:
        name = file.relative_to(path.parent).as_posix()
        found.update(name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:DIGITS]


_unkeyed: dict[Path, tuple[Path, ...]] = {}


def _outside(path: Path, modules: Iterable[str]) -> Iterator[Path]:
    """Yield the files of modules that are neither installed nor part of a plug-in."""
    stable = (path, Path(sysconfig.get_path("stdlib")))
    for name in sorted(modules):
        module = sys.modules.get(name)
        # Namespaces that torch makes up have a file but no origin.
        spec = getattr(module, "__spec__", None)
        if spec is None or not spec.has_location or module is sys.modules["__main__"]:
            continue
        file = Path(str(spec.origin))
        installed = name.startswith("bench.") or {"site-packages", "dist-packages"} & {*file.parts}
        if not installed and not any(file.is_relative_to(folder) for folder in stable):
            yield file


class _Loader(SourceFileLoader):
    """Compiles the current source: cached bytecode is compared by whole seconds only."""

    @override
    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _import(name: str, source: Path) -> ModuleType:
    loader = _Loader(name, str(source))
    spec = importlib.util.spec_from_file_location(name, source, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, BenchError) or not isinstance(error, Exception | SystemExit):
            raise
        message = str(error).partition("\n")[0]
        raise BenchError(
            f"plug-in {_place(error, source)}: {type(error).__name__}: {message}"
        ) from error
    return module


def _place(error: BaseException, source: Path) -> str:
    """Return where in a plug-in an import failed, as ``FILE:LINE``."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    own = source.parent if source.name == "__init__.py" else source
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if Path(frame.filename).is_relative_to(own)]
    return f"{inside[-1].filename}:{inside[-1].lineno}" if inside else str(source)


def _plugin(module: ModuleType, name: str, path: Path) -> PlugIn:
    found = plugin_classes(module)
    if len(found) != 1:
        bases = ", ".join(kind.removesuffix("s").capitalize() for kind in KINDS.values())
        raise BenchError(
            f"plug-in {path}: defines {len(found)} public subclasses of {bases}; must be one"
        )
    ((kind, cls),) = found
    return PlugIn(name, kind, path, cls, _unkeyed.get(path, ()))


def _kind(cls: type) -> str | None:
    bases = (f"{base.__module__}.{base.__qualname__}" for base in cls.__mro__[1:])
    return next((KINDS[base] for base in bases if base in KINDS), None)
