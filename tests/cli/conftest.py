"""The command line for every test of the folder."""

from __future__ import annotations

from command import bench

__all__ = ["bench"]
