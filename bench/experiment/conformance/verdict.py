"""What a check finds: that the method passes, or how it breaks the rule."""

from __future__ import annotations

from dataclasses import dataclass


class CheckFailed(Exception):  # noqa: N818 - a verdict
    """The method breaks a rule; the message says how."""


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check."""

    check: str
    rule: str
    problem: str | None
    """None if the method passes."""
