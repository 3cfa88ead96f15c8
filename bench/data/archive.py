"""Read archives whose content may be far larger than the file, or lead out of their folder."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from bench.errors import BenchError
from bench.machine import memory

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


def unpack(path: Path, folder: Path) -> list[str]:
    """Unpack a ``.zip``, ``.tar`` or compressed tar archive into a folder; return its files.

    Raises
    ------
    BenchError
        No such archive, a damaged one, a member outside the folder, a link or a device, or more
        content than the disk has room for.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as pack:
                entries = pack.infolist()
                names = [entry.filename for entry in entries]
                links = [e.filename for e in entries if stat.S_ISLNK(e.external_attr >> 16)]
                _refuse(path, folder, names, links, sum(entry.file_size for entry in entries))
                pack.extractall(folder)
                return [entry.filename for entry in entries if not entry.is_dir()]
        if tarfile.is_tarfile(path):
            with tarfile.open(path) as tar:
                members = tar.getmembers()
                names = [one.name for one in members]
                odd = [one.name for one in members if not (one.isreg() or one.isdir())]
                _refuse(path, folder, names, odd, sum(one.size for one in members))
                tar.extractall(folder, filter="data")
                return [one.name for one in members if one.isreg()]
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError) as error:
        raise BenchError(f"{path}: cannot be unpacked ({error}); unpack it by hand") from None
    raise BenchError(f"{path}: neither a zip nor a tar archive; unpack it by hand")


def _refuse(
    path: Path, folder: Path, names: Iterable[str], odd: Iterable[str], n_bytes: int
) -> None:
    for name in odd:
        raise BenchError(f"{path}: member {name} is a link or a device; unpack it by hand")
    for name in names:
        inner = PurePosixPath(name.replace("\\", "/"))
        if inner.is_absolute() or ".." in inner.parts or ":" in "".join(inner.parts[:1]):
            raise BenchError(f"{path}: member {name} leads out of the folder; do not unpack it")
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise BenchError(
            f"{path}: holds {n_bytes / 1e9:.1f} GB, {free / 1e9:.1f} GB are free in {folder}"
        )
