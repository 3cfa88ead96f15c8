"""Axial slices on disk, read without decompressing a volume.

Images are one memory-mapped int16 array that every run on the data set shares. Label maps are
almost all zeros, so each slice is deflated on its own (about a hundredth of the size) and found
through an offset table: a batch inflates just the slices it needs.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Self

import numpy as np
from numpy.typing import NDArray

from bench.data.archive import open_npz
from bench.evaluation.counts import areas

Array = NDArray[np.generic]


def begin_array(file: IO[bytes], shape: tuple[int, ...]) -> None:
    """Write the start of a ``.npy`` file of int16; the slices are appended to it."""
    header = {"descr": "<i2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def read_slices(path: Path, at_once: int) -> Iterator[NDArray[np.int16]]:
    """Yield some slices at a time of a file that :func:`begin_array` began."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        size = math.prod(shape[1:])
        for start in range(0, shape[0], at_once):
            n_slices = min(at_once, shape[0] - start)
            yield np.fromfile(file, dtype, n_slices * size).reshape(n_slices, *shape[1:])


class LabelSlices:
    """Read access to the slices of a :class:`LabelSliceWriter` (uint8, shape [H, W])."""

    def __init__(self, folder: Path) -> None:
        table = open_npz(folder / "index.npz")
        height, width = table["shape"]
        self.shape = (int(height), int(width))
        self._ends: NDArray[np.int64] = table["ends"]
        self._bytes = np.memmap(folder / "slices.bin", dtype=np.uint8, mode="r")

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        start = int(self._ends[index - 1]) if index > 0 else 0
        deflated = self._bytes[start : int(self._ends[index])].tobytes()
        # One byte more than a slice: the checksum is reached, and what is longer is refused.
        blob = zlib.decompressobj().decompress(deflated, math.prod(self.shape) + 1)
        return np.frombuffer(blob, dtype=np.uint8).reshape(self.shape)

    def gather(self, indices: Iterable[int]) -> NDArray[np.uint8]:
        """Return the slices at ``indices`` as one array of shape [len(indices), H, W]."""
        return np.stack([self[index] for index in indices])


def organs_shown(labels_SHW: NDArray[np.uint8], n_organs: int) -> NDArray[np.bool_]:
    """Return which of the organs 1..K each slice shows, shape [S, K]."""
    return areas(labels_SHW, n_organs) > 0


class LabelSliceWriter:
    """Append label slices; use as a context manager, the index is written at its end."""

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._shape = shape
        self._file = (folder / "slices.bin").open("wb")
        self._ends: list[int] = []

    def append(self, labels_SHW: NDArray[np.uint8]) -> None:
        """Append the slices of one volume."""
        for label_HW in labels_SHW:
            blob = zlib.compress(np.ascontiguousarray(label_HW, dtype=np.uint8).tobytes(), 1)
            self._file.write(blob)
            self._ends.append((self._ends[-1] if self._ends else 0) + len(blob))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._file.close()
        np.savez(
            self._folder / "index.npz",
            shape=np.array(self._shape, np.int64),
            ends=np.array(self._ends, np.int64),
        )
