"""Files that an interrupted stage goes on from: they say whose they are, and are checked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from bench.files import replacing


def save_state(path: Path, key: str, state: bytes | memoryview) -> None:
    """Write a state atomically, with the key of its stage and a checksum."""
    header = {"stage": key, "sha256": hashlib.sha256(state).hexdigest()}
    with replacing(path, ours=True) as unfinished, unfinished.open("wb") as file:
        file.write(json.dumps(header).encode() + b"\n")
        file.write(state)


def load_state(path: Path, key: str) -> bytes | None:
    """Return a state that :func:`save_state` wrote for the same stage.

    None if there is none, or if it is damaged or another stage's, which is printed.
    """
    try:
        header_line, _, state = path.read_bytes().partition(b"\n")
    except (FileNotFoundError, IsADirectoryError):
        return None
    try:
        header = json.loads(header_line)
        owner, digest = header["stage"], header["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        owner, digest = key, ""
    if owner != key:
        print(f"{path.name} was saved by {owner}; it is not used")
    elif hashlib.sha256(state).hexdigest() != digest:
        print(f"{path.name} is damaged and not used")
    else:
        return state
    return None
