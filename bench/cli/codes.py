"""How a command ends."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit code of a command means."""

    DONE = 0
    FAILED = 1
    """A stage failed in the code or ran out of memory, or a check was not passed."""
    FIXABLE = 2
    """Something the user can fix; the line says what."""
    INTERRUPTED = 130


EPILOG = (
    "Exit code: 0 done; 1 a stage or a check failed, its log is named; 2 something to fix, the "
    "line says what; 130 interrupted, the same command goes on."
)
