"""Ranks of the methods, and how often other patients would give the same."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from bench.reporting.board import Board
from bench.reporting.column import ComparisonColumn
from bench.reporting.style import MethodStyles
from bench.reporting.text import NONE, number


def rank_boards(
    columns: Iterable[ComparisonColumn], styles: MethodStyles, title: str
) -> list[Board]:
    """Return the board of ranks in the columns of a task; none where fewer than two compete."""
    cells: dict[str, dict[str, str]] = {}
    taus = []
    for column in columns:
        found = column.stability() if len(column.competitors) > 1 else None
        if found is None:
            continue
        cells[column.label or "rank"] = {
            method: f"{rank} ({100 * shares[rank - 1]:.0f} %)"
            for method, rank, shares in zip(
                column.competitors, found.ranks, found.shares, strict=True
            )
        }
        taus.append(f"{number(found.tau, 2)} at {column.label}".removesuffix(" at "))
    if not cells:
        return []
    methods = styles.sort({method for column in cells.values() for method in column})
    frame = pd.DataFrame(cells).reindex(methods).fillna(NONE)
    frame.insert(0, "method", [styles.name(method) for method in methods])
    return [
        Board(
            title=title,
            frame=frame.reset_index(drop=True),
            notes=(
                "Rank by the mean, not rounded, over the test patients that all have (1 is best, "
                "ties share the smaller rank) and, in brackets, how many of 1000 bootstrap samples "
                "of the patients give the same rank. Upper bounds are left out.",
                f"Mean Kendall tau between this ranking and those of the samples: "
                f"{', '.join(taus)}.",
            ),
            colours=styles.colours(methods),
        )
    ]
