"""How a predicted mask relates to the true one where either may be empty."""

from __future__ import annotations

from typing import Literal

Status = Literal["ok", "missed", "hallucinated", "both_empty"]
