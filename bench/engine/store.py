"""The store: one readable folder per stage, complete exactly when its ``DONE`` file exists.

::

    bench-store/Train/phantom-f0-a30-supervised-3f9a0c1d2b4e/
      stage.json    all parameters and the keys of the inputs: enough to run the stage again
      out/          the result, moved here in one rename when it is complete
      DONE          written last: wall time, device, versions, digests of the outputs
      log.txt       what the stage printed, and the traceback if it failed
      events.jsonl  one line per logged step
      scratch/      resume state of an interrupted run
      CLAIM         lease of the process that computes the stage now

A stage without ``DONE`` does not exist for its consumers, and a failure is never cached.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from filelock import SoftFileLease

from bench.errors import BenchError
from bench.files import sync, write_atomically
from bench.params import Params
from bench.plugins import files
from bench.stage import KEY_DIGITS, Stage

LEASE_SECONDS = 60.0
HEARTBEAT_SECONDS = 10.0


class Store:
    """Stages on disk, below one root folder shared by any number of processes."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def folder(self, stage: Stage) -> Path:
        """Return the folder of a stage, ``<kind>/<title>-<digest>``."""
        kind, _, hexdigits = stage.key.partition("-")
        title = stage.title.replace("/", "-")  # that of a network may hold one
        return self.root / kind / f"{title}-{hexdigits}"

    def out(self, stage: Stage) -> Path:
        """Return the committed output folder of a stage that is done."""
        return self.folder(stage) / "out"

    def is_done(self, stage: Stage) -> bool:
        """Tell whether the result of a stage is complete."""
        return (self.folder(stage) / "DONE").is_file()

    def receipt(self, stage: Stage) -> dict[str, Any]:
        """Return what ``DONE`` recorded: wall seconds, device, versions, output digests."""
        receipt: dict[str, Any] = json.loads((self.folder(stage) / "DONE").read_text())
        return receipt

    def register(self, stages: Iterable[Stage]) -> None:
        """Write ``stage.json`` where it is missing, so that a stage's key suffices to run it."""
        for stage in stages:
            path = self.folder(stage) / "stage.json"
            # Runtime parameters (where the data lie) are refreshed until the stage is done.
            if not self.is_done(stage):
                text = json.dumps(_dump_fields(stage), indent=1, sort_keys=True)
                if not path.is_file() or path.read_text() != text:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_atomically(path, text)

    def find(self, key: str) -> Stage:
        """Rebuild a registered stage from its key or from the beginning of its digest.

        Raises
        ------
        BenchError
            No such stage, or several.
        """
        folders = sorted(self._matching(key))
        if len(folders) != 1:
            found = ", ".join(str(folder.relative_to(self.root)) for folder in folders[:4])
            raise BenchError(
                f"{key}: {len(folders)} stages in {self.root} match"
                + (f" ({found}{', ...' if len(folders) > 4 else ''})" if folders else "")
                + "; `bench status` lists them"
            )
        return self._read(folders[0], {})

    def stages(self) -> Iterator[Stage]:
        """Yield every registered stage that this version of the code can rebuild."""
        seen: dict[str, Stage] = {}
        for folder in self.folders():
            with contextlib.suppress(BenchError):
                yield self._read(folder, seen)

    def folders(self) -> list[Path]:
        """Return the folders of all registered stages, those of other versions included."""
        return sorted(path.parent for path in self.root.glob("*/*/stage.json"))

    def lease(self, stage: Stage) -> SoftFileLease:
        """Return the lease of the process that computes a stage; a dead owner's lease is free."""
        folder = self.folder(stage)
        folder.mkdir(parents=True, exist_ok=True)
        return SoftFileLease(
            folder / "CLAIM",
            lease_duration=LEASE_SECONDS,
            heartbeat_interval=HEARTBEAT_SECONDS,
            thread_local=False,
        )

    def commit(self, stage: Stage, made: Path, receipt: dict[str, Any]) -> None:
        """Publish the finished output folder ``made``; ``DONE`` is written last."""
        folder = self.folder(stage)
        for path in made.rglob("*"):
            if path.is_file():
                sync(path)
        leftover = folder / "out"
        if leftover.exists():  # renamed but never sealed: a crash between the two steps below
            shutil.rmtree(leftover)
        made.rename(leftover)
        write_atomically(folder / "DONE", json.dumps(receipt, indent=1, sort_keys=True))
        (folder / "FAILED").unlink(missing_ok=True)
        shutil.rmtree(folder / "scratch", ignore_errors=True)

    def _matching(self, key: str) -> Iterator[Path]:
        kind, _, hexdigits = key.rpartition("-")
        for path in self.root.glob(f"{kind or '*'}/*/stage.json"):
            if path.parent.name[-KEY_DIGITS:].startswith(hexdigits):
                yield path.parent

    def _read(self, folder: Path, seen: dict[str, Stage]) -> Stage:
        key = f"{folder.parent.name}-{folder.name[-KEY_DIGITS:]}"
        if key not in seen:
            text = (folder / "stage.json").read_text()
            try:
                stage = self._build(json.loads(text), seen)
            except (AttributeError, ImportError, ValueError):
                stage = None
            if not isinstance(stage, Stage) or stage.key != key:
                changed = "its plug-in has changed, " if files.PREFIX in text else ""
                raise BenchError(
                    f"{folder}: {changed}written by another version of this code, or an input was "
                    "deleted; run the experiment again to compute it anew"
                )
            seen[key] = stage
        return seen[key]

    def _build(self, data: Any, seen: dict[str, Stage]) -> Any:
        if isinstance(data, list):
            return tuple(self._build(item, seen) for item in data)
        if not isinstance(data, dict):
            return data
        if set(data) == {"stage"}:
            key = data["stage"]
            if key not in seen:
                (folder,) = self._matching(key)
                self._read(folder, seen)
            return seen[key]
        if {"class", "module", "fields"} <= set(data):
            cls = _class(data["module"], data["class"], data.get("file"))
            return cls.model_validate(
                {name: self._build(value, seen) for name, value in data["fields"].items()}
            )
        return {name: self._build(value, seen) for name, value in data.items()}


def _class(module: str, name: str, file: str | None) -> type[Params]:
    """Return a class that a ``stage.json`` names; one of a plug-in file is loaded from there."""
    if module.startswith(files.PREFIX) and module not in sys.modules:
        if file is None or not Path(file).exists():
            plugin = module.removeprefix(files.PREFIX)
            raise BenchError(f"needs the plug-in {plugin}, which is not at {file}: name --plugin")
        files.load(Path(file))
    found = getattr(importlib.import_module(module), name)
    if not isinstance(found, type) or not issubclass(found, Params):
        raise ValueError(f"{module}.{name} holds no parameters")
    return found


def _dump_fields(params: Params) -> dict[str, Any]:
    cls = type(params)
    path = files.module_file(cls.__module__)
    return {
        "class": cls.__name__,
        "module": cls.__module__,
        **({"file": str(path)} if path else {}),
        "fields": {name: _dump(getattr(params, name)) for name in cls.model_fields},
    }


def _dump(value: Any) -> Any:
    if isinstance(value, Stage):
        return {"stage": value.key}
    if isinstance(value, Params):
        return _dump_fields(value)
    if isinstance(value, tuple | list):
        return [_dump(item) for item in value]
    if isinstance(value, dict):
        return {name: _dump(item) for name, item in value.items()}
    return str(value) if isinstance(value, Path) else value
