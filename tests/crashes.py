"""End a process at each of its steps on the disk, and let the next run complete the store.

``python tests/crashes.py`` prints a line per state of the store before: by how many steps a process
completes it, and what was wrong, then or after the next run, where a process ended at one of them,
with and without the loss of what was not synced.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers import Toy, events_of, outcomes

from bench.engine.events import EventLog
from bench.engine.provenance import provenance
from bench.engine.store import Store
from bench.stage import StageContext
from bench.training.resume import load_state, save_state

STEPS = ("open", "mkdir", "rename", "replace", "link", "fsync", "unlink", "rmdir", "utime")
"""Functions of ``os`` by which a stage's life changes the disk."""
FORK = multiprocessing.get_context("fork")


class Saving(Toy):
    """Logs a value and saves its state before it writes its result."""

    def run(self, ctx: StageContext) -> None:
        if load_state(ctx.scratch / "resume.pt", ctx.key) is None:
            save_state(ctx.scratch / "resume.pt", ctx.key, b"state")
            ctx.saved()
        ctx.events.write(0, {"loss": 1.0})
        super().run(ctx)


BELOW = Toy(name="below")
ABOVE = Saving(name="above", needs=(BELOW,))


def fresh(store: Store) -> None:
    """Prepare nothing: both stages are computed."""


def failed_before(store: Store) -> None:
    """Leave what an interrupted, then a failed attempt leave."""
    events_of([BELOW], store)
    store.register([ABOVE])
    save_state(scratch(store) / "resume.pt", ABOVE.key, b"state")
    store.attempts(ABOVE).note_seconds(1.0)
    store.attempts(ABOVE).note_failure("the cable was pulled")
    EventLog(store.events(ABOVE), "above").write(0, {"loss": 2.0})
    (scratch(store) / "out.0123").mkdir()
    (scratch(store) / "out.0123" / "half").touch()


def damaged_input(store: Store) -> None:
    """Let the input be damaged, so that it is moved away and computed again."""
    events_of([BELOW], store)
    (store.out(BELOW) / "result.txt").write_text("BELOW")


def scratch(store: Store) -> Path:
    store.scratch(ABOVE).mkdir(exist_ok=True)
    return store.scratch(ABOVE)


class PowerFailure:
    """Ends this process at the n-th step; files that were not synced may lose their content."""

    def __init__(self, root: Path, at: int, *, lost: bool) -> None:
        self.count = 0
        self._root, self._at, self._lost = root, at, lost
        files = [path.stat() for path in root.rglob("*") if path.is_file()]
        self._synced = {found.st_ino: found.st_mtime_ns for found in files}
        for name in STEPS:
            setattr(os, name, functools.partial(self._step, name, getattr(os, name)))

    def _step(self, name: str, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            reads = name == "open" and not (given[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR))
            if not reads:
                if self.count == self._at:
                    self._fail()
                self.count += 1
            if name == "fsync":
                found = os.fstat(given[0])
                self._synced[found.st_ino] = found.st_mtime_ns
        return function(*given, **named)

    def _fail(self) -> None:
        if self._lost:
            for path in self._root.rglob("*"):
                found = path.stat()
                if path.is_file() and self._synced.get(found.st_ino) != found.st_mtime_ns:
                    os.truncate(path, 0)
        os._exit(9)


def live(root: Path, at: int = -1, *, lost: bool = False) -> int:
    """Bring the stages to their end in a process of its own; return the number of its steps."""
    steps = FORK.Value("i", 0)

    def work() -> None:
        failure = PowerFailure(root, at, lost=lost)
        events_of([ABOVE], Store(root))
        steps.value = failure.count

    process = FORK.Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode == (0 if steps.value else 9)
    return int(steps.value)


def grow_old(root: Path) -> None:
    """Let a day pass: what dead processes left is seen to be theirs."""
    for path in root.rglob("*"):
        os.utime(path, (0, 0))


def contents(root: Path) -> dict[str, bytes]:
    """Return what a store holds, logs without their text and receipts without times."""
    found = {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else b""
        for path in root.rglob("*")
        if "damaged" not in path.parts
    }
    told = ("DONE", "log.txt", "events.jsonl")
    return {name: b"" if name.endswith(told) else text for name, text in found.items()}


def crash(before: Callable[[Store], None], folder: Path, part: slice = slice(None)) -> list[str]:
    """Let processes that compute two stages end at steps; return what was wrong at which.

    Parameters
    ----------
    before
        Prepares the store.
    folder
        An empty folder.
    part
        Which of the steps; at every other one what was not synced is lost, at all of them both.
    """
    os.environ["BENCH_CHECKPOINT_SECONDS"] = "0"
    provenance()  # asks git once for all processes
    prepared = Store(folder / "prepared")
    before(prepared)
    prepared.root.mkdir(exist_ok=True)
    whole = folder / "whole"
    shutil.copytree(prepared.root, whole)
    n_steps = live(whole)
    expected = contents(whole), moved(whole)
    wrong = []
    both = [(step, lost) for step in range(n_steps) for lost in (False, True)]
    for step, lost in both[part]:
        store = Store(folder / f"{step}-{lost}")
        shutil.copytree(prepared.root, store.root)
        if live(store.root, step, lost=lost):
            break  # it took a step less
        where = f"step {step} of {n_steps}{', power lost' if lost else ''}"
        damaged = [store.damage(stage, thorough=True) for stage in (BELOW, ABOVE)]
        if before is not damaged_input and any(damaged):
            wrong.append(f"{where}: {damaged}")
        grow_old(store.root)
        ended = outcomes(events_of([ABOVE], store))
        if set(ended.values()) != {"done"}:
            wrong.append(f"{where}: the next run ended in {ended}")
        if contents(store.root) != expected[0]:
            names = contents(store.root).items() ^ expected[0].items()
            wrong.append(f"{where}: afterwards {sorted(name for name, _ in names)} differ")
        if moved(store.root) != expected[1]:
            wrong.append(f"{where}: {moved(store.root)} outputs were moved away")
        shutil.rmtree(store.root)
    return wrong


def moved(root: Path) -> int:
    return len(list(root.glob("damaged/*/*/*/out")))


def main() -> None:
    failed = False
    for before in (fresh, failed_before, damaged_input):
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            wrong = crash(before, Path(folder))
            n_steps = live(Path(folder) / "prepared")
        seconds = time.monotonic() - started
        print(f"{before.__name__:<14} {n_steps:>4} steps, {len(wrong)} wrong, {seconds:.0f} s")
        print(*(f"    ! {line}\n" for line in wrong), sep="", end="", flush=True)
        failed |= bool(wrong)
    sys.exit(failed)


if __name__ == "__main__":
    main()
