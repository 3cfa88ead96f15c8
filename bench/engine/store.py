"""The store: one readable folder per stage, complete exactly when its ``DONE`` file exists.

::

    bench-store/Train/phantom-f0-a30-supervised-3f9a0c1d2b4e/
      stage.json    all parameters, the keys of the inputs, the plug-ins: enough to run it again
      out/          the result, moved here in one rename when it is complete
      DONE          written last: wall time, device, versions, digests of the outputs
      log.txt       what the stage printed, and the traceback if it failed
      events.jsonl  one line per logged step
      scratch/      resume state of an interrupted run
      CLAIM         lease of the process that computes the stage now

A stage without ``DONE`` does not exist for its consumers, and a failure is never cached.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from glob import escape
from pathlib import Path
from typing import Any, Literal

from filelock import SoftFileLease, Timeout

from bench.errors import BenchError
from bench.files import sync, write_atomically
from bench.params import Params
from bench.plugins import files, registry
from bench.stage import KEY_DIGITS, Stage

State = Literal["done", "running", "failed", "interrupted", "waiting"]

LEASE_SECONDS = 60.0
HEARTBEAT_SECONDS = 10.0


class UnreadableStageError(BenchError):
    """A folder of the store from which this process cannot rebuild a stage.

    Parameters
    ----------
    folder
        Folder of the stage.
    reason
        Where the stage comes from, such as ``of another version of the code``; stages with equal
        reasons are counted together.
    advice
        What to do, printed after the reason.
    """

    def __init__(self, folder: Path, reason: str, advice: str) -> None:
        super().__init__(f"{folder}: {reason}{advice}")
        self.reason = reason


def default_root() -> Path:
    """Return the default folder of the store: ``$BENCH_STORE``, else ``./bench-store``."""
    return Path(os.environ.get("BENCH_STORE") or "bench-store")


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
        """Return the content of ``DONE``: wall seconds, device, versions, output digests."""
        receipt: dict[str, Any] = json.loads((self.folder(stage) / "DONE").read_text())
        return receipt

    def state(self, stage: Stage) -> State:
        """Return the state of a stage. A failed stage is tried again in the next run."""
        if self.is_done(stage):
            return "done"
        if self._is_claimed(stage):
            return "running"
        if self.failure(stage) is not None:
            return "failed"
        return "interrupted" if self.seconds_spent(stage) else "waiting"

    def failure(self, stage: Stage) -> str | None:
        """Return why a stage failed when it was last tried, None if it did not."""
        path = self.folder(stage) / "FAILED"
        return path.read_text().strip() if path.is_file() else None

    def note_failure(self, stage: Stage, message: str) -> None:
        """Save the reason of a failure; it is removed when the stage is done."""
        write_atomically(self.folder(stage) / "FAILED", message + "\n")

    def log(self, stage: Stage) -> Path:
        """Return the file with a stage's printed output; every attempt appends to it."""
        return self.folder(stage) / "log.txt"

    def events(self, stage: Stage) -> Path:
        """Return the file of a stage's logged values (:func:`bench.engine.events.read_events`)."""
        return self.folder(stage) / "events.jsonl"

    def scratch(self, stage: Stage) -> Path:
        """Return the folder for the resume state of an unfinished stage."""
        return self.folder(stage) / "scratch"

    def seconds_spent(self, stage: Stage) -> float:
        """Return how long an unfinished stage had computed when its state was last saved."""
        path = self.scratch(stage) / "seconds.json"
        return float(json.loads(path.read_text())) if path.is_file() else 0.0

    def note_seconds(self, stage: Stage, seconds: float) -> None:
        """Save how long a stage has computed; called when its resume state is saved."""
        write_atomically(self.scratch(stage) / "seconds.json", json.dumps(seconds))

    def register(self, stages: Iterable[Stage]) -> None:
        """Write ``stage.json`` where it is missing, so that a stage's key suffices to run it."""
        for stage in stages:
            path = self.folder(stage) / "stage.json"
            # Runtime parameters (the path of the data) are refreshed until the stage is done.
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
        (stage,) = self.find_all([key])
        return stage

    def find_all(self, keys: Iterable[str]) -> list[Stage]:
        """Rebuild several stages, reading the inputs that they share once.

        Raises
        ------
        BenchError
            As :meth:`find`.
        """
        seen: dict[str, Stage] = {}
        return [self._read(self._folder_of(key), seen) for key in keys]

    def stages(self) -> Iterator[Stage]:
        """Yield every registered stage that this version of the code can rebuild."""
        yield from self.survey()[0]

    def survey(self) -> tuple[list[Stage], Counter[str]]:
        """Return every stage that can be rebuilt, and the number of others by reason."""
        seen: dict[str, Stage] = {}
        reasons: Counter[str] = Counter()
        stages = []
        for folder in self.folders():
            try:
                stages.append(self._read(folder, seen))
            except UnreadableStageError as error:
                reasons[error.reason] += 1
        return stages, reasons

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

    def _is_claimed(self, stage: Stage) -> bool:
        if not (self.folder(stage) / "CLAIM").exists():
            return False
        lease = self.lease(stage)
        try:
            lease.acquire(blocking=False)
        except Timeout:
            return True
        lease.release()
        return False

    def _folder_of(self, key: str) -> Path:
        folders = sorted(self._matching(key))
        if len(folders) != 1:
            found = ", ".join(str(folder.relative_to(self.root)) for folder in folders[:4])
            raise BenchError(
                f"{key}: {len(folders)} stages in {self.root} match"
                + (f" ({found}{', ...' if len(folders) > 4 else ''})" if folders else "")
                + "; `bench status` lists them"
            )
        return folders[0]

    def _matching(self, key: str) -> Iterator[Path]:
        if os.sep in key:  # part of a path, which could lead out of the store
            return
        kind, _, hexdigits = key.rpartition("-")
        for path in self.root.glob(f"{escape(kind) or '*'}/*-{escape(hexdigits)}*/stage.json"):
            if path.parent.name[-KEY_DIGITS:].startswith(hexdigits):
                yield path.parent

    def _read(self, folder: Path, seen: dict[str, Stage]) -> Stage:
        key = f"{folder.parent.name}-{folder.name[-KEY_DIGITS:]}"
        if key not in seen:
            foreign = UnreadableStageError(
                folder,
                "of another version of the code",
                ", or an input was deleted; run the experiment again to compute it anew",
            )
            try:
                stage = self._build(json.loads((folder / "stage.json").read_text()), seen)
            except _WITHOUT_SENSE:
                raise foreign from None
            except _PluginUnusable as unusable:
                raise UnreadableStageError(folder, *unusable.args) from None
            if not isinstance(stage, Stage) or stage.key != key:
                raise foreign
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
            if files.named(data["module"]):
                _check_plugin(data["module"], data["file"], data["source"])
            elif not registry.may_import(data["module"]):
                raise ValueError(f"{data['module']} is not from an installed plug-in")
            cls = _class(data["module"], data["class"])
            return cls.model_validate(
                {name: self._build(value, seen) for name, value in data["fields"].items()}
            )
        return {name: self._build(value, seen) for name, value in data.items()}


