"""What commands find, as data: tables show it to people, ``--json`` tells it to programs.

Names and meaning of the fields are documented in ``docs/reference/json.md``. A field may be added
at any time; if one is removed, renamed or given another meaning, the version of its answer rises.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import typer

from bench.data.findings import CheckResult
from bench.engine.store import Store
from bench.experiment.durations import Durations
from bench.experiment.plan import Run, graph_of, requests
from bench.params import Params
from bench.plugins import registry
from bench.stage import Stage

if TYPE_CHECKING:
    from bench.data.download import Verdict as ArchiveVerdict
    from bench.data.release import Archive
    from bench.experiment.conformance import Verdict
    from bench.plugins.registry import Kind
    from bench.reporting.board import Board


Value = str | int | float | None


@dataclass(frozen=True)
class Answer:
    """What a command found; subclasses are the documents of ``--json``."""

    command: ClassVar[str]
    version: ClassVar[int] = 1

    def to_json(self) -> str:
        """Return one line of ASCII: whatever strangers wrote is escaped and controls nothing."""
        document = {"schema": f"bench.{self.command}/{self.version}", **asdict(self)}
        text = json.dumps(_plain(document), allow_nan=False)
        return text.replace("\x7f", "\\u007f")  # the one control character that json lets through


def tell(answer: Answer) -> None:
    """Print the document of a command; the only thing on standard output."""
    typer.echo(answer.to_json())


def _plain(value: Any) -> Any:
    """Return JSON data, in which a number that is none is missing."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Params):
        return _plain(value.model_dump())
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


@dataclass(frozen=True)
class PlannedConditions:
    """The conditions of a plan that differ in fold and method only."""

    dataset: str
    profile: str
    network: str
    label_pct: int
    folds: tuple[int, ...]
    methods: tuple[str, ...]


@dataclass(frozen=True)
class PlannedStages:
    """The stages of one kind."""

    kind: str
    stages: int
    requested: int
    shared: int
    done: int
    new: int
    seconds: float | None


@dataclass(frozen=True)
class PlanAnswer(Answer):
    """``bench plan``."""

    command = "plan"

    store: Path
    conditions: tuple[PlannedConditions, ...]
    kinds: tuple[PlannedStages, ...]
    stages: int
    new: int
    seconds: float
    seconds_complete: bool


def plan_of(runs: Sequence[Run], store: Store, *, pictures: bool = False) -> PlanAnswer:
    """Return conditions, and per kind of stage: how many, shared between runs, done, new, time."""
    graph = graph_of(runs, pictures=pictures)
    asked = requests(runs, pictures=pictures)
    missing = {key for key, stage in graph.stages.items() if not store.is_done(stage)}
    estimate = Durations.of(store, graph.stages).estimate
    by_kind: dict[str, list[Stage]] = defaultdict(list)
    for stage in graph.in_order():
        by_kind[type(stage).__name__].append(stage)
    kinds, total = [], 0.0
    for kind, stages in by_kind.items():
        new = [stage for stage in stages if stage.key in missing]
        known = [s for stage in new if (s := estimate(stage)) is not None]
        total += sum(known)
        kinds.append(
            PlannedStages(
                kind=kind,
                stages=len(stages),
                requested=sum(asked[stage.key] for stage in stages),
                shared=sum(asked[stage.key] > 1 for stage in stages),
                done=len(stages) - len(new),
                new=len(new),
                seconds=sum(known) if len(known) == len(new) else None,
            )
        )
    grouped: dict[tuple[str, str, str, int], list[Run]] = defaultdict(list)
    for run in runs:
        at = run.condition
        network = str(at.network)
        grouped[at.source.dataset.label, at.profile.label, network, at.label_pct].append(run)
    return PlanAnswer(
        store=store.root,
        conditions=tuple(
            PlannedConditions(
                dataset=dataset,
                profile=profile,
                network=network,
                label_pct=label_pct,
                folds=tuple(sorted({run.condition.fold for run in members})),
                methods=tuple(dict.fromkeys(run.method for run in members)),
            )
            for (dataset, profile, network, label_pct), members in grouped.items()
        ),
        kinds=tuple(kinds),
        stages=len(graph),
        new=len(missing),
        seconds=total,
        seconds_complete=all(kind.seconds is not None for kind in kinds),
    )


@dataclass(frozen=True)
class StoredStage:
    """A stage of the store."""

    key: str
    kind: str
    title: str
    state: str
    seconds: float | None
    finished: str | None
    problem: str | None


@dataclass(frozen=True)
class UnreadStage:
    """A folder of the store from which no stage can be read."""

    key: str
    title: str
    reason: str
    detail: str
    in_doubt: bool


@dataclass(frozen=True)
class StatusAnswer(Answer):
    """``bench status``."""

    command = "status"

    store: Path
    counts: dict[str, int]
    stages: tuple[StoredStage, ...]
    unread: tuple[UnreadStage, ...]


