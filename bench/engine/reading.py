"""Stages read back from their folders, which another version, or a stranger, may have written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from bench.engine.description import CodeChangedError, PlugInUnusable, is_whole, rebuild
from bench.engine.folders import key_of, title_of
from bench.engine.parsing import MAX_BYTES, UNUSABLE, parsed
from bench.errors import BenchError
from bench.files import read_bounded
from bench.stage import Stage

OTHER_VERSION = "of another version of the code"
UNREADABLE = "whose stage.json, or that of an input, is missing or wrong"
ORPHANED = "whose input is missing"
_RUN_AGAIN = "; give the `bench run` again that made it (`bench verify` names it)"


class Cause(NamedTuple):
    """Why a stage cannot be rebuilt from its folder."""

    kind: Literal["superseded", "unreadable", "orphaned", "plug-in"]
    """Of another version of the code for certain; its description or an input's is none; an
    input's folder is gone; a plug-in is wanted."""
    reason: str
    """What such stages are, such as ``of another version of the code``: they are counted by it."""
    detail: str
    """What is wrong, and with which file."""
    advice: str = ""


class Unread(NamedTuple):
    """A folder of the store from which this process cannot rebuild a stage.

    It may hold a result all the same: its receipt tells.
    """

    key: str
    title: str
    cause: Cause

    @property
    def in_doubt(self) -> bool:
        """Whether a run may find a result in it that this process cannot attribute."""
        return self.cause.kind in ("unreadable", "orphaned")


class UnreadableStageError(BenchError):
    """A stage cannot be rebuilt from its folder."""

    def __init__(self, folder: Path, cause: Cause) -> None:
        super().__init__(f"{folder}: {cause.detail}{cause.advice}")
        self.unread = Unread(key_of(folder), title_of(folder), cause)


def rebuilt(folder: Path, folders: Mapping[str, Path], seen: dict[str, Stage]) -> Stage:
    """Rebuild the stage of a folder, and those that it reads from.

    Parameters
    ----------
    folders
        All folders of the store, by key.
    seen
        Stages that were rebuilt, by key; those that are now are added.

    Raises
    ------
    UnreadableStageError
        This process cannot.
    """
    key = key_of(folder)
    if key not in seen:
        seen[key] = _read(folder, folders, seen)
    return seen[key]


def _read(folder: Path, folders: Mapping[str, Path], seen: dict[str, Stage]) -> Stage:
    path, key = folder / "stage.json", key_of(folder)

    def other(key: str) -> Stage:
        if key in seen:
            return seen[key]
        if key not in folders:
            detail = f"the folder of the input {key} is missing"
            raise UnreadableStageError(folder, Cause("orphaned", ORPHANED, detail, _RUN_AGAIN))
        return rebuilt(folders[key], folders, seen)

    def unreadable(what: str) -> UnreadableStageError:
        detail = f"{path} {what}"
        return UnreadableStageError(folder, Cause("unreadable", UNREADABLE, detail, _RUN_AGAIN))

    def foreign() -> UnreadableStageError:
        if not whole:
            return unreadable("was edited, or is of another stage or version of the code")
        advice = "; run the experiment again to compute it anew"
        return UnreadableStageError(
            folder, Cause("superseded", OTHER_VERSION, OTHER_VERSION, advice)
        )

    try:
        data = parsed(path)
        whole = is_whole(data, key)
    except FileNotFoundError:
        raise unreadable("is missing") from None
    except UNUSABLE:
        raise unreadable("is cut off or damaged") from None
    try:
        stage = rebuild(data, other)
    except PlugInUnusable as unusable:
        reason, advice = unusable.reason, unusable.advice
        raise UnreadableStageError(folder, Cause("plug-in", reason, reason, advice)) from None
    except UnreadableStageError as error:
        cause = error.unread.cause
        raise (
            foreign() if cause.kind == "superseded" else UnreadableStageError(folder, cause)
        ) from None
    except (CodeChangedError, ValidationError):
        raise foreign() from None
    except (BenchError, *UNUSABLE) as error:
        raise unreadable(f"does not make a stage: {error}") from None
    if not isinstance(stage, Stage) or stage.key != key:
        raise foreign()
    return stage


def text_of(path: Path) -> str | None:
    """Return the text of a ``stage.json``, None if there is none or it is unreadable."""
    try:
        return read_bounded(path, MAX_BYTES).decode()
    except UNUSABLE:
        return None


def is_damaged(path: Path, text: str | None, key: str) -> bool:
    """Tell whether a ``stage.json`` is there and not as this or an earlier version wrote it."""
    if text is None:
        return path.exists()
    try:
        data = json.loads(text)
        return not (is_whole(data, key) or (data["key"] == key and "sha256" not in data))
    except UNUSABLE:
        return True


def describes(text: str, stage: Stage) -> bool:
    """Tell whether a text is the ``stage.json`` of a stage, runtime parameters aside."""
    inputs = {parent.key: parent for parent in stage.inputs()}
    try:
        found = rebuild(json.loads(text), inputs.__getitem__)
    except (PlugInUnusable, BenchError, *UNUSABLE):
        return False
    return isinstance(found, Stage) and found.key == stage.key
