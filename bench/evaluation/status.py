"""Which of two masks, predicted and true, are empty."""

from __future__ import annotations

from typing import Literal

Status = Literal["ok", "missed", "hallucinated", "both_empty"]


def mask_status(n_pred: int, n_gt: int) -> Status:
    """Return which of the two masks are empty."""
    if n_gt:
        return "ok" if n_pred else "missed"
    return "hallucinated" if n_pred else "both_empty"
