"""Names of files, atomic writes, and the removal of what a killed one leaves."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.errors import BenchError, explain

UNFINISHED_DOWNLOADS = (".part", ".partial", ".crdownload")
"""Ends of the names of files that a browser or another program has not yet fetched whole."""
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
"""Ends of the names of archives."""

NAME_BYTES = 100

_RANDOM_BYTES = 8
_UNFINISHED = re.compile(rf"\..+\.[0-9a-f]{{{2 * _RANDOM_BYTES}}}", re.DOTALL)


def slug(text: str) -> str:
    """Return ``text`` with all but letters, digits, ``_`` and ``.`` turned into ``_``, and cut."""
    return cut("".join(c if c.isalnum() or c in "_." else "_" for c in text).strip("_"))


def cut(text: str) -> str:
    """Return the first ``NAME_BYTES`` of a name of a file; keys tell apart what is equal then."""
    return text.encode()[:NAME_BYTES].decode(errors="ignore")


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True, ours: bool = False) -> Iterator[Path]:
    """Yield a temporary file that replaces ``path`` when the block ends without an error.

    After a power loss the file has its old content or the new one; if it is not ``durable``, which
    is quicker, it may be empty. Where nobody but this program puts files (``ours``), a folder in
    the place of the file is moved aside.
    """
    # A random name: threads, and machines that share a store, may have equal process ids.
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(_RANDOM_BYTES)}")
    try:
        yield unfinished
        if durable:
            sync(unfinished)
        if ours:
            make_way(path)
        unfinished.replace(path)
        if durable:
            sync(path.parent)
    except OSError as error:
        # The name that the user knows. A write to a full disk names none.
        if error.filename is None or Path(error.filename) == unfinished:
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        # The error of the block matters, not that of a disk which refuses this one, too.
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def write_atomically(path: Path, text: str, *, durable: bool = True, ours: bool = False) -> None:
    """Write a text file as :func:`replacing`: readers see the old content or the new, no part."""
    with replacing(path, durable=durable, ours=ours) as unfinished:
        unfinished.write_text(text)


def make_way(path: Path, *, for_folder: bool = False) -> None:
    """Rename a folder that is in the way of a file, or a file that is in the way of a folder."""
    if os.path.lexists(path) and path.is_dir() != for_folder:
        aside = path.rename(path.with_name(f"{path.name}.{secrets.token_hex(4)}"))
        wanted = "folder" if for_folder else "file"
        print(f"{path} is no {wanted}; it is moved to {aside.name}", file=sys.stderr)


def unfinished_files(folder: Path, older_than: float) -> list[Path]:
    """Return the temporary files that killed processes left in a folder.

    Parameters
    ----------
    folder
        Looked through without its sub-folders. One that does not exist holds nothing.
    older_than
        Seconds since a file was last written; far more than a write takes and than the clocks of
        machines that share the folder differ by.
    """
    found = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for entry in os.scandir(folder):
            if not _UNFINISHED.fullmatch(entry.name):
                continue
            with contextlib.suppress(FileNotFoundError):  # replaced, or another process sweeps
                written = entry.stat(follow_symlinks=False).st_mtime
                if entry.is_file(follow_symlinks=False) and time.time() - written > older_than:
                    found.append(Path(entry.path))
    return found


def with_folders(folder: Path) -> list[Path]:
    """Return a folder and those in it; nothing if it does not exist."""
    return (
        [folder, *(path for path in folder.iterdir() if path.is_dir())] if folder.is_dir() else []
    )


def sweep(folder: Path, older_than: float) -> None:
    """Remove the :func:`unfinished_files` of a folder."""
    for path in unfinished_files(folder, older_than):
        path.unlink(missing_ok=True)


def check_folder(path: Path) -> None:
    """Check that files can be written into a folder, created if necessary; creates nothing.

    Raises
    ------
    OSError
        The one that writing would end with, as far as it can be told before.
    """
    existing = path.absolute()
    while True:
        try:
            mode = existing.stat().st_mode
            break
        except FileNotFoundError:
            existing = existing.parent
    if not stat.S_ISDIR(mode):
        raise _refused(errno.ENOTDIR, path)
    if not os.access(existing, os.W_OK | os.X_OK):
        read_only = os.statvfs(existing).f_flag & os.ST_RDONLY
        raise _refused(errno.EROFS if read_only else errno.EACCES, path)


def _refused(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dead_link(path: Path) -> str:
    """Say which link on the way to a missing path leads nowhere; empty if none does."""
    for part in (path, *path.parents):
        if part.is_symlink() and not os.path.lexists(os.path.realpath(part)):
            named = "" if part == path else f"{part} "
            return (
                f"{named}is a link, and its target {part.readlink()} is missing; mount or fetch it,"
                " or remove the link"
            )
    return ""


def absent(path: Path, what: str) -> str:
    """Return the start of a message: a file or folder (``what``) is not there, or its target."""
    gone = dead_link(path)
    return f"{path}: {gone}" if gone else f"{what} not found: {path}"


def read_bounded(path: Path, at_most: int) -> bytes:
    """Return the content of a file of limited size; no more than that is read of any.

    Raises
    ------
    ValueError
        It is larger.
    """
    with path.open("rb") as file:
        content = file.read(at_most + 1)
    if len(content) > at_most:
        raise ValueError(f"{path.name} has more than {at_most} bytes")
    return content


def sync(path: Path) -> None:
    """Return when the content of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems cannot do it for folders; they have nothing better to offer.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def file_size(path: Path, where: str = "") -> int:
    """Return the size of a regular file in bytes; a device or a pipe may never end.

    Parameters
    ----------
    where
        Start of the message; the path by default.

    Raises
    ------
    BenchError
        There is nothing at the path, or no file.
    """
    named = f" {path}" if where and str(path) not in where else ""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        what = dead_link(path) or f"file not found{named and ':' + named}"
        raise BenchError(f"{where or path}: {what}") from None
    except OSError as error:
        error.filename = None
        raise BenchError(f"{where or path}:{named} cannot be read: {explain(error)}") from None
    if not stat.S_ISREG(found.st_mode):
        raise BenchError(f"{where or path}:{named} is no file; put the file itself in its place")
    return found.st_size
