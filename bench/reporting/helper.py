"""A process beside this one, which draws what a report shows while this one computes it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

    from loky import ProcessPoolExecutor

T = TypeVar("T")
RARELY = 20_000, 20, 20
"""Objects made between two collections, and these between two of older ones."""
IDLE_S = 60
"""Seconds without work after which it ends, also where this process was killed."""
_HELPER: ContextVar[ProcessPoolExecutor | None] = ContextVar("helper", default=None)


@contextmanager
def helper() -> Iterator[None]:
    """Have a second process for what is started in the block, where there is a core for it."""
    from loky import cpu_count

    with _rare_collection():
        process = _started() if cpu_count() > 1 else None
        token = _HELPER.set(process)
        try:
            yield
        finally:
            _HELPER.reset(token)
            if process is not None:
                process.shutdown(kill_workers=True)


def _started() -> ProcessPoolExecutor | None:
    """Return a process that prepares itself; None where the system allows no further one."""
    from loky import ProcessPoolExecutor

    try:
        process = ProcessPoolExecutor(max_workers=1, timeout=IDLE_S)
        process.submit(_prepare)
    except OSError:
        return None
    return process


@contextmanager
def _rare_collection() -> Iterator[None]:
    """Look for garbage rarely: figures are many objects that refer to each other, and all live."""
    usual = gc.get_threshold()
    gc.set_threshold(*RARELY)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def start(work: Callable[[], T]) -> Callable[[], T]:
    """Let the helper begin with work, and return what gives its result.

    Without a helper, or if that has not come to it by then or is gone, it is done where it is asked
    for.
    """
    process = _HELPER.get()
    if process is None:
        return cache(work)
    try:
        future: Future[T] = process.submit(work)
    except BrokenProcessPool:
        return cache(work)

    def result() -> T:
        if future.cancel():
            return work()
        try:
            return future.result()
        except BrokenProcessPool:  # killed, for lack of memory say
            return work()

    return cache(result)


def _prepare() -> None:
    """Import what takes longest before there is work."""
    gc.set_threshold(*RARELY)
    import matplotlib.pyplot  # noqa: F401

    import bench.reporting.column  # noqa: F401
