"""Batches on the device: gathered by a thread while one trains, augmented on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from bench.nets.protocol import image_channels_last
from bench.training.augment import resample, vary_intensity
from bench.training.batch import Batch
from bench.training.readers import RawBatch, Reader
from bench.training.sampler import SliceSampler

LOOKAHEAD = 3


class BatchLoader:
    """Yields augmented batches ``first``, ``first + 1``, ... of a training run."""

    def __init__(
        self,
        sampler: SliceSampler,
        reader: Reader,
        rng: Callable[[int], np.random.Generator],
        device: torch.device,
    ) -> None:
        self.sampler = sampler
        self._reader = reader
        self._rng = rng
        self._device = device

    def batches(self, first: int, stop: int) -> Iterator[Batch]:
        """Yield the batches of steps ``first`` to ``stop - 1``."""
        with ThreadPoolExecutor(1) as pool:
            pending: list[Future[RawBatch]] = []
            for step in range(first, stop):
                while len(pending) < LOOKAHEAD and step + len(pending) < stop:
                    pending.append(pool.submit(self._gather, step + len(pending)))
                yield self._augment(pending.pop(0).result())

    def _gather(self, step: int) -> RawBatch:
        raw = self._reader.read(self.sampler.batch(step), self._rng(step))
        if self._device.type == "cpu":
            return raw
        return RawBatch(
            raw.image_BCHW.pin_memory(),
            raw.maps_BMHW.pin_memory(),
            raw.flags_BK.pin_memory(),
            raw.theta.pin_memory(),
            raw.size,
            None if raw.change_BC3 is None else raw.change_BC3.pin_memory(),
        )

    def _augment(self, raw: RawBatch) -> Batch:
        def move(tensor: Tensor) -> Tensor:
            return tensor.to(self._device, non_blocking=True)

        image_BCHW = move(raw.image_BCHW).float()
        for channel, (low, high) in enumerate(self._reader.view.value_ranges):
            image_BCHW[:, channel].sub_(low).div_(high - low)
        image_BCHW, maps_BMHW = resample(image_BCHW, move(raw.maps_BMHW), move(raw.theta), raw.size)
        if raw.change_BC3 is not None:
            image_BCHW = vary_intensity(image_BCHW, move(raw.change_BC3))
        lab_BHW, *pseudo = maps_BMHW.unbind(1)
        return Batch(
            image_channels_last(image_BCHW),
            lab_BHW,
            pseudo[0] if pseudo else lab_BHW.new_zeros(()).expand_as(lab_BHW),
            move(raw.flags_BK),
        )
