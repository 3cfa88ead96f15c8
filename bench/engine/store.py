"""The store: one readable folder per stage, complete exactly when its output holds a receipt.

::

    bench-store/Train/phantom-f0-a30-supervised-3f9a0c1d2b4e/
      stage.json    all parameters, the keys of the inputs, the plug-ins: enough to run it again
      out/          the result; the folder appears in one rename when it is complete
        DONE        its receipt: wall time, device, versions, sizes and checksums of the outputs
      log.txt       what the stage printed, and the traceback if it failed
      events.jsonl  one line per logged step; part of the result when it is complete
      scratch/      resume state of an interrupted run
      CLAIM         lease of the process that computes the stage now
    bench-store/damaged/DATE/Train/...      outputs that did not match their receipt

A stage without a readable receipt does not exist for its consumers, and a failure is never cached.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from filelock import SoftFileLease, Timeout
from pydantic import ValidationError

from bench.engine import claim, integrity
from bench.engine.description import CodeChangedError, PlugInUnusable, is_whole, rebuild, sealed
from bench.engine.integrity import RECEIPT
from bench.engine.misplaced import misplaced
from bench.errors import BenchError
from bench.files import read_bounded, sync, write_atomically
from bench.stage import KEY_DIGITS, Named, Stage

State = Literal["done", "damaged", "running", "failed", "interrupted", "waiting"]

OTHER_VERSION = "of another version of the code"
UNREADABLE = "whose stage.json, or that of an input, is missing or wrong"
ORPHANED = "whose input is missing"
_RUN_AGAIN = "; give the `bench run` again that made it (`bench verify` names it)"
_FAILED_IN = "--- in the jobs "
_DIVERGED = "--- diverged"
_UNFINISHED = ("FAILED", "events.jsonl")
MAX_BYTES = 2**24
"""Size of a receipt or a ``stage.json``; a receipt of a hundred thousand files has less."""
MAX_DEATHS = 3
"""Processes that may die while they compute a stage before it counts as failed."""


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
        self.unread = Unread(_key_of(folder), folder.name[: -KEY_DIGITS - 1], cause)


class _Failure(NamedTuple):
    """Why a stage failed when it was last tried, and the name of the jobs in which it was."""

    message: str
    submission: str
    diverged: bool


def default_root() -> Path:
    """Return the default folder of the store: ``$BENCH_STORE``, else ``./bench-store``."""
    return Path(os.environ.get("BENCH_STORE") or "bench-store")


class Store:
    """Stages on disk, below one root folder shared by any number of processes."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._receipts: dict[str, tuple[tuple[int, int, int], dict[str, Any] | None]] = {}
        self._folders: dict[str, Path] = {}
        self._paths: dict[str, Path] = {}

    def folder(self, stage: Named) -> Path:
        """Return the folder of a stage, ``<kind>/<title>-<digest>``."""
        if stage.key not in self._paths:
            kind, _, hexdigits = stage.key.partition("-")
            title = stage.title.replace("/", "-")  # that of a network may hold one
            self._paths[stage.key] = self.root / kind / f"{title}-{hexdigits}"
        return self._paths[stage.key]

    def out(self, stage: Named) -> Path:
        """Return the committed output folder of a stage that is done."""
        return self.folder(stage) / "out"

    def is_done(self, stage: Named) -> bool:
        """Tell whether the result of a stage is complete: its receipt is there and readable."""
        return self._receipt(stage) is not None

    def receipt(self, stage: Named) -> dict[str, Any]:
        """Return the content of ``DONE``: wall seconds, device, versions, output digests."""
        receipt = self._receipt(stage)
        if receipt is None:
            raise LookupError(f"{stage.key} is not done")
        return receipt

    def _receipt(self, stage: Named) -> dict[str, Any] | None:
        """Return the receipt, None if there is none or it is unreadable; read once per change."""
        path = f"{self.folder(stage)}/out/{RECEIPT}"  # text: asked for thousands of stages
        try:
            stat = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        state = stat.st_ino, stat.st_size, stat.st_ctime_ns
        if stage.key not in self._receipts or self._receipts[stage.key][0] != state:
            self._receipts[stage.key] = state, _read_receipt(Path(path), stage.key)
        return self._receipts[stage.key][1]

    def damage(self, stage: Named, *, thorough: bool = False, as_input: bool = False) -> str | None:
        """Return what is wrong with the output of a stage; None if nothing, or if it has none.

        Sizes of all files are compared with the receipt, and the checksums of small files.

        Parameters
        ----------
        thorough
            Compare the checksums of all files.
        as_input
            Files that were freed (:meth:`note_freed`) are wanted, too.
        """
        out = self.out(stage)
        receipt = self._receipt(stage)
        if receipt is None:
            return _unreadable(out / RECEIPT) if out.exists() else None
        if freed := self.freed(stage):
            if as_input:
                return f"{', '.join(sorted(freed))}: freed by `bench gc`"
            kept = {name: digest for name, digest in receipt["sha256"].items() if name not in freed}
            receipt = receipt | {"sha256": kept}
        return integrity.damage(out, receipt, largest=None if thorough else integrity.SMALL)

    def note_freed(self, stage: Named, path: Path) -> None:
        """Note that a file of a finished output is deleted to free its space."""
        names = sorted({*self.freed(stage), path.relative_to(self.out(stage)).as_posix()})
        write_atomically(self.folder(stage) / "FREED", json.dumps(names))

    def freed(self, stage: Named) -> set[str]:
        """Return the names of output files that were deleted to free their space."""
        try:
            return set(map(str, _parsed(self.folder(stage) / "FREED")))
        except _UNUSABLE:
            return set()

    def set_aside(self, stage: Stage) -> Path | None:
        """Move the damaged output of a stage out of the way, so that it is computed again.

        Returns
        -------
        Path or None
            Where it is now; None if another process holds the stage, or has moved it.
        """
        try:
            with self.lease(stage).acquire(blocking=False):
                return self.clear(stage)
        except Timeout:
            return None

    def clear(self, stage: Stage) -> Path | None:
        """Do as :meth:`set_aside` for the process that holds the lease of the stage."""
        folder = self.folder(stage)
        if not (folder / "out").exists():
            return None
        aside = self._new_folder_aside() / folder.relative_to(self.root)
        aside.mkdir(parents=True)
        (folder / "out").rename(aside / "out")
        with contextlib.suppress(OSError):
            shutil.copy(folder / "stage.json", aside)
        (folder / "FREED").unlink(missing_ok=True)
        self._receipts.pop(stage.key, None)
        return aside

    def clear_misplaced(self, stage: Named) -> list[str]:
        """Move away what lies in a stage's folder where something of another kind belongs.

        No process makes such things, so none is in use, and no lease is needed.

        Returns
        -------
        list of str
            What was found and where it is now, a line each.
        """
        lines = []
        for path in map(Path, misplaced(str(self.folder(stage)))):
            aside = self._new_folder_aside() / path.relative_to(self.root)
            wanted = "file" if path.is_dir() else "folder"
            aside.parent.mkdir(parents=True)
            with contextlib.suppress(FileNotFoundError):  # another process was first
                path.rename(aside)
                lines.append(f"{path} is no {wanted}; moved to {aside}")
        return lines

    def _new_folder_aside(self) -> Path:
        day = f"{time.strftime('%Y-%m-%d')}-{secrets.token_hex(3)}"
        return self.root / "damaged" / day

    def state(self, stage: Stage) -> State:
        """Return the state of a stage. A failed stage is tried again in the next run."""
        if self.damage(stage) is not None:
            return "damaged"
        if self.is_done(stage):
            return "done"
        if claim.is_held(self._claim(stage)):
            return "running"
        if self.failure(stage) is not None:
            return "failed"
        return "interrupted" if self.seconds_spent(stage) else "waiting"

    def failure(self, stage: Stage) -> str | None:
        """Return why a stage failed when it was last tried, None if it did not."""
        found = self._failure(stage)
        return None if found is None else found.message

    def failed_in(self, stage: Stage) -> str:
        """Return the name of the jobs in which a stage failed when it was last tried, if any."""
        found = self._failure(stage)
        return "" if found is None else found.submission

    def has_diverged(self, stage: Stage) -> bool:
        """Tell whether a stage failed when it was last tried because a training diverged."""
        found = self._failure(stage)
        return found is not None and found.diverged

    def _failure(self, stage: Stage) -> _Failure | None:
        try:
            text = (self.folder(stage) / "FAILED").read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        text, _, diverged = text.partition(f"\n{_DIVERGED}")
        message, _, submission = text.partition(_FAILED_IN)
        return _Failure(message.strip(), submission.strip(), bool(diverged))

    def note_failure(
        self, stage: Stage, message: str, submission: str = "", *, diverged: bool = False
    ) -> None:
        """Save the reason of a failure, and the name of the jobs in which the stage was tried.

        It is removed when the stage is done.
        """
        jobs = f"{_FAILED_IN}{submission}\n" if submission else ""
        kind = f"{_DIVERGED}\n" if diverged else ""
        write_atomically(self.folder(stage) / "FAILED", f"{message}\n{jobs}{kind}")

    def log(self, stage: Stage) -> Path:
        """Return the file with a stage's printed output; every attempt appends to it."""
        return self.folder(stage) / "log.txt"

    def events(self, stage: Stage) -> Path:
        """Return the file of a stage's logged values (:func:`bench.engine.events.read_events`)."""
        kept = self.out(stage) / "events.jsonl"
        return kept if self.is_done(stage) else self.folder(stage) / "events.jsonl"

    def scratch(self, stage: Stage) -> Path:
        """Return the folder for the resume state of an unfinished stage."""
        return self.folder(stage) / "scratch"

    def seconds_spent(self, stage: Stage) -> float:
        """Return how long an unfinished stage had computed when its state was last saved."""
        try:
            found = float(json.loads((self.scratch(stage) / "seconds.json").read_bytes()))
        except _UNUSABLE:
            return 0.0
        return found if math.isfinite(found) and found > 0 else 0.0

    def note_seconds(self, stage: Stage, seconds: float) -> None:
        """Save how long a stage has computed; called when its resume state is saved."""
        write_atomically(self.scratch(stage) / "seconds.json", json.dumps(seconds))

    def deaths(self, stage: Stage) -> int:
        """Return how many processes in a row died without a word while they computed a stage."""
        return len(list(self.folder(stage).glob("attempt.*")))

    @contextlib.contextmanager
    def attempt(self, stage: Stage) -> Iterator[None]:
        """Note an attempt; a file is left only by a process that ends inside of the block."""
        (self.folder(stage) / f"attempt.{secrets.token_hex(4)}").touch()
        try:
            yield
        finally:
            self.forgive(stage)

    def forgive(self, stage: Stage) -> None:
        """Forget the processes that died: the stage made progress, or the user tries it again."""
        for path in self.folder(stage).glob("attempt.*"):
            path.unlink(missing_ok=True)

    def register(self, stages: Iterable[Stage]) -> list[str]:
        """Write ``stage.json`` where it is missing, so that a stage's key suffices to run it.

        Returns
        -------
        list of str
            What had to be moved out of the way (:meth:`clear_misplaced`) or written anew.
        """
        mended = []
        for stage in stages:
            mended += self.clear_misplaced(stage)
            path = self.folder(stage) / "stage.json"
            found = _read_text(path)
            # Runtime parameters (the path of the data) are refreshed until the stage is done.
            if done := self.is_done(stage):
                self._tidy_after_death(stage)
            text = json.dumps(sealed(stage), indent=1, sort_keys=True)
            if done and found is not None and (found == text or self._describes(found, stage)):
                continue
            if found != text:
                if _is_damaged(path, found, stage.key):
                    mended.append(f"{path} is not as it was written; it is written anew")
                path.parent.mkdir(parents=True, exist_ok=True)
                # One that a power loss leaves empty is written anew.
                write_atomically(path, text, durable=False)
            self.forgive(stage)
        return mended

    def _describes(self, text: str, stage: Stage) -> bool:
        """Tell whether a text is the ``stage.json`` of a stage, runtime parameters aside."""
        inputs = {parent.key: parent for parent in stage.inputs()}
        try:
            found = rebuild(json.loads(text), inputs.__getitem__)
        except (PlugInUnusable, BenchError, *_UNUSABLE):
            return False
        return isinstance(found, Stage) and found.key == stage.key

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
        return [self.rebuilt(self._folder_of(key), seen) for key in keys]

    def stages(self) -> Iterator[Stage]:
        """Yield every registered stage that this version of the code can rebuild."""
        yield from self.survey()[0]

    def survey(self, known: Mapping[str, Stage] | None = None) -> tuple[list[Stage], list[Unread]]:
        """Return every stage that can be rebuilt, and what is known of the others.

        Parameters
        ----------
        known
            Stages by key that need not be read again, such as those of a plan.
        """
        seen = dict(known or {})
        stages, unread = [], []
        for folder in self.folders():
            try:
                stages.append(self.rebuilt(folder, seen))
            except UnreadableStageError as error:
                unread.append(error.unread)
        return stages, unread

    def folders(self) -> list[Path]:
        """Return the folders of all stages with a description or an output, whoever wrote them."""
        found = []
        for kind in _subfolders(self.root):
            for name in filter(_STAGE_FOLDER.fullmatch, _subfolders(f"{self.root}/{kind}")):
                path = f"{self.root}/{kind}/{name}"
                if os.path.exists(f"{path}/stage.json") or os.path.exists(f"{path}/out"):
                    found.append(self.root / kind / name)
        self._folders = {_key_of(folder): folder for folder in found}
        return found

    def lease(self, stage: Named) -> SoftFileLease:
        """Return the lease of the process that computes a stage; a dead owner's lease is free."""
        self.folder(stage).mkdir(parents=True, exist_ok=True)
        return claim.lease(self._claim(stage))

    def holder(self, stage: Named) -> claim.Holder | None:
        """Return the process that computes a stage."""
        return claim.holder(self._claim(stage))

    def commit(self, stage: Stage, made: Path, receipt: dict[str, Any]) -> bool:
        """Publish the finished output folder ``made`` with its receipt.

        The rename is the only step that others see, and it fails where there is an output: so a
        process that was suspended, and whose stage another one has computed, replaces nothing.

        Returns
        -------
        bool
            False if another process was first; ``made`` is deleted.
        """
        folder = self.folder(stage)
        if (log := folder / "events.jsonl").is_file():
            shutil.copyfile(log, made / log.name)
        for path in made.rglob("*"):
            sync(path)
        whole = integrity.sealed(receipt | integrity.contents(made))
        write_atomically(made / RECEIPT, json.dumps(whole, indent=1, sort_keys=True))
        try:
            made.rename(folder / "out")
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(made, ignore_errors=True)
            return False
        sync(folder)
        self._tidy(stage)
        return True

    def _tidy(self, stage: Stage) -> None:
        """Remove what a stage that is done needs no more; its lease is held."""
        folder = self.folder(stage)
        for name in _UNFINISHED:
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "scratch", ignore_errors=True)
        self.forgive(stage)

    def _tidy_after_death(self, stage: Stage) -> None:
        """Remove what a process left that died after its commit, if one did."""
        left = {*_UNFINISHED, "scratch", "CLAIM"}
        with contextlib.suppress(OSError), os.scandir(self.folder(stage)) as entries:
            if any(e.name in left or e.name.startswith("attempt.") for e in entries):
                with contextlib.suppress(Timeout), self.lease(stage).acquire(blocking=False):
                    self._tidy(stage)

    def _claim(self, stage: Named) -> Path:
        return self.folder(stage) / "CLAIM"

    def _folder_of(self, key: str) -> Path:
        if key not in self._folders:
            self.folders()
        if key in self._folders:
            return self._folders[key]
        kind, _, hexdigits = key.rpartition("-")
        folders = [
            folder
            for known, folder in self._folders.items()
            if known.startswith(key if kind else f"{folder.parent.name}-{hexdigits}")
            or folder.parent.name == key
        ]
        if len(folders) != 1:
            found = ", ".join(str(folder.relative_to(self.root)) for folder in folders[:4])
            raise BenchError(
                f"{key}: {len(folders)} stages in {self.root} match"
                + (f" ({found}{', ...' if len(folders) > 4 else ''})" if folders else "")
                + (f"; {'give more of the key, ' if folders else ''}`bench status` lists them")
            )
        return folders[0]

    def rebuilt(self, folder: Path, seen: dict[str, Stage]) -> Stage:
        """Rebuild the stage of a folder; ``seen`` holds those that were, by key.

        Raises
        ------
        UnreadableStageError
            This process cannot.
        """
        key = _key_of(folder)
        if key not in seen:
            seen[key] = self._read(folder, key, seen)
        return seen[key]

    def _read(self, folder: Path, key: str, seen: dict[str, Stage]) -> Stage:
        path = folder / "stage.json"

        def other(key: str) -> Stage:
            if key in seen:
                return seen[key]
            if key not in self._folders:
                detail = f"the folder of the input {key} is missing"
                raise UnreadableStageError(folder, Cause("orphaned", ORPHANED, detail, _RUN_AGAIN))
            return self.rebuilt(self._folders[key], seen)

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
            data = _parsed(path)
            whole = is_whole(data, key)
        except FileNotFoundError:
            raise unreadable("is missing") from None
        except _UNUSABLE:
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
        except (BenchError, *_UNUSABLE) as error:
            raise unreadable(f"does not make a stage: {error}") from None
        if not isinstance(stage, Stage) or stage.key != key:
            raise foreign()
        return stage


