"""``bench status --watch``: jobs, what they compute, stages by state, and the time that is left."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench.cli.codes import ExitCode
from bench.cli.console import Console
from bench.engine import cluster
from bench.engine.cluster import Job, Submission
from bench.engine.graph import StageGraph
from bench.engine.journal import JournalReader, Progress
from bench.engine.makespan import makespan
from bench.engine.store import State, Store
from bench.errors import BenchError
from bench.experiment.durations import Durations
from bench.reporting.text import counted, duration, listed
from bench.stage import Stage

LOOK_SECONDS = 2.0
"""Between two looks at the store."""
QUEUE_SECONDS = 15.0
"""Between two queries to Slurm, which serves the whole site."""
QUIET_SECONDS = 10.0
"""How long nothing may be at work before the watch ends."""
SHOWN = 5
"""Failures in the display."""

Fate = State | Literal["blocked"]
OPEN: tuple[Fate, ...] = ("running", "interrupted", "waiting")
COLUMNS: tuple[Fate, ...] = ("done", *OPEN, "failed", "blocked")


@dataclass(frozen=True)
class View:
    """The state of a plan at one moment."""

    graph: StageGraph
    fates: Mapping[str, Fate]
    """Of every stage, by key."""
    failures: Mapping[str, str]
    jobs: tuple[Job, ...] = ()
    computes: Mapping[str, Mapping[str, Progress]] = field(default_factory=dict)
    """Of every running job, by its id."""
    trouble: str = ""
    """Why the queue could not be read."""
    remaining: str = ""

    @property
    def counts(self) -> Counter[Fate]:
        """Number of stages by state."""
        return Counter(self.fates.values())

    @property
    def open(self) -> int:
        """Number of stages that are still to be computed and can be."""
        return sum(self.counts[fate] for fate in OPEN)

    @property
    def at_work(self) -> bool:
        """Whether somebody computes, or may be about to, or writes the tables in the end."""
        jobs = self.jobs if self.open else [job for job in self.jobs if job.state == "RUNNING"]
        return bool(self.counts["running"] or jobs or (self.open and self.trouble))


class Watcher:
    """Looks at the jobs of a store and at the stages of their plans.

    Without jobs, the plan is every stage of the store that this version of the code can read.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._submissions: list[Submission] = []
        self._jobs: tuple[Job, ...] = ()
        self._trouble = ""
        self._readers: dict[str, JournalReader] = {}
        self._done: set[str] = set()
        self._durations = Durations.of(store)
        self._graph = StageGraph([])
        self._asked = -QUEUE_SECONDS

    def look(self) -> View:
        """Return the state now; Slurm is asked every ``QUEUE_SECONDS`` until all is done."""
        if time.monotonic() - self._asked >= QUEUE_SECONDS or self._all_done():
            self._ask_slurm()
            self._asked = time.monotonic()
        failures: dict[str, str] = {}
        fates = dict(self._fates(failures))
        computes = {job.id: self._reader(job).at_work() for job in self._running()}
        remaining = self._remaining(fates, computes)
        return View(self._graph, fates, failures, self._jobs, computes, self._trouble, remaining)

    def last_words(self) -> str:
        """Return the last line that one of the newest jobs printed as an error, and its log."""
        if not self._submissions:
            return ""
        folder = cluster.folder_of(self._store)
        for log in sorted(folder.glob(f"{self._submissions[-1].job_id}*_log.err")):
            lines = log.read_text(errors="replace").strip().splitlines()
            if said := [line for line in lines if not line.startswith("submitit ")]:
                return f"; the last words of a job: {said[-1]} ({log})"
        return f"; the logs of jobs are in {folder}"

    def _ask_slurm(self) -> None:
        recorded = cluster.submissions(self._store)
        if recorded != self._submissions or not len(self._graph):
            self._submissions, self._graph = recorded, _plan(self._store, recorded)
        try:
            self._jobs, self._trouble = tuple(cluster.queue(recorded)), ""
        except BenchError as error:
            self._jobs, self._trouble = (), str(error)

    def _all_done(self) -> bool:
        return self._done.issuperset(self._graph.stages)

    def _running(self) -> list[Job]:
        return [job for job in self._jobs if job.state == "RUNNING"]

    def _reader(self, job: Job) -> JournalReader:
        if job.id not in self._readers:
            (submission,) = (s for s in self._submissions if s.name == job.name)
            path = submission.journal(self._store, job.number)
            self._readers[job.id] = JournalReader(path)
        return self._readers[job.id]

    def _fates(self, failures: dict[str, str]) -> Iterator[tuple[str, Fate]]:
        fates: dict[str, Fate] = {}
        for stage in self._graph.in_order():
            fates[stage.key] = self._fate(stage, fates)
            if fates[stage.key] == "failed":
                failures[stage.key] = self._store.attempts(stage).why_failed() or ""
            yield stage.key, fates[stage.key]

    def _fate(self, stage: Stage, fates: Mapping[str, Fate]) -> Fate:
        if stage.key in self._done:
            return "done"
        if self._store.is_done(stage):
            self._done.add(stage.key)
            self._durations.note(stage, self._store)
            return "done"
        below = {fates[parent.key] for parent in stage.inputs()}
        if below & {"failed", "blocked"}:
            return "blocked"
        return "waiting" if below - {"done"} else self._store.state(stage)

    def _remaining(
        self, fates: Mapping[str, Fate], computes: Mapping[str, Mapping[str, Progress]]
    ) -> str:
        open_ = {
            key for key, fate in fates.items() if fate in ("running", "interrupted", "waiting")
        }
        if not open_:
            return "nothing"
        progress = {key: p for work in computes.values() for key, p in work.items()}
        unknown: set[str] = set()

        def seconds(stage: Stage) -> float:
            if stage.key not in open_:
                return 0.0
            whole = self._durations.estimate(stage)
            if whole is None:
                unknown.add(type(stage).__name__)
                return 0.0
            spent = self._store.attempts(stage).seconds()
            if stage.key in progress:
                spent = max(spent, whole * progress[stage.key].fraction)
            return max(0.0, whole - spent)

        lanes, condition = self._lanes(fates)
        left = makespan(self._graph, seconds, lanes)
        side = f"with {counted(lanes, 'training')} at a time{condition}"
        if not unknown:
            return f"about {duration(left)} {side}"
        named = listed(sorted(unknown)) if len(unknown) < 4 else f"{len(unknown)} kinds of stages"
        missing = f"not known how long {named} takes before one has run"
        return f"more than {duration(left)} {side}; {missing}" if left >= 1 else missing

    def _lanes(self, fates: Mapping[str, Fate]) -> tuple[int, str]:
        """Return how many trainings run side by side, and under which condition."""
        slots = {submission.name: submission.slots for submission in self._submissions}
        if running := self._running():
            return sum(slots[job.name] for job in running), ""
        if self._jobs:
            return sum(slots[job.name] for job in self._jobs), ", once the jobs have started"
        heavy = (stage for stage in self._graph.stages.values() if stage.uses_accelerator)
        return max(1, sum(fates[stage.key] == "running" for stage in heavy)), ""


