"""Which of two masks, predicted and true, are empty."""

from __future__ import annotations

from typing import Literal

Status = Literal["ok", "missed", "hallucinated", "both_empty"]
