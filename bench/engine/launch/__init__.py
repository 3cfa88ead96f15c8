"""Launchers: how the stages of a plan are brought to run."""

from __future__ import annotations

from bench.engine.launch.protocol import Launcher
from bench.errors import unknown_name

LAUNCHERS = ("local", "inline")


def launcher(name: str, workers: int = 1) -> Launcher:
    """Return a launcher by name; ``workers`` are the stages that `local` runs side by side."""
    if name == "local":
        from bench.engine.launch.local import LocalLauncher

        return LocalLauncher(workers=workers)
    if name == "inline":
        from bench.engine.launch.inline import InlineLauncher

        return InlineLauncher()
    raise unknown_name("launcher", name, LAUNCHERS)
