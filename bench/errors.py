"""Errors the user can fix: one line and exit code 2, never a traceback."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Controls of terminals (C0, C1), lines and the direction of writing, and halves of characters."""


def neutral(text: str) -> str:
    """Replace every character that controls a terminal, ends a line or turns the writing."""
    return _UNSAFE.sub("\ufffd", text)


def one_line(text: str) -> str:
    """Return a text in one line and :func:`neutral`."""
    return neutral(" ".join(line.strip() for line in text.splitlines()))


MAX_MESSAGE = 2000
"""Characters of a message; a stranger's names may be longer."""


class BenchError(Exception):
    """An error the user can fix: one line that says what is wrong, where, and what to do."""

    def __init__(self, message: str) -> None:
        line = one_line(message)
        super().__init__(line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]} ...")


class DivergedError(BenchError):
    """A training left the finite numbers, which its settings and nothing else decide."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> BenchError:
    """Return the error for a name that is not registered, with the closest known names."""
    known = sorted(known)
    if not known:
        return BenchError(f"unknown {kind} {name!r}: there are none")
    words = name.replace(",", " ").split()
    if len(words) > 1 and set(words) <= set(known):
        return BenchError(f"unknown {kind} {name!r}: put commas between, {','.join(words)}")
    if words and words[0] in known and "=" in name and "[" not in name:
        options = ",".join(words[1:])
        return BenchError(f"unknown {kind} {name!r}: options go in brackets, {words[0]}[{options}]")
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"
    return BenchError(f"unknown {kind} {name!r}: {hint}")


_AGAIN = " and give the command again"
_REMEDIES = {
    errno.ENOSPC: "free some space" + _AGAIN,
    errno.EDQUOT: "free some of your quota" + _AGAIN,
    errno.EFBIG: "the file system or a limit (ulimit -f) allows no larger file",
    errno.EROFS: "name a folder that can be written to",
    errno.EACCES: "ask for the permission, or name another path",
    errno.EPERM: "ask for the permission, or name another path",
    errno.EEXIST: "a file is in the way; name another path, or move it",
    errno.ENOTDIR: "a part of the path is a file; name a folder",
    errno.EISDIR: "name a file",
    errno.ENOENT: "look whether the path is right, and whether its disk is mounted",
    errno.ENAMETOOLONG: "choose a shorter name or folder",
    errno.ELOOP: "its symbolic links lead in a circle",
    errno.ESTALE: "the network file system has lost it: mount it anew" + _AGAIN,
    errno.EIO: "the disk or the network file system fails; see the system's log (dmesg)",
    errno.ETIMEDOUT: "wait until the network file system answers" + _AGAIN,
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "the whole machine has too many files open; end other programs",
    errno.ENOMEM: "free some memory, or run less side by side",
    errno.EAGAIN: "the limit of processes is reached (ulimit -u); end other programs",
}


def explain(error: OSError) -> str:
    """Say in one line what the system refused, for which path, and what to do."""
    paths = [str(path) for path in (error.filename, error.filename2) if path is not None]
    what = error.strerror or " ".join(str(error).split()) or type(error).__name__
    said = ": ".join([" -> ".join(paths), what] if paths else [what])
    remedy = _REMEDIES.get(error.errno) if error.errno is not None else None
    return f"{said}; {remedy}" if remedy else said
