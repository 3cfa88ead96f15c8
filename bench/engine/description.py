"""``stage.json``: a stage as data, and back, so that its key suffices to run it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from bench.params import Params, digest
from bench.plugins import files, registry
from bench.stage import Stage


class PlugInUnusable(Exception):  # noqa: N818 - the store adds the folder and makes it a user's error
    """The plug-in of a stage was not named by the user, or is not the one it was planned with.

    Parameters
    ----------
    reason
        Where the stage comes from, such as ``of an earlier version of the plug-in loss.py``.
    advice
        What to do, printed after the reason.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason, advice)
        self.reason, self.advice = reason, advice


class CodeChangedError(ValueError):
    """A module or a class that a description names is not in this version of the code."""


def sealed(stage: Stage) -> dict[str, Any]:
    """Return the content of ``stage.json``: the description, the key, a checksum of both."""
    data = describe(stage) | {"key": stage.key}
    return data | {"sha256": digest(data)}


def is_whole(data: Any, key: str) -> bool:
    """Tell whether parsed JSON is as :func:`sealed` wrote it for the stage of a key.

    What it says then was true of the code that wrote it. Earlier versions wrote no checksum.
    """
    if not isinstance(data, dict) or data.get("key") != key:
        return False
    rest = {name: value for name, value in data.items() if name != "sha256"}
    return bool(data.get("sha256") == digest(rest))


def describe(params: Params) -> dict[str, Any]:
    """Return the class, its module and all fields; a stage among them by its key."""
    cls = type(params)
    name = files.named(cls.__module__)
    path = files.path_of(name) if name else None
    return {
        "class": cls.__name__,
        "module": cls.__module__,
        **({"file": str(path), "source": files.digest(path)} if path else {}),
        "fields": {name: _dump(getattr(params, name)) for name in cls.model_fields},
    }


def rebuild(data: Any, stage: Callable[[str], Stage]) -> Any:
    """Return what :func:`describe` was given.

    Parameters
    ----------
    data
        Parsed JSON.
    stage
        Returns the stage of a key.

    Raises
    ------
    PlugInUnusable
        A class of a plug-in that the user did not name, that has changed, or is not installed.
    CodeChangedError
        A class that is not in this version of the code.
    AttributeError, ImportError, LookupError, RecursionError, TypeError, ValueError
        Data of another version of the code, or no description at all.
    """
    if isinstance(data, list):
        return tuple(rebuild(item, stage) for item in data)
    if not isinstance(data, dict):
        return data
    if set(data) == {"stage"}:
        return stage(data["stage"])
    if {"class", "module", "fields"} <= set(data):
        if files.named(data["module"]):
            _check_plugin(data["module"], data["file"], data["source"])
        elif not registry.may_import(data["module"]):
            raise PlugInUnusable(f"of {data['module']}, which is no installed plug-in", "")
        cls = _class(data["module"], data["class"])
        return cls.model_validate(
            {name: rebuild(value, stage) for name, value in data["fields"].items()}
        )
    return {name: rebuild(value, stage) for name, value in data.items()}


def _check_plugin(module: str, file: str, source: str) -> None:
    """Check that the user named a plug-in, and that a stage was planned with the same source.

    The file that a store names is never loaded by itself: the store may come from a stranger.
    """
    name = files.named(module)
    path = files.path_of(name) if name else None
    if path is None:
        raise PlugInUnusable(
            f"of the plug-in {file}: add --plugin {file} if you trust its code",
            "",
        )
    if files.digest(path) != source:
        raise PlugInUnusable(
            f"of an earlier version of the plug-in {path}",
            "; run the experiment again to compute it anew",
        )


@cache
def _class(module: str, name: str) -> type[Params]:
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise CodeChangedError(f"there is no module {module}") from None
        raise  # of a library that is not installed
    if found is None:
        raise CodeChangedError(f"{module} has no {name}")
    if not isinstance(found, type) or not issubclass(found, Params):
        raise ValueError(f"{module}.{name} holds no parameters")
    return found


def _dump(value: Any) -> Any:
    if isinstance(value, Stage):
        return {"stage": value.key}
    if isinstance(value, Params):
        return describe(value)
    if isinstance(value, tuple | list):
        return [_dump(item) for item in value]
    if isinstance(value, dict):
        return {name: _dump(item) for name, item in value.items()}
    return str(value) if isinstance(value, Path) else value
