"""The tables of ``bench plan``, ``status``, ``show``, ``list`` and ``data check``."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.engine.store import Store
from bench.experiment.durations import Durations
from bench.experiment.plan import Run, graph_of, requests
from bench.params import Params
from bench.plugins import registry
from bench.reporting.text import NONE, counted, duration
from bench.stage import Stage

if TYPE_CHECKING:
    from bench.data.dataset import Dataset
    from bench.experiment.conformance import Verdict
    from bench.plugins.registry import Kind


def plan_table(runs: list[Run], store: Store, *, pictures: bool = False) -> RenderableType:
    """Return conditions, and per kind of stage: how many, shared between runs, done, new, time."""
    graph = graph_of(runs, pictures=pictures)
    asked = requests(runs, pictures=pictures)
    missing = {key for key, stage in graph.stages.items() if not store.is_done(stage)}
    seconds = Durations.of(store, graph.stages).estimate
    table = _table("stage", "stages", "requested", "shared", "done", "new", "estimated time")
    total, unknown = 0.0, False
    kinds: dict[str, list[Stage]] = defaultdict(list)
    for stage in graph.in_order():
        kinds[type(stage).__name__].append(stage)
    for kind, stages in kinds.items():
        new = [stage for stage in stages if stage.key in missing]
        known = [s for stage in new if (s := seconds(stage)) is not None]
        total += sum(known)
        unknown |= len(known) < len(new)
        _add(
            table,
            kind,
            str(len(stages)),
            str(sum(asked[stage.key] for stage in stages)),
            str(sum(asked[stage.key] > 1 for stage in stages)),
            str(len(stages) - len(new)),
            str(len(new)),
            duration(sum(known)) if len(known) == len(new) else "not yet known",
        )
    conditions = _table("data set", "profile", "network", "labelled", "folds", "methods")
    conditions.columns[0].no_wrap, conditions.columns[0].overflow = False, "fold"
    for column in conditions.columns[1:]:
        column.min_width = len(str(column.header))
    conditions.columns[-1].min_width = 16
    grouped: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in runs:
        condition = run.condition
        name = condition.source.dataset.label
        grouped[
            name, condition.profile.label, str(condition.network), f"{condition.label_pct} %"
        ].append(run)
    for key, members in grouped.items():
        folds = sorted({run.condition.fold for run in members})
        _add(
            conditions,
            *key,
            ", ".join(map(str, folds)),
            ", ".join(dict.fromkeys(run.method for run in members)),
        )
    estimate = f"about {duration(total)} of work on one slot"
    if unknown:
        estimate = (
            "time not known before some of it has run" if not total else f"more than {estimate}"
        )
    note = f"{len(graph)} stages, {len(missing)} to compute" + (f": {estimate}" if missing else "")
    return Group(conditions, "", table, "", Text(note))


def status_lines(store: Store) -> Text:
    """Return every stage of the store with its state, finished ones last, and counts per state."""
    counts: Counter[str] = Counter()
    rows = []
    stages, unread = store.survey()
    for stage in stages:
        state = store.state(stage)
        counts[state] += 1
        receipt = store.receipt(stage) if state == "done" else {}
        seconds = f"{receipt['wall_seconds']:.1f}" if receipt else ""
        rows.append((stage.key, stage.title, state, seconds, str(receipt.get("finished", ""))))
    rows.sort(key=lambda row: row[-1])
    if not rows and not unread:
        return Text("the store is empty")
    # A table of rich takes a millisecond per row, which is long in a store of thousands.
    table = _columns(("key", "what", "state", "seconds", "finished"), rows) if rows else []
    summary = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    reasons = Counter(each.cause.reason for each in unread)
    lines = [f"{count} {reason}" for reason, count in sorted(reasons.items())]
    if any(each.in_doubt for each in unread):
        lines.append("`bench verify` names what is missing or wrong, and the command that mends it")
    return Text("\n".join([*table, *([""] if rows else []), *filter(None, [summary, *lines])]))


def _columns(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return lines of text whose cells are below each other."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]


def describe_stage(stage: Stage, store: Store) -> RenderableType:
    """Return parameters, inputs, receipt and files of one stage."""
    folder = store.folder(stage)
    parts: list[RenderableType] = [Text(f"{stage.key}  {stage.title}", style="bold")]
    parts.append(Text(f"state    {store.state(stage)}\nfolder   {folder}"))
    for parent in stage.inputs():
        parts.append(Text(f"input    {parent.key}  {parent.title}"))
    parameters = {name: value for name, value in stage.identity().items() if name != "kind"}
    parts.append(Text(json.dumps(parameters, indent=1)))
    if store.is_done(stage):
        receipt = store.receipt(stage)
        sizes, digests = receipt["bytes"], receipt["sha256"]
        facts = {name: value for name, value in receipt.items() if isinstance(value, str | float)}
        parts.append(Text("\n".join(f"{name:<16} {value}" for name, value in facts.items())))
        files = (f"{digests[name][:12]} {size:>12} bytes  {name}" for name, size in sizes.items())
        parts.append(Text("\n".join(files)))
    if (damage := store.damage(stage)) is not None:
        parts.append(Text(f"damaged  {damage}", style="red"))
    if failure := store.failure(stage):
        parts.append(Text(f"failed   {failure}", style="red"))
    return Group(*parts)


def listing(what: str) -> RenderableType:
    """Return the available names, one line each."""
    from bench.data.dataset import Dataset
    from bench.engine.launcher import AnyLauncher
    from bench.evaluation import metrics
    from bench.experiment.method import Method
    from bench.experiment.profiles import PROFILES
    from bench.nets import catalogue
    from bench.reporting.report import Report

    if what == "networks":
        table = _table("network", "sees", "options", "what it is")
        for name in catalogue.names():
            network = catalogue.load(name)
            sees = "volumes" if network.dims == 3 else "slices"
            _add(table, name, sees, network.options(), network.summary())
        return Group(
            table,
            "",
            Text("ENCODER: any encoder of segmentation_models_pytorch, e.g. resnet34", style="dim"),
        )
    if what == "profiles":
        table = _table("profile", "network", "max_side", "steps", "batch_size", "lr", "n_folds")
        for name, profile in PROFILES.items():
            size = profile.max_side, profile.steps
            rates = profile.training.batch_size, profile.training.lr
            _add(table, name, profile.network, *map(str, (*size, *rates, profile.n_folds)))
        return table
    if what == "methods":
        table = _table("method", "what it does", "published in")
        for name in registry.names("methods"):
            method = registry.load("methods", name, Method)  # type: ignore[type-abstract]
            _add(table, name, registry.summary("methods", name), method.citation)
        return table
    if what == "datasets":
        table = _table("data set", "what it is", "where to get it")
        for name in registry.names("datasets"):
            dataset = registry.load("datasets", name, Dataset)  # type: ignore[type-abstract]
            _add(table, name, dataset.summary, dataset.source)
        return table
    if what == "metrics":
        table = _table("metric", "title", "unit", "best", "what it is")
        for name, metric in metrics.every().items():
            _add(table, name, metric.title, metric.unit, metric.best, metric.definition())
        return table
    kind: Kind = "reports" if what == "reports" else "launchers"
    base: type[Params] = Report if kind == "reports" else AnyLauncher
    table = _table(kind.removesuffix("s"), "what it does", "options")
    for name in registry.names(kind):
        options = registry.load(kind, name, base).options()
        _add(table, name, registry.summary(kind, name), options)
    return table


def releases() -> RenderableType:
    """Return the data sets with their numbers and licences, one line each."""
    from bench.data.release import Release, every_choice

    table = _table("data set", "cases", "organs", "annotated pairs", "licence", "where to get it")
    for name, dataset in every_choice():
        if isinstance(dataset, Release):
            cases, _ = dataset.expected()
            pairs = dataset.annotated_pairs()
            numbers = (str(cases), str(len(dataset.own_organs)), str(pairs or "by its table"))
            _add(table, name, *numbers, dataset.licence, " or ".join(dataset.urls))
        else:
            _add(table, name, NONE, NONE, NONE, NONE, dataset.source)
    return table


def print_check(dataset: Dataset, console: Console) -> bool:
    """Check a data set, print the findings and return whether there are errors."""
    from bench.data.check import check

    with console.status("reading") as spinner:
        result = check(
            dataset, lambda done, total: spinner.update(f"reading case {done} of {total}")
        )
    console.print(
        f"{result.dataset}: {counted(result.cases, 'case')} of "
        f"{counted(result.patients, 'patient')}, "
        f"{result.readable} readable",
    )
    for remark in result.remarks:
        console.print(remark, soft_wrap=True)
    table = _table("organ", "annotated", *dataset.domains, "present", "median ml")
    for k, organ in enumerate(result.organs):
        volume = "–" if organ.median_ml is None else f"{organ.median_ml:.1f}"
        flags = Counter(case.domain for case in dataset.cases() if case.annotated[k])
        annotated = (organ.annotated, *(flags[domain] for domain in dataset.domains))
        _add(table, organ.organ, *map(str, annotated), str(organ.present), volume)
    console.print(table)
    if result.shape is not None and result.spacing_mm is not None:
        axes = zip("XYZ", result.shape, result.spacing_mm, strict=True)
        for axis, voxels, spacing in axes:
            console.print(
                f"{axis}   {voxels.low:.0f} to {voxels.high:.0f} voxels of "
                f"{spacing.low:.2f} to {spacing.high:.2f} mm",
            )
        for channel, values in zip(dataset.channels, result.values, strict=True):
            unit = " HU" if channel.rule == "window" else ""
            console.print(f"{channel.name}  {values.low:g} to {values.high:g}{unit}")
    for problem in result.problems:
        style = "red" if problem.severity == "error" else "yellow"
        named = problem.case is None or problem.case in problem.message
        where = "" if named else f"{problem.case}: "
        line = Text(f"{problem.severity}: {where}{problem.message}", style=style)
        console.print(line, soft_wrap=True)
    errors = sum(problem.severity == "error" for problem in result.problems)
    warnings = len(result.problems) - errors
    console.print(f"{counted(errors, 'error')}, {counted(warnings, 'warning')}")
    return errors > 0


def print_verdicts(verdicts: Iterable[tuple[str, Iterable[Verdict]]], console: Console) -> bool:
    """Print the rules that each method passes or breaks; return whether all pass."""
    kept = True
    for method, found in verdicts:
        console.print(method, style="bold")
        for verdict in found:
            kept &= verdict.problem is None
            state = ("ok  ", "green") if verdict.problem is None else ("FAIL", "red")
            console.print(Text.assemble("  ", state, f" {verdict.rule}"), soft_wrap=True)
            if verdict.problem is not None:
                console.print(f"       {verdict.problem}", style="red", soft_wrap=True)
    return kept


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    """Add a row of plain text: brackets in names are not markup."""
    table.add_row(*map(Text, cells))
