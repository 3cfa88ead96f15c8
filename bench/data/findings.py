"""What a look through a data set finds: organs, ranges, problems."""

from __future__ import annotations

from typing import Literal

from bench.params import Params


class Problem(Params):
    """One finding."""

    severity: Literal["error", "warning"]
    case: str | None
    """Id, or None for the whole data set."""
    message: str


class OrganSummary(Params):
    """How often an organ is annotated and how large it is."""

    organ: str
    annotated: int
    """Cases in which it is annotated."""
    present: int
    """Cases in which it is annotated and has a voxel."""
    median_ml: float | None
    """Over the cases in which it is present; None without any."""


class Range(Params):
    """Smallest and largest value over the readable cases."""

    low: float
    high: float


class CheckResult(Params):
    """What :func:`bench.data.check.check` found."""

    dataset: str
    cases: int
    patients: int
    readable: int
    """Cases read without error; the ranges below are over these, None without any."""
    organs: tuple[OrganSummary, ...]
    shape: tuple[Range, Range, Range] | None
    """Voxels along canonical X, Y, Z."""
    spacing_mm: tuple[Range, Range, Range] | None
    """Along canonical X, Y, Z."""
    values: tuple[Range, ...]
    """Of each channel, HU or as in its file; () without a readable case."""
    remarks: tuple[str, ...]
    """What the data set says of itself."""
    problems: tuple[Problem, ...]
    """Errors first, then by case."""

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The findings that stop every run."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The findings that the user should look at."""
        return tuple(problem for problem in self.problems if problem.severity == "warning")
