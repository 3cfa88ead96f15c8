"""Archives of public data sets: download them, compare them with their checksums, unpack them."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from bench import __version__
from bench.data.archive import unpack
from bench.data.tree import walk
from bench.errors import BenchError
from bench.files import write_atomically

if TYPE_CHECKING:
    from bench.data.release import Archive

ATTEMPTS = 5
"""Requests in a row that may fail without a byte received."""

PAUSE_S = 0.5
"""Before the second attempt; twice as long before each further one."""

TIMEOUT_S = 60.0
BUSY = (408, 429)
"""Answers of a server that is worth another attempt, beside those that begin with 5."""
MEMBERS_NOTED = 100
"""Files of an archive whose loss is noticed, evenly spaced."""
_PIECE = 2**20
_RANGE = re.compile(r"bytes (?P<start>\d+)-\d+/(?P<total>\d+|\*)")

Progress = Callable[[int, int | None], None]
"""Called with the bytes on disk and the total, None while it is unknown."""


class Verdict(NamedTuple):
    """What became of one archive."""

    name: str
    state: Literal["ok", "differs", "not found"]
    path: Path | None
    found: str = ""
    """Checksum of the file, where it differs."""


def verify(archives: Mapping[str, Archive], folder: Path) -> list[Verdict]:
    """Compare the archives below a folder with their published checksums, by file name."""
    places = {Path(path).name: folder / path for path in walk(folder) if not path.endswith("/")}
    return [
        _compare(places[name], archive.digest)
        if name in places
        else Verdict(name, "not found", None)
        for name, archive in archives.items()
    ]


def size(url: str) -> int | None:
    """Return the size of a file on a server, None if it does not say."""
    try:
        with _request(url, method="HEAD") as response:
            return int(response.headers["Content-Length"])
    except (OSError, HTTPException, ValueError, TypeError):
        return None


def obtain(name: str, archive: Archive, folder: Path, progress: Progress) -> str:
    """Download an archive into a folder, compare it with its checksum, and unpack it there.

    What an earlier call left is gone on with. The archive stays, for other folders.

    Returns
    -------
    str
        What was done, for the user.

    Raises
    ------
    BenchError
        As :func:`fetch` and :func:`bench.data.archive.unpack`.
    """
    path, note = folder / name, folder / f".{name}.unpacked"
    if note.is_file():
        digest, *members = note.read_text().splitlines()
        if digest == archive.digest and all((folder / member).exists() for member in members):
            return "was unpacked before"
    folder.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or _compare(path, archive.digest).state != "ok":
        fetch(archive, path, progress)
    members = [name] if path.suffix == ".csv" else unpack(path, folder)
    some = members[:: -(-len(members) // MEMBERS_NOTED)] if members else []
    write_atomically(note, "\n".join([archive.digest, *some]))
    return f"{archive.digest.partition(':')[0]} is right"


def fetch(archive: Archive, path: Path, progress: Progress) -> None:
    """Download an archive; a part of it, ``NAME.part``, is gone on with.

    Raises
    ------
    BenchError
        The server cannot be reached or refuses, the disk has too little room, or the file is not
        the one that was published; then it is removed.
    """
    part = path.with_name(f"{path.name}.part")
    failures = 0
    while True:
        have, why = _size(part), "the connection ended early"
        try:
            if _append(archive.url, part, progress):
                break
        except (OSError, HTTPException) as error:
            if (
                isinstance(error, urllib.error.HTTPError)
                and error.code < 500
                and error.code not in BUSY
            ):
                raise BenchError(f"{archive.url}: {error}; get the file by hand") from None
            why = str(error)
        failures = 0 if _size(part) > have else failures + 1
        if failures == ATTEMPTS:
            raise BenchError(
                f"{archive.url}: no answer after {ATTEMPTS} attempts ({why}); give the command"
                f" again, it goes on with {part}"
            )
        time.sleep(PAUSE_S * 2**failures)
    found = _compare(part, archive.digest)
    if found.state != "ok":
        part.unlink()
        raise BenchError(
            f"{archive.url}: {found.found} is not the published {archive.digest}; the file was"
            " removed, give the command again or get it from another source"
        )
    part.replace(path)


def _append(url: str, part: Path, progress: Progress) -> bool:
    """Request what is missing of a file; return whether it is complete."""
    have = _size(part)
    try:
        response = _request(url, start=have)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        # Nothing is missing, or the file is not that of the part: its checksum tells.
        return True
    with response:
        place = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status != 206 or not place or int(place["start"]) != have:
            have = 0  # the server sends all of it
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        _refuse_full_disk(part, (total or 0) - have)
        with part.open("ab" if have else "wb") as file:
            while piece := response.read(_PIECE):
                file.write(piece)
                have += len(piece)
                progress(have, total)
    return total is None or have >= total


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _request(url: str, method: str = "GET", start: int = 0) -> HTTPResponse:
    headers = {"User-Agent": f"organ-bench/{__version__}"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers, method=method)
    response: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    return response


def _refuse_full_disk(path: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if n_bytes > free:
        raise BenchError(
            f"{path.parent}: {n_bytes / 1e9:.1f} GB are to come, {free / 1e9:.1f} GB are free;"
            " name another folder with --data"
        )


def _compare(path: Path, digest: str) -> Verdict:
    """Compare a file with a checksum such as ``sha256:...``."""
    kind, _, _ = digest.partition(":")
    with path.open("rb") as file:
        found = f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"
    return Verdict(path.name, "ok" if found == digest else "differs", path, found)
