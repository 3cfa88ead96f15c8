"""The grid of an experiment: methods, data sets, label fractions, folds, networks, seeds."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeVar

from bench.data.catalogue import parse_dataset, split_datasets
from bench.data.dataset import Dataset
from bench.data.fingerprint import fingerprint
from bench.data.simulate import make_split
from bench.engine.store import Store
from bench.errors import BenchError
from bench.experiment.method import Condition, Method, Recipe, Source
from bench.experiment.plan import Run
from bench.experiment.profiles import Profile, parse_profile
from bench.nets.catalogue import parse_network
from bench.nets.network import Network
from bench.params import parse_brackets, split_outside_brackets
from bench.plugins import registry
from bench.results.tables import plugged_metrics
from bench.stage import Stage

ProgressCallback = Callable[[int, int], None]
ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class ExperimentGrid:
    """The axes of an experiment; its conditions are their product."""

    methods: Sequence[tuple[str, Method]]
    """Label in tables, and the method."""
    datasets: Sequence[Dataset]
    label_pcts: Sequence[int] | None
    """None: the default fractions of the data set."""
    folds: str
    profiles: Sequence[Profile]
    networks: Sequence[Network]
    """Empty: the default network of each profile."""
    seeds: Sequence[int]

    def runs(
        self,
        store: Store,
        progress: ProgressCallback = lambda *_: None,
        *,
        remember: bool = True,
        guard: bool = False,
    ) -> list[Run]:
        """Return every method in every condition, after reading the case lists (not the volumes).

        ``remember`` keeps the digests of the files in the store, so that they are read once.
        ``guard`` reads the images too, once, and refuses a scan that two patients have.

        Raises
        ------
        BenchError
            Missing data, too few patients, a fold that does not exist, an organ without any label.
            Without the data, the message says what can still be done with a store's results.
        """
        plugged_metrics()  # an invalid name raises before anything is computed
        sources = []
        with _what_remains(store):
            names = [dataset.label for dataset in self.datasets]
        for name in names:
            if names.count(name) > 1:
                raise BenchError(
                    f"{names.count(name)} data sets are called {name}, which one table cannot tell "
                    "apart: run them one by one, with a --store each"
                )
        for dataset in self.datasets:
            memory = store.root / "digests.json"
            with _what_remains(store):
                cases = dataset.found()
                content = fingerprint(dataset, cases, memory, progress, remember=remember)
                if guard:
                    from bench.data.leaks import refuse_leaks  # plans need no library for scans

                    refuse_leaks(dataset, cases, memory, progress)
            sources.append((Source(dataset, content), cases))
        runs = []
        for (source, cases), profile, seed in product(sources, self.profiles, self.seeds):
            networks = self.networks or [parse_network(profile.network)]
            pcts = self.label_pcts or source.dataset.label_fractions
            folds = parse_numbers("fold", self.folds, 0, profile.n_folds - 1)
            for network, pct, fold in product(networks, pcts, folds):
                # Raises, before anything is computed, if a training would lack something.
                make_split(
                    cases,
                    source.dataset.organs,
                    dataset=source.dataset.name,
                    fold=fold,
                    n_folds=profile.n_folds,
                    label_pct=pct,
                    seed=seed,
                )
                condition = Condition(source, fold, pct, network, profile, seed)
                runs += [Run.of(method, label, condition) for label, method in self.methods]
        return runs


@contextlib.contextmanager
def _what_remains(store: Store) -> Iterator[None]:
    """Add to an error of reading a data set that the results of a store need no data."""
    try:
        yield
    except BenchError as error:
        if not any((store.root / "results").glob("*.parquet")):
            raise
        where = shlex.join(["--store", str(store.root)])
        raise BenchError(
            f"{error}; what is finished needs no data: `bench report leaderboard {where}` shows "
            "the results, and status, show and predict work"
        ) from None


def preparations(
    datasets: Sequence[Dataset],
    profiles: Sequence[Profile],
    networks: Sequence[Network],
    memory: Path,
) -> list[Stage]:
    """Return the stages that read and cache data sets; no fold, no method is needed for them."""
    stages: dict[str, Stage] = {}
    for dataset in datasets:
        source = Source(dataset, fingerprint(dataset, dataset.found(), memory))
        for profile in profiles:
            for network in networks or [parse_network(profile.network)]:
                recipe = Recipe(Condition(source, 0, 100, network, profile))
                stages |= {stage.key: stage for stage in (recipe.images, recipe.truth)}
    return list(stages.values())


def parse_methods(texts: Sequence[str]) -> list[tuple[str, Method]]:
    """Return the methods of ``--method``: names, lists of names, overrides in brackets."""
    found = {}
    for text in _items("method", texts):
        name, overrides = parse_brackets(text)
        plugin = registry.load("methods", name, Method)  # type: ignore[type-abstract]
        method = plugin.from_overrides("method", name, overrides)
        found[method.notation(name)] = method
    return list(found.items())


def parse_datasets(texts: Sequence[str], data_root: Path | None) -> list[Dataset]:
    """Return the data sets of ``--dataset``: registered names or folders, options in brackets."""
    return _once(parse_dataset(name, data_root) for name in dataset_names(texts))


def dataset_names(texts: Sequence[str]) -> list[str]:
    """Return the names of ``--dataset``, each once, before any is looked for."""
    return _once(_given("data set", [name for text in texts for name in split_datasets(text)]))


def parse_profiles(texts: Sequence[str]) -> list[Profile]:
    """Return the profiles of ``--profile``."""
    return _once(parse_profile(text) for text in _items("profile", texts))


def parse_networks(texts: Sequence[str]) -> list[Network]:
    """Return the networks of ``--backbone``."""
    return _once(parse_network(text) for text in _items("network", texts)) if texts else []


def parse_numbers(what: str, text: str, low: int, high: int, *, unit: str = "") -> list[int]:
    """Return the integers of ``1,3`` or ``0-4`` or ``all``, in order, each once.

    Raises
    ------
    BenchError
        Not numbers, none, or outside ``low`` to ``high``.
    """
    if text.strip() == "all":
        return list(range(low, high + 1))
    numbers: list[int] = []
    for item in text.split(","):
        if item.strip() == "all":
            raise BenchError(f"{what} all stands alone: write all, or numbers without it")
        first, dash, last = item.strip().partition("-")
        try:
            span = range(int(first), int(last if dash else first) + 1)
        except ValueError:
            raise BenchError(
                f"{what} {item.strip()!r} is not a whole number{unit}; write for example {high} or "
                f"{low}-{high} or {low},{high}"
            ) from None
        if not span:
            raise BenchError(f"{what} {item.strip()!r} runs backwards: write {last}-{first}")
        for end in (span[0], span[-1]):
            if not low <= end <= high:
                raise BenchError(f"{what} {end} is impossible, must be within {low} to {high}")
        numbers += span
    return list(dict.fromkeys(numbers))


def parse_label_pcts(text: str) -> list[int] | None:
    """Return the percentages of ``--labelled``; None for ``all``, the defaults of the data set."""
    if text.strip() == "all":
        return None
    return parse_numbers("label fraction", text.replace("%", ""), 1, 100, unit=" of percent")


def _items(what: str, texts: Sequence[str]) -> list[str]:
    return _given(what, [item for text in texts for item in split_outside_brackets(text)])


def _given(what: str, items: Sequence[str]) -> list[str]:
    if not any(items):
        raise BenchError(f"no {what} is named: give at least one")
    return [item for item in items if item]


def _once(items: Iterable[ItemT]) -> list[ItemT]:
    found: list[ItemT] = []
    for item in items:
        if item not in found:
            found.append(item)
    return found
