"""From sampled slices to arrays of a batch: whole slices, or patches around them."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from bench.data.visible import TrainView
from bench.data.window import Window
from bench.training.augment import Augmentation
from bench.training.sampler import SampledSlices


@dataclass(frozen=True, slots=True)
class RawBatch:
    """A batch as stored on disk, and the changes that the device will apply to it."""

    image_BCHW: Tensor
    """int16, as stored."""
    maps_BMHW: Tensor
    """uint8 visible labels, and pseudo-labels if there are any."""
    flags_BK: Tensor
    theta: Tensor
    """Affines, [B, 2, 3] or [B, 3, 4]."""
    size: tuple[int, ...]
    """Image axes after the transformation."""
    change_BC3: Tensor | None
    """Changes of intensity; None for none."""


class Reader(abc.ABC):
    """Reads the images, labels and flags of sampled slices."""

    def __init__(self, view: TrainView, augmentation: Augmentation) -> None:
        self.view = view
        self.augmentation = augmentation
        self._maps = [view.labels] if view.pseudo is None else [view.labels, view.pseudo]

    def _change(self, n: int, rng: np.random.Generator) -> Tensor | None:
        """Return the changes of intensity of ``n`` images."""
        if not self.augmentation.varies_intensity:
            return None
        channels = len(self.view.value_ranges)
        return torch.from_numpy(self.augmentation.sample_intensity(rng, n, channels))

    @abc.abstractmethod
    def read(self, samples: SampledSlices, rng: np.random.Generator) -> RawBatch:
        """Return the batch of ``samples``; ``rng`` samples its augmentation."""


class SliceReader(Reader):
    """Whole slices."""

    @override
    def read(self, samples: SampledSlices, rng: np.random.Generator) -> RawBatch:
        view, rows = self.view, samples.rows
        image = np.ascontiguousarray(view.images_SCHW[view.image_row_S[rows]])
        maps = [labels.gather(rows) for labels in self._maps]
        return RawBatch(
            torch.from_numpy(image),
            torch.from_numpy(np.stack(maps, axis=1)),
            torch.from_numpy(view.known_VK[view.volume_S[rows]]),
            torch.from_numpy(self.augmentation.sample(rng, len(rows), view.grid)),
            view.grid,
            self._change(len(rows), rng),
        )


class PatchReader(Reader):
    """Patches that hold the sampled slice, and a voxel of the sampled organ.

    The source is larger than a patch by the margin that rotation and zoom may bring into view.
    """

    def __init__(self, view: TrainView, augmentation: Augmentation, window: Window) -> None:
        super().__init__(view, augmentation)
        self._window = window
        self._source = augmentation.reach(window.patch)

    @override
    def read(self, samples: SampledSlices, rng: np.random.Generator) -> RawBatch:
        patches = [
            self._patch(row, organ, rng)
            for row, organ in zip(samples.rows, samples.organs, strict=True)
        ]
        images, maps = zip(*patches, strict=True)
        size = self._window.patch
        theta = self.augmentation.sample_3d(rng, len(patches), size, self._source)
        flags = self.view.known_VK[self.view.volume_S[samples.rows]]
        return RawBatch(
            torch.from_numpy(np.stack(images)),
            torch.from_numpy(np.stack(maps)),
            torch.from_numpy(flags),
            torch.from_numpy(theta),
            size,
            self._change(len(patches), rng),
        )

    def _patch(
        self, row: int, organ: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Return image [C, d, h, w] and label maps [M, d, h, w] of the source of a patch."""
        view = self.view
        case = view.cases[view.volume_S[row]]
        shape = (case.labels.stop - case.labels.start, *view.grid)
        corner = self._corner(row, row - case.labels.start, organ, shape, rng)
        first = [c - (source - side) // 2 for c, source, side in zip(
            corner, self._source, self._window.patch, strict=True
        )]  # fmt: skip
        inside = [
            slice(min(max(f, 0), n), min(max(f + source, 0), n))
            for f, source, n in zip(first, self._source, shape, strict=True)
        ]
        there = tuple(slice(i.start - f, i.stop - f) for i, f in zip(inside, first, strict=True))
        depth, *in_plane = inside
        image = np.empty((len(view.value_ranges), *self._source), np.int16)
        for channel, (low, _) in enumerate(view.value_ranges):
            image[channel] = round(low)
            volume_SHW = view.images_SCHW[case.images, channel]
            image[channel][there] = volume_SHW[tuple(inside)]
        maps = np.zeros((len(self._maps), *self._source), np.uint8)
        rows = range(case.labels.start + depth.start, case.labels.start + depth.stop)
        for number, labels in enumerate(self._maps):
            if rows:
                maps[number][there] = labels.gather(rows)[(slice(None), *in_plane)]
        return image, maps

    def _corner(
        self, row: int, z: int, organ: int, shape: tuple[int, ...], rng: np.random.Generator
    ) -> list[int]:
        """Return the first voxel of a patch in coordinates of its volume; it may be outside."""
        size = self._window.patch
        if self._window.sampling == "centre":
            reach = [round(self.augmentation.shift * side) for side in size]
            return [
                c + int(rng.integers(-r, r + 1))
                for c, r in zip(self._window.centre(shape), reach, strict=True)
            ]
        anchor = [z, *self._voxel(row, organ, rng)]
        corner = []
        for at, side, length in zip(anchor, size, shape, strict=True):
            furthest = max(length - side, 0)
            # An axis that fits whole is centred, as at prediction.
            first = at - int(rng.integers(side))
            corner.append(min(max(first, 0), furthest) if furthest else (length - side) // 2)
        return corner

    def _voxel(self, row: int, organ: int, rng: np.random.Generator) -> tuple[int, int]:
        """Return row and column of a voxel of ``organ`` in a slice; of any voxel if that is 0."""
        view = self.view
        if organ:
            shown_HW = view.labels[row] == organ
            if view.pseudo is not None:
                shown_HW = shown_HW | (view.pseudo[row] == organ)
            y, x = np.unravel_index(int(rng.choice(np.flatnonzero(shown_HW))), view.grid)
            return int(y), int(x)
        y, x = rng.integers(view.grid)
        return int(y), int(x)
