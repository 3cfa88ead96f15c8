"""The memory of this process's control group and machine: what is left, and who died of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

CGROUPS = Path("/sys/fs/cgroup")
V1 = (
    *("memory.limit_in_bytes", "memory.usage_in_bytes"),
    *("memory.oom_control", "total_inactive_file"),
)
V2 = ("memory.max", "memory.current", "memory.events", "inactive_file")


class _Group(NamedTuple):
    """Names of the files of a control group; two versions are in use."""

    root: Path
    path: str
    limit: str
    usage: str
    events: str
    reclaimable: str

    def folders(self) -> Iterator[Path]:
        """Yield the folder of the group and those above it: each may set a limit."""
        folder = self.root / self.path.lstrip("/")
        while folder.is_relative_to(self.root):
            yield folder
            folder = folder.parent


def available() -> int:
    """Return the bytes that this process and those it starts can still use."""
    left = int(psutil.virtual_memory().available)
    for group in _groups():
        for folder in group.folders():
            limit, usage = _number(folder / group.limit), _number(folder / group.usage)
            if limit is not None and usage is not None:
                cached = _counter(folder / "memory.stat", group.reclaimable) or 0
                left = min(left, max(0, limit - usage + cached))
    return left


def kills() -> int:
    """Return how many processes of this job or machine the kernel has killed for lack of memory.

    0 where the system does not count them.
    """
    counters = [next(group.folders()) / group.events for group in _groups()]
    for counter in (*counters, Path("/proc/vmstat")):
        if (count := _counter(counter, "oom_kill")) is not None:
            return count
    return 0


def _groups() -> list[_Group]:
    """Return the control groups that count the memory of this process."""
    try:
        memberships = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            found.append(_Group(CGROUPS, path, *V2))
        elif "memory" in controllers.split(","):
            found.append(_Group(CGROUPS / "memory", path, *V1))
    return found


def _number(file: Path) -> int | None:
    """Return the number in a file; None without the file, or if there is no limit."""
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _counter(file: Path, name: str) -> int | None:
    """Return a number from a file with a name and a number in every line."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), None)