def status_of(store: Store) -> StatusAnswer:
    """Return every stage of the store with its state, finished ones last."""
    found, unread = store.survey()
    stages = []
    for stage in found:
        state = store.state(stage)
        receipt = store.receipt(stage) if state == "done" else {}
        problem = {"damaged": store.damage, "failed": store.failure}.get(state)
        stages.append(
            StoredStage(
                key=stage.key,
                kind=type(stage).__name__,
                title=stage.title,
                state=state,
                seconds=receipt.get("wall_seconds"),
                finished=receipt.get("finished"),
                problem=problem(stage) if problem else None,
            )
        )
    return StatusAnswer(
        store=store.root,
        counts=dict(sorted(Counter(stage.state for stage in stages).items())),
        stages=tuple(sorted(stages, key=lambda stage: stage.finished or "")),
        unread=tuple(
            UnreadStage(
                key=each.key,
                title=each.title,
                reason=each.cause.reason,
                detail=each.cause.detail,
                in_doubt=each.in_doubt,
            )
            for each in unread
        ),
    )


@dataclass(frozen=True)
class ListAnswer(Answer):
    """``bench list``; every item has the same fields."""

    command = "list"

    what: str
    items: tuple[dict[str, Value], ...]


def list_of(what: str) -> ListAnswer:
    """Return what there is to choose from."""
    from bench.data.dataset import Dataset
    from bench.engine.launcher import AnyLauncher
    from bench.evaluation import metrics
    from bench.experiment.method import Method
    from bench.experiment.profiles import PROFILES
    from bench.nets import catalogue
    from bench.reporting.report import Report

    items: list[dict[str, Value]] = []
    if what == "networks":
        for name in catalogue.names():
            network = catalogue.load(name)
            items.append(
                {
                    "name": name,
                    "dims": network.dims,
                    "options": network.options(),
                    "summary": network.summary(),
                }
            )
    elif what == "profiles":
        for name, profile in PROFILES.items():
            items.append(
                {
                    "name": name,
                    "network": profile.network,
                    "max_side": profile.max_side,
                    "steps": profile.steps,
                    "batch_size": profile.training.batch_size,
                    "lr": profile.training.lr,
                    "n_folds": profile.n_folds,
                }
            )
    elif what == "methods":
        for name in registry.names("methods"):
            method = registry.load("methods", name, Method)  # type: ignore[type-abstract]
            summary = registry.summary("methods", name)
            items.append({"name": name, "summary": summary, "citation": method.citation})
    elif what == "datasets":
        for name in registry.names("datasets"):
            dataset = registry.load("datasets", name, Dataset)  # type: ignore[type-abstract]
            items.append({"name": name, "summary": dataset.summary, "source": dataset.source})
    elif what == "metrics":
        for name, metric in metrics.every().items():
            items.append(
                {
                    "name": name,
                    "title": metric.title,
                    "unit": metric.unit,
                    "best": metric.best,
                    "summary": metric.definition(),
                }
            )
    else:
        kind: Kind = "reports" if what == "reports" else "launchers"
        base: type[Params] = Report if kind == "reports" else AnyLauncher
        for name in registry.names(kind):
            options = registry.load(kind, name, base).options()
            items.append(
                {"name": name, "summary": registry.summary(kind, name), "options": options}
            )
    return ListAnswer(what=what, items=tuple(items))


def releases() -> ListAnswer:
    """Return the data sets with their numbers and licences; None where they are not known."""
    from bench.data.release import Release, every_choice

    items: list[dict[str, Value]] = []
    for name, dataset in every_choice():
        item: dict[str, Value] = dict.fromkeys(("cases", "organs", "annotated_pairs", "licence"))
        if isinstance(dataset, Release):
            item["cases"], _ = dataset.expected()
            item["organs"] = len(dataset.own_organs)
            item["annotated_pairs"] = dataset.annotated_pairs()
            item["licence"] = dataset.licence
            source = " or ".join(dataset.urls)
        else:
            source = dataset.source
        items.append({"name": name} | item | {"source": source})
    return ListAnswer(what="datasets", items=tuple(items))


def searches() -> ListAnswer:
    """Return every number of a method that ``bench tune`` may search; one line if it has none."""
    from bench.experiment.method import Method
    from bench.experiment.searched import searched

    items: list[dict[str, Value]] = []
    for name in registry.names("methods"):
        method = registry.load("methods", name, Method)  # type: ignore[type-abstract]
        defaults = method.defaults()
        for parameter, mark in searched(method).items() or [(None, None)]:
            items.append(
                {
                    "name": name,
                    "parameter": parameter,
                    "default": None if parameter is None else defaults[parameter],
                    "searched": None if mark is None else str(mark),
                }
            )
    return ListAnswer(what="methods", items=tuple(items))


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


@dataclass(frozen=True)
class ReportedTable:
    """A table as the terminal shows it."""

    title: str
    prose: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ReportAnswer(Answer):
    """``bench report``."""

    command = "report"

    report: str
    files: tuple[Path, ...]
    tables: tuple[ReportedTable, ...]


def report_of(name: str, files: Sequence[Path], boards: Sequence[Board]) -> ReportAnswer:
    """Return the files that a report wrote and the tables that it shows."""
    tables = (
        ReportedTable(
            title=board.title,
            prose=board.prose,
            columns=tuple(board.names),
            rows=tuple(tuple(text for text, _ in line) for line in board.lines()),
            notes=board.notes,
        )
        for board in boards
    )
    return ReportAnswer(report=name, files=tuple(files), tables=tuple(tables))
