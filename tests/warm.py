"""The installed command in processes that are forked from one with the heavy libraries in memory.

Importing torch, MONAI and segmentation_models_pytorch takes 6 s, longer than what most commands of
the matrix compute. What is run is the script that pip installed, ``bench`` itself is imported anew.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

COMMAND = Path(sys.executable).with_name("bench")
LIBRARIES = ["monai.metrics", "nibabel", "pandas", "segmentation_models_pytorch", "torch", "typer"]


def start(
    arguments: Sequence[str], environment: Mapping[str, str], out: Path, err: Path
) -> BaseProcess:
    """Start ``bench`` in a process group of its own, its output in two files."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    process = context.Process(target=_run, args=(arguments, dict(environment), out, err))
    process.start()
    return process


def _run(arguments: Sequence[str], environment: Mapping[str, str], out: Path, err: Path) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    for path, stream in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    # Runners ignore Ctrl-C, and so would everything they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.argv = [str(COMMAND), *arguments]
    runpy.run_path(str(COMMAND), run_name="__main__")
