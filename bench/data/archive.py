"""Read ``.npz`` files whose content may be far larger than the file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench import memory
from bench.errors import BenchError

if TYPE_CHECKING:
    from numpy.lib.npyio import NpzFile


def open_npz(path: Path) -> NpzFile:
    """Open an archive of arrays, none of them of Python objects.

    Raises
    ------
    BenchError
        No archive, or one whose arrays do not fit into memory.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile as error:
        raise BenchError(f"{path}: is no .npz file ({error}); compute it again") from None
    if n_bytes > memory.available():
        raise BenchError(
            f"{path}: holds {n_bytes / 2**30:.1f} GiB, more than the memory that is free"
        )
    arrays: NpzFile = np.load(path, allow_pickle=False)
    return arrays
