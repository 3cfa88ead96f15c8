"""The identity of a data set's content: a digest of its case list and files.

File digests are remembered by path, size and modification time, so a data set is read through once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.data.dataset import Case, Dataset
from bench.data.pool import threads
from bench.errors import BenchError
from bench.files import file_size, write_atomically
from bench.params import digest


def fingerprint(
    dataset: Dataset,
    cases: Sequence[Case],
    memory: Path,
    progress: Callable[[int, int], None] = lambda *_: None,
    *,
    remember: bool = True,
) -> str:
    """Return the SHA-256 over the cases, their flags and the content of their files.

    ``memory`` is the JSON file in which digests of unchanged files are kept, if ``remember``.
    """
    known: dict[str, str] = json.loads(memory.read_text()) if memory.is_file() else {}
    files = [path for case in cases for path in dataset.files(case)]
    fresh: dict[str, str] = {}

    def file_digest(path: Path) -> str:
        file_size(path)  # refuses what is no file and may never end
        try:
            stat = path.stat()
            token = f"{path.absolute()}|{stat.st_size}|{stat.st_mtime_ns}"
            if token not in known:
                with path.open("rb") as file:
                    fresh[token] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BenchError(f"{path}: cannot be read: {error.strerror}") from None
        return known.get(token) or fresh[token]

    digests = []
    with threads() as pool:
        for count, found in enumerate(pool.map(file_digest, files), start=1):
            digests.append(found)
            progress(count, len(files))
    if fresh and remember:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(memory, json.dumps(known | fresh, indent=0, sort_keys=True))
    return digest([[case.identity() for case in cases], digests])
