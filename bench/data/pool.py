"""Threads over the cases and files of a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from bench.data.dataset import Case
from bench.machine import memory
from bench.machine.processor import cores

SCAN_BYTES = 4 * 2**30
"""A large scan while it is read, resampled and compared."""
ALWAYS_AT_ONCE = 4
"""Scans that threads hold on any machine: most are much smaller."""

ResultT = TypeVar("ResultT")


def threads(at_most: int | None = None) -> ThreadPoolExecutor:
    """Return a pool with a thread per core of this job, which may own a part of the machine."""
    return ThreadPoolExecutor(min(cores(), at_most or cores()))


def map_cases(
    work: Callable[[Case], ResultT],
    cases: Sequence[Case],
    progress: Callable[[int, int], None],
) -> list[ResultT]:
    """Return ``work(case)`` for every case, in order; the first error is raised.

    Threads: inflating, resampling and filtering release the interpreter lock. There are no more of
    them than scans of the largest kind fit into the memory that is free.
    """
    results = []
    with threads(max(ALWAYS_AT_ONCE, memory.available() // SCAN_BYTES)) as pool:
        futures = [pool.submit(work, case) for case in cases]
        try:
            for count, future in enumerate(futures, start=1):
                results.append(future.result())
                progress(count, len(cases))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return results