_UNUSABLE = (
    AttributeError,
    FileNotFoundError,
    ImportError,
    IsADirectoryError,
    LookupError,
    NotADirectoryError,
    RecursionError,
    TypeError,
    ValueError,
)


_STAGE_FOLDER = re.compile(rf".+-[0-9a-f]{{{KEY_DIGITS}}}", re.DOTALL)


def _key_of(folder: Path) -> str:
    return f"{folder.parent.name}-{folder.name[-KEY_DIGITS:]}"


def _subfolders(folder: Path | str) -> list[str]:
    """Return the names of the folders in a folder, sorted."""

    def is_folder(entry: os.DirEntry[str]) -> bool:
        # `entry.is_dir()` raises for a link that leads in a circle.
        return entry.is_dir(follow_symlinks=False) or os.path.isdir(entry.path)

    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if is_folder(entry))
    return []


def _parsed(path: Path) -> Any:
    return json.loads(read_bounded(path, MAX_BYTES))


def _unreadable(receipt: Path) -> str:
    """Say why a receipt is none."""
    with contextlib.suppress(OSError):
        if (size := receipt.stat().st_size) > MAX_BYTES:
            return f"{RECEIPT} has {size} bytes, must be at most {MAX_BYTES}"
    return f"{RECEIPT} is missing or unreadable"


def _read_text(path: Path) -> str | None:
    try:
        return read_bounded(path, MAX_BYTES).decode()
    except _UNUSABLE:
        return None


def _is_damaged(path: Path, text: str | None, key: str) -> bool:
    """Tell whether a ``stage.json`` is there and not as this or an earlier version wrote it."""
    if text is None:
        return path.exists()
    try:
        data = json.loads(text)
        return not (is_whole(data, key) or (data["key"] == key and "sha256" not in data))
    except _UNUSABLE:
        return True


def _read_receipt(path: Path, key: str) -> dict[str, Any] | None:
    """Return a receipt if it is that of the stage and has all that its readers need."""
    try:
        receipt = _parsed(path)
        usable = (
            receipt["key"] == key
            and isinstance(receipt["finished"], str)
            and isinstance(receipt["wall_seconds"] + receipt["peak_memory_mb"], float)
            and all(isinstance(receipt[name], str) for name in ("device", "bench", "commit"))
            and receipt["bytes"].keys() == receipt["sha256"].keys()
            and integrity.is_sealed(receipt)
        )
    except _UNUSABLE:
        return None
    return receipt if usable else None
