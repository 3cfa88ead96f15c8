"""The installed command, as a user calls it: a process of its own, files in, files out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import helpers
import pandas as pd

COMMAND = Path(sys.executable).with_name("bench")
PROFILE = "smoke[steps=12]"


class Answer(NamedTuple):
    """What a command printed."""

    out: str
    err: str


def start(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """Start ``bench`` in a process group of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
    return subprocess.Popen(
        [COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean | environment,
        start_new_session=True,
        # A runner in the background ignores Ctrl-C, and so would everything it starts.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def bench(*arguments: str | Path, code: int = 0, **environment: str) -> Answer:
    """Run ``bench`` to its end and check how it ended."""
    process = start(*arguments, **environment)
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
    assert "Traceback" not in err, err
    return Answer(out, err)


def interrupt_in_training(*arguments: str | Path) -> None:
    """Start ``bench`` and press Ctrl-C as soon as a training has saved its state."""
    store = Path(arguments[arguments.index("--store") + 1])
    process = start(*arguments, BENCH_CHECKPOINT_SECONDS="0")
    helpers.wait_for("a saved state", lambda: saved(store) or process.poll() is not None, 120)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, f"exit code {process.returncode}\n{out}\n{err}"
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
