"""The loss over voxels of known target: a number of the profile, the same for every method."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from bench.nets.network import OUTPUT_BIAS
from bench.params import Params

if TYPE_CHECKING:
    from torch import Tensor

_ONLY = {"cross_entropy": ("norm",), "balanced": ("focus", "positives", "floor", "dice")}


class SharedLoss(Params):
    """What the supervised part of every method minimises.

    Raises
    ------
    ValueError
        A number that belongs to the other ``loss``.
    """

    loss: Literal["cross_entropy", "balanced"] = "cross_entropy"
    """``cross_entropy``: over all voxels and organs alike, Eq. 2 of Petit et al. 2021.
    ``balanced``: focal cross-entropy per organ and Dice of the batch
    (:func:`bench.training.losses.balanced_loss`)."""
    norm: Literal["mean_all", "mean_valid", "sum"] = "mean_all"
    """Divisor of the cross-entropy: all voxels, those of known target, or 1."""
    focus: float = Field(default=2.0, ge=0, le=10)
    """Exponent of the focal term: voxels that are predicted right count less."""
    positives: float = Field(default=0.25, gt=0, lt=1)
    """Weight of the voxels of the organ; the others have the rest to 1."""
    floor: float = Field(default=3.0, gt=0, le=1e4)
    """The focal term of an organ is divided by the number of its voxels in the batch, and at least
    by this many times those of a batch whose slices all show an average organ."""
    dice: float = Field(default=1.0, ge=0)
    """Weight of the Dice term."""

    _organ_share: float = PrivateAttr(default=0.01)

    def on(self, organ_share: float) -> Self:
        """Return the loss on data where an average organ takes this share of what shows it."""
        sized = self.model_copy()
        sized._organ_share = organ_share
        return sized

    @model_validator(mode="after")
    def _numbers_of_this_loss(self) -> Self:
        fields = type(self).model_fields
        for loss, names in _ONLY.items():
            for name in names:
                if loss != self.loss and getattr(self, name) != fields[name].default:
                    raise ValueError(f"{name} belongs to loss={loss}, not to loss={self.loss}")
        return self

    def __call__(self, logits_BKHW: Tensor, y_BKHW: Tensor, w_BKHW: Tensor) -> Tensor:
        """Return the loss, a scalar in float32.

        Parameters
        ----------
        logits_BKHW
            Network output before the sigmoid, any precision.
        y_BKHW, w_BKHW
            Target and ambiguity weight, bool (:func:`bench.training.batch.targets`).
        """
        from bench.training.losses import balanced_loss, masked_bce

        if self.loss == "cross_entropy":
            return masked_bce(logits_BKHW, y_BKHW, w_BKHW, self.norm)
        return balanced_loss(
            logits_BKHW,
            y_BKHW,
            w_BKHW,
            focus=self.focus,
            positives=self.positives,
            floor=self.floor * self._organ_share,
            dice=self.dice,
        )

    def uninformed(self, output_bias: float = OUTPUT_BIAS) -> float:
        """Return about what a training begins at: the loss of a prediction that knows nothing.

        Every probability is that of ``output_bias``, and as many voxels are of the organ. Of the
        cross-entropy it is the mean over voxels of known target, whatever ``norm`` is.
        """
        prior = 1 / (1 + math.exp(-output_bias))
        missed, alarm = -prior * math.log(prior), -(1 - prior) * math.log1p(-prior)
        if self.loss == "cross_entropy":
            return missed + alarm
        missed *= self.positives * math.pow(1 - prior, self.focus)
        alarm *= (1 - self.positives) * math.pow(prior, self.focus)
        focal = (missed + alarm) / max(prior, self.floor * self._organ_share)
        return focal + self.dice * (1 - prior)

    @property
    def scale(self) -> float:
        """How large the loss is beside the mean cross-entropy, where neither knows anything.

        Weights of terms that are added to the loss belong to the cross-entropy: a term that is a
        mean over voxels and organs, most of them background, takes this factor to count as much
        beside any other loss.
        """
        return self.uninformed() / SharedLoss().uninformed()
