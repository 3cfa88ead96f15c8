"""Selection of pseudo-labels: which voxels of unannotated organs to trust.

:func:`relabel` is one round. Voxels compete within a group: one volume, or all volumes of the data
set. The round finds the candidates of every volume of a group, selects the most confident ones,
then adds positives and marks background volume by volume.

Axis E runs over the candidates of one organ in one volume, in ascending voxel order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from math import floor
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.errors import DivergedError
from bench.labels import BACKGROUND
from bench.stage import Part
from bench.training.objects import keep_objects

GammaMode = Literal["cumulative", "remaining"]


class RelabelRule(Part):
    """How pseudo-labels are chosen; the defaults are those of the publication."""

    gamma_mode: GammaMode = "cumulative"
    """Gamma is a share of candidates and earlier pseudo-labels together, or of candidates alone."""
    scope: Literal["volume", "slice", "dataset"] = "volume"
    """Where candidates of an organ compete. Background competes per volume in every scope."""
    background: Literal["ambiguous", "predicted", "confident", "rest", "whole"] = "ambiguous"
    """``ambiguous``: predicted background stays ambiguous. ``predicted``: all of it is trusted.
    ``confident``: its most confident share is. ``rest``: every voxel not selected is background.
    ``whole``: it is, for the organs whose pseudo-label of the volume is kept (:class:`Gate`)."""

    one_object: bool = False
    """Candidates of an organ come from its largest connected component only; smaller ones stay
    ambiguous. Voxels that touch at a corner are connected."""

    def groups(self, volumes: Sequence[Volume]) -> list[Sequence[Volume]]:
        """Return the volumes whose voxels compete with each other."""
        return [volumes] if self.scope == "dataset" else [[volume] for volume in volumes]

    def plausible(self, pred_SHW: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a predicted volume without the voxels that cannot be candidates."""
        if not self.one_object:
            return pred_SHW
        return keep_objects(pred_SHW, lambda sizes: np.arange(len(sizes)) == sizes.argmax())


