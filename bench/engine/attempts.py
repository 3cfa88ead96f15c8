"""What the attempts at a stage leave in its folder until it is done.

::

    FAILED            why the last one failed
    events.jsonl      what it logged
    scratch/          the state that the next one resumes, and the seconds it took to get there
    attempt.<digits>  an attempt whose process runs, or died without a word
    CLAIM             the lease of that process
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.engine.parsing import UNUSABLE, parsed
from bench.files import write_atomically

MAX_DEATHS = 3
"""Processes that may die while they compute a stage before it counts as failed."""

_FAILED_IN = "--- in the jobs "
_DIVERGED = "--- diverged"
_FILES = ("FAILED", "events.jsonl")


class Failure(NamedTuple):
    """Why a stage failed when it was last tried."""

    message: str
    submission: str
    """Name of the jobs in which it was tried, empty if it was in none."""
    diverged: bool
    """Whether a training diverged."""


class Attempts:
    """The attempts at one stage.

    Parameters
    ----------
    folder
        The folder of the stage.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seconds = folder / "scratch" / "seconds.json"

    def failure(self) -> Failure | None:
        """Return why the stage failed when it was last tried, None if it did not."""
        try:
            text = (self._folder / "FAILED").read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        text, _, diverged = text.partition(f"\n{_DIVERGED}")
        message, _, submission = text.partition(_FAILED_IN)
        return Failure(message.strip(), submission.strip(), bool(diverged))

    def why_failed(self) -> str | None:
        """Return the message of :meth:`failure`, None if there is none."""
        failure = self.failure()
        return None if failure is None else failure.message

    def note_failure(self, message: str, submission: str = "", *, diverged: bool = False) -> None:
        """Save the reason of a failure, and the name of the jobs in which the stage was tried."""
        jobs = f"{_FAILED_IN}{submission}\n" if submission else ""
        kind = f"{_DIVERGED}\n" if diverged else ""
        write_atomically(self._folder / "FAILED", f"{message}\n{jobs}{kind}")

    def seconds(self) -> float:
        """Return how long the stage had computed when its state was last saved."""
        try:
            found = float(parsed(self._seconds))
        except UNUSABLE:
            return 0.0
        return found if math.isfinite(found) and found > 0 else 0.0

    def note_seconds(self, seconds: float) -> None:
        """Save how long the stage has computed; called when its resume state is saved."""
        write_atomically(self._seconds, json.dumps(seconds))

    def deaths(self) -> int:
        """Return how many processes in a row died without a word while they computed the stage."""
        return len(list(self._folder.glob("attempt.*")))

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note an attempt; a file is left only by a process that ends inside of the block."""
        (self._folder / f"attempt.{secrets.token_hex(4)}").touch()
        try:
            yield
        finally:
            self.forgive()

    def forgive(self) -> None:
        """Forget the processes that died: the stage made progress, or the user tries it again."""
        for path in self._folder.glob("attempt.*"):
            path.unlink(missing_ok=True)

    def left_something(self) -> bool:
        """Tell whether any of this is there, a lease included."""
        left = {*_FILES, "scratch", "CLAIM"}
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            return any(e.name in left or e.name.startswith("attempt.") for e in entries)
        return False

    def forget(self) -> None:
        """Remove what a stage that is done needs no more; its lease is held."""
        for name in _FILES:
            (self._folder / name).unlink(missing_ok=True)
        shutil.rmtree(self._folder / "scratch", ignore_errors=True)
        self.forgive()
