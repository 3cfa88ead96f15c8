"""The lease of the process that computes a stage: who holds it, and whether it is still ours."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import NamedTuple

import psutil
from filelock import SoftFileLease

LEASE_SECONDS = 60.0
HEARTBEAT_SECONDS = 10.0


class Holder(NamedTuple):
    """The process that holds a lease."""

    host: str
    pid: int
    token: str
    heard: float
    """Seconds since its last heartbeat, by the clock of this machine."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def lease(path: Path) -> SoftFileLease:
    """Return the lease at ``path``; that of a dead owner is free, and so is an unreadable one."""
    if holder(path) is None:
        # A process that died between creating and writing the file; filelock waits for it.
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > LEASE_SECONDS:
                path.unlink()
    return SoftFileLease(
        path,
        lease_duration=LEASE_SECONDS,
        heartbeat_interval=HEARTBEAT_SECONDS,
        thread_local=False,
    )


def holder(path: Path) -> Holder | None:
    """Return who last held the lease at ``path``, None if nobody, or if the file is unreadable."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        heard = time.time() - path.stat().st_mtime
        fields = dict(line.split("=", 1) for line in lines[1:])
        return Holder(fields["host"], int(fields["pid"]), fields["token"], heard)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, KeyError):
        return None


def is_held(path: Path) -> bool:
    """Tell, without writing, whether a live process holds the lease at ``path``."""
    found = holder(path)
    if found is None or found.heard > LEASE_SECONDS:
        return False
    return found.host != socket.gethostname() or psutil.pid_exists(found.pid)


def is_ours(held: SoftFileLease) -> bool:
    """Tell whether the file still names the hold of ``held``, which a suspended process loses."""
    found = holder(Path(os.fspath(held.lock_file)))
    return held.compromise is None and found is not None and found.token == held.token
