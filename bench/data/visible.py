"""Data that training may read: images, visible labels, annotation flags, pseudo-labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data.index import CaseSlices, SliceIndex
from bench.data.intensity import ValueRange
from bench.data.simulate import Split
from bench.data.slices import LabelSlices

WHOLE = "whole.npy"
"""Which pseudo-labels are of a whole volume, bool [V, K]; pseudo-labels need not have the file."""


@dataclass(frozen=True)
class TrainCase:
    """A training case: its rows among the images and among the label slices."""

    id: str
    images: slice
    labels: slice
    flags_K: NDArray[np.bool_]


class TrainView:
    """Everything training may read of one fold.

    Label slices hold the training cases only, in the order of the split; the parallel arrays
    ``image_row_S``, ``volume_S`` and ``shown_SK`` (slice shows organ)
    describe each of those slices. ``known_VK`` are the organs of whose voxels none is unknown:
    annotated, or with a pseudo-label of the whole volume.
    """

    def __init__(self, images: Path, labels: Path, pseudo: Path | None = None) -> None:
        index = SliceIndex.read(images)
        self.split = Split.read(labels)
        self.value_ranges = index.value_ranges
        self.grid = index.grid
        self.images_SCHW = open_images(images)
        self.labels = LabelSlices(labels / "slices")
        self.pseudo = None if pseudo is None else LabelSlices(pseudo / "slices")
        entries = [index[case_id] for case_id in self.split.train]
        self.cases = _train_cases(entries, self.split)
        self.flags_VK = np.stack([case.flags_K for case in self.cases])
        self.known_VK = self.flags_VK
        if pseudo is not None and (pseudo / WHOLE).exists():
            self.known_VK = self.flags_VK | np.load(pseudo / WHOLE)
        self.image_row_S = np.concatenate(
            [np.arange(case.images.start, case.images.stop) for case in self.cases]
        )
        self.volume_S = np.repeat(np.arange(len(entries)), [entry.n_slices for entry in entries])
        self._labelled_SK: NDArray[np.bool_] = np.load(labels / "shown.npy")
        self.shown_SK = self._labelled_SK
        if pseudo is not None:
            self.shown_SK = self.shown_SK | np.load(pseudo / "shown.npy")
        assert len(self.labels) == len(self.volume_S)

    @property
    def supervised_V(self) -> NDArray[np.bool_]:
        """Volumes in which some organ is annotated or some voxel has a pseudo-label."""
        supervised_V: NDArray[np.bool_] = np.any(self.known_VK, axis=1)
        if self.pseudo is not None:
            supervised_V |= np.bincount(self.volume_S, weights=self.shown_SK.any(axis=1)) > 0
            for v in np.flatnonzero(~supervised_V):  # predicted to hold nothing but background
                rows = self.cases[v].labels
                supervised_V[v] = self.pseudo.gather(range(rows.start, rows.stop)).any()
        return supervised_V

    @property
    def incomplete_V(self) -> NDArray[np.bool_]:
        """Volumes in which some organ is not annotated."""
        incomplete_V: NDArray[np.bool_] = np.any(~self.flags_VK, axis=1)
        return incomplete_V

    def from_source_V(self, source: str) -> NDArray[np.bool_]:
        """Return the volumes of one of several data sets that are trained on together."""
        return np.array([self.split.domains.get(case.id) == source for case in self.cases])

    def intensity_sd(self) -> tuple[float, ...]:
        """Return the standard deviation of each channel, scaled as training sees them.

        Estimated from 256 slices to twice as many, evenly spaced over the training cases.
        """
        rows = self.image_row_S[:: max(1, len(self.image_row_S) // 256)]
        images_SCHW = normalise(self.images_SCHW[rows], self.value_ranges)
        return tuple(float(channel_SHW.std()) for channel_SHW in images_SCHW.swapaxes(0, 1))

    def organ_share(self) -> float:
        """Return the share of a slice that an organ takes where its visible label shows.

        The mean over organs, each estimated from 64 of its slices to twice as many, evenly spaced.
        """
        shares = []
        for organ, shown_S in enumerate(self._labelled_SK.T, start=1):
            rows = np.flatnonzero(shown_S)
            if len(rows):
                slices_SHW = self.labels.gather(rows[:: max(1, len(rows) // 64)])
                shares.append(float(np.mean(slices_SHW == organ)))
        return float(np.mean(shares))


def open_images(folder: Path) -> NDArray[np.int16]:
    """Map the image slices (int16, shape [S, C, H, W]) into memory, read-only."""
    images_SCHW: NDArray[np.int16] = np.load(folder / "images.npy", mmap_mode="r")
    return images_SCHW


def normalise(
    images_SCHW: NDArray[np.int16], value_ranges: Sequence[ValueRange]
) -> NDArray[np.float32]:
    """Return slices scaled so that the range of each channel becomes [0, 1]."""
    scaled_SCHW = images_SCHW.astype(np.float32)
    for channel, (low, high) in enumerate(value_ranges):
        scaled_SCHW[:, channel] -= low
        scaled_SCHW[:, channel] /= high - low
    return scaled_SCHW


def _train_cases(entries: list[CaseSlices], split: Split) -> list[TrainCase]:
    cases, first = [], 0
    for entry in entries:
        rows = slice(first, first + entry.n_slices)
        cases.append(
            TrainCase(entry.case.id, entry.rows, rows, np.array(split.flags[entry.case.id]))
        )
        first = rows.stop
    return cases
