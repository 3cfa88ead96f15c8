"""A worker process, seen from the launcher: start it, ask it, stop it, and say why it ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import psutil

from bench.engine.deaths import reason
from bench.engine.store import Store
from bench.engine.worker import Outcome
from bench.errors import BenchError, explain
from bench.machine import memory
from bench.stage import Stage

LAST_WORDS = 64 * 1024
"""Bytes of a dead worker's error output that are kept."""

REPEATED = {"PYTHONHASHSEED": "0"}
"""The order of sets of texts is that of every other worker, or two would compute different numbers
with code that walks through one."""

STANDING = {
    psutil.STATUS_STOPPED: "is stopped (SIGSTOP): kill -CONT {pid} lets it go on",
    psutil.STATUS_TRACING_STOP: "is held by a debugger",
    psutil.STATUS_DISK_SLEEP: "waits for a disk or network file system that does not answer",
}
"""Why a process that uses no processor time cannot go on, by its status."""


class Answer(NamedTuple):
    """The end of a stage in a worker: an outcome of :func:`bench.engine.worker.run_stage`."""

    outcome: Outcome
    message: str


class WorkerProcess:
    """A process that runs one stage at a time.

    Parameters
    ----------
    store
        Where its stages are.
    environment
        Variables added to those of this process.

    Raises
    ------
    BenchError
        The process cannot be started.
    """

    def __init__(self, store: Store, environment: Mapping[str, str]) -> None:
        self._store = store
        self._ready = False
        try:
            # What libraries print below Python, and the traceback of a worker that dies.
            self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
            with _signals_held():
                self._process = subprocess.Popen(
                    # -P keeps the working directory, and a folder called datasets in it, off
                    # the path
                    [
                        *(sys.executable, "-P", "-X", "faulthandler"),
                        *("-m", "bench.engine.worker", str(store.root)),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._said,
                    text=True,
                    env=os.environ | environment | REPEATED,
                )
        except OSError as error:
            raise BenchError(f"no worker process can be started: {explain(error)}") from error
        self._seen = psutil.Process(self._process.pid)
        self._still_since, self._time_used = time.monotonic(), -1.0

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def memory(self) -> int:
        """Return the bytes of memory that it holds now."""
        try:
            return int(self._seen.memory_info().rss)
        except psutil.Error:  # it has ended
            return 0

    def ask(
        self, stage: Stage, wait_seconds: float, progress: Callable[[dict[str, Any]], None]
    ) -> Answer:
        """Let it run a stage, pass its progress on and return how the stage ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        heard, killed = self._n_said(), memory.kills()
        try:
            request = {"key": stage.key, "wait_seconds": wait_seconds}
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            for line in self._process.stdout:
                if not line.endswith("\n"):  # it died while it wrote
                    break
                answer: dict[str, Any] = json.loads(line)
                if answer["event"] == "ready":
                    self._ready = True
                elif answer["event"] == "progress":
                    progress(answer)
                else:
                    if answer["outcome"] == "failed":
                        self._last_words(stage, heard)
                    return Answer(answer["outcome"], answer["message"])
        except BrokenPipeError:
            pass
        how = reason(self._process.wait(), out_of_memory=memory.kills() > killed)
        words = self._last_words(stage, heard if self._ready else 0)
        # The last line of a traceback; a process that a signal ended leaves none.
        last = f": {words[-1].strip()}" if words and self._process.returncode > 0 else ""
        who = "the worker process" if self._ready else "the worker process could not start: it"
        return Answer("failed", f"{who} {how}{last} (log: {self._store.log(stage)})")

    def stalled(self, seconds: float) -> str | None:
        """Say why it has used no processor time for so many seconds, None if nothing holds it."""
        try:
            status, times = self._seen.status(), self._seen.cpu_times()
        except psutil.Error:  # it has ended
            return None
        used = times.user + times.system
        if status not in STANDING or used != self._time_used:
            self._still_since, self._time_used = time.monotonic(), used
            return None
        if time.monotonic() - self._still_since < seconds:
            return None
        return f"its worker (process {self.pid}) " + STANDING[status].format(pid=self.pid)

    def ask_to_stop(self) -> None:
        """Let it save its state and end; one that is stopped is continued, or it could not."""
        for number in (signal.SIGTERM, signal.SIGCONT):
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def close(self) -> None:
        """Return when it has ended, which it does when there is nothing left to ask."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._said.close()

    def _last_words(self, stage: Stage, since: int) -> list[str]:
        """Return what it wrote to its error output, and add it to the log of the stage."""
        # Not through the file object: the process writes at the same position.
        end = self._n_said()
        start = max(since, end - LAST_WORDS)
        text = os.pread(self._said.fileno(), end - start, start).decode(errors="replace")
        if text:
            with contextlib.suppress(OSError), self._store.log(stage).open("a") as log:
                log.write(text)
        return text.splitlines()

    def _n_said(self) -> int:
        return os.fstat(self._said.fileno()).st_size


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Start processes with signals held back until they can handle them (they let them through).

    Ctrl-C reaches every process of a terminal, Slurm's signals every process of a job: in its first
    second a worker would die of them.
    """
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR2}
    )
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
