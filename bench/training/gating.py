"""Which pseudo-labels to leave out as a whole: those of one organ in one volume.

A gate gives every pseudo-label a doubt, from what training may see, and of each organ the most
doubtful ones are left out: the organ stays unknown in that volume.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from itertools import pairwise
from math import floor
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from bench.stage import Part

CONSTANT = 1e-6
"""A feature that varies by less than this share of its largest value is constant: a silent unit."""


class Labelled(Protocol):
    """A training volume as a gate sees it; read and predicted on request."""

    @property
    def flags_K(self) -> NDArray[np.bool_]:
        """Organ k+1 is annotated in this volume."""

    def labels(self) -> NDArray[np.uint8]:
        """Return the visible labels where an organ is annotated, else the predicted ones."""

    def predictions(self) -> Sequence[NDArray[np.uint8]]:
        """Return the labels that each model of the method so far predicts, [S, H, W] each."""

    def features(self) -> NDArray[np.float64]:
        """Return the mean features of each organ in :meth:`labels`, [K, C]; NaN without voxels."""


class Gate(Part, abc.ABC):
    """Leaves out the most doubtful pseudo-labels of each organ; of several equal ones none."""

    version: ClassVar[int] = 2

    share: float = Field(ge=0, lt=1)
    """Share of the pseudo-labels of an organ that is left out, a volume each."""

    @abc.abstractmethod
    def doubts(self, volumes: Sequence[Labelled]) -> NDArray[np.float64]:
        """Return the doubt in each pseudo-label, [V, K], higher is worse.

        Infinite: to be left out in any case. Where an organ is annotated the value has no meaning.
        """

    def left_out(self, volumes: Sequence[Labelled]) -> NDArray[np.bool_]:
        """Return which pseudo-labels are left out, [V, K]; False where an organ is annotated."""
        missing_VK = np.array([~volume.flags_K for volume in volumes])
        out_VK = np.zeros_like(missing_VK)
        if not missing_VK.any():
            return out_VK
        doubt_VK = self.doubts(volumes)
        for organ, missing_V in enumerate(missing_VK.T):
            pool = np.flatnonzero(missing_V)
            doubt_N = doubt_VK[pool, organ]
            if len(np.unique(doubt_N)) > 1 or len(pool) == 1 or np.isinf(doubt_N).any():
                out_VK[pool, organ] = most_doubtful(doubt_N, self.share)
        return out_VK


class Stability(Gate):
    """Doubt what the models of a method do not agree about (Huang et al., FLARE 2022).

    The voxels of which two models that follow each other disagree, as a share of those that the
    later one predicts; averaged over such pairs of models.
    """

    @override
    def doubts(self, volumes: Sequence[Labelled]) -> NDArray[np.float64]:
        n_organs = len(volumes[0].flags_K)
        return np.array(
            [
                np.zeros(n_organs)
                if volume.flags_K.all()
                else instability(volume.predictions(), n_organs)
                for volume in volumes
            ]
        )


class Typicality(Gate):
    """Doubt what looks unlike the annotated organ to the network (Liu et al., TMI 2024).

    The Mahalanobis distance of an organ's mean features to those of the volumes in which it is
    annotated. A prediction without any voxel is left out in any case; one of an organ that no
    volume annotates is not doubted.
    """

    @override
    def doubts(self, volumes: Sequence[Labelled]) -> NDArray[np.float64]:
        features_VKC = np.array([volume.features() for volume in volumes])
        return distances(features_VKC, np.array([volume.flags_K for volume in volumes]))


def most_doubtful(doubt_N: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """Return a mask of the highest ``share``, rounded half up, and of all that are infinite.

    Of equal doubts the later ones are taken first.
    """
    n_out = max(floor(share * len(doubt_N) + 0.5), int(np.isinf(doubt_N).sum()))
    out_N = np.zeros(len(doubt_N), np.bool_)
    out_N[np.argsort(doubt_N, kind="stable")[len(doubt_N) - n_out :]] = True
    return out_N


def instability(predictions: Sequence[NDArray[np.uint8]], n_organs: int) -> NDArray[np.float64]:
    """Return how far label maps that follow each other disagree about each organ, [K].

    0 where neither has a voxel of the organ, infinite where only the earlier one has.
    """

    def sizes(label_N: NDArray[np.uint8]) -> NDArray[np.int64]:
        return np.bincount(label_N.ravel(), minlength=256)[1 : n_organs + 1]

    changes = []
    for before_SHW, now_SHW in pairwise(predictions):
        before_K, now_K = sizes(before_SHW), sizes(now_SHW)
        differ_K = before_K + now_K - 2 * sizes(now_SHW[before_SHW == now_SHW])
        empty_K = np.where(differ_K > 0, np.inf, 0.0)
        changes.append(np.divide(differ_K, now_K, out=empty_K, where=now_K > 0))
    mean_K: NDArray[np.float64] = np.mean(changes, axis=0)
    return mean_K


def distances(
    features_VKC: NDArray[np.float64], annotated_VK: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the Mahalanobis distance of each organ to where it is annotated, [V, K].

    Parameters
    ----------
    features_VKC
        Mean features of organ and volume; NaN without voxels.
    annotated_VK
        The organ is annotated in the volume.

    Returns
    -------
    distance_VK
        Infinite without features, 0 for an organ without an annotated voxel. The covariance is one
        for all organs, of the annotated ones about their means, shrunk after Ledoit & Wolf (2004):
        an organ may be annotated in fewer volumes than there are features.
    """
    from sklearn.covariance import ledoit_wolf

    there_VK = ~np.isnan(features_VKC).any(axis=2)
    known_VK = there_VK & annotated_VK
    distance_VK = np.where(there_VK, 0.0, np.inf)
    centred_VKC = np.full_like(features_VKC, np.nan)
    for organ in np.flatnonzero(known_VK.any(axis=0)):
        centre_C = features_VKC[known_VK[:, organ], organ].mean(axis=0)
        centred_VKC[:, organ] = features_VKC[:, organ] - centre_C
    about_NC = centred_VKC[known_VK]
    if not len(about_NC):
        return distance_VK
    scale_C = about_NC.std(axis=0)
    varies_C = scale_C > CONSTANT * np.abs(features_VKC[known_VK]).max(axis=0)
    if not varies_C.any():
        return distance_VK
    covariance_CC, _ = ledoit_wolf(about_NC[:, varies_C] / scale_C[varies_C], assume_centered=True)
    comparable_VK = ~np.isnan(centred_VKC).any(axis=2)
    x_NC = centred_VKC[comparable_VK][:, varies_C] / scale_C[varies_C]
    distance_VK[comparable_VK] = np.sqrt((x_NC * np.linalg.solve(covariance_CC, x_NC.T).T).sum(1))
    return distance_VK
