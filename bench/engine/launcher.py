"""Base classes of launchers: they run the stages of a graph and report events, or submit jobs."""

from __future__ import annotations

import abc
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.engine.graph import Frontier, StageGraph
from bench.engine.store import Store
from bench.params import Params, parse_brackets
from bench.plugins import registry
from bench.stage import Stage

if TYPE_CHECKING:
    from bench.engine.worker import Ended

EventKind = Literal[
    "started",
    "progress",
    "stalled",
    "done",
    "waiting",
    "damaged",
    "failed",
    "refused",
    "blocked",
    "interrupted",
]
"""`stalled`: the process of the stage cannot go on by itself; the message says what to do."""


@dataclass(frozen=True, slots=True)
class StageEvent:
    """An event in the life of a stage: started, progress, done, failed and so on."""

    kind: EventKind
    stage: Stage
    slot: str = ""
    done: int = 0
    total: int = 0
    message: str = ""


class AnyLauncher(Params, abc.ABC):
    """Base of :class:`Launcher` and :class:`Submitter`; the fields of a subclass are its options.

    One class per file in ``bench/engine/launchers/``, or in a file of its own named with
    ``--plugin``. ``--launcher 'local[workers=2]'`` chooses it.
    """


class Launcher(AnyLauncher):
    """Base of the launchers that run stages while the command waits."""

    @abc.abstractmethod
    def run(self, graph: StageGraph, store: Store) -> Generator[StageEvent]:
        """Yield events until every stage is done, failed or blocked; closing it stops the work.

        Each stage is registered in the store: its key is all that another process or machine needs
        to run it (:func:`bench.engine.worker.run_stage`).
        """

    def describe(self, graph: StageGraph) -> str:
        """Say in a few words with what it would run a plan; empty if there is nothing to choose."""
        del graph
        return ""


def settle(
    frontier: Frontier, store: Store, stage: Stage, outcome: Ended, message: str, slot: str = ""
) -> Iterator[StageEvent]:
    """Note how a stage ended, and yield the events that follow from it."""
    if outcome == "done":
        frontier.done(stage)
        yield StageEvent("done", stage, slot, message=message)
        return
    if outcome == "damaged":
        lost = [parent for parent in stage.inputs() if not store.is_done(parent)]
        for parent in lost:
            if not frontier.awaits(parent):
                yield StageEvent("damaged", parent, slot, message=message)
        if frontier.reopen(stage, lost):
            yield StageEvent("waiting", stage, slot, message="until its input is computed again")
            return
        outcome, message = "failed", f"{message}; it was damaged before: check disk and memory"
    yield StageEvent(outcome, stage, slot, message=message)
    for blocked in frontier.failed(stage):
        yield StageEvent("blocked", blocked, message=f"needs {stage.key}")


class Submitter(AnyLauncher):
    """Base of the launchers that submit jobs to a queue, which outlive the command."""

    @abc.abstractmethod
    def submit(
        self, graph: StageGraph, store: Store, finish: Callable[[], object]
    ) -> Iterator[str]:
        """Submit jobs that run the stages of a graph, and yield lines that tell the user of them.

        Parameters
        ----------
        graph
            The plan, registered in the store, with at least one stage that is not done.
        store
            Where the jobs find stages and leave results.
        finish
            What a job calls when the plan has come to its end; can be pickled.

        Raises
        ------
        BenchError
            The queue is not there, or refuses the jobs.
        """


def parse_launcher(text: str) -> Launcher | Submitter:
    """Return the launcher of a bracket notation such as ``local[workers=2]``."""
    name, overrides = parse_brackets(text)
    plugin = registry.load("launchers", name, AnyLauncher)
    launcher = plugin.from_overrides("launcher", name, overrides)
    assert isinstance(launcher, Launcher | Submitter)
    return launcher