_WITHOUT_SENSE = (AttributeError, ImportError, LookupError, RecursionError, TypeError, ValueError)
"""What a ``stage.json`` can raise that this version of the code did not write."""


class _PluginUnusable(Exception):  # noqa: N818 - becomes an UnreadableStageError
    """Holds its reason and advice."""


def _check_plugin(module: str, file: str, source: str) -> None:
    """Check that the user named a plug-in, and that a stage was planned with the same source.

    The file that a store names is never loaded by itself: the store may come from a stranger.
    """
    name = files.named(module)
    path = files.path_of(name) if name else None
    if path is None:
        raise _PluginUnusable(
            f"of the plug-in {file}: add --plugin {file} if you trust its code",
            "",
        )
    if files.digest(path) != source:
        raise _PluginUnusable(
            f"of an earlier version of the plug-in {path}",
            "; run the experiment again to compute it anew",
        )


def _class(module: str, name: str) -> type[Params]:
    found = getattr(importlib.import_module(module), name)
    if not isinstance(found, type) or not issubclass(found, Params):
        raise ValueError(f"{module}.{name} holds no parameters")
    return found


def _dump_fields(params: Params) -> dict[str, Any]:
    cls = type(params)
    name = files.named(cls.__module__)
    path = files.path_of(name) if name else None
    return {
        "class": cls.__name__,
        "module": cls.__module__,
        **({"file": str(path), "source": files.digest(path)} if path else {}),
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
