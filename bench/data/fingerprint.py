"""The identity of a data set's content: a digest of its case list and files.

File digests are remembered by path, size, inode and times, so a data set is read through once.
Stages hash the files again when they read them: what they store is what its key says.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from bench.data.dataset import Case, Dataset
from bench.data.pool import threads
from bench.errors import BenchError
from bench.files import file_size, sha256, write_atomically
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
    files = [path for case in cases for path in dataset.files(case)]
    return _content(cases, file_digests(files, memory, progress, remember=remember))


def file_digests(
    files: Sequence[Path],
    memory: Path,
    progress: Callable[[int, int], None] = lambda *_: None,
    *,
    remember: bool = True,
) -> list[str]:
    """Return the SHA-256 of every file, see :func:`fingerprint`."""
    known = _remembered(memory)
    fresh: dict[str, str] = {}

    def remembered_digest(path: Path) -> str:
        token = "|".join(map(str, (path.absolute(), *_state(path))))
        if token not in known:
            fresh[token] = file_digest(path)
        return known.get(token) or fresh[token]

    digests = []
    with threads() as pool:
        for count, found in enumerate(pool.map(remembered_digest, files), start=1):
            digests.append(found)
            progress(count, len(files))
    if fresh and remember:
        memory.parent.mkdir(parents=True, exist_ok=True)
        noted = {"files": known | fresh, "sha256": digest(known | fresh)}
        write_atomically(memory, json.dumps(noted, indent=0, sort_keys=True), ours=True)
    return digests


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises
    ------
    BenchError
        It cannot be read, or is no file.
    """
    file_size(path)  # refuses what may never end
    try:
        return sha256(path)
    except OSError as error:
        raise BenchError(f"{path}: cannot be read: {error.strerror}") from None


@contextlib.contextmanager
def unchanged(files: Sequence[Path]) -> Iterator[tuple[str, ...]]:
    """Yield the digests of files that are read in the block.

    Raises
    ------
    BenchError
        A file was changed between its hashing and the end of the block.
    """
    states = [_state(path) for path in files]
    yield tuple(map(file_digest, files))
    for path, state in zip(files, states, strict=True):
        if _state(path) != state:
            raise BenchError(f"{path}: was changed while it was read; give the command again")


def is_content(content: str, cases: Sequence[Case], digests: Iterable[Sequence[str]]) -> bool:
    """Tell whether what was read is what was fingerprinted.

    Parameters
    ----------
    content
        The fingerprint.
    digests
        Digests of the files of each case, from :func:`unchanged`.
    """
    return _content(cases, [digest for of_case in digests for digest in of_case]) == content


def _content(cases: Sequence[Case], digests: Sequence[str]) -> str:
    return digest([[case.identity() for case in cases], list(digests)])


def _state(path: Path) -> tuple[int, int, int, int]:
    """Return what changes when a file is written or replaced; the last cannot be set back."""
    file_size(path)  # refuses what is no file
    stat = path.stat()
    return stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns


def _remembered(memory: Path) -> dict[str, str]:
    """Return the digests of a memory file; none if it is damaged, which is said."""
    try:
        found = json.loads(memory.read_bytes())
        files: dict[str, str] = found["files"]
        if found["sha256"] == digest(files):
            return files
    except (FileNotFoundError, IsADirectoryError):
        return {}
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    print(f"damaged: {memory}: not used; all files are read again", file=sys.stderr)
    return {}
