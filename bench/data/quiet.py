"""Keep warnings of libraries quiet, in any number of threads at once."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside: list[warnings.catch_warnings[None]] = []
"""The one catcher while any thread is inside, once for each of them."""


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore warnings inside the block.

    :func:`warnings.catch_warnings` keeps and brings back filters that all threads share: two that
    overlap would leave those of the block behind, and no warning would ever be seen again.
    """
    with _lock:
        catcher = _inside[0] if _inside else warnings.catch_warnings()
        if not _inside:
            catcher.__enter__()
            warnings.simplefilter("ignore")
        _inside.append(catcher)
    try:
        yield
    finally:
        with _lock:
            _inside.pop()
            if not _inside:
                catcher.__exit__(None, None, None)