def watch(store: Store, console: Console) -> ExitCode:
    """Show what happens in a store until nothing is left to do, or nobody does it.

    Raises
    ------
    BenchError
        Nobody works on what is not done.
    """
    watcher = Watcher(store)
    try:
        view = _follow(watcher, console)
    except KeyboardInterrupt:
        console.print("stopped watching; what runs goes on")
        return ExitCode.INTERRUPTED
    if view.open:
        raise BenchError(
            f"{counted(view.open, 'stage')} not done, and nothing works on them: give the same "
            f"bench run again{watcher.last_words()}"
        )
    return ExitCode.FAILED if view.failures else ExitCode.DONE


def _follow(watcher: Watcher, console: Console) -> View:
    """Show every view, on a terminal in one place, and return the last one."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for view in _views(watcher):
                live.update(_drawn(view), refresh=True)
        return view
    said = ""
    for view in _views(watcher):
        if (line := _line(view)) != said:
            console.print(f"{time.strftime('%H:%M:%S')} {line}", soft_wrap=True)
            said = line
    for failure in _failures(view):
        console.print(failure, soft_wrap=True)
    return view


def _views(watcher: Watcher) -> Iterator[View]:
    """Yield what is seen until nobody has been at work for a while."""
    quiet = 0.0
    while True:
        view = watcher.look()
        yield view
        quiet = 0.0 if view.at_work else quiet + LOOK_SECONDS
        if quiet and (not view.open or quiet > QUIET_SECONDS):
            return
        time.sleep(LOOK_SECONDS)


def _plan(store: Store, recorded: Iterable[Submission]) -> StageGraph:
    wanted: list[Stage] = []
    for submission in recorded:
        try:
            wanted += store.find_all(submission.wanted)
        except BenchError:  # of another version of the code, or removed
            continue
    return StageGraph(wanted or store.stages())


def _drawn(view: View) -> RenderableType:
    parts: list[RenderableType] = [_stages(view)]
    if view.jobs:
        parts += ["", _jobs(view)]
    if view.trouble:
        parts += ["", Text(view.trouble, style="yellow")]
    parts += ["", *_failures(view), Text(f"remaining  {view.remaining}")]
    return Group(*parts)


def _stages(view: View) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    counts = view.counts
    shown = [fate for fate in COLUMNS if counts[fate]]
    table.add_column("stages")
    for fate in shown:
        table.add_column(fate, justify="right")
    kinds: dict[str, Counter[Fate]] = defaultdict(Counter)
    for key, fate in view.fates.items():
        kinds[type(view.graph.stages[key]).__name__][fate] += 1
    for kind, found in kinds.items():
        table.add_row(kind, *(str(found[fate] or "") for fate in shown))
    table.add_row("all", *(str(counts[fate]) for fate in shown), style="bold")
    return table


def _jobs(view: View) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("job", "state", "node", "runs for", "until its limit", "computes"):
        table.add_column(heading, overflow="fold")
    for job in view.jobs:
        works = "\n".join(_work(view.graph, view.computes.get(job.id, {})))
        why = f"({job.reason})" if job.state == "PENDING" else ""
        cells = (job.id, job.state.lower(), job.node, job.elapsed, job.left, works or why)
        table.add_row(*map(Text, cells))
    return table


def _work(graph: StageGraph, progress: Mapping[str, Progress]) -> Iterator[str]:
    for key, at in progress.items():
        if key in graph:
            stage = graph.stages[key]
            count = f"  {at.done}/{at.total}" if at.total else ""
            yield f"{type(stage).__name__} {stage.title}{count}"


def _failures(view: View) -> Iterator[Text]:
    for key, message in list(view.failures.items())[:SHOWN]:
        yield Text(f"failed  {key}: {message}\n", style="red")
    if len(view.failures) > SHOWN:
        yield Text(f"and {len(view.failures) - SHOWN} more; bench status lists all\n", style="red")


def _line(view: View) -> str:
    counts = view.counts
    parts = [f"{counts['done']}/{len(view.fates)} stages done"]
    parts += [f"{counts[fate]} {fate}" for fate in COLUMNS[1:] if counts[fate]]
    jobs = Counter(job.state.lower() for job in view.jobs)
    if jobs:
        parts.append("jobs: " + ", ".join(f"{count} {state}" for state, count in jobs.items()))
    if view.trouble:
        parts.append(view.trouble)
    return f"{', '.join(parts)}; remaining: {view.remaining}"
