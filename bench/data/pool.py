"""Threads over the cases of a data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from bench.data.dataset import Case

ResultT = TypeVar("ResultT")


def map_cases(
    work: Callable[[Case], ResultT],
    cases: Sequence[Case],
    progress: Callable[[int, int], None],
) -> list[ResultT]:
    """Return ``work(case)`` for every case, in order; the first error ends it.

    Threads: inflating, resampling and filtering release the interpreter lock.
    """
    results = []
    with ThreadPoolExecutor() as pool:
        futures = [pool.submit(work, case) for case in cases]
        try:
            for count, future in enumerate(futures, start=1):
                results.append(future.result())
                progress(count, len(cases))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return results
