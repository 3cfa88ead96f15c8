"""Sampling of slices: batch j is a pure function of seed and j.

Volumes are sampled uniformly, then slices uniformly within them. A fixed share of every batch comes
from slices that show a visible label or pseudo-label: an organ is sampled, then a volume that shows
it, then a slice. Otherwise small organs would hardly be seen (specification: Rare organs).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.visible import TrainView
from bench.errors import BenchError


class FromSource(NamedTuple):
    """Volumes with some known target of one of several data sets that are joined."""

    source: str


Stream = Literal["all", "supervised", "incomplete", "complete"] | FromSource
"""Volumes a method trains on: every one; those with some known target; those lacking some label;
those lacking none."""


class SampledSlices(NamedTuple):
    """The slices of a batch."""

    rows: NDArray[np.intp]
    """Label-slice rows, grouped by stream, shape [batch_size]."""
    organs: NDArray[np.intp]
    """The organ 1..K that each slice was sampled for, 0 if for none."""


class SliceSampler:
    """Samples the slices of each batch, an equal share from every stream.

    Parameters
    ----------
    view
        The training data.
    streams
        Those of the objective. A stream without any volume (nothing incomplete at 100 %) gives
        its share to the others.
    batch_size
        Slices in a batch.
    foreground_share
        Share of each stream's slices that must show such a label. Where it is no whole number of
        slices it holds over steps, and streams take turns.
    rng
        Step to random generator.
    """

    def __init__(
        self,
        view: TrainView,
        streams: Sequence[Stream],
        batch_size: int,
        foreground_share: float,
        rng: Callable[[int], np.random.Generator],
    ) -> None:
        pools = [_Pool(view, _volumes(view, stream)) for stream in streams]
        self._pools = [pool for pool in pools if len(pool)]
        if not self._pools:  # the simulator keeps at least one label per organ
            raise BenchError(
                f"no training volume of fold {view.split.fold} at {view.split.label_pct} % has "
                f"{_lacking(streams)}: choose another method, or more labels"
            )
        self._batch_size = batch_size
        self._foreground_share = foreground_share
        self._rng = rng

    def batch(self, step: int) -> SampledSlices:
        """Return the slices of batch ``step``."""
        rng = self._rng(step)
        shares = np.diff(np.linspace(0, self._batch_size, len(self._pools) + 1).round().astype(int))
        samples: list[tuple[int, int]] = []
        for number, (pool, share) in enumerate(zip(self._pools, shares, strict=True)):
            wanted, turn = self._foreground_share * share, number / len(self._pools)
            n_foreground = floor(wanted * (step + 1) + turn) - floor(wanted * step + turn)
            samples += [pool.sample_shown(rng) for _ in range(n_foreground)]
            samples += [pool.sample(rng) for _ in range(share - n_foreground)]
        rows, organs = np.array(samples, np.intp).T
        return SampledSlices(rows, organs)


def _volumes(view: TrainView, stream: Stream) -> NDArray[np.bool_]:
    """Return which volumes a stream samples from, a flag each."""
    if isinstance(stream, FromSource):
        return view.supervised_V & view.from_source_V(stream.source)
    volumes: dict[str, NDArray[np.bool_]] = {
        "all": np.ones(len(view.cases), np.bool_),
        "supervised": view.supervised_V,
        "incomplete": view.incomplete_V,
        "complete": ~view.incomplete_V,
    }
    return volumes[stream]


def _lacking(streams: Sequence[Stream]) -> str:
    sources = [stream.source for stream in streams if isinstance(stream, FromSource)]
    return f"a label and is from {', '.join(sources)}" if sources else "every organ labelled"


class _Pool:
    """The slices of some volumes, and those of them that show a label."""

    def __init__(self, view: TrainView, chosen_V: NDArray[np.bool_]) -> None:
        rows = np.arange(len(view.volume_S))
        by_volume = {v: rows[view.volume_S == v] for v in np.flatnonzero(chosen_V)}
        self._slices = list(by_volume.values())
        by_organ = (
            [slices[shown_S[slices]] for slices in self._slices] for shown_S in view.shown_SK.T
        )
        shown = (
            (k, [rows for rows in volumes if len(rows)]) for k, volumes in enumerate(by_organ, 1)
        )
        self._shown = [(k, volumes) for k, volumes in shown if volumes] or [(0, self._slices)]

    def __len__(self) -> int:
        return len(self._slices)

    def sample(self, rng: np.random.Generator) -> tuple[int, int]:
        return int(rng.choice(self._slices[rng.integers(len(self._slices))])), 0

    def sample_shown(self, rng: np.random.Generator) -> tuple[int, int]:
        organ, volumes = self._shown[rng.integers(len(self._shown))]
        return int(rng.choice(volumes[rng.integers(len(volumes))])), organ
