"""Exit codes of the commands."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes and their meaning."""

    DONE = 0
    FAILED = 1
    """A stage failed in the code or ran out of memory, or a check was not passed."""
    FIXABLE = 2
    """An error the user can fix; the message says how."""
    INTERRUPTED = 130


EPILOG = (
    "Exit code: 0 done; 1 a stage or a check failed, its log is named; 2 something to fix, the "
    "line says what; 130 interrupted, the same command goes on."
)
