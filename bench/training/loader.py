"""Batches on the device: gathered by a thread while one trains, augmented on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.data.visible import TrainView
from bench.training.augment import Augmentation, resample
from bench.training.batch import Batch
from bench.training.sampler import SliceSampler

LOOKAHEAD = 3


@dataclass(frozen=True, slots=True)
class _RawBatch:
    image_BHW: Tensor
    maps_B2HW: Tensor
    flags_BK: Tensor
    theta_B23: Tensor


class BatchLoader:
    """Yields augmented batches ``first``, ``first + 1``, ... of a training run."""

    def __init__(
        self,
        view: TrainView,
        sampler: SliceSampler,
        augmentation: Augmentation,
        rng: Callable[[int], np.random.Generator],
        device: torch.device,
    ) -> None:
        self._view = view
        self._sampler = sampler
        self._augmentation = augmentation
        self._rng = rng
        self._device = device

    def batches(self, first: int, stop: int) -> Iterator[Batch]:
        """Yield the batches of steps ``first`` to ``stop - 1``."""
        with ThreadPoolExecutor(1) as pool:
            pending: list[Future[_RawBatch]] = []
            for step in range(first, stop):
                while len(pending) < LOOKAHEAD and step + len(pending) < stop:
                    pending.append(pool.submit(self._gather, step + len(pending)))
                yield self._augment(pending.pop(0).result())

    def _gather(self, step: int) -> _RawBatch:
        rows = self._sampler.batch(step)
        view = self._view
        image = torch.from_numpy(np.ascontiguousarray(view.images_SHW[view.image_row_S[rows]]))
        lab = view.labels.gather(rows)
        ps = np.zeros_like(lab) if view.pseudo is None else view.pseudo.gather(rows)
        maps = torch.from_numpy(np.stack([lab, ps], axis=1))
        flags = torch.from_numpy(view.flags_VK[view.volume_S[rows]])
        theta = torch.from_numpy(self._augmentation.draw(self._rng(step), len(rows), view.grid))
        raw = [image, maps, flags, theta]
        if self._device.type == "cuda":
            raw = [tensor.pin_memory() for tensor in raw]
        return _RawBatch(*raw)

    def _augment(self, raw: _RawBatch) -> Batch:
        def move(tensor: Tensor) -> Tensor:
            return tensor.to(self._device, non_blocking=True)

        low, high = self._view.hu_window
        image_BHW = (move(raw.image_BHW).float() - low) / (high - low)
        image_B1HW, maps_B2HW = resample(image_BHW, move(raw.maps_B2HW), move(raw.theta_B23))
        return Batch(
            image_B1HW.contiguous(memory_format=torch.channels_last),
            maps_B2HW[:, 0],
            maps_B2HW[:, 1],
            move(raw.flags_BK),
        )
