"""The command line, for what users do with data."""

from __future__ import annotations

from command import bench

__all__ = ["bench"]
