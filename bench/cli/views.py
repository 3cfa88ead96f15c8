"""The tables of ``bench plan``, ``status``, ``show``, ``list`` and ``data check``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.reporting.text import NONE, counted, duration

if TYPE_CHECKING:
    from bench.cli.listed import ListAnswer, Value
    from bench.cli.planned import PlanAnswer
    from bench.cli.stored import ShowAnswer, StatusAnswer
    from bench.data.dataset import Dataset
    from bench.data.findings import CheckResult
    from bench.experiment.conformance.verdict import Verdict


def plan_table(plan: PlanAnswer) -> RenderableType:
    """Return the tables of conditions and of kinds of stages, and the time in all."""
    table = _table("stage", "stages", "requested", "shared", "done", "new", "estimated time")
    for kind in plan.kinds:
        counts = (kind.stages, kind.requested, kind.shared, kind.done, kind.new)
        time = "not yet known" if kind.seconds is None else duration(kind.seconds)
        _add(table, kind.kind, *map(str, counts), time)
    conditions = _table("data set", "profile", "network", "labelled", "folds", "methods")
    conditions.columns[0].no_wrap, conditions.columns[0].overflow = False, "fold"
    for column in conditions.columns[1:]:
        column.min_width = len(str(column.header))
    conditions.columns[-1].min_width = 16
    for at in plan.conditions:
        share, folds = f"{at.label_pct} %", ", ".join(map(str, at.folds))
        _add(conditions, at.dataset, at.profile, at.network, share, folds, ", ".join(at.methods))
    estimate = f"about {duration(plan.seconds)} of work on one slot"
    if not plan.seconds_complete:
        unknown = "time not known before some of it has run"
        estimate = f"more than {estimate}" if plan.seconds else unknown
    note = f"{plan.stages} stages, {plan.new} to compute" + (f": {estimate}" if plan.new else "")
    return Group(conditions, "", table, "", Text(note))


def status_lines(status: StatusAnswer) -> Text:
    """Return every stage with its state, and counts per state."""
    if not status.stages and not status.unread:
        return Text("the store is empty")
    rows = [
        (
            stage.key,
            stage.title,
            stage.state,
            "" if stage.seconds is None else f"{stage.seconds:.1f}",
            stage.finished or "",
        )
        for stage in status.stages
    ]
    # A table of rich takes a millisecond per row, which is long in a store of thousands.
    table = _columns(("key", "what", "state", "seconds", "finished"), rows) if rows else []
    summary = ", ".join(f"{count} {state}" for state, count in status.counts.items())
    reasons = Counter(each.reason for each in status.unread)
    lines = [f"{count} {reason}" for reason, count in sorted(reasons.items())]
    if any(each.in_doubt for each in status.unread):
        lines.append("`bench verify` names what is missing or wrong, and the command that mends it")
    return Text("\n".join([*table, *([""] if rows else []), *filter(None, [summary, *lines])]))


def _columns(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return lines of text whose cells are below each other."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]


def describe_stage(found: ShowAnswer) -> RenderableType:
    """Return parameters, inputs, receipt and files of one stage."""
    parts: list[RenderableType] = [Text(f"{found.key}  {found.title}", style="bold")]
    parts.append(Text(f"state    {found.state}\nfolder   {found.folder}"))
    parts += [Text(f"input    {parent.key}  {parent.title}") for parent in found.inputs]
    parts.append(Text(json.dumps(found.parameters, indent=1)))
    if found.receipt:
        parts.append(Text("\n".join(f"{name:<16} {v}" for name, v in found.receipt.items())))
        files = (f"{one.sha256[:12]} {one.bytes:>12} bytes  {one.name}" for one in found.files)
        parts.append(Text("\n".join(files)))
    if found.damage is not None:
        parts.append(Text(f"damaged  {found.damage}", style="red"))
    if found.failure:
        parts.append(Text(f"failed   {found.failure}", style="red"))
    return Group(*parts)


HEADINGS = {
    "networks": {"name": "network", "dims": "sees", "options": "options", "summary": "what it is"},
    "methods": {
        "name": "method",
        "summary": "what it does",
        "citation": "published in",
        "searched": "searched by bench tune",
    },
    "datasets": {
        "name": "data set",
        "summary": "what it is",
        "annotated_pairs": "annotated pairs",
        "source": "where to get it",
    },
    "metrics": {"name": "metric", "summary": "what it is"},
    "profiles": {"name": "profile"},
    "reports": {"name": "report", "summary": "what it does"},
    "launchers": {"name": "launcher", "summary": "what it does"},
}
"""Fields of a list as people call them, where that is not their name."""


def listing(found: ListAnswer) -> RenderableType:
    """Return the available names, one line each."""
    headings = HEADINGS[found.what]
    names = list(found.items[0]) if found.items else ["name"]
    table = _table(*(headings.get(name, name) for name in names))
    for item in found.items:
        _add(table, *(_cell(name, item) for name in names))
    if found.what != "networks":
        return table
    encoders = "ENCODER: any encoder of segmentation_models_pytorch, e.g. resnet34"
    return Group(table, "", Text(encoders, style="dim"))


def _cell(name: str, item: Mapping[str, Value]) -> str:
    value = item[name]
    if name == "dims":
        return "volumes" if value == 3 else "slices"
    if name == "annotated_pairs" and value is None and item["cases"] is not None:
        return "by its table"
    if name == "searched" and value is None:
        return "nothing"
    return NONE if value is None else str(value)


def print_check(result: CheckResult, dataset: Dataset, console: Console) -> None:
    """Print the findings of the check of a data set."""
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
    errors, warnings = len(result.errors), len(result.warnings)
    console.print(f"{counted(errors, 'error')}, {counted(warnings, 'warning')}")


def print_verdicts(
    verdicts: Iterable[tuple[str, Iterable[Verdict]]], console: Console
) -> list[tuple[str, list[Verdict]]]:
    """Print the rules that each method passes or breaks, one by one, and return them all."""
    kept = []
    for method, found in verdicts:
        console.print(method, style="bold")
        rules = []
        for verdict in found:
            rules.append(verdict)
            state = ("ok  ", "green") if verdict.problem is None else ("FAIL", "red")
            console.print(Text.assemble("  ", state, f" {verdict.rule}"), soft_wrap=True)
            if verdict.problem is not None:
                console.print(f"       {verdict.problem}", style="red", soft_wrap=True)
        kept.append((method, rules))
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
