"""Slurm is started once a session, on this machine alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from onenode import DAEMONS, Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Start Slurm; commands find it through ``$SLURM_CONF``."""
    if os.geteuid():
        pytest.skip("daemons of Slurm need root")
    if missing := [name for name in DAEMONS if shutil.which(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian's slurm-wlm and munge)")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: it holds a socket
    started = Cluster(folder)
    os.environ["SLURM_CONF"] = str(started.configuration)
    try:
        started.start()
        yield started
    finally:
        started.stop()
        del os.environ["SLURM_CONF"]
        shutil.rmtree(folder)
