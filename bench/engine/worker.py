"""Run one stage: take its lease, compute, commit. As a program: run the stages a launcher names.

The loop reads one JSON request per line from standard input and answers with JSON lines on standard
output; what the stages themselves print goes to their ``log.txt``.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from filelock import Timeout

from bench.engine import claim
from bench.engine.attempts import MAX_DEATHS
from bench.engine.devices import torch_device
from bench.engine.events import EventLog
from bench.engine.provenance import provenance
from bench.engine.store import Store
from bench.errors import BenchError, DivergedError, explain
from bench.files import sweep, with_folders
from bench.machine.processor import has_bf16
from bench.stage import Stage

if TYPE_CHECKING:
    import torch

Ended = Literal["done", "damaged", "failed", "refused", "interrupted"]
"""`refused`: an error the user can fix, such as bad data; `failed`: any other exception."""
Outcome = Ended | Literal["busy"]
Reporter = Callable[[int, int, str], None]

CHECKPOINT_SECONDS = 60.0
SUBMISSION = "BENCH_SUBMISSION"
"""Environment variable with the name of the jobs that a worker belongs to: what failed in one of
them would fail in the others."""
_stop = threading.Event()


class Interrupted(Exception):  # noqa: N818 - no error: the stage goes on later
    """The process was asked to stop; the stage saved its state and resumes in the next run."""


class RunContext:
    """The :class:`bench.stage.StageContext` of a stage running from a store."""

    def __init__(self, store: Store, stage: Stage, out: Path, report: Reporter) -> None:
        folder = store.folder(stage)
        self.key = stage.key
        self.out = out
        self.scratch = store.scratch(stage)
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.checkpoint_seconds = _checkpoint_seconds()
        self.events = EventLog(store.events(stage), f"{folder.parent.name}/{folder.name}")
        self._inputs = {parent.key: store.out(parent) for parent in stage.inputs()}
        self._report = report
        self._saved_at = time.monotonic()
        self._earlier_seconds = store.attempts(stage).seconds()
        self._started = time.monotonic()
        self._store, self._stage = store, stage

    @property
    def seconds(self) -> float:
        """Seconds spent on the stage, those before its last interruption included."""
        return self._earlier_seconds + time.monotonic() - self._started

    @property
    def device(self) -> torch.device:
        """The first visible GPU, or the CPU."""
        return torch_device()

    def input(self, stage: Stage) -> Path:
        """Return the committed output of a direct input; any other stage is refused."""
        if stage.key not in self._inputs:
            known = ", ".join(self._inputs) or "none"
            raise LookupError(
                f"{stage.key} is not a direct input of this stage (its inputs: {known})"
            )
        return self._inputs[stage.key]

    def tick(self, done: int, total: int, note: str = "") -> None:
        """Report progress to the launcher; a process asked to stop ends the stage here."""
        if _stop.is_set():
            raise Interrupted
        self._report(done, total, note)

    def save_due(self) -> bool:
        """Tell whether the stage should save its resume state now."""
        return _stop.is_set() or time.monotonic() - self._saved_at >= self.checkpoint_seconds

    def saved(self) -> None:
        """Note that the state is on disk; stops the stage here if the process was asked to stop."""
        self._saved_at = time.monotonic()
        attempts = self._store.attempts(self._stage)
        attempts.note_seconds(self.seconds)
        attempts.forgive()
        if _stop.is_set():
            raise Interrupted


def _checkpoint_seconds() -> float:
    given = os.environ.get("BENCH_CHECKPOINT_SECONDS")
    if given is None:
        return CHECKPOINT_SECONDS
    with contextlib.suppress(ValueError):
        if (seconds := float(given)) >= 0:
            return seconds
    raise BenchError(f"BENCH_CHECKPOINT_SECONDS={given}: write seconds, such as 60")


def run_stage(
    store: Store, stage: Stage, report: Reporter = lambda *_: None, wait_seconds: float = 0.0
) -> tuple[Outcome, str]:
    """Run one stage and return the outcome with a one-line message.

    `busy` means that another process computes the stage; ``wait_seconds`` is how long to wait.
    `damaged` means that an input was not as its receipt says: it was moved away, and has to be
    computed again before this stage.
    """
    if store.is_done(stage):
        return "done", "already done"
    for line in store.clear_misplaced(stage):
        print(f"damaged: {line}", file=sys.stderr)
    lease = store.lease(stage)
    try:
        lease.acquire(timeout=wait_seconds, poll_interval=0.5, cancel_check=_stop.is_set)
    except Timeout:
        return "busy", f"{store.holder(stage) or 'another process'} computes it"
    try:
        if store.is_done(stage):  # finished by the process that held the lease before us
            return "done", "already done"
        if damage := _set_damaged_inputs_aside(store, stage):
            return "damaged", damage
        attempts = store.attempts(stage)
        submission, failure = os.environ.get(SUBMISSION, ""), attempts.failure()
        if submission and failure is not None and failure.submission == submission:
            return "failed", (
                f"{failure.message} (in another worker of these jobs; they do not try it "
                "again, a new command does)"
            )
        if attempts.deaths() >= MAX_DEATHS:
            message = (
                f"{MAX_DEATHS} processes in a row ended without a word while they computed it; "
                f"its log is {store.log(stage)}; give the command again to try once more"
            )
            _note_failure(store, stage, message)
            return "failed", message
        with attempts.noted():
            return _compute(store, stage, report, lambda: not claim.is_ours(lease))
    finally:
        lease.release()


def _set_damaged_inputs_aside(store: Store, stage: Stage) -> str:
    """Compare every input with its receipt; return what was wrong, an empty text if nothing."""
    found = []
    for parent in stage.inputs():
        damage = store.damage(parent, thorough=True, as_input=True)
        if damage is not None:
            found.append(f"{damage}; {set_aside(store, parent)}")
        elif not store.is_done(parent):
            found.append(f"the output of {parent.key} is gone; it is computed again")
    return ", ".join(found)


def set_aside(store: Store, stage: Stage) -> str:
    """Move the damaged output of a stage away, and say what became of it."""
    if aside := store.set_aside(stage):
        return f"moved to {aside}, is computed again"
    if store.out(stage).exists():  # not moved: the lease was taken
        return f"{store.holder(stage) or 'another process'} computes it again"
    return "is computed again"


def _compute(
    store: Store, stage: Stage, report: Reporter, lost_lease: Callable[[], bool]
) -> tuple[Outcome, str]:
    scratch, log_file = store.scratch(stage), store.log(stage)
    store.clear(stage)
    for folder in (store.folder(stage), *with_folders(scratch)):
        sweep(folder, older_than=claim.LEASE_SECONDS)
    for abandoned in scratch.glob("out.*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    # A new name: a process that was suspended past its lease never mixes with its successor.
    out = scratch / f"out.{secrets.token_hex(4)}"
    out.mkdir(parents=True)
    with log_file.open("a", buffering=1) as log, _output_to(log):
        print(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {stage.key} pid {os.getpid()}")
        try:
            context = RunContext(store, stage, out, report)
            with closing(context.events), _peak_memory(stage) as peak_mb:
                stage.run(context)
            receipt = {
                "key": stage.key,
                "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "wall_seconds": round(context.seconds, 3),
                "peak_memory_mb": round(peak_mb(), 1),
                "device": _device_name(stage),
                **provenance(),
            }
            if not lost_lease() and store.commit(stage, out, receipt):
                return "done", ""
        except Interrupted:
            return "interrupted", "stopped; goes on from its last checkpoint"
        except Exception as error:
            if not store.is_done(stage) and not lost_lease():
                return _failed(store, stage, error)
    # This process was suspended for longer than a lease lasts.
    if store.is_done(stage):
        return "done", "already done"
    return "busy", f"{store.holder(stage) or 'another process'} took it over"


def _failed(store: Store, stage: Stage, error: Exception) -> tuple[Outcome, str]:
    if isinstance(error, BenchError):
        print(f"refused: {error}")
        _note_failure(store, stage, str(error), diverged=isinstance(error, DivergedError))
        return "refused", str(error)
    traceback.print_exception(error)
    if gone := [parent.key for parent in stage.inputs() if not store.is_done(parent)]:
        return "damaged", f"the output of {', '.join(gone)} is gone; it is computed again"
    outcome: Ended = "failed"
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno is not None:
        outcome, message = "refused", explain(error)
    _note_failure(store, stage, message)
    return outcome, f"{message} (log: {store.log(stage)})"


def _note_failure(store: Store, stage: Stage, message: str, *, diverged: bool = False) -> None:
    with contextlib.suppress(OSError):  # the disk may be full, which is why it failed
        submission = os.environ.get(SUBMISSION, "")
        store.attempts(stage).note_failure(message, submission, diverged=diverged)


@contextlib.contextmanager
def _output_to(log: IO[str]) -> Iterator[None]:
    with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        yield


@contextlib.contextmanager
def _peak_memory(stage: Stage) -> Iterator[Callable[[], float]]:
    """Measure the peak of device memory of a stage on a GPU, of this process's memory otherwise."""
    import psutil

    process = psutil.Process()
    peak = [process.memory_info().rss]
    finished = threading.Event()

    def sample() -> None:
        while not finished.wait(0.5):
            peak[0] = max(peak[0], process.memory_info().rss)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    if (torch := _torch_on_gpu(stage)) is not None:
        torch.cuda.reset_peak_memory_stats()

    def peak_mb() -> float:
        # Looked up again: the first stage of a process has imported torch by now.
        if (torch := _torch_on_gpu(stage)) is not None:
            return float(torch.cuda.max_memory_allocated()) / 2**20
        return float(peak[0]) / 2**20

    try:
        yield peak_mb
    finally:
        finished.set()
        sampler.join()


