"""Why a process ended: the signal, and whether the kernel sent it for lack of memory."""

from __future__ import annotations

import signal


def reason(returncode: int, *, out_of_memory: bool) -> str:
    """Describe the end of a process, as in ``it was killed (SIGKILL)``.

    Parameters
    ----------
    returncode
        As of :class:`subprocess.Popen`: the negative number of a signal, or an exit code.
    out_of_memory
        Whether the kernel killed processes for lack of memory meanwhile
        (:func:`bench.machine.memory.kills`).
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