class Volume(Protocol):
    """A volume in which some organ is not annotated; read and predicted on request."""

    @property
    def id(self) -> str:
        """The id of the case."""

    @property
    def flags_K(self) -> NDArray[np.bool_]:
        """Organ k+1 is annotated in this volume."""

    def known(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return visible labels and the pseudo-labels of the round before, shape [S, H, W].

        Labels are 0..K; pseudo-labels 0, 1..K or BACKGROUND, zeros before the first round.
        """

    def predicted(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return labels 0..K of the current network and the confidence in each, shape [S, H, W]."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Voxels of a volume that may become pseudo-labels of one unannotated organ."""

    organ: int
    """1..K."""
    index_E: NDArray[np.int64]
    """Index into the flattened [S, H, W] volume."""
    score_E: NDArray[np.float32]
    """Confidence, higher is surer."""
    slice_E: NDArray[np.int64]
    """Slice of each candidate."""
    relabelled_S: NDArray[np.int64]
    """Voxels of each slice that carry a pseudo-label of this organ already."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Candidates of one organ in one volume, and which of them became pseudo-labels."""

    organ: int
    """1..K."""
    index_E: NDArray[np.int64]
    """Index into the flattened [S, H, W] volume."""
    score_E: NDArray[np.float32]
    """Confidence, higher is surer."""
    selected_E: NDArray[np.bool_]
    """Became a pseudo-label."""


def gamma_at(step: int, rounds: int, gamma_max: float) -> float:
    """Return gamma, the share to relabel by the end of round ``step`` of 1..``rounds``."""
    return step / rounds * gamma_max


def count_new(gamma: float, n_candidates: int, n_relabelled: int, mode: GammaMode) -> int:
    """Return how many candidates to take (specification: Relabelling), rounded half up."""
    if mode == "remaining":
        wanted = floor(gamma * n_candidates + 0.5)
    else:
        wanted = floor(gamma * (n_candidates + n_relabelled) + 0.5) - n_relabelled
    return min(max(wanted, 0), n_candidates)


def relabel(
    volumes: Sequence[Volume],
    gamma: float,
    rule: RelabelRule,
    generator: Callable[..., np.random.Generator],
    left_out: Collection[tuple[str, int]] = (),
) -> Iterator[tuple[NDArray[np.uint8], list[Selection]]]:
    """Yield the pseudo-labels of every volume after a round, with the candidates and the selection.

    Where background is marked a volume is predicted twice rather than kept: the group of a whole
    data set may be larger than memory.

    Parameters
    ----------
    volumes
        All volumes of the data set in which some organ is not annotated.
    gamma
        Share to relabel, in [0, 1].
    rule
        How to select.
    generator
        Returns the random generator that breaks ties in a group: called with the id of a volume, or
        without arguments for the whole data set.
    left_out
        Volume id and organ 1..K of the pseudo-labels of which no voxel is selected.

    Yields
    ------
    ps_SHW, selections
        New pseudo-labels: earlier positives stay, background is marked anew. One selection per
        unannotated organ, in the order of the organs.

    Raises
    ------
    DivergedError
        A confidence is NaN.
    """
    for group in rule.groups(volumes):
        rng = generator() if rule.scope == "dataset" else generator(group[0].id)
        candidates = [_candidates(volume, rule) for volume in group]
        for volume, found in zip(group, select(candidates, gamma, rule, rng), strict=True):
            selections = [
                _none_of(selection) if (volume.id, selection.organ) in left_out else selection
                for selection in found
            ]
            lab_SHW, ps_SHW = volume.known()
            new_ps_SHW = add_positives(ps_SHW, selections)
            if rule.background not in ("ambiguous", "whole"):
                mark_background(new_ps_SHW, *volume.predicted(), lab_SHW, gamma, rule, rng)
            yield new_ps_SHW, selections


def _none_of(selection: Selection) -> Selection:
    return replace(selection, selected_E=np.zeros_like(selection.selected_E))


def _candidates(volume: Volume, rule: RelabelRule) -> list[Candidates]:
    pred_SHW, score_SHW = volume.predicted()
    return find_candidates(rule.plausible(pred_SHW), score_SHW, *volume.known(), volume.flags_K)


def find_candidates(
    pred_SHW: NDArray[np.uint8],
    score_SHW: NDArray[np.float32],
    lab_SHW: NDArray[np.uint8],
    ps_SHW: NDArray[np.uint8],
    flags_K: NDArray[np.bool_],
) -> list[Candidates]:
    """Return the candidates of every unannotated organ; arrays as those of :class:`Volume`.

    A candidate is predicted as the organ and carries neither a visible nor a pseudo-label; a voxel
    marked as background in the round before may become one.
    """
    assert score_SHW.dtype == np.float32
    free_SHW = (pred_SHW != 0) & (lab_SHW == 0) & ~_is_organ(ps_SHW)
    index_N = np.flatnonzero(free_SHW)
    pred_N, score_N = pred_SHW.ravel()[index_N], score_SHW.ravel()[index_N]
    slice_area = pred_SHW[0].size
    found = []
    for organ in (int(k) + 1 for k in np.flatnonzero(~flags_K)):
        is_organ_N = pred_N == organ
        index_E = index_N[is_organ_N]
        found.append(
            Candidates(
                organ=organ,
                index_E=index_E,
                score_E=score_N[is_organ_N],
                slice_E=index_E // slice_area,
                relabelled_S=np.count_nonzero(ps_SHW == organ, axis=(1, 2)),
            )
        )
    return found


def select(
    volumes: Sequence[Sequence[Candidates]],
    gamma: float,
    rule: RelabelRule,
    rng: np.random.Generator,
) -> list[list[Selection]]:
    """Return the most confident share of the candidates of each organ.

    Parameters
    ----------
    volumes
        Candidates of the volumes of one group.
    gamma, rule, rng
        As in :func:`relabel`.
    """
    assert 0 <= gamma <= 1
    selected = {}
    for organ in sorted({found.organ for volume in volumes for found in volume}):
        pool = [found for volume in volumes for found in volume if found.organ == organ]
        choose = _best_of_slices if rule.scope == "slice" else _best_of_all
        selected[organ] = iter(choose(pool, gamma, rule.gamma_mode, rng))
    return [
        [
            Selection(found.organ, found.index_E, found.score_E, next(selected[found.organ]))
            for found in volume
        ]
        for volume in volumes
    ]


def add_positives(ps_SHW: NDArray[np.uint8], selections: Sequence[Selection]) -> NDArray[np.uint8]:
    """Return the union of the earlier positives and the selected voxels, without background."""
    new_ps_SHW = np.where(_is_organ(ps_SHW), ps_SHW, np.uint8(0))
    for selection in selections:
        new_ps_SHW.ravel()[selection.index_E[selection.selected_E]] = selection.organ
    return new_ps_SHW


def mark_background(
    ps_SHW: NDArray[np.uint8],
    pred_SHW: NDArray[np.uint8],
    score_SHW: NDArray[np.float32],
    lab_SHW: NDArray[np.uint8],
    gamma: float,
    rule: RelabelRule,
    rng: np.random.Generator,
) -> None:
    """Mark trusted background in ``ps_SHW``, in place; other parameters as in :func:`relabel`.

    Only voxels without any label are marked: those predicted as background, or with ``rest`` all of
    them. Background does not accumulate over rounds, so an organ can still grow into it.
    """
    eligible_SHW = (lab_SHW == 0) & (ps_SHW == 0)
    if rule.background != "rest":
        eligible_SHW &= pred_SHW == 0
    if rule.background == "confident":
        score_N = score_SHW[eligible_SHW]
        n_marked = count_new(gamma, len(score_N), 0, "remaining")
        eligible_SHW[eligible_SHW] = _highest(score_N, n_marked, rng)
    ps_SHW[eligible_SHW] = BACKGROUND


def _is_organ(ps_SHW: NDArray[np.uint8]) -> NDArray[np.bool_]:
    is_organ_SHW: NDArray[np.bool_] = (ps_SHW != 0) & (ps_SHW != BACKGROUND)
    return is_organ_SHW


def _best_of_all(
    pool: Sequence[Candidates], gamma: float, mode: GammaMode, rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """Return masks of the candidates of one organ that are selected among all volumes."""
    score_N = np.concatenate([found.score_E for found in pool])
    n_relabelled = sum(int(found.relabelled_S.sum()) for found in pool)
    best_N = _highest(score_N, count_new(gamma, len(score_N), n_relabelled, mode), rng)
    return np.split(best_N, np.cumsum([len(found.score_E) for found in pool])[:-1])


def _best_of_slices(
    pool: Sequence[Candidates], gamma: float, mode: GammaMode, rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """Return masks of the candidates of one organ that are selected within their slice."""
    masks = []
    for found in pool:
        best_E = np.zeros(len(found.score_E), np.bool_)
        bounds = np.searchsorted(found.slice_E, np.arange(len(found.relabelled_S) + 1))
        for s, n_relabelled in enumerate(found.relabelled_S):
            part = slice(bounds[s], bounds[s + 1])
            score = found.score_E[part]
            n_new = count_new(gamma, len(score), int(n_relabelled), mode)
            best_E[part] = _highest(score, n_new, rng)
        masks.append(best_E)
    return masks


def _highest(score_N: NDArray[np.float32], n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return a mask of the ``n`` highest scores; ties at the limit are broken at random."""
    if np.isnan(score_N).any():
        raise DivergedError(
            "a confidence is not a number: its network's training diverged, lower lr"
        )
    if n == 0:
        return np.zeros(len(score_N), np.bool_)
    limit = np.partition(score_N, len(score_N) - n)[len(score_N) - n]
    chosen_N: NDArray[np.bool_] = score_N > limit
    tied = np.flatnonzero(score_N == limit)
    n_tied = n - int(np.count_nonzero(chosen_N))
    chosen_N[rng.choice(tied, n_tied, replace=False, shuffle=False)] = True
    return chosen_N
