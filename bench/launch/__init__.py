"""Launchers: how the stages of a plan are brought to run."""

from __future__ import annotations

from bench.errors import unknown_name
from bench.launch.protocol import Launcher

LAUNCHERS = ("local", "inline")


def launcher(name: str) -> Launcher:
    """Return a launcher by name."""
    if name == "local":
        from bench.launch.local import LocalLauncher

        return LocalLauncher()
    if name == "inline":
        from bench.launch.inline import InlineLauncher

        return InlineLauncher()
    raise unknown_name("launcher", name, LAUNCHERS)
