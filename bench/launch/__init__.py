"""Launchers: how the stages of a plan are brought to run."""

from __future__ import annotations

from bench.errors import unknown_name
from bench.launch.protocol import Launcher

LAUNCHERS = ("local", "inline")


def launcher(name: str, workers: int = 1) -> Launcher:
    """Return a launcher by name; ``workers`` are the stages that `local` runs side by side."""
    if name == "local":
        from bench.launch.local import LocalLauncher

        return LocalLauncher(workers=workers)
    if name == "inline":
        from bench.launch.inline import InlineLauncher

        return InlineLauncher()
    raise unknown_name("launcher", name, LAUNCHERS)
