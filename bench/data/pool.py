"""Threads over the cases and files of a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from bench.data.dataset import Case

HELD_AT_ONCE = 4
"""Maximum number of scans in memory: each may take gigabytes."""

ResultT = TypeVar("ResultT")


def threads(at_most: int | None = None) -> ThreadPoolExecutor:
    """Return a pool with a thread per core of this job, which may own a part of the machine."""
    from joblib import cpu_count

    return ThreadPoolExecutor(min(cpu_count(), at_most or cpu_count()))


def map_cases(
    work: Callable[[Case], ResultT],
    cases: Sequence[Case],
    progress: Callable[[int, int], None],
    at_most: int | None = None,
) -> list[ResultT]:
    """Return ``work(case)`` for every case, in order; the first error is raised.

    Threads: inflating, resampling and filtering release the interpreter lock.
    """
    results = []
    with threads(at_most) as pool:
        futures = [pool.submit(work, case) for case in cases]
        try:
            for count, future in enumerate(futures, start=1):
                results.append(future.result())
                progress(count, len(cases))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return results
