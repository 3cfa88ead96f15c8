"""Scores with the columns in which their methods are compared, each made once for all who ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

from bench.reporting.column import ComparisonColumn, columns
from bench.reporting.scores import of_results
from bench.reporting.style import MethodStyles
from bench.results.aggregate import Values

if TYPE_CHECKING:
    import pandas as pd

    from bench.evaluation.metrics import MetricName


@dataclass(frozen=True)
class Scored:
    """Scores (``bench.reporting.scores``), and how their methods are shown."""

    scores: pd.DataFrame
    styles: MethodStyles

    @classmethod
    def of_results(cls, results: pd.DataFrame, metric: MetricName = "dsc") -> Self:
        """Return the scores of the final models in a valid results table."""
        return cls(of_results(results, metric), MethodStyles.of(results))

    @cached_property
    def columns(self) -> tuple[ComparisonColumn, ...]:
        """The columns of all tasks, averaged over organs."""
        return tuple(columns(self.scores, self.styles))

    def of_task(self, task: str, *, per_organ: bool = False) -> list[ComparisonColumn]:
        """Return the columns of a task, averaged over organs, or one per organ, made anew."""
        if per_organ:
            own = self.scores[self.scores["task"] == task]
            return list(columns(own, self.styles, per_organ=True))
        return [column for column in self.columns if column.task == task]

    def by_organ(self) -> Iterator[ComparisonColumn]:
        """Yield a column per organ, made anew, of all tasks."""
        yield from columns(self.scores, self.styles, per_organ=True)


class Measured(Values):
    """The values of one metric in a results table, and their scores."""

    @cached_property
    def scored(self) -> Scored:
        """The scores of the final models."""
        return Scored.of_results(self.table, self.metric)
