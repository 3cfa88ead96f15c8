"""Progress display for running stages."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from bench.engine.graph import StageGraph
from bench.engine.launcher import StageEvent

STYLES = {
    "damaged": "yellow",
    "failed": "bold red",
    "refused": "bold red",
    "interrupted": "yellow",
    "stalled": "yellow",
}


class SliceBars:
    """Shows the slices of the scan that is segmented; nothing where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._name = ""

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def tick(self, name: str, done: int, total: int) -> None:
        """Show that some of the slices of a scan are done."""
        if self._task is None or name != self._name:
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._task, self._name = self._bars.add_task(name, total=total), name
        self._bars.update(self._task, completed=done)


class Monitor:
    """Shows the events of a launcher and records the outcome of every stage."""

    def __init__(self, graph: StageGraph, n_done: int, console: Console) -> None:
        self._console = console
        self._total = len(graph)
        self._finished = n_done
        self._live = console.is_terminal
        self._started: dict[str, float] = {}
        self.outcomes: Counter[str] = Counter()
        self.messages: list[StageEvent] = []

    def follow(self, events: Iterable[StageEvent]) -> None:
        """Consume all events, showing progress."""
        if not self._live:
            for event in events:
                self._note(event)
                self._print_line(event)
            return
        columns = (
            # Names and titles may hold brackets, which are no markup.
            TextColumn("{task.fields[slot]:>5}", markup=False),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=self._console, transient=True) as bars:
            everything = bars.add_task(
                "all stages", total=self._total, completed=self._finished, slot="", note=""
            )
            tasks: dict[str, TaskID] = {}
            for event in events:
                self._note(event)
                if event.kind == "started":
                    if event.stage.key in tasks:  # its input was computed again meanwhile
                        bars.remove_task(tasks[event.stage.key])
                    tasks[event.stage.key] = bars.add_task(
                        _name(event), total=None, slot=event.slot, note=""
                    )
                elif event.kind == "progress" and event.stage.key in tasks:
                    bars.update(
                        tasks[event.stage.key],
                        completed=event.done,
                        total=event.total,
                        note=event.message,
                    )
                elif event.kind == "stalled":
                    self._print_line(event)
                elif event.kind not in ("progress", "waiting"):
                    if event.stage.key in tasks:
                        bars.remove_task(tasks.pop(event.stage.key))
                    bars.update(everything, completed=self._finished)
                    self._print_line(event)

    def _note(self, event: StageEvent) -> None:
        if event.kind == "started":
            self._started[event.stage.key] = time.monotonic()
        if event.kind in ("started", "progress", "stalled", "waiting"):
            return
        if event.message == "already done":
            waited = event.stage.key in self._started  # for another process, which computed it
            self.outcomes["done elsewhere" if waited else "reused"] += 1
            self._finished += waited
            return
        self.outcomes[event.kind] += 1
        self._finished += {"done": 1, "damaged": -1}.get(event.kind, 0)
        if event.kind in ("failed", "refused", "interrupted"):
            self.messages.append(event)

    def _print_line(self, event: StageEvent) -> None:
        # Blocked stages are counted at the end: one failure may block hundreds.
        elsewhere = event.message == "already done"
        reused = elsewhere and event.stage.key not in self._started
        if event.kind in ("progress", "blocked") or reused:
            return
        line = Text(time.strftime("%H:%M:%S "), style="dim")
        line.append(f"{event.kind:<12}", STYLES.get(event.kind, ""))
        line.append(_name(event))
        if event.kind == "done":
            seconds = time.monotonic() - self._started.get(event.stage.key, time.monotonic())
            where = "elsewhere" if elsewhere else f"{seconds:.1f} s"
            line.append(f"  {where}  [{self._finished}/{self._total}]", "dim")
        elif event.message:
            line.append(f"  {event.message}")
        self._console.print(line, soft_wrap=True)


def _name(event: StageEvent) -> str:
    return f"{type(event.stage).__name__:<9} {event.stage.title}"
