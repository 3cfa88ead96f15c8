"""The terminal: what data, tables and files say is printed as text and controls nothing."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from typing_extensions import override

from bench.errors import neutral, one_line

FILE_WIDTH = 160
"""Columns where there is no terminal: lines that go to a file are not cut."""


class Console(rich.console.Console):
    """Prints markup as it is written, and neutralises every character that is not to be shown."""

    def __init__(self, *, quiet: bool = False, stderr: bool = False) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, quiet=quiet, stderr=stderr)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = FILE_WIDTH

    @override
    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control:  # of rich itself
                yield segment
            else:
                yield Segment("\n".join(map(neutral, segment.text.split("\n"))), segment.style)


def complain(message: str) -> None:
    """Print one red line to standard error."""
    Console(stderr=True).print(one_line(message), style="red", soft_wrap=True)


def remark(message: str) -> None:
    """Print one line to standard error."""
    Console(stderr=True).print(f"note: {one_line(message)}", soft_wrap=True)


def tolerate_terminals() -> None:
    """Print ``?`` for what a terminal cannot show, and take a width of 0 for an unknown one.

    A stream that is closed, as standard output by ``>&-``, becomes the null device: else the next
    file that is opened would take its place.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if not os.environ.get("COLUMNS", "").strip("0 "):
        os.environ.pop("COLUMNS", None)
