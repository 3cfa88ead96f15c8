"""Run the stages of a graph and show how it goes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from bench.cli.codes import ExitCode
from bench.cli.console import Console, complain

if TYPE_CHECKING:
    from types import FrameType

    from bench.engine.graph import StageGraph
    from bench.engine.launcher import Launcher
    from bench.engine.store import Store


def register(graph: StageGraph, store: Store) -> None:
    """Make the stages known to a store; what is damaged is named and moved away."""
    from bench.engine.worker import set_aside

    for line in store.register(graph.in_order()):
        complain(f"damaged: {line}")
    for stage in graph.in_order():
        if (damage := store.damage(stage)) is not None:
            complain(f"damaged: {stage.key}: {damage}; {set_aside(store, stage)}")


def execute(graph: StageGraph, store: Store, launched: Launcher, console: Console) -> int:
    """Run the stages of a graph, report the outcome and return the exit code."""
    from bench.cli.progress import Monitor

    started = time.monotonic()
    register(graph, store)
    n_done = sum(store.is_done(stage) for stage in graph.stages.values())
    monitor = Monitor(graph, n_done, console)
    if n_done < len(graph) and (workers := launched.describe(graph)):
        console.print(f"workers   {workers}")
    try:
        with _stop_announced(), contextlib.closing(launched.run(graph, store)) as events:
            monitor.follow(events)
    except KeyboardInterrupt:
        complain("interrupted; give the same command to go on from the last checkpoint")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    for message in dict.fromkeys(event.message for event in monitor.messages):
        complain(f"error: {message}")
    counts = ", ".join(f"{count} {what}" for what, count in monitor.outcomes.most_common())
    console.print(f"stages    {counts}; {time.monotonic() - started:.0f} s")
    if not monitor.messages:
        return ExitCode.DONE
    return ExitCode.FIXABLE if monitor.outcomes["refused"] else ExitCode.FAILED


@contextlib.contextmanager
def _stop_announced() -> Iterator[None]:
    """Say at the first Ctrl-C what is waited for, and what a second one does."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in announced:
            signal.signal(number, signal.default_int_handler)
        # Not through Python's streams: they may be in the middle of a line.
        os.write(2, b"stopping: what runs saves its state; Ctrl-C again ends it without\n")
        raise KeyboardInterrupt

    # A job in the background ignores Ctrl-C, and goes on doing so.
    handled = [signal.SIGINT, signal.SIGTERM]
    announced = [n for n in handled if signal.getsignal(n) is signal.default_int_handler]
    for number in announced:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in announced:
            signal.signal(number, signal.default_int_handler)
