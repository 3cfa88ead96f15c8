"""The installed command, as a user calls it: a process of its own, files in, files out."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path
from typing import NamedTuple

import helpers
import pandas as pd
import warm

PROFILE = "smoke[steps=12]"


class Answer(NamedTuple):
    """What a command printed."""

    out: str
    err: str


class Started:
    """A running ``bench``, in a process group of its own."""

    def __init__(self, *arguments: str | Path, **environment: str) -> None:
        clean = {name: text for name, text in os.environ.items() if not name.startswith("BENCH_")}
        self._folder = tempfile.TemporaryDirectory()
        self._printed = [Path(self._folder.name) / name for name in ("out", "err")]
        words = list(map(str, arguments))
        self.process = warm.start(words, clean | environment, *self._printed)

    def ended(self, code: int) -> Answer:
        """Wait for its end, check its exit code and return what it printed."""
        self.process.join(timeout=300)
        out, err = (path.read_text(encoding="utf-8") for path in self._printed)
        assert self.process.exitcode == code, f"exit code {self.process.exitcode}\n{out}\n{err}"
        return Answer(out, err)


def bench(*arguments: str | Path, code: int = 0, **environment: str) -> Answer:
    """Run ``bench`` to its end and check how it ended."""
    answer = Started(*arguments, **environment).ended(code)
    assert "Traceback" not in answer.err, answer.err
    return answer


def interrupt_in_training(*arguments: str | Path) -> None:
    """Start ``bench`` and press Ctrl-C as soon as a training has saved its state."""
    store = Path(arguments[arguments.index("--store") + 1])
    started = Started(*arguments, BENCH_CHECKPOINT_SECONDS="0")
    process = started.process
    helpers.wait_for("a saved state", lambda: saved(store) or not process.is_alive(), 120)
    assert process.pid
    os.kill(process.pid, signal.SIGINT)
    started.ended(130)
    assert saved(store), "the interruption came too late"


def saved(store: Path) -> list[Path]:
    """Return the states of trainings that are not finished."""
    return list(store.glob("Train/*/scratch/resume.pt"))


def results(store: Path) -> pd.DataFrame:
    """Return the only results table of a store."""
    (table,) = [path for path in store.glob("results/*.parquet") if path.name.count(".") == 1]
    return pd.read_parquet(table)


def key_of_model(store: Path, named: str = "*") -> str:
    """Return the key of the only training whose folder is called like ``named``."""
    (folder,) = store.glob(f"Train/{named}")
    return f"Train-{folder.name[-12:]}"
