"""What checks of methods, data sets and archives found, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.answers import Answer
from bench.data.findings import CheckResult

if TYPE_CHECKING:
    from bench.data.download import Verdict as ArchiveVerdict
    from bench.data.release import Archive
    from bench.experiment.conformance.verdict import Verdict


@dataclass(frozen=True)
class CheckedRule:
    """A rule that a method passes, or the problem."""

    check: str
    rule: str
    problem: str | None


@dataclass(frozen=True)
class CheckedMethod:
    """A method and its rules."""

    method: str
    passed: bool
    rules: tuple[CheckedRule, ...]


@dataclass(frozen=True)
class CheckAnswer(Answer):
    """``bench check``."""

    command = "check"

    passed: bool
    methods: tuple[CheckedMethod, ...]


def check_of(verdicts: Iterable[tuple[str, Sequence[Verdict]]]) -> CheckAnswer:
    """Return the rules that each method passes or breaks."""
    methods = []
    for method, found in verdicts:
        rules = [CheckedRule(check=v.check, rule=v.rule, problem=v.problem) for v in found]
        passed = all(rule.problem is None for rule in rules)
        methods.append(CheckedMethod(method=method, passed=passed, rules=tuple(rules)))
    return CheckAnswer(passed=all(each.passed for each in methods), methods=tuple(methods))


@dataclass(frozen=True)
class RefusedDataset:
    """A data set of which no case could be listed, and why."""

    dataset: str
    """As it was given."""
    message: str


@dataclass(frozen=True)
class DataCheckAnswer(Answer):
    """``bench data check``."""

    command = "data-check"

    errors: int
    warnings: int
    datasets: tuple[CheckResult, ...]
    refused: tuple[RefusedDataset, ...]


def data_check_of(
    results: Sequence[CheckResult], refused: Sequence[RefusedDataset]
) -> DataCheckAnswer:
    """Return the findings of several data sets."""
    return DataCheckAnswer(
        errors=sum(len(result.errors) for result in results) + len(refused),
        warnings=sum(len(result.warnings) for result in results),
        datasets=tuple(results),
        refused=tuple(refused),
    )


@dataclass(frozen=True)
class ComparedArchive:
    """An archive and its checksums; of one that is as published, only that."""

    name: str
    state: str
    path: Path | None
    published: str
    found: str | None


@dataclass(frozen=True)
class DataVerifyAnswer(Answer):
    """``bench data verify``."""

    command = "data-verify"

    folder: Path
    differing: int
    archives: tuple[ComparedArchive, ...]


def data_verify_of(
    folder: Path, verdicts: Sequence[ArchiveVerdict], published: Mapping[str, Archive]
) -> DataVerifyAnswer:
    """Return what became of each archive."""
    return DataVerifyAnswer(
        folder=folder,
        differing=sum(one.state == "differs" for one in verdicts),
        archives=tuple(
            ComparedArchive(
                name=one.name,
                state=one.state,
                path=one.path,
                published=published[one.name].digest,
                found=one.found or None,
            )
            for one in verdicts
        ),
    )
