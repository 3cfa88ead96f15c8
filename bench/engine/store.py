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
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from filelock import SoftFileLease, Timeout

from bench.engine import claim, integrity, reading
from bench.engine.attempts import Attempts
from bench.engine.description import sealed
from bench.engine.folders import key_of, matching, stage_folders
from bench.engine.integrity import RECEIPT
from bench.engine.misplaced import misplaced
from bench.engine.parsing import UNUSABLE, parsed
from bench.engine.reading import Unread, UnreadableStageError
from bench.files import sync, write_atomically
from bench.stage import Named, Stage

State = Literal["done", "damaged", "running", "failed", "interrupted", "waiting"]


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
            self._receipts[stage.key] = state, integrity.read_receipt(Path(path), stage.key)
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
            return integrity.unreadable(out / RECEIPT) if out.exists() else None
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
            return set(map(str, parsed(self.folder(stage) / "FREED")))
        except UNUSABLE:
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
        attempts = self.attempts(stage)
        if attempts.failure() is not None:
            return "failed"
        return "interrupted" if attempts.seconds() else "waiting"

    def attempts(self, stage: Stage) -> Attempts:
        """Return what the attempts at a stage have left: a failure, deaths, seconds computed."""
        return Attempts(self.folder(stage))

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
            found = reading.text_of(path)
            # Runtime parameters (the path of the data) are refreshed until the stage is done.
            if done := self.is_done(stage):
                self._tidy_after_death(stage)
            text = json.dumps(sealed(stage), indent=1, sort_keys=True)
            if done and found is not None and (found == text or reading.describes(found, stage)):
                continue
            if found != text:
                if reading.is_damaged(path, found, stage.key):
                    mended.append(f"{path} is not as it was written; it is written anew")
                path.parent.mkdir(parents=True, exist_ok=True)
                # One that a power loss leaves empty is written anew.
                write_atomically(path, text, durable=False)
            self.attempts(stage).forgive()
        return mended

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
        found = stage_folders(self.root)
        self._folders = {key_of(folder): folder for folder in found}
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
        self.attempts(stage).forget()
        return True

    def _tidy_after_death(self, stage: Stage) -> None:
        """Remove what a process left that died after its commit, if one did."""
        if (attempts := self.attempts(stage)).left_something():
            with contextlib.suppress(Timeout, OSError), self.lease(stage).acquire(blocking=False):
                attempts.forget()

    def _claim(self, stage: Named) -> Path:
        return self.folder(stage) / "CLAIM"

    def _folder_of(self, key: str) -> Path:
        if key not in self._folders:
            self.folders()
        return matching(key, self._folders, self.root)

    def rebuilt(self, folder: Path, seen: dict[str, Stage]) -> Stage:
        """Rebuild the stage of a folder; ``seen`` holds those that were, by key.

        Raises
        ------
        UnreadableStageError
            This process cannot.
        """
        return reading.rebuilt(folder, self._folders, seen)