def _device_name(stage: Stage) -> str:
    if not stage.uses_accelerator or "torch" not in sys.modules:
        return "cpu"
    if (torch := _torch_on_gpu(stage)) is not None:
        return str(torch.cuda.get_device_name())
    return "cpu" if has_bf16() else "cpu without bf16"


def _torch_on_gpu(stage: Stage) -> Any:
    """Return torch if this process has loaded it and the stage computes on a GPU, else None."""
    torch = sys.modules.get("torch") if stage.uses_accelerator else None
    return torch if torch is not None and torch.cuda.is_available() else None


def serve(store: Store, requests: IO[str], answers: IO[str]) -> None:
    """Answer run requests until standard input closes."""

    def answer(**message: Any) -> None:
        try:
            answers.write(json.dumps(message) + "\n")
            answers.flush()
        except BrokenPipeError:  # the launcher is gone: save and stop
            request_stop()

    answer(event="ready")
    for line in requests:
        request = json.loads(line)
        key = request["key"]
        last = [0.0]

        def report(
            done: int, total: int, note: str, key: str = key, last: list[float] = last
        ) -> None:
            if time.monotonic() - last[0] >= 0.5 or done == total:
                last[0] = time.monotonic()
                answer(event="progress", key=key, done=done, total=total, note=note)

        outcome, message = _answer(store, key, report, request["wait_seconds"])
        answer(event="end", key=key, outcome=outcome, message=message)
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()
        if _stop.is_set():
            return


def _answer(store: Store, key: str, report: Reporter, wait_seconds: float) -> tuple[Outcome, str]:
    """Run one stage; whatever goes wrong around it is the answer, not the end of the process."""
    if _stop.is_set():
        return "interrupted", "stopped before it began"
    try:
        return run_stage(store, store.find(key), report, wait_seconds)
    except BenchError as error:
        return "refused", str(error)
    except OSError as error:
        return "refused", explain(error)
    except Exception as error:
        traceback.print_exc()
        return "failed", f"{type(error).__name__}: {error}"


def request_stop(*_signal: object) -> None:
    """Ask the running stage to save its state and stop at its next step."""
    _stop.set()


def _stop_when_orphaned() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1.0)
    request_stop()


def main() -> None:
    """Serve the launcher that started this process."""
    # The launcher decides what Ctrl-C means, and an orphan of a closed terminal saves first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGUSR2, request_stop)  # Slurm's, near the time limit, to all of a job
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the launcher has held them back until now
    threading.Thread(target=_stop_when_orphaned, daemon=True).start()
    # Output that a library prints below Python must not mix with the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(Store(Path(sys.argv[1])), sys.stdin, answers)


if __name__ == "__main__":
    main()
