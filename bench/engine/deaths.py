"""Why a process ended: the signal, and whether the kernel sent it for lack of memory."""

from __future__ import annotations

import signal
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def reason(returncode: int, *, out_of_memory: bool) -> str:
    """Describe the end of a process, as in ``it was killed (SIGKILL)``.

    Parameters
    ----------
    returncode
        As of :class:`subprocess.Popen`: the negative number of a signal, or an exit code.
    out_of_memory
        Whether the kernel killed processes for lack of memory meanwhile (:func:`memory_kills`).
    """
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    if name == "SIGKILL":
        if out_of_memory:
            return "was killed by the kernel: out of memory"
        return "was killed (SIGKILL)"
    if name == "SIGBUS":
        return "died of SIGBUS: a file mapped into memory was cut, or its disk is full or failing"
    return f"died of {name}"


def memory_kills() -> int:
    """Return how many processes of this job or machine the kernel has killed for lack of memory.

    0 where the system does not count them.
    """
    for counter in (*_of_cgroup(), Path("/proc/vmstat")):
        try:
            lines = counter.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0


def _of_cgroup() -> list[Path]:
    """Return the files that may hold the counter of this process's control group."""
    try:
        memberships = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            found.append(CGROUPS / path.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            found.append(CGROUPS / "memory" / path.lstrip("/") / "memory.oom_control")
    return found
