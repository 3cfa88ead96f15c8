"""What there is to choose from, as data: ``bench list``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.cli.answers import Answer
from bench.params import Params
from bench.plugins import registry

if TYPE_CHECKING:
    from bench.plugins.registry import Kind

Value = str | int | float | None


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
