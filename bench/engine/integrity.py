"""The receipt of a stage's output: its checksums, compared before the output is read."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.engine.parsing import MAX_BYTES, UNUSABLE, parsed
from bench.files import sha256

RECEIPT = "DONE"
"""File of an output folder that lists the others, with their sizes and checksums."""
SEAL = "receipt_sha256"
"""Name of the checksum of a receipt, itself and its place in the file aside."""
SMALL = 2**20
"""Bytes up to which a file is hashed in every check."""


TABLED = {".json", ".jsonl"}
"""Files that tables are made of, which no stage checks: they are hashed whatever their size."""


class _Seen(NamedTuple):
    """State of a file when its checksum was right."""

    size: int
    changed_ns: int
    inode: int
    digest: str


_verified: dict[Path, _Seen] = {}


def contents(out: Path) -> dict[str, dict[str, Any]]:
    """Return size and checksum of every file below a folder, by its path in the folder."""
    paths = _files(out)
    return {
        "bytes": {name: path.stat().st_size for name, path in paths.items()},
        "sha256": {name: sha256(path) for name, path in paths.items()},
    }


def sealed(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Return a receipt with a checksum of itself."""
    return {**receipt, SEAL: _seal(receipt)}


def is_sealed(receipt: Mapping[str, Any]) -> bool:
    """Tell whether a receipt is as it was sealed; those of earlier versions have no seal."""
    return receipt.get(SEAL) in (None, _seal(receipt))


def _seal(receipt: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in receipt.items() if name != SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_receipt(path: Path, key: str) -> dict[str, Any] | None:
    """Return a receipt if it is that of the stage and has all that its readers need."""
    try:
        receipt = parsed(path)
        usable = (
            receipt["key"] == key
            and isinstance(receipt["finished"], str)
            and isinstance(receipt["wall_seconds"] + receipt["peak_memory_mb"], float)
            and all(isinstance(receipt[name], str) for name in ("device", "bench", "commit"))
            and receipt["bytes"].keys() == receipt["sha256"].keys()
            and is_sealed(receipt)
        )
    except UNUSABLE:
        return None
    return receipt if usable else None


def unreadable(receipt: Path) -> str:
    """Say why a receipt is none."""
    with contextlib.suppress(OSError):
        if (size := receipt.stat().st_size) > MAX_BYTES:
            return f"{RECEIPT} has {size} bytes, must be at most {MAX_BYTES}"
    return f"{RECEIPT} is missing or unreadable"


def damage(out: Path, recorded: Mapping[str, Any], *, largest: int | None = None) -> str | None:
    """Return what is wrong with an output folder, None if it is as it was committed.

    A file that was found right is not read again by this process until it changes.

    Parameters
    ----------
    out
        The folder.
    recorded
        What :func:`contents` returned when the folder was committed.
    largest
        Bytes up to which files are hashed; of larger ones only the size is compared. None hashes
        all.
    """
    for name, digest in recorded["sha256"].items():
        path = out / name
        try:
            stat = path.stat()
            size = recorded["bytes"].get(name)
            if stat.st_size != size:
                return f"{name} has {stat.st_size} bytes, not the {size} that were written"
            seen = _Seen(stat.st_size, stat.st_ctime_ns, stat.st_ino, digest)
            passed = largest is not None and stat.st_size > largest and path.suffix not in TABLED
            if passed or _verified.get(path) == seen:
                continue
            if sha256(path) != digest:
                return f"the content of {name} does not match its checksum"
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return f"{name} is missing"
        except OSError as error:
            if error.errno != errno.EIO:  # no permission, a lost network: nothing is known
                raise
            return f"{name} cannot be read: {error.strerror}"
        _verified[path] = seen
    return None


def _files(out: Path) -> dict[str, Path]:
    names = ((str(path.relative_to(out)), path) for path in sorted(out.rglob("*")))
    return {name: path for name, path in names if path.is_file() and name != RECEIPT}
